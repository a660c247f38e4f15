"""A sequencer as a process: its parts made from the configuration, and run in its data directory."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Final, NoReturn

import trio

from attestrio.app.aligned import address_of
from attestrio.app.page import served_page
from attestrio.app.sequencer_config import SequencerConfig, lacking
from attestrio.app.sequencer_page import SequencerSeen, sequencer_page
from attestrio.app.sequencer_parts import (
    CHAIN,
    L1,
    POOL,
    Opened,
    begin_chain,
    genesis_of,
    injected_of,
    limits_of,
    opened,
    pool_of,
    rules_of,
    stream_path_of,
)
from attestrio.configuring import BadConfig
from attestrio.errors import SetupError, SourceError
from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.kit.datadir import DataDir
from attestrio.kit.events import EventName, named
from attestrio.kit.http import BadUrl, ServerLimits, serve_app
from attestrio.kit.metrics import Metrics
from attestrio.kit.rpc_app import RpcBounds, rpc_app
from attestrio.l1.api import BlockNumber
from attestrio.l1.endpoint import Endpoint
from attestrio.l1.provider import L1Provider
from attestrio.l1.scan import LogScanner, ScanSettings
from attestrio.resequence.errors import RebuildUnfinished
from attestrio.resequence.journal import Journal
from attestrio.resequence.plan import Options
from attestrio.resequence.report import Progress, Report
from attestrio.resequence.runner import Resequencer
from attestrio.sequencer.call_desk import CallDesk
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.intake import Intake, TransactionFile
from attestrio.sequencer.l1_info import L1Sink, LeafBook, LeafFile, wanted
from attestrio.sequencer.l1_store import L1Store
from attestrio.sequencer.lines import GrowingFile
from attestrio.sequencer.metrics import SequencerMetrics
from attestrio.sequencer.pool import Pool
from attestrio.sequencer.pool_store import PoolStore
from attestrio.sequencer.rollbacks import obey_all
from attestrio.sequencer.rpc import RpcSettings, SequencerRpc
from attestrio.sequencer.runner import Pace, Rebuild, SequencerRunner
from attestrio.sequencer.settings import Rules
from attestrio.sequencer.shared import SharedChain
from attestrio.sequencer.sink import LiveSink
from attestrio.sequencer.snapshot import ChainSnapshot
from attestrio.sequencer.writer import ChainWriter, StreamAhead
from attestrio.stream.live import LiveStream
from attestrio.stream.server import serve_stream

log = logging.getLogger("attestrio.app")

CATCH_UP_S: Final = 120.0
MAX_BODY: Final = 512 * 1024  # a transaction of the largest size in hex, and a few more in one batch of calls


class ResequenceNeeded(SetupError):
    """The stream has batches that the chain lacks, as after an unwind; they are built again when that is asked for."""

    code: ClassVar[str] = "resequence_needed"

    def __init__(self, first: int, last: int) -> None:
        super().__init__(
            f"the stream has batches up to {last} and the chain ends before batch {first}: "
            "start with --resequence to build them again"
        )
        self.first, self.last = first, last


@dataclass(frozen=True, slots=True)
class RunningSequencer:
    """What an embedding program gets, to read."""

    chain: SharedChain
    stream_address: str
    """host:port of the data stream."""
    rpc_url: str | None
    metrics: Metrics
    metrics_url: str | None


async def run_sequencer(
    config: SequencerConfig,
    *,
    resequence: bool = False,
    tell: Callable[[Progress], None] | None = None,
    now: Callable[[], float] = time.time,
    run_blocking: RunBlocking = in_thread,
    task_status: trio.TaskStatus[RunningSequencer] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run one sequencer until cancelled; with `resequence` and `resequence.then = "exit"` until that is done.

    Started once the stream is served, after a rebuild if there is one to be made. `tell` is called while that is made,
    in another thread; without it the log has a line for each batch.

    Raises SetupError before it has started (ResequenceNeeded, RebuildUnfinished, RebuildStopped); StorageUnusable and
    SafetyError; in groups.
    """
    missing = lacking(config)
    if missing:
        raise BadConfig("configuration", missing[0])
    genesis = await run_blocking(lambda: genesis_of(config))
    rules = rules_of(config, genesis.chain_id)
    from_stream = resequence and config.chain.injected is not None
    injected = None if config.chain.injected is None else injected_of(Path(config.chain.injected))
    with (
        DataDir.open(config.sequencer.data_dir) as data_dir,
        opened(
            data_dir.path, stream_path_of(config, data_dir.path), config.stream.system_id, from_stream=from_stream
        ) as files,
    ):
        await run_blocking(lambda: begin_chain(files.db, genesis, rules, injected))
        async with AsyncExitStack() as life:
            parts = _Parts(config, rules, files, data_dir.path, now, run_blocking, tell or _log_progress)
            await parts.check(resequence=resequence)
            sink = await parts.enter_l1(life)
            nursery = await life.enter_async_context(trio.open_nursery())
            await nursery.start(parts.pool_store.run)
            address = await nursery.start(serve_stream, parts.live, config.stream.bind, limits_of(config))
            parts.seen.stream_address = address
            url = await parts.enter_page(life)
            if url is not None:
                nursery.start_soon(parts.seen.follow)
            await parts.start_l1(nursery, sink)
            if resequence:
                await parts.resequence(sink, close=config.resequence.then == "build")
            await parts.intake.restore()
            rpc_url = None
            if config.rpc.bind:
                parts.seen.rpc_url = rpc_url = await nursery.start(parts.serve_rpc)
            task_status.started(RunningSequencer(parts.chain, address, rpc_url, parts.metrics, url))
            if resequence and config.resequence.then == "exit":
                nursery.cancel_scope.cancel()
                return
            if resequence and config.resequence.then == "serve":
                await parts.only_serve()
            if config.pool.file is not None:
                nursery.start_soon(TransactionFile(Path(config.pool.file), parts.intake, run=run_blocking).run)
            await parts.runner(sink).run()


class _Parts:
    """One sequencer between its start and its end."""

    def __init__(
        self,
        config: SequencerConfig,
        rules: Rules,
        files: Opened,
        data_dir: Path,
        now: Callable[[], float],
        run_blocking: RunBlocking,
        tell: Callable[[Progress], None],
    ) -> None:
        self._config, self._rules, self._files, self._data_dir = config, rules, files, data_dir
        self._now, self._run, self._told = now, run_blocking, tell
        self.metrics = Metrics()
        self.live = LiveStream(files.stream, run_blocking)
        self.chain = SharedChain(files.db, run_blocking)
        self.seen = SequencerSeen(self.chain, finality=str(config.l1.finality))
        self.book = LeafBook()
        self.pool_store = PoolStore(data_dir / POOL, run_blocking)
        self.intake = Intake(self.chain, Pool(rules.chain_id, pool_of(config)), self.pool_store, now, run_blocking)
        self.seen.pool, self.seen.pool_limit = self.intake.pool, config.pool.most
        self.seen.entries = lambda: self.live.state.header.total_entries
        self._journal = Journal(files.stream_path)
        self._writer = ChainWriter(files.db, LiveSink(self.live, files.stream))
        self._watched = SequencerMetrics(self.metrics)
        self._l1: tuple[L1Provider, LogScanner] | None = None

    async def check(self, *, resequence: bool) -> None:
        """Let chain and stream be level, unless they are to be made so. Raises ResequenceNeeded, RebuildUnfinished."""
        if resequence:
            return
        unfinished = await self._run(self._journal.unfinished)
        if unfinished is not None:
            raise RebuildUnfinished(self._journal.record_path, unfinished.kept_batch, unfinished.phase)
        aligned = await self.chain.change(lambda db: self._writer.align())
        if isinstance(aligned, StreamAhead):
            raise ResequenceNeeded(aligned.first, aligned.last)
        if aligned.unwound is not None:
            log.warning("%d blocks that were in no stream are gone", aligned.unwound.blocks)

    # --- what it shows

    async def enter_page(self, life: AsyncExitStack) -> str | None:
        """Serve page and metrics until the end of `life`, if that is configured. Raises AddressInUse, BadAddress."""
        section = self._config.sequencer
        if not section.metrics_bind:
            return None
        page = sequencer_page(self.metrics, self.seen, has_l1=bool(self._config.l1.rpc_urls))
        serving = served_page(page, self.metrics, section.metrics_bind, section.metrics_hosts)
        return await life.enter_async_context(serving)

    async def only_serve(self) -> NoReturn:
        """What was built again is served, and nothing is added to it."""
        log.warning("nothing is built: start again without --resequence")
        self.halt("batches were built again; it is to be started without --resequence")
        await trio.sleep_forever()

    # --- L1

    async def enter_l1(self, life: AsyncExitStack) -> L1Sink | None:
        """Open what is kept of L1, if it is heard. Raises BadConfig, StorageUnusable."""
        section = self._config.l1
        if not section.rpc_urls:
            return None
        manager = address_of(section.rollup_manager)
        ger_manager = address_of(section.ger_manager or section.rollup_manager)
        store = await self._run(lambda: L1Store.open(self._data_dir / L1))
        life.callback(store.close)
        return L1Sink(store, self.book, self.chain, section.rollup_id, manager, ger_manager, self._run)

    async def start_l1(self, nursery: trio.Nursery, sink: L1Sink | None) -> None:
        """Begin to hear L1; a file with leaves is read first. Raises BadConfig, BadLeafFile."""
        section = self._config.l1
        if sink is not None:
            await nursery.start(self._scan, sink)
        elif section.leaves is not None:
            await nursery.start(LeafFile(GrowingFile(Path(section.leaves)), self.book, run=self._run).run)

    async def _scan(self, sink: L1Sink, *, task_status: trio.TaskStatus[None]) -> None:
        section = self._config.l1
        try:
            endpoints = [Endpoint(url, section.chain_id, timeout_s=section.timeout_s) for url in section.rpc_urls]
        except BadUrl as exc:
            raise BadConfig("l1.rpc_urls", str(exc)) from None
        settings = ScanSettings(
            BlockNumber(section.first_block), section.finality, section.poll_s, window=section.window
        )
        async with L1Provider(endpoints, agree=section.agree) as provider:
            filter_ = wanted(sink.manager, sink.ger_manager)
            scanner = LogScanner(provider, filter_, sink, settings, name="sequencer", metrics=self.metrics)
            self._l1 = self.seen.l1 = (provider, scanner)
            task_status.started()
            await scanner.run()

    async def _catch_up_with_l1(self) -> None:
        """Until L1 is read as far as it is final, so that leaves which old blocks have are known; not for ever."""
        if self._l1 is None:
            return
        provider, scanner = self._l1
        try:
            with trio.fail_after(CATCH_UP_S):
                final = await provider.block(self._config.l1.finality)
                if final is not None:
                    await scanner.wait_scanned(final.number)
        except (SourceError, trio.TooSlowError) as exc:  # what is on disk already may do
            log.warning("L1 is not read to its end: %s", exc or "too slow")

    # --- building

    def runner(self, sink: L1Sink | None) -> SequencerRunner:
        build = self._config.build
        rebuild: Rebuild | None = None
        if self._config.resequence.on_rollback == "resequence":
            rebuild = self._rebuild
        return SequencerRunner(
            self.chain, self._writer, self._rules, self.book, self.intake, self._now,
            Pace(build.empty_blocks, build.most_txs), sink, rebuild, self._watched,
        )  # fmt: skip

    async def serve_rpc(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        section = self._config.rpc
        settings = RpcSettings(f"attestrio/{version('attestrio')}", section.gas_price, section.call_gas)
        limits = replace(ServerLimits(), max_connections=section.max_connections)
        with ChainSnapshot.open(self._data_dir / CHAIN) as snapshot:
            calls = CallDesk(snapshot, self._rules, section.call_s, self._run)
            methods = SequencerRpc(self.intake, calls, settings).methods
            app = rpc_app(methods, RpcBounds(max_body_bytes=MAX_BODY, max_requests=section.max_connections))
            await serve_app(app, section.bind, limits=limits, task_status=task_status)

    def halt(self, why: str) -> None:
        """Nothing is built, and nothing is taken in."""
        self.chain.halt(why)
        self._watched.halted.set(1)

    # --- building again

    async def resequence(self, sink: L1Sink | None, *, close: bool) -> Report:
        """What `--resequence` stands for. What L1 has rolled back is obeyed before, as it would be after it again.

        Args:
          close: end the last batch, as whoever builds on has to; else the next start does that.

        Raises as `obey` and `Resequencer.run`; a cancel leaves it for the next start.
        """
        await self._catch_up_with_l1()
        if sink is not None:
            store = sink.store
            obeyed = await self.chain.change(lambda db: obey_all(db, store))
            if obeyed is not None:
                log.warning("%s", obeyed, extra=named(EventName.BATCHES_ROLLED_BACK))
        return await self.chain.change(lambda db: self._rebuild(db, close=close), shield=False)

    def _rebuild(self, db: ChainDb, *, close: bool = True) -> Report:
        section = self._config.resequence
        self.seen.report = None
        options = Options(strict=section.strict, reuse_l1_info_index=section.reuse_l1_info_index)
        report = Resequencer(self._writer, self._rules, self.book, self._journal, options, tell=self._tell).run()
        if close:
            self._writer.align()
        self.seen.report = report
        for line in told(report):
            log.warning("%s", line)
        return report

    def _tell(self, progress: Progress) -> None:
        self.seen.progress = progress
        self._told(progress)


def _log_progress(progress: Progress) -> None:
    log.info(
        "building again: batch %d became batch %d, %d of %d blocks",
        progress.old_batch, progress.new_batch, progress.blocks, progress.of_blocks,
    )  # fmt: skip


def told(report: Report) -> list[str]:
    """How a rebuild has ended, a line each."""
    if report.nothing_to_do:
        return [f"nothing to re-sequence: stream and chain both end with batch {report.kept_batch}"]
    return [
        f"re-sequenced: {report.old_batches} batches after batch {report.kept_batch} became {report.new_batches}, "
        f"{report.old_blocks} blocks became {report.new_blocks}",
        *(f"left out: transaction {one.hash.hex()} of block {one.old_block}" for one in report.failed),
    ]
