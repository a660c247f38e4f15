"""The sequencer's loop: a block when it is time, a new batch when the old one is old or full, back when L1 says so."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NoReturn

import trio

from attestrio.errors import SetupError
from attestrio.kit.events import EventName, named
from attestrio.kit.metrics import Metrics
from attestrio.sequencer.builder import Added, BatchBuilder, Failed, Full
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.intake import Intake
from attestrio.sequencer.l1_info import L1Sink
from attestrio.sequencer.leaves import Leaves, next_index
from attestrio.sequencer.metrics import SequencerMetrics
from attestrio.sequencer.rollbacks import Obeyed, obey_all
from attestrio.sequencer.sealed import SealedBlock
from attestrio.sequencer.settings import Rules
from attestrio.sequencer.shared import SharedChain
from attestrio.sequencer.writer import ChainWriter
from attestrio.zkevm.errors import TxFailed, TxFault
from attestrio.zkevm.transactions import Tx

log = logging.getLogger("attestrio.sequencer")

Rebuild = Callable[[ChainDb], object]
"""Builds the batches that the stream is ahead by again, and leaves stream and database level, the last batch closed.
Blocks; a cancel reaches it whenever it writes to the stream."""


class NothingFits(SetupError):
    """The limits leave no room for so much as an empty block in an empty batch."""

    code: ClassVar[str] = "nothing_fits"

    def __init__(self, what: str) -> None:
        super().__init__(f"an empty block does not fit into an empty batch: {what} is limited too low")
        self.what = what


@dataclass(frozen=True, slots=True)
class Pace:
    """When blocks are built."""

    empty_blocks: bool = True
    """Whether one is built too when no transaction waits."""
    most_txs: int = 500
    """In one block; nobody else is answered while it is built."""
    most_s: float = 5.0
    """After which no further transaction is tried for a block: what takes longer to execute waits for the next one."""


@dataclass(slots=True)
class BlockReport:
    """What became of one attempt at a block."""

    sealed: SealedBlock | None = None
    """None: no transaction went in, and empty blocks are not wanted."""
    included: list[Tx] = field(default_factory=list)
    dropped: list[tuple[Tx, str]] = field(default_factory=list)
    full: str | None = None
    """What the batch had no room for: transactions wait for the next one."""


class SequencerRunner:
    """Builds on the end of a chain whose stream is level with it. The only writer of both.

    Args:
      sink: where L1 is heard; None: it is not.
      rebuild: what is done after a rollback; None: nothing is built any more, and a person is told.
      now: seconds since 1970.
      clock: seconds, never going back: how long a block takes.
    """

    def __init__(
        self,
        chain: SharedChain,
        writer: ChainWriter,
        rules: Rules,
        leaves: Leaves,
        intake: Intake,
        now: Callable[[], float],
        pace: Pace = Pace(),
        sink: L1Sink | None = None,
        rebuild: Rebuild | None = None,
        metrics: SequencerMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chain, self._writer, self._rules, self._leaves, self._intake = chain, writer, rules, leaves, intake
        self._clock = clock
        self._now, self._pace, self._sink, self._rebuild = now, pace, sink, rebuild
        self._metrics = metrics or SequencerMetrics(Metrics())
        self._builder = BatchBuilder(chain.db, rules, leaves)  # the writer's batch is closed, so it begins a new one
        self._batch_since = 0.0
        self._full: str | None = None

    async def run(self) -> NoReturn:
        """Raises what database and stream raise; UnwindRefused after a rollback that cannot be obeyed."""
        await self._chain.look()
        while True:
            self._show()
            heard = 0 if self._sink is None else self._sink.heard
            await self._go_back()
            if self._chain.head.halted is not None:
                await self._wait_rollback(heard)
                continue
            async with trio.open_nursery() as either:
                either.start_soon(self._cancel_on_rollback, heard, either.cancel_scope)
                await self._wait_turn()
                either.cancel_scope.cancel()
            if self._sink is None or self._sink.heard == heard:
                await self._build()

    def _show(self) -> None:
        head, metrics = self._chain.head, self._metrics
        metrics.batch.set(head.batch)
        metrics.block.set(head.block)
        metrics.waiting.set(len(self._intake.pool))
        metrics.halted.set(head.halted is not None)

    # --- time

    async def _wait_turn(self) -> None:
        """Until the next block is due: at once after a full one, else so long after the first transaction came."""
        if self._full is not None:
            await trio.lowlevel.checkpoint()
            return
        if not self._pace.empty_blocks:
            await self._intake.wait_some()
        await trio.sleep(self._rules.block_seal_s)

    async def _wait_rollback(self, heard: int) -> None:
        if self._sink is None:
            await trio.sleep_forever()
        else:
            await self._sink.wait_more(heard)

    async def _cancel_on_rollback(self, heard: int, scope: trio.CancelScope) -> None:
        await self._wait_rollback(heard)
        scope.cancel()

    # --- blocks

    async def _build(self) -> None:
        pool = self._intake.pool
        pool.expire(trio.current_time())
        txs, old = pool.ready(self._pace.most_txs), trio.current_time() - self._batch_since
        report = await self._attempt(txs, old)
        self._full = report.full
        pool.done(report.included)
        for tx, why in report.dropped:
            log.info("transaction %s dropped: %s", tx.hash().hex(), why)
            pool.drop(tx)
        await self._intake.settle()
        if report.sealed is not None:
            block = report.sealed
            if block.first_in_batch:
                self._batch_since = trio.current_time()
            log.debug("batch %d, block %d: %d transactions", block.batch.number, block.number, len(block.txs))
        self._metrics.included.inc(len(report.included))
        self._metrics.dropped.inc(len(report.dropped))
        self._show()

    async def _attempt(self, txs: Sequence[Tx], age_s: float) -> BlockReport:
        over = self._full is not None or age_s >= self._rules.batch_seal_s

        def work(_: ChainDb) -> BlockReport:
            report = self._block(txs, over)
            if report.sealed is not None:
                self._writer.write([report.sealed])
            return report

        return await self._chain.change(work)

    def _block(self, txs: Sequence[Tx], over: bool) -> BlockReport:
        """One block of as many of `txs` as fit, in the batch under way unless that is over. Blocks."""
        builder, report = self._builder, BlockReport()
        if over and builder.batch is not None and builder.batch.blocks:
            builder.close_batch()
        self._begin_block()
        until = self._clock() + self._pace.most_s
        for tried, tx in enumerate(txs):
            if tried and self._clock() >= until:
                break
            result = builder.add(tx.encoded)
            if isinstance(result, Full) and not result.alone and not builder.outcomes:
                builder.drop_block()  # the batch is full up to here, and this block becomes the first of the next one
                builder.close_batch()
                self._begin_block()
                result = builder.add(tx.encoded)
            match result:
                case Added():
                    report.included.append(tx)
                case Full(what, True):
                    report.dropped.append((tx, f"it fits into no batch: {what}"))
                case Full(what):
                    report.full = what
                    break
                case Failed(TxFailed(fault=TxFault.NONCE_HIGH)):
                    pass  # one before it was dropped just now: it waits for another of that nonce
                case Failed(fault):
                    report.dropped.append((tx, str(fault)))
        if report.included or self._pace.empty_blocks:
            report.sealed = builder.seal_block()
        else:
            builder.drop_block()
        return report

    def _begin_block(self) -> None:
        """Raises NothingFits."""
        builder, db = self._builder, self._chain.db
        while True:
            if builder.batch is None:
                last = db.last_batch
                assert last is not None
                builder.begin_batch(last.number + 1)
            tip = db.tip
            assert tip is not None
            timestamp = max(int(self._now()), tip.timestamp)
            full = builder.begin_block(timestamp, next_index(self._leaves, db.l1_progress, timestamp))
            if full is None:
                return
            if full.alone:
                raise NothingFits(full.what)
            builder.close_batch()

    # --- back

    async def _go_back(self) -> None:
        """Obey what L1 has rolled back, and build it again or say that somebody has to."""
        if self._sink is None:
            return
        store = self._sink.store

        def work(db: ChainDb) -> Obeyed | None:
            obeyed = obey_all(db, store)
            if obeyed is not None and obeyed.unwound is not None:
                self._builder.abandon()  # its batch is gone
            return obeyed

        obeyed = await self._chain.change(work)
        if obeyed is None:
            return
        log.warning("%s", obeyed, extra=named(EventName.BATCHES_ROLLED_BACK))
        if obeyed.unwound is None:
            return
        self._full = None
        self._chain.halt(f"{obeyed}; it has to be started again with --resequence")
        self._show()
        if self._rebuild is None:
            text = "nothing is built any more: start again with --resequence"
            log.error(text, extra=named(EventName.BUILDING_STOPPED))
            return
        await self._chain.change(self._rebuild, shield=False)
        self._builder = BatchBuilder(self._chain.db, self._rules, self._leaves)
        await self._renew_pool()
        self._chain.halt(None)
        log.warning("building goes on after batch %d, block %d", self._chain.head.batch, self._chain.head.block)

    async def _renew_pool(self) -> None:
        pool = self._intake.pool
        senders = pool.senders()
        pool.renew(await self._chain.ask(lambda db: {sender: db.state.nonce(sender) for sender in senders}))
