"""When which batch is taken up again, and what of it is only known to this process. Nothing of it is lost by a crash.

Times are trio's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from attestrio.aggregator.answer import Why
from attestrio.aggregator.rows import Answer
from attestrio.aggregator.settings import SenderSettings

NEVER: Final = -float("inf")
CAP_BLOCKS: Final = 10  # the longest wait before a batch that is put off is tried again


@dataclass(frozen=True, slots=True)
class View:
    """The chain as it was looked at last."""

    price: int
    """What the node wants, wei per gas."""
    at: float
    head: int
    """The last scanned block then."""


@dataclass(frozen=True, slots=True)
class Later:
    """When to take a batch up again, as long as nobody changes its row."""

    row: Answer | None
    until: float
    below: int | None = None
    """A price of the node, for what was too dear."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing is sent. One batch at a time is tried, to see whether that is over."""

    why: Why
    until: float
    failures: int = 1


@dataclass(slots=True)
class Pace:
    """Waits of all batches, and how often what has failed."""

    row_of: Callable[[bytes], Answer | None]
    settings: SenderSettings
    view: View | None = None
    """None: has to be read (anew)."""
    hold: Hold | None = None
    sent_at: dict[bytes, float] = field(default_factory=dict)
    """When the newest transaction of a batch was handed over by this process; NEVER: it was refused."""
    reverts: dict[bytes, int] = field(default_factory=dict)
    """Transactions that were mined and refused."""
    looks: dict[bytes, int] = field(default_factory=dict)
    """Looks for a receipt since the nonce was used up."""
    _later: dict[bytes, Later] = field(default_factory=dict)
    _failures: dict[bytes, int] = field(default_factory=dict)

    def is_due(self, identifier: bytes) -> bool:
        """Whether its time has come: also when its row is another than the one that was to wait."""
        later = self._later.get(identifier)
        if later is None or later.row is not self.row_of(identifier):
            return True
        if trio.current_time() < later.until:
            return False
        return later.below is None or (self.view is not None and self.view.price < later.below)

    def is_late(self, identifier: bytes) -> bool:
        """Whether its transaction has waited long enough to be replaced."""
        return trio.current_time() - self.sent_at[identifier] >= self.settings.fees.bump_after_s

    def is_out(self, identifier: bytes) -> bool:
        """Whether the network has taken a transaction of it from this process."""
        return self.sent_at.get(identifier, NEVER) > NEVER

    def wait(self, identifier: bytes, wait_s: float, below: int | None = None) -> None:
        """Leave it alone, with the row it has now."""
        self._later[identifier] = Later(self.row_of(identifier), trio.current_time() + wait_s, below)

    def failed(self, identifier: bytes, below: int | None = None) -> int:
        """Once more: how often in a row. It is left alone for a time that grows."""
        failures = self._failures[identifier] = self._failures.get(identifier, 0) + 1
        self.wait(identifier, self.wait_s(failures), below)
        return failures

    def at_once(self, identifier: bytes) -> None:
        self._later.pop(identifier, None)

    def worked(self, identifier: bytes) -> None:
        """What is counted as failures in a row begins anew."""
        self._failures.pop(identifier, None)
        self._later.pop(identifier, None)

    def looked(self, identifier: bytes) -> int:
        """One look for a receipt more: how many."""
        looks = self.looks[identifier] = self.looks.get(identifier, 0) + 1
        return looks

    def reverted(self, identifier: bytes) -> int:
        """One transaction more that was mined and refused: how many."""
        reverts = self.reverts[identifier] = self.reverts.get(identifier, 0) + 1
        return reverts

    def hold_all(self, why: Why) -> bool:
        """Send nothing for a time that grows; False: it is so already, for the same reason."""
        before = self.hold
        failures = 1 if before is None else before.failures + 1
        self.hold = Hold(why, trio.current_time() + self.wait_s(failures), failures)
        return before is None or before.why is not why

    def wait_s(self, failures: int) -> float:
        chain = self.settings.chain
        return chain[failures - 1] if failures <= len(chain) else CAP_BLOCKS * self.settings.block_s

    def forget(self, identifier: bytes) -> None:
        self.worked(identifier)
        self.sent_at.pop(identifier, None)
        self.reverts.pop(identifier, None)
        self.looks.pop(identifier, None)
