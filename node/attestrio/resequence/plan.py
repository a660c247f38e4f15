"""What is asked of a rebuild, where it has got to, and what it did: values only.

A rebuild takes the old batches one after the other and makes one new batch, or several, of each. Its cursor says which
transaction of which old block comes next; it is stored with the new batch that ends there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from attestrio.resequence.batches import StreamBatch, read_batches
from attestrio.resequence.errors import RebuildRefused
from attestrio.stream.entries import Entry
from attestrio.stream.messages import BatchType

CURSOR: Final = struct.Struct(">8sQII")  # tag | batch | block | tx
TAG_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Options:
    """How much a rebuild may change."""

    strict: bool = True
    """Each old batch has to become one new one, with all of its transactions; else it stops."""
    reuse_l1_info_index: bool = True
    """Blocks take over the leaf of the L1 info tree that they had; else the one that a new block would."""


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """What comes next: the transaction at `tx` of the block at `block` (both from 0) of the old batch `batch`."""

    batch: int
    block: int = 0
    tx: int = 0

    def encode(self, tag: bytes) -> bytes:
        """Of the rebuild that `tag` (8 bytes) stands for."""
        return CURSOR.pack(tag, self.batch, self.block, self.tx)

    @classmethod
    def decode(cls, raw: bytes | None, tag: bytes) -> Cursor | None:
        """None where there is none of this rebuild."""
        if raw is None or len(raw) != CURSOR.size:
            return None
        found, batch, block, tx = CURSOR.unpack(raw)
        return cls(batch, block, tx) if found == tag else None


@dataclass(frozen=True, slots=True)
class Split:
    """An old batch went on in a further new one behind this place."""

    old_batch: int
    new_batch: int
    """The one that was full."""
    old_block: int
    position: int | None
    """Of the transaction that had no room in it, from 0; None: the whole block had none."""
    what: str
    """`data`, or the letter of a counter."""


@dataclass(frozen=True, slots=True)
class FailedTx:
    """A transaction that could not be executed any more, and was left out."""

    old_batch: int
    old_block: int
    position: int
    hash: bytes
    """32 bytes."""
    why: str


@dataclass(frozen=True, slots=True)
class RangeFacts:
    """How much is to be rebuilt."""

    batches: int = 0
    blocks: int = 0
    transactions: int = 0
    last_batch: int = 0


def old_batches(entries: Iterable[Entry], first: int, parent_block: int, parent_time: int) -> Iterator[StreamBatch]:
    """The batches to rebuild, from number `first` on; the block before them has this number and time (seconds).

    Raises RebuildRefused for what no builder can build: numbers that do not follow each other, times that go back,
    kinds of batches and entries that belong to other forks; BadMessage.
    """
    for batch in read_batches(entries):
        if batch.number != first:
            raise RebuildRefused(f"batch {batch.number} stands where batch {first} is due")
        if batch.kind not in tuple(BatchType) or batch.updates:
            raise RebuildRefused(f"batch {batch.number} is of a kind, or of a fork, that cannot be built")
        for block in batch.blocks:
            if block.number != parent_block + 1 or block.timestamp < parent_time:
                raise RebuildRefused(
                    f"block {block.number} of time {block.timestamp} after block {parent_block} of time {parent_time}"
                )
            parent_block, parent_time = block.number, block.timestamp
        first += 1
        yield batch


def facts_of(batches: Iterable[StreamBatch]) -> RangeFacts:
    """Sums. Goes through all of them, with one in memory at a time."""
    count = blocks = txs = last = 0
    for batch in batches:
        count, blocks, txs, last = count + 1, blocks + len(batch.blocks), txs + batch.transactions, batch.number
    return RangeFacts(count, blocks, txs, last)
