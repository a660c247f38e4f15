"""Batches and blocks as a stream tells them: what a rebuild begins with, and what an audit compares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from attestrio.stream.entries import Entry
from attestrio.stream.errors import BadMessage
from attestrio.stream.messages import (
    AnyMessage,
    BatchEnd,
    BatchStart,
    L2Block,
    Transaction,
    UpdateGER,
    message_untrusted,
)


@dataclass(frozen=True, slots=True)
class StreamBlock:
    """A block and its transactions, in order."""

    message: L2Block
    txs: tuple[Transaction, ...] = ()

    @property
    def number(self) -> int:
        return self.message.number

    @property
    def timestamp(self) -> int:
        """Seconds since 1970."""
        return self.message.timestamp

    @property
    def l1_index(self) -> int:
        """Of the leaf it took over, 0 for none."""
        return self.message.l1_infotree_index

    @property
    def encoded(self) -> tuple[bytes, ...]:
        """The transactions as they stand in the stream."""
        return tuple(tx.encoded for tx in self.txs)


@dataclass(frozen=True, slots=True)
class StreamBatch:
    """A batch with all of its blocks, which may be none."""

    start: BatchStart
    blocks: tuple[StreamBlock, ...] = ()
    end: BatchEnd | None = None
    """None: it is the last one and open, as that of a sequencer at work."""
    updates: int = 0
    """How many UpdateGER it has: forks before 7."""

    @property
    def number(self) -> int:
        return self.start.number

    @property
    def kind(self) -> int:
        """One of `BatchType`, as far as we wrote it."""
        return self.start.type

    @property
    def fork(self) -> int:
        return self.start.fork_id

    @property
    def open(self) -> bool:
        return self.end is None

    @property
    def transactions(self) -> int:
        return sum(len(block.txs) for block in self.blocks)


class BatchReader:
    """Gathers batches from the messages of a stream, one after the other. What belongs to no batch is passed over.

    Order is not looked at: that is for `stream.order`, and one who audits wants to go on after a fault.
    """

    def __init__(self) -> None:
        self._start: BatchStart | None = None
        self._end: BatchEnd | None = None
        self._blocks: list[tuple[L2Block, list[Transaction]]] = []
        self._updates = 0

    def feed(self, message: AnyMessage) -> StreamBatch | None:
        """The batch before, when another one begins with this message."""
        match message:
            case BatchStart():
                done = self.finish()
                self._start = message
                return done
            case L2Block():
                self._blocks.append((message, []))
            case Transaction() if self._blocks:
                self._blocks[-1][1].append(message)
            case UpdateGER():
                self._updates += 1
            case BatchEnd():
                self._end = message
        return None

    def finish(self) -> StreamBatch | None:
        """The last one, when there is no more; None if there was none at all."""
        start, end, blocks, updates = self._start, self._end, self._blocks, self._updates
        self._start, self._end, self._blocks, self._updates = None, None, [], 0
        if start is None:
            return None
        return StreamBatch(start, tuple(StreamBlock(block, tuple(txs)) for block, txs in blocks), end, updates)


def read_batches(entries: Iterable[Entry]) -> Iterator[StreamBatch]:
    """The batches of a run of entries that begins with a batch, each once all of it was read. Raises BadMessage."""
    reader = BatchReader()
    for entry in entries:
        batch = reader.feed(message_untrusted(entry.type, entry.data))
        if batch is not None:
            yield batch
    last = reader.finish()
    if last is not None:
        yield last


def read_batches_untrusted(entries: Iterable[Entry]) -> Iterator[StreamBatch]:
    """The same from any entries at all: those that carry nothing known are passed over. Never raises by itself."""
    reader = BatchReader()
    for entry in entries:
        try:
            batch = reader.feed(message_untrusted(entry.type, entry.data))
        except BadMessage:
            continue
        if batch is not None:
            yield batch
    last = reader.finish()
    if last is not None:
        yield last
