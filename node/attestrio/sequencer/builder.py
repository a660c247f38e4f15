"""One batch at a time, block by block, transaction by transaction, until something is full.

    builder.begin_batch(number, BatchType.REGULAR)
    builder.begin_block(timestamp, l1_index)       Full: close the batch, this block belongs into the next one
    builder.add(encoded)                           Full: the same for the transaction; Failed: leave it out
    builder.seal_block(cursor)                     durable; or drop_block(), as long as it has no transaction
    builder.close_batch()

Nothing here looks at a clock. The same calls on the same chain give the same bytes.

Source: specified for cdk-erigon 2723db784b and its PR 894. Where we differ: a leaf that is missing stops us instead of
being taken for zeros, and a typed transaction is not put into a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.errors import LeafMissing, OtherChain
from attestrio.sequencer.leaves import Leaf, Leaves
from attestrio.sequencer.meter import BatchMeter, Meters, NoMeter, meters_of
from attestrio.sequencer.sealed import BatchHead, SealedBatch, SealedBlock, SealedTx
from attestrio.sequencer.settings import BLOCK_DATA, Rules
from attestrio.stream.messages import ZERO, BatchType
from attestrio.zkevm.errors import BadTransaction, ForkUnsupported, TxFailed, TypedTransactionRefused
from attestrio.zkevm.executor import FIRST_FORK, LAST_FORK, BlockEnv, Built, Executor, L1Info, Outcome
from attestrio.zkevm.hook import Stopped
from attestrio.zkevm.transactions import Tx, tx_untrusted

DATA: Final = "data"


@dataclass(frozen=True, slots=True)
class Full:
    """There is no room for it in this batch; nothing has happened."""

    what: str
    """`DATA`, or the letter of the counter that would be above its limit."""
    alone: bool
    """It fits into no other batch either: nothing else is in this one, or it alone is above a limit."""


@dataclass(frozen=True, slots=True)
class Added:
    """It is in the block."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Failed:
    """It cannot be executed on the state as it is, or never; nothing has happened."""

    fault: TxFailed | BadTransaction | TypedTransactionRefused


@dataclass(slots=True)
class _Batch:
    head: BatchHead
    meter: BatchMeter
    first_block: int | None = None
    data: int = 0


@dataclass(frozen=True, slots=True)
class _Block:
    l1_index: int
    info: L1Info
    min_timestamp: int
    data_before: int
    delta: int


class BatchBuilder:
    """Builds on the end of `db`. One thread at a time; it blocks.

    After something was raised that its method does not name, or a transaction of `db` around it was taken back, the
    batch under way is over: begin anew with another builder, at what `db` then ends with.
    """

    def __init__(self, db: ChainDb, rules: Rules, leaves: Leaves, meters: Meters | None = None) -> None:
        """`meters`: who counts, if not as the rules say. Raises OtherChain, UnknownCounter, MissingExtra."""
        if db.chain_id not in (None, rules.chain_id):
            raise OtherChain(db.chain_id or 0, rules.chain_id)
        self.db, self.rules = db, rules
        self._leaves, self._meters = leaves, meters or meters_of(rules)
        self._executor = Executor(db.state, db.smt, rules.chain)
        self._batch: _Batch | None = None
        self._block: _Block | None = None

    # --- batches

    def begin_batch(self, number: int, kind: BatchType = BatchType.REGULAR) -> BatchHead:
        """Raises ForkUnsupported; RuntimeError unless it is the next one and the one before is closed."""
        last = self.db.last_batch
        if self._batch is not None or last is None or not last.closed or number != last.number + 1:
            raise RuntimeError(f"batch {number} cannot begin after {last}")
        fork, depth = self.rules.fork_of(number), self.db.state.tip.depth
        if not FIRST_FORK <= fork <= LAST_FORK:
            raise ForkUnsupported(fork, FIRST_FORK, LAST_FORK)
        head = BatchHead(number, kind, fork, depth)
        # What is injected has been accepted on L1 already, whatever it takes.
        meter = NoMeter() if kind == BatchType.INJECTED else self._meters(fork, depth)
        self._batch = _Batch(head, meter)
        return head

    @property
    def batch(self) -> SealedBatch | None:
        """The batch under way, up to its last sealed block."""
        batch = self._batch
        if batch is None:
            return None
        tip, data = self.db.state.tip, self._block.data_before if self._block is not None else batch.data
        return SealedBatch(
            batch.head, False, batch.first_block, tip.number, tip.root, data=data, counters=batch.meter.used
        )

    def close_batch(self, cursor: bytes | None = None) -> SealedBatch:
        """The batch is over, with as many blocks as it has: also with none. On disk when this returns.

        Raises StorageUnusable; RuntimeError while a block is under way.
        """
        batch = self.batch
        if batch is None or self._block is not None:
            raise RuntimeError("there is no batch, or a block of it is under way")
        closed = self.db.close_batch(batch, cursor)
        self._batch = None
        return closed

    # --- blocks

    def begin_block(
        self, timestamp: int, l1_index: int = 0, *, injected: L1Info | None = None, coinbase: bytes | None = None
    ) -> Full | None:
        """The next block, unless the batch is full.

        Args:
          timestamp: not before that of the block before.
          l1_index: of the leaf it takes over, 0 for none.
          injected: what the block of batch 1 takes over without an index.
          coinbase: another one than that of the rules.

        Raises LeafMissing; RuntimeError without a batch, or when a block is under way.
        """
        batch = self._building()
        if self._block is not None:
            raise RuntimeError("a block is under way")
        parent, tip = self.db.tip, self.db.state.tip
        if parent is None or timestamp < parent.timestamp:
            raise ValueError(f"a block of time {timestamp} on {parent}")
        leaf = self._leaf(l1_index)
        alone = batch.first_block is None
        if batch.data + BLOCK_DATA > self.rules.data_budget:
            return Full(DATA, alone)
        if (counter := batch.meter.begin_block(l1_index != 0)) is not None:
            return Full(counter, alone)
        info = injected
        if leaf is not None:
            info = L1Info(leaf.ger, leaf.l1_hash, write=self.db.l1_progress < l1_index)
        self._executor.begin_block(
            BlockEnv(
                tip.number + 1, timestamp, coinbase or self.rules.coinbase, batch.head.fork, parent.hash, tip.root, info
            )
        )
        delta = timestamp - parent.timestamp if parent.number else timestamp
        self._block = _Block(l1_index, info or L1Info(ZERO, ZERO), leaf.timestamp if leaf else 0, batch.data, delta)
        batch.data += BLOCK_DATA
        return None

    def add(self, encoded: bytes) -> Added | Full | Failed:
        """Put a transaction, as it stands in a stream, behind the others of the block. RuntimeError without one."""
        batch = self._building()
        try:
            tx = tx_untrusted(encoded)
            percentage = self.rules.percentages.of(tx)
            size = len(tx.batch_l2_data(percentage))
        except (BadTransaction, TypedTransactionRefused) as exc:
            return Failed(exc)
        alone = batch.first_block is None and not self._executor.outcomes
        if batch.data + size > self.rules.data_budget:
            return Full(DATA, alone)
        result = self._execute(batch.meter, tx, percentage)
        if isinstance(result, str):
            return Full(result, alone)
        if isinstance(result, Stopped):
            return Full(result.what, True)
        if isinstance(result, Added):
            batch.data += size
        return result

    def drop_block(self) -> None:
        """The block under way has never begun. RuntimeError: there is none, or it has a transaction."""
        batch, block = self._building(), self._open_block()
        if self._executor.outcomes:
            raise RuntimeError("the block has transactions")
        self._executor.drop_block()
        batch.meter.take_back_block()
        batch.data, self._block = block.data_before, None

    def seal_block(self, cursor: bytes | None = None) -> SealedBlock:
        """The block, on disk together with `cursor` when this returns. Raises StorageUnusable; then the batch is over.

        RuntimeError without a block.
        """
        batch, block = self._building(), self._open_block()
        try:
            with self.db.transaction():
                sealed = self._sealed(batch, block, self._executor.finish_block())
                self.db.put_block(sealed, cursor)
        except BaseException:
            self.abandon()
            raise
        batch.first_block = batch.first_block or sealed.number
        self._block = None
        return sealed

    def abandon(self) -> None:
        """Nothing is under way any more: neither a block nor a batch. What was sealed stays."""
        self._executor.drop_block()
        self._batch = self._block = None

    @property
    def in_block(self) -> bool:
        """Whether a block is under way."""
        return self._block is not None

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Of the transactions of the block under way."""
        return self._executor.outcomes

    # --- within

    def _building(self) -> _Batch:
        if self._batch is None:
            raise RuntimeError("no batch is under way")
        return self._batch

    def _open_block(self) -> _Block:
        if self._block is None:
            raise RuntimeError("no block is under way")
        return self._block

    def _leaf(self, index: int) -> Leaf | None:
        if index == 0:
            return None
        leaf = self._leaves.leaf(index)
        if leaf is None:
            raise LeafMissing(index)
        return leaf

    def _execute(self, meter: BatchMeter, tx: Tx, percentage: int) -> Added | Failed | Stopped | str:
        """In the block and counted, or neither; a string is a counter that has no room.

        Stopped: not even in an empty batch. It has not been executed to its end, which can be a long way.
        """
        hook = meter.begin_tx(tx, percentage, self.db.state.tip.depth)
        if isinstance(hook, str):
            return hook
        self._executor.hook = hook
        try:
            outcome = self._executor.apply(tx, percentage)
        except (TxFailed, BadTransaction) as exc:
            meter.take_back_tx()
            return Failed(exc)
        except Stopped as exc:
            meter.take_back_tx()
            return exc
        code = b"" if tx.to is None else self.db.state.code(tx.to)
        if (counter := meter.end_tx(outcome, len(code))) is not None:
            self._executor.take_back_tx()
            return counter
        return Added(outcome)

    def _sealed(self, batch: _Batch, block: _Block, built: Built) -> SealedBlock:
        return SealedBlock(
            header=built.header,
            hash=built.hash,
            batch=batch.head,
            first_in_batch=batch.first_block is None,
            delta=block.delta,
            block_info_root=built.block_info_root,
            l1_index=block.l1_index,
            min_timestamp=block.min_timestamp,
            ger=block.info.ger,
            l1_hash=block.info.block_hash,
            data=batch.data,
            counters=batch.meter.used,
            txs=tuple(map(_sealed_tx, built.outcomes)),
        )


def _sealed_tx(outcome: Outcome) -> SealedTx:
    return SealedTx(
        encoded=outcome.tx.encoded,
        percentage=outcome.percentage,
        hash=outcome.tx.hash(),
        sender=outcome.sender,
        status=outcome.status,
        gas_used=outcome.gas_used,
        cumulative_gas=outcome.cumulative_gas,
        created=outcome.created,
        logs=outcome.logs,
    )
