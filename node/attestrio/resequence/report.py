"""What a rebuild and its audit have to tell."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from attestrio.resequence.plan import FailedTx, Split

PROPERTIES: Final = ("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P10")


@dataclass(frozen=True, slots=True)
class Row:
    """What was found of one property."""

    property: str
    ok: bool
    detail: str
    """The first thing that is wrong, or what was looked at."""
    faults: int = 0


@dataclass(frozen=True, slots=True)
class AuditReport:
    """All of them, in order."""

    rows: tuple[Row, ...]
    old_batches: int
    old_blocks: int
    new_batches: int
    new_blocks: int
    transactions: int
    """In the new batches."""
    same_hashes: int
    """How many new blocks have the hash of their old one."""

    @property
    def ok(self) -> bool:
        return all(row.ok for row in self.rows)

    @property
    def broken(self) -> tuple[str, ...]:
        """The names of the properties that do not hold."""
        return tuple(row.property for row in self.rows if not row.ok)

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"ok": self.ok, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Report:
    """How a rebuild has ended."""

    kept_batch: int
    """The last batch that was kept; the last one of all where nothing was to be done."""
    old_batches: int = 0
    """Those that were removed; 0: there was nothing to do."""
    old_blocks: int = 0
    old_transactions: int = 0
    new_batches: int = 0
    new_blocks: int = 0
    splits: tuple[Split, ...] = ()
    failed: tuple[FailedTx, ...] = ()
    """Transactions that were left out."""
    audit: AuditReport | None = None
    """None: there was nothing to do, or it was a trial."""
    resumed: bool = False
    """Whether an earlier process had begun it."""

    @property
    def nothing_to_do(self) -> bool:
        return not self.old_batches

    def to_json(self) -> dict[str, Any]:
        """For `--json`; hashes are hex."""
        document = asdict(self) | {"audit": None if self.audit is None else self.audit.to_json()}
        for one in document["failed"]:
            one["hash"] = one["hash"].hex()
        return {"nothing_to_do": self.nothing_to_do, **document}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rebuild has got."""

    old_batch: int
    """The one at work."""
    new_batch: int
    """The last one made."""
    blocks: int
    """Old blocks that are done, whole or in part, of `of_blocks`."""
    of_blocks: int
