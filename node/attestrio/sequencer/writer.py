"""From the database to the stream: what was sealed is written behind what is there, and at start both are made equal.

The database is first with everything, so after a crash it can be ahead of the stream, and is taken back to where the
stream ends: nobody has been told of more. A stream that is ahead means that the chain was unwound: the blocks are in
the stream alone, and only a rebuild may take them away.

    an atomic operation each:  a block, with the beginning of its batch if it is the first
                               the end of a batch, right before the next one begins
                               the genesis batch; the injected batch

Source: specified for cdk-erigon 2723db784b.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from attestrio.sequencer.db import ChainDb, Unwound
from attestrio.sequencer.entries import batch_end, batch_start, block_messages
from attestrio.sequencer.errors import StreamDiverged, StreamMissing
from attestrio.sequencer.sealed import BatchHead, SealedBatch, SealedBlock
from attestrio.sequencer.sink import StreamSink
from attestrio.sequencer.tail import Tail, tail_of
from attestrio.stream.messages import AnyMessage, BatchType, Bookmark, L2Block, message_untrusted

MOST_ENTRIES: Final = 80_000
"""In one atomic operation, when much is written at once; upstream's number."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """Stream and database end with the same batch and block."""

    batch: int
    block: int
    unwound: Unwound | None = None
    """What the database had more."""
    cut: int = 0
    """Entries of the stream that were the beginning of something which never ended."""


@dataclass(frozen=True, slots=True)
class StreamAhead:
    """The stream has batches that the database lacks, whole or in part; nothing was changed."""

    first: int
    """The first of them. If the database has a part of it, go back to the end of the one before."""
    last: int


class ChainWriter:
    """The one writer of a stream. One thread at a time, and it blocks. `align` comes first.

    After something was raised the stream may lack what the database has: `align` again.

    Args:
      genesis_end: whether the genesis block has an end in the stream; in old ones it has none.
    """

    def __init__(self, db: ChainDb, sink: StreamSink, *, genesis_end: bool = True) -> None:
        self.db, self.sink = db, sink
        self._genesis_end = genesis_end
        self._open: int | None = None  # the batch that has no end in the stream yet
        self._pending: list[AnyMessage] = []

    # --- at start

    def align(self, *, close: bool = True) -> Aligned | StreamAhead:
        """Make both end alike, or tell that the stream is ahead.

        Args:
          close: end the last batch, also if it was under way: no builder can go on with it. Not for a rebuild, which
            takes such a batch back.

        Raises StreamMissing, StreamDiverged, RuntimeError before the genesis; as the database and the stream do.
        """
        self._pending.clear()
        tip, last = self.db.tip, self.db.last_batch
        if tip is None or last is None:
            raise RuntimeError("the chain has not begun")
        tail = tail_of(self.sink.reader)
        if tail is None:
            tail = self._begin(last, tip)
        self._check_same(tail, tip)
        if tail.block > tip.number or tail.batch > last.number:
            return StreamAhead(self._first_ahead(tail, tip, last), tail.batch)
        tail, cut = self._cut(tail)
        unwound = self._unwind(tail, tip, last)
        self._check_ends(tail)
        self._open = None if tail.closed else tail.batch
        if close or tail.closed:
            self._close()
        return Aligned(tail.batch, tail.block, unwound, cut)

    # --- going on

    def write(self, sealed: Iterable[SealedBlock | SealedBatch], *, together: bool = False) -> None:
        """Blocks, and batches without blocks, in their order, right behind what is there. On disk when this returns.

        Args:
          together: in as few atomic operations as possible. The bytes are the same.

        A batch that has blocks is begun by the first of them, and ended by what comes after it.
        """
        for item in sealed:
            if isinstance(item, SealedBlock):
                self._block(item, together)
            elif not item.blocks:
                self._start(item.head, together)
                self._flush(together)
        self._flush()

    def end_batch(self) -> None:
        """Write the end of the last batch, which is closed, before the next one begins. Nothing, if it is there."""
        if self._open is not None:
            self._end()
            self._flush()

    def truncate(self, batch: int) -> int:
        """Take this batch and all behind it out of the stream; how many entries that were, 0: it is not there."""
        number = self.sink.find(Bookmark.batch(batch).encode())
        self._open = None
        if number is None:
            return 0
        total = self.sink.reader.header.total_entries
        self.sink.truncate(number)
        return total - number

    # --- within: writing

    def _block(self, block: SealedBlock, together: bool) -> None:
        head = block.batch
        if block.first_in_batch:
            self._start(head, together)
        elif self._open != head.number:
            raise RuntimeError(f"block {block.number} of batch {head.number}, the stream is in batch {self._open}")
        self._pending += block_messages(block, end=self._genesis_end or block.number > 0)
        if head.number == 0 or head.kind == BatchType.INJECTED:
            self._end()
        self._flush(together)

    def _start(self, head: BatchHead, together: bool) -> None:
        if self._open is not None:
            self._end()
            self._flush(together)
        self._pending += batch_start(head, self.db.chain_id or 0)
        self._open = head.number

    def _end(self) -> None:
        assert self._open is not None
        batch = self.db.batch(self._open)
        assert batch is not None
        self._pending.append(batch_end(batch))
        self._open = None

    def _flush(self, together: bool = False) -> None:
        if self._pending and (not together or len(self._pending) >= MOST_ENTRIES):
            pending, self._pending = self._pending, []
            self.sink.append(pending)

    # --- within: aligning

    def _begin(self, last: SealedBatch, tip: SealedBlock) -> Tail:
        """The stream is new: it begins with the genesis, and batch 1 if the chain has got so far."""
        if last.number > 1 or tip.number > 1:
            raise StreamMissing(last.number, tip.number)
        self._open = None
        blocks = [self.db.block(number) for number in range(tip.number + 1)]
        self.write(block for block in blocks if block is not None)
        tail = tail_of(self.sink.reader)
        assert tail is not None
        return tail

    def _check_same(self, tail: Tail, tip: SealedBlock) -> None:
        number = min(tail.block, tip.number)
        hash = tail.hash if number == tail.block else self._block_in_stream(number).hash
        want = self.db.block_hash(number)
        assert want is not None
        if hash != want:
            raise StreamDiverged(number, hash, want)

    def _block_in_stream(self, number: int) -> L2Block:
        """Raises StreamDiverged when the stream has another block there, or none."""
        at = self.sink.find(Bookmark.block(number).encode())
        entry = None if at is None else self.sink.reader.entry(at + 1)
        message = None if entry is None else message_untrusted(entry.type, entry.data)
        if not isinstance(message, L2Block) or message.number != number:
            raise StreamDiverged(number, b"", self.db.block_hash(number) or b"")
        return message

    def _first_ahead(self, tail: Tail, tip: SealedBlock, last: SealedBatch) -> int:
        if tail.block > tip.number:
            return min(self._block_in_stream(tip.number + 1).batch_number, last.number + 1)
        return last.number + 1

    def _cut(self, tail: Tail) -> tuple[Tail, int]:
        """Take what never ended out of the stream: also the beginning of a batch whose blocks did not get there."""
        entries = tail.entries
        if tail.batch != tail.block_batch and not tail.closed:
            batch = self.db.batch(tail.batch)
            if batch is None or batch.blocks:
                entries -= 2  # its bookmark and its start
                tail = Tail(tail.batch - 1, True, tail.block, tail.block_batch, tail.hash, entries)
        total = self.sink.reader.header.total_entries
        if entries < total:
            self.sink.truncate(entries)
        return tail, total - entries

    def _unwind(self, tail: Tail, tip: SealedBlock, last: SealedBatch) -> Unwound | None:
        if (tail.batch, tail.block) == (last.number, tip.number):
            return None
        if tail.batch != tail.block_batch:
            return self.db.unwind_to_end_of(tail.batch)
        return self.db.unwind_to_block(tail.block)

    def _check_ends(self, tail: Tail) -> None:
        """A batch that the stream has ended and the database has gone on with cannot be mended."""
        last, tip = self.db.last_batch, self.db.state.tip.number
        if last is None or (last.number, tip) != (tail.batch, tail.block):
            raise StreamDiverged(tip, tail.hash, self.db.block_hash(tip) or b"")

    def _close(self) -> None:
        last = self.db.last_batch
        assert last is not None
        if not last.closed:
            self.db.close_batch(last)
        self.end_batch()
