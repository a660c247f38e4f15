"""Whether enough stake has signed. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

QUORUM_PERCENT: Final = 67  # of the stake, as the contract has it: signed · 100 >= total · 67


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Who was in the quorum at a task's block. What happens to the quorum later does not matter to the task."""

    block: int
    stakes: Mapping[bytes, int]
    """By operator id. An operator with stake 0 is in the quorum all the same: its key is part of the quorum's."""
    total: int

    @classmethod
    def of(cls, block: int, stakes: Mapping[bytes, int]) -> Snapshot:
        return cls(block, stakes, sum(stakes.values()))


@dataclass(frozen=True, slots=True)
class Tally:
    """Who of a snapshot has signed."""

    signers: tuple[bytes, ...]
    """Operator ids, ascending: nobody from outside the snapshot."""
    missing: tuple[bytes, ...]
    """The rest of the snapshot, ascending, as the contract wants them."""
    signed: int
    total: int

    @property
    def reached(self) -> bool:
        """Whether the contract would take it. Without any stake it never would: there is nobody to sign."""
        return self.total > 0 and self.signed * 100 >= self.total * QUORUM_PERCENT

    @property
    def complete(self) -> bool:
        """Whether nobody is left to be waited for."""
        return not self.missing

    def __str__(self) -> str:
        return f"{self.signed} of {self.total} stake, {len(self.missing)} operators missing"


def tally(snapshot: Snapshot, signed: Collection[bytes]) -> Tally:
    """Count those who signed, each once, by the stakes of the snapshot. O(n log n) in its operators."""
    have = set(signed)
    signers = tuple(sorted(one for one in snapshot.stakes if one in have))
    missing = tuple(sorted(one for one in snapshot.stakes if one not in have))
    return Tally(signers, missing, sum(snapshot.stakes[one] for one in signers), snapshot.total)
