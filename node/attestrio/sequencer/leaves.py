"""Leaves of the L1 info tree, and which of them a block takes over."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from attestrio.roles.keccak import keccak256


@dataclass(frozen=True, slots=True)
class Leaf:
    """What happened on L1 at one moment."""

    index: int
    """From 1 on; a block with index 0 takes over nothing."""
    ger: bytes
    """The global exit root, 32 bytes."""
    l1_hash: bytes
    """Of the parent of the L1 block it is from, 32 bytes."""
    timestamp: int
    """Of that L1 block, seconds since 1970."""

    def hash(self) -> bytes:
        """32 bytes, as it stands in the tree."""
        return keccak256(self.ger + self.l1_hash + self.timestamp.to_bytes(8, "big"))


class Leaves(Protocol):
    """The leaves that are known. Asked from the thread that builds; never blocks for long."""

    def leaf(self, index: int) -> Leaf | None: ...

    def newest(self, timestamp: int) -> Leaf | None:
        """The last one that is not later than this."""
        ...


class MemoryLeaves:
    """`Leaves` from a list. Their times never decrease with the index."""

    def __init__(self, leaves: Iterable[Leaf] = ()) -> None:
        self._leaves: dict[int, Leaf] = {}
        self._order: list[Leaf] = []
        for leaf in leaves:
            self.add(leaf)

    def add(self, leaf: Leaf) -> None:
        """The next one, or one that is known. Raises ValueError: its index is not higher, or its time goes back."""
        if self._leaves.get(leaf.index) == leaf:
            return
        last = self._order[-1] if self._order else None
        if leaf.index < 1 or (last is not None and (leaf.index <= last.index or leaf.timestamp < last.timestamp)):
            before = "" if last is None else f" after leaf {last.index} of time {last.timestamp}"
            raise ValueError(f"leaf {leaf.index} of time {leaf.timestamp}{before}: both have to grow, from 1 and 0")
        if leaf.index >> 32 or not 0 <= leaf.timestamp < 1 << 63:
            raise ValueError(f"leaf {leaf.index} of time {leaf.timestamp}: too large")
        self._leaves[leaf.index] = leaf
        self._order.append(leaf)

    def leaf(self, index: int) -> Leaf | None:
        return self._leaves.get(index)

    def newest(self, timestamp: int) -> Leaf | None:
        at = bisect_right(self._order, timestamp, key=lambda leaf: leaf.timestamp)
        return self._order[at - 1] if at else None


def next_index(leaves: Leaves, progress: int, timestamp: int) -> int:
    """The index for a new block of this time, or 0: it takes over nothing.

    Args:
      progress: the highest index that a block has had.

    Source: cdk-erigon 2723db784b. Where we differ: it hands on a leaf that is too late with index 0, and stores it.
    """
    leaf = leaves.leaf(progress + 1) if progress else leaves.newest(timestamp)
    return leaf.index if leaf is not None and leaf.timestamp <= timestamp else 0
