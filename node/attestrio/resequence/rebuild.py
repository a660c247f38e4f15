"""From one old batch the next new one, as far as it fits.

    old batch 9    block 20 [a b]   block 21 [c d]   block 22 []            limit: three transactions a batch
    new batch 9    block 20 [a b]   block 21 [c]
    new batch 10   block 22 [d]     block 23 []

A new block has the time of its old one and transactions of that one alone; a new batch has blocks of one old batch
alone. A block that is split takes its leaf of the L1 info tree over in its first part.

Source: specified for PR 894 of cdk-erigon, merged at 292a2eca0c. Where we differ: a block none of whose transactions
fits is dropped and not sealed empty; what fits into no batch is an error and not a loop; a transaction that fails
without being strict is left out and not tried for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from attestrio.resequence.batches import StreamBatch, StreamBlock
from attestrio.resequence.errors import BatchOverflows, FitsNowhere, TransactionFails
from attestrio.resequence.plan import Cursor, FailedTx, Options, Split
from attestrio.roles.keccak import keccak256
from attestrio.sequencer.builder import BatchBuilder, Failed, Full
from attestrio.sequencer.leaves import Leaves, next_index
from attestrio.sequencer.sealed import SealedBatch, SealedBlock
from attestrio.stream.messages import BatchType
from attestrio.zkevm.errors import BadTransaction
from attestrio.zkevm.transactions import tx_untrusted


@dataclass(slots=True)
class Made:
    """What has become of a new batch."""

    cursor: Cursor
    """What comes next."""
    blocks: list[SealedBlock] = field(default_factory=list)
    closed: SealedBatch | None = None
    """None: it is open, as the last one of all is left; or there was nothing to put into it, and there is no batch."""
    split: Split | None = None
    """Why it ended before its old batch did."""
    failed: list[FailedTx] = field(default_factory=list)

    @property
    def is_batch(self) -> bool:
        return bool(self.blocks) or self.closed is not None

    @property
    def sealed(self) -> Sequence[SealedBlock | SealedBatch]:
        """For a writer of the stream."""
        return self.blocks or ([] if self.closed is None else [self.closed])


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Builds on the end of the chain of `builder`; `tag` marks the cursors. One thread at a time; it blocks."""

    builder: BatchBuilder
    leaves: Leaves
    options: Options
    tag: bytes

    def next_batch(self, old: StreamBatch, cursor: Cursor, *, last: bool) -> Made:
        """The next new batch of `old`, from `cursor` on; the last one of all is left open.

        To be called in a transaction of the database: what was raised leaves a half behind. Raises TransactionFails,
        BatchOverflows, FitsNowhere, and as the builder: LeafMissing, ForkUnsupported, StorageUnusable.
        """
        assert cursor.batch == old.number
        self.builder.begin_batch(_next_number(self.builder), BatchType(old.kind))
        made = Made(cursor)
        while made.cursor.block < len(old.blocks) and made.split is None:
            self._block(old, old.blocks[made.cursor.block], made)
        if made.cursor.block >= len(old.blocks):
            made.cursor = Cursor(old.number + 1)
        ended = made.cursor.batch != old.number
        if not made.blocks and old.blocks:
            self.builder.abandon()  # the rest of a split block, all of which has failed: no batch for that
        elif last and ended and made.blocks:
            self.builder.abandon()  # what was sealed stays, in a batch that is open
        else:
            made.closed = self.builder.close_batch(made.cursor.encode(self.tag))
        return made

    # --- within

    def _block(self, old: StreamBatch, block: StreamBlock, made: Made) -> None:
        """As much of an old block as fits, as one new block; sets `split` if that is not all of it."""
        builder, at = self.builder, made.cursor
        full = builder.begin_block(block.timestamp, self._index(block, at))
        if full is not None:
            self._full(old, block, None, full, made)
            return
        failed: list[FailedTx] = []
        position = at.tx
        while position < len(block.txs):
            encoded = block.txs[position].encoded
            result = builder.add(encoded)
            if isinstance(result, Full):
                self._full(old, block, position, result, made)
                break
            if isinstance(result, Failed):
                failed.append(self._failed(old, block, position, encoded, str(result.fault)))
            position += 1
        through = position == len(block.txs)
        after = Cursor(old.number, at.block + 1) if through else Cursor(old.number, at.block, position)
        if builder.outcomes or (through and at.tx == 0):
            made.blocks.append(builder.seal_block(after.encode(self.tag)))
        else:
            builder.drop_block()
            if not through:
                return  # it begins again in the next batch, with those that failed before the one that has no room
            # Otherwise: the rest of a split block, all of which has failed, and which is no block.
        made.cursor = after
        made.failed += failed

    def _index(self, block: StreamBlock, at: Cursor) -> int:
        if self.options.reuse_l1_info_index:
            return block.l1_index if at.tx == 0 else 0
        return next_index(self.leaves, self.builder.db.l1_progress, block.timestamp)

    def _full(self, old: StreamBatch, block: StreamBlock, position: int | None, full: Full, made: Made) -> None:
        if full.alone:
            hash = None if position is None else hash_of(block.txs[position].encoded)
            raise FitsNowhere(old.number, block.number, position, hash, full.what)
        if self.options.strict:
            raise BatchOverflows(old.number, block.number, position, full.what)
        made.split = Split(old.number, _next_number(self.builder), block.number, position, full.what)

    def _failed(self, old: StreamBatch, block: StreamBlock, position: int, encoded: bytes, why: str) -> FailedTx:
        hash = hash_of(encoded)
        if self.options.strict:
            raise TransactionFails(old.number, block.number, position, hash, why)
        return FailedTx(old.number, block.number, position, hash, why)


def hash_of(encoded: bytes) -> bytes:
    """Of a transaction of a stream, also of one that is none."""
    try:
        return tx_untrusted(encoded).hash()
    except BadTransaction:
        return keccak256(encoded)


def _next_number(builder: BatchBuilder) -> int:
    batch = builder.batch
    if batch is not None:
        return batch.number
    last = builder.db.last_batch
    assert last is not None
    return last.number + 1
