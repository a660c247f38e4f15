"""The aggregator: a server that always listens, and behind it, in the one process that leads, everything else."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, NoReturn

import trio
from trio_util import AsyncValue

from attestrio.aggregator import rows
from attestrio.aggregator.collect import Collector
from attestrio.aggregator.commands import carry_out
from attestrio.aggregator.desk import Absent, Desk
from attestrio.aggregator.ethereum import EthereumPort
from attestrio.aggregator.garbage import Garbage
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.recovery import Recovery
from attestrio.aggregator.sender import Sender
from attestrio.aggregator.sender_metrics import SenderMetrics
from attestrio.aggregator.server import LIMITS, AggregatorServer
from attestrio.aggregator.settings import AggregatorSettings
from attestrio.aggregator.sink import LogSink
from attestrio.aggregator.snapshot import Snapshots
from attestrio.aggregator.state import AggregatorState
from attestrio.aggregator.surface import Contracts, wanted
from attestrio.aggregator.telemetry import Telemetry
from attestrio.aggregator.tracing import Tracing
from attestrio.gorpc.server import ServerLimits
from attestrio.journal import Fence, Fenced, Journal, JournalAway, while_leading
from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.kit.metrics import Metrics
from attestrio.l1.api import Chain
from attestrio.l1.scan import LogScanner, ScanSettings

log = logging.getLogger("attestrio.aggregator")

LEAD: Final = rows.OWNER  # what is led, in the journal
LOOK_S: Final = 1.0  # for commands; and for the gauges


@dataclass(frozen=True, slots=True)
class Core:
    """What only the leader has, for one term: all of it is made anew from the journal for the next."""

    state: AggregatorState
    snapshots: Snapshots
    collector: Collector


@dataclass(frozen=True, slots=True)
class Serving:
    """What others may look at."""

    address: str
    """host:port of the Go RPC."""
    core: AsyncValue[Core | None]
    """None: another process leads, or this one is still reading its journal."""
    absent: Callable[[], Absent]
    """Why there is none."""


@dataclass(frozen=True, slots=True)
class AggregatorRunner:
    """One aggregator. Its journal has to run already; chain, operators and a shared journal may be away."""

    journal: Journal
    chain: Chain
    contracts: Contracts
    account: EthereumPort
    bind: str
    scan: ScanSettings
    settings: AggregatorSettings
    metrics: Metrics
    telemetry: Telemetry
    owner: str
    """Who leads: no two processes over one journal have one name."""
    lead_s: float = 10.0
    """How long others wait for a leader that is silent."""
    limits: ServerLimits = LIMITS
    run_blocking: RunBlocking = in_thread

    async def run(self, *, task_status: trio.TaskStatus[Serving] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Started once it listens. Raises AddressInUse, BadAddress, JournalOfAnotherContract; what a journal on this
        machine raises; in groups."""
        AggregatorMetrics(self.metrics)  # all series, also while another process leads
        desk: Desk[Core] = Desk()
        server = AggregatorServer(desk, self.bind, self.limits, self.metrics, self.run_blocking)
        async with trio.open_nursery() as nursery:
            address = await nursery.start(server.run)
            nursery.start_soon(self.telemetry.run)
            task_status.started(Serving(address, desk.core, lambda: desk.absent))

            def no_lead(another_leads: bool) -> None:
                desk.shut(Absent.NOT_THE_LEADER if another_leads else Absent.STORE_AWAY)

            await while_leading(
                self.journal, LEAD, self.owner, partial(self._lead, desk), for_s=self.lead_s, on_none=no_lead
            )  # fmt: skip
        raise AssertionError("unreachable: an aggregator runs until cancelled")

    async def _lead(self, desk: Desk[Core], fence: Fence) -> NoReturn:
        """One term, until it is cancelled or a part of it fails; the desk says why nothing is taken after it."""
        desk.shut(Absent.STARTING)
        absent, leads = Absent.NOT_THE_LEADER, AggregatorMetrics(self.metrics).leads
        leads.set(1)
        try:
            await self._term(desk, fence)
        except* JournalAway:
            absent = Absent.STORE_AWAY
            raise
        finally:
            leads.set(0)
            desk.shut(absent)
        raise AssertionError("unreachable: a term runs until cancelled")

    async def _term(self, desk: Desk[Core], fence: Fence) -> None:
        """Read the journal, then work. Nothing is kept for the next term."""
        state = AggregatorState(Fenced(self.journal, fence), AggregatorMetrics(self.metrics), self.settings.collect)
        await state.load({"chain": str(self.chain.chain_id), "contract": f"0x{self.contracts.manager.hex()}"})
        waiting = sum(task.is_open for task in state.tasks.values())
        log.info("journal read: %d batches wait for an answer, %d operators are known", waiting, len(state.keys))
        snapshots = Snapshots(self.chain, self.contracts, self.settings.collect, state.metrics)
        collector = Collector(state, snapshots, self.settings.collect, self.run_blocking)
        async with trio.open_nursery() as nursery:
            for run in self._parts(state, snapshots, collector):
                nursery.start_soon(run)
            with desk.open_for(Core(state, snapshots, collector)):
                await trio.sleep_forever()

    def _parts(
        self, state: AggregatorState, snapshots: Snapshots, collector: Collector
    ) -> tuple[Callable[[], Awaitable[object]], ...]:
        """All that works in one term. None of them calls another: they meet in `state`, and in what is ready."""
        settings = self.settings
        sink = LogSink(state, self.chain, self.contracts, settings.recovery.fetch_range_blocks, self.run_blocking)
        scanner = LogScanner(
            self.chain, wanted(self.contracts), sink, self.scan, name="aggregator", metrics=self.metrics
        )
        recovery = Recovery(state, self.chain, self.contracts.manager, settings.recovery)
        confirmations = settings.collect.confirmations
        sender = Sender(state, collector, self.account, settings.sender, confirmations, SenderMetrics(self.metrics))
        garbage = Garbage(state, settings.garbage)
        tracing = Tracing(state, collector.ready, self.telemetry)
        return (
            state.run, scanner.run, recovery.run, collector.run, sender.run, garbage.run, tracing.run,
            partial(obey, state),
        )  # fmt: skip


async def obey(state: AggregatorState) -> NoReturn:
    """Do what somebody at a terminal wants done, and bring the gauges up to date."""
    while True:
        await carry_out(state)
        state.count()
        await trio.sleep(LOOK_S)
