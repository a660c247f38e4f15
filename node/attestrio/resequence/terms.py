"""What a rebuild stands on, and by what it is judged."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from attestrio.sequencer.settings import DATA_BUDGET
from attestrio.stream.messages import ZERO
from attestrio.zkevm.counters import Counters


@dataclass(frozen=True, slots=True)
class Kept:
    """The end of what both runs stand on."""

    batch: int
    block: int
    hash: bytes = ZERO
    """Of that block, 32 bytes."""
    timestamp: int = 0
    """Of that block, seconds since 1970."""
    l1_progress: int = 0
    """The highest L1 info index up to there."""
    entries: int = 0
    """How many entries of the stream that are: the number of the first one in both runs."""


@dataclass(frozen=True, slots=True)
class Terms:
    """By what a rebuild is judged."""

    strict: bool = False
    """Whether each old batch has to be one new one."""
    reuse_l1_info_index: bool = True
    """Whether blocks keep their index; without it P7 says nothing."""
    failed: Collection[tuple[int, int]] = ()
    """Transactions that were left out: old block and position in it."""
    data_budget: int = DATA_BUDGET
    """Bytes."""
    limits_of: Callable[[int], Counters] | None = None
    """By fork; None: counters are not looked at, as no stream tells them."""
    used_by: Callable[[int], Counters | None] | None = None
    """By new batch."""
    total_entries: int | None = None
    """What the header of the new stream counts; None: it is not known."""
    find: Callable[[bytes], int | None] | None = None
    """The index of bookmarks of the new stream; None: it is not asked."""
    prefix_same: bool | None = None
    """Whether what stands before is what stood there; None: nobody has looked."""
