"""Going back because L1 says so: which rollbacks are to be obeyed, and obeying them once.

A rollback is obeyed in one transaction of the chain's database, together with a mark that it was. The stream stays as
it is: that it is ahead is what a rebuild, and the next start, go by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from attestrio.sequencer.db import ChainDb, Unwound
from attestrio.sequencer.errors import UnwindRefused
from attestrio.sequencer.l1_store import L1Store, Rollback

OBEYED: Final = "rollback_obeyed"
"""Under this name the database keeps the key of the last one."""


@dataclass(frozen=True, slots=True)
class Obeyed:
    """What was done about rollbacks."""

    rollback: Rollback
    """The one that reached back furthest."""
    unwound: Unwound | None
    """None: the chain had none of the batches."""

    def __str__(self) -> str:
        said = f"block {self.rollback.block} of L1 has rolled back to batch {self.rollback.target}"
        if self.unwound is None:
            return f"{said}: this chain had nothing above it"
        gone = self.unwound
        return f"{said}: {gone.batches} batches and {gone.blocks} blocks were taken back, to block {gone.block}"


def not_obeyed(db: ChainDb, store: L1Store) -> list[Rollback]:
    """Those that came after the last one that was obeyed, in the order of L1."""
    return store.rollbacks(db.meta(OBEYED) or b"")


def obey_all(db: ChainDb, store: L1Store) -> Obeyed | None:
    """Those that are still to be obeyed; None: there are none. Raises as `obey`."""
    waiting = not_obeyed(db, store)
    return obey(db, waiting) if waiting else None


def obey(db: ChainDb, rollbacks: Sequence[Rollback]) -> Obeyed:
    """Go back as far as any of them says, at least one. No block may be under way.

    Raises UnwindRefused for batch 0, and when the way back is no longer kept; NoSuchBlock, StorageUnusable. Then
    nothing has happened, and they are still to be obeyed.
    """
    furthest = min(rollbacks, key=lambda one: one.target)
    last = db.last_batch
    unwound = None
    with db.transaction():
        if last is not None and furthest.target < last.number:
            if furthest.target == 0:
                raise UnwindRefused(0, "batch 1 is taken from L1 once, so batch 1 is the earliest to go back to")
            unwound = db.unwind_to_end_of(furthest.target)
        db.put_meta(OBEYED, rollbacks[-1].key)
    return Obeyed(furthest, unwound)
