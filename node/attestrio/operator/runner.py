"""The operator: what the chain asks for is verified, recorded, signed and brought to the aggregator."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import trio

from attestrio.bls import SecretKey
from attestrio.gorpc.client import GoRpcClient
from attestrio.journal import Journal, Put
from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.kit.metrics import Metrics
from attestrio.l1.api import Address, Chain
from attestrio.l1.scan import LogScanner, ScanSettings
from attestrio.operator import rows
from attestrio.operator.commands import carry_out
from attestrio.operator.download import Downloader
from attestrio.operator.errors import OldPositionUnreadable
from attestrio.operator.metrics import OperatorMetrics
from attestrio.operator.migrate import migrate
from attestrio.operator.outbox import Outbox
from attestrio.operator.rows import Recent
from attestrio.operator.settings import PATIENT_OUTBOX, USUAL_WORK, OutboxSettings, WorkSettings
from attestrio.operator.signing import ResponseRecord
from attestrio.operator.sink import EventSink
from attestrio.operator.state import Batch, OperatorState
from attestrio.operator.surface import wanted
from attestrio.operator.verify import ProofVerifier
from attestrio.operator.work import Worker

log = logging.getLogger("attestrio.operator")

LOOK_S: Final = 1.0  # for commands; and for the gauges
TIDY_EVERY_S: Final = 3600.0
TIDY_PAGE: Final = 500
KEEP_DONE_S: Final = 30 * 86_400.0  # keys of work that has ended; a verdict outlives them


@dataclass(frozen=True, slots=True)
class OperatorRunner:
    """One operator. Its journal has to run already; the chain and the aggregator may be away."""

    journal: Journal
    chain: Chain
    manager: Address
    secret: SecretKey
    verifier: ProofVerifier
    downloader: Downloader
    aggregator: GoRpcClient
    scan: ScanSettings
    work: WorkSettings = USUAL_WORK
    outbox: OutboxSettings = PATIENT_OUTBOX
    metrics: Metrics | None = None
    old_position: Path | None = None
    """A `last_processed_batch` file to take over, if it is there."""
    run_blocking: RunBlocking = in_thread

    async def run(self, *, task_status: trio.TaskStatus[OperatorState] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Started once the journal is read. Raises JournalOfAnotherKey; what the journal raises, in groups."""
        metrics = self.metrics or Metrics()
        state = OperatorState(self.journal, OperatorMetrics(metrics))
        record = ResponseRecord(state, self.secret)
        await self._take_over()
        about = {"chain": str(self.chain.chain_id), "contract": f"0x{self.manager.hex()}",
                 "operator": f"0x{record.operator_id.hex()}"}  # fmt: skip
        await state.load(about)
        await state.count_rows()

        def past_horizon(batch: Batch) -> bool:
            return state.is_older(batch, self.work.horizon_blocks)

        worker = Worker(
            state, self.chain, self.manager, self.downloader, self.verifier, record, self.work, past_horizon,
            self.run_blocking,
        )  # fmt: skip
        outbox = Outbox(state, self.aggregator, record.operator_id, self.outbox, past_horizon)
        scanner = LogScanner(
            self.chain, wanted(self.manager), EventSink(state), self.scan, name="operator", metrics=metrics
        )
        async with trio.open_nursery() as nursery:
            task_status.started(state)
            for run in (scanner.run, worker.run, outbox.run):
                nursery.start_soon(run)
            nursery.start_soon(self._obey, state)
            nursery.start_soon(self._tidy_for_ever, state)
        raise AssertionError("unreachable: an operator runs until cancelled")

    async def _take_over(self) -> None:
        if self.old_position is not None:
            try:
                await migrate(self.journal, self.old_position, self.scan.first)
            except OldPositionUnreadable as exc:
                log.warning("%s; scanning from block %d (%s)", exc, self.scan.first, exc.code)

    async def _obey(self, state: OperatorState) -> NoReturn:
        while True:
            await carry_out(state)
            await state.count_rows()
            await trio.sleep(LOOK_S)

    async def _tidy_for_ever(self, state: OperatorState) -> NoReturn:
        while True:
            while await tidy(state, self.work.keep_blocks):
                await trio.lowlevel.checkpoint()
            for topic in (rows.WORK, rows.OUTBOX, rows.DEAD):
                await self.journal.prune(topic, KEEP_DONE_S)
            await trio.sleep(TIDY_EVERY_S)


async def tidy(state: OperatorState, keep_blocks: int) -> int:
    """Forget a page of what happened more than that many blocks ago and has ended; how many rows."""
    before = (max(state.progress.end.block - keep_blocks, 0)).to_bytes(8, "big")
    puts: list[Put] = []
    for key, raw in await state.journal.scan(rows.RECENT, TIDY_PAGE):
        if key >= before:
            break
        event = rows.unpack(raw, Recent)
        batch = await state.batch(event.identifier)
        if batch is not None and batch.key in state.progress:
            break  # a horizon above what is kept: nothing that waits is forgotten
        puts.append(Put(rows.RECENT, key, None))
        if not event.verified:
            puts += [Put(rows.CHAIN, event.identifier, None), Put(rows.VERDICTS, event.identifier, None)]
    if puts:
        await state.journal.append(rows.WORK, (), put=puts)
    return len(puts)
