"""Builds the parts of a node, connects them, runs the epoch: the only place where implementations are chosen.

Arrows (who knows whom):

    main node ─▶ AttestationStatusRunner ─▶ AttestationStatusWatch ─┬─▶ AttesterRunner ─▶ VotesWatch ◀─▶ Link ◀─▶ peers
    BatchSource ─▶ BatchKeeper or BatchFeeder ─▶ BatchStore ────────┴─▶ QCFinder ◀────────┘
                                                     ▲                     │
    MainNodeServer ──────────────────────────────────┴──── certificates ◀──┘
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import trio
from trio_util import AsyncValue

from attestrio.attester.runner import AttesterRunner, KeySigner
from attestrio.batches.api import BatchSource
from attestrio.batches.feeder import BatchFeeder, LocalFeeder
from attestrio.batches.keeper import BatchKeeper
from attestrio.batches.local import LocalBatches
from attestrio.batches.main_node import MainNodeBatches
from attestrio.config import BadConfig, NodeConfig
from attestrio.duty import DutyLog
from attestrio.errors import NodeError, SourceError
from attestrio.kit.datadir import DataDir
from attestrio.kit.files import read_bounded
from attestrio.kit.http import BadUrl
from attestrio.kit.metrics import Metrics
from attestrio.mainnode.client import MainNodeClient
from attestrio.mainnode.server import MainNodeServer
from attestrio.quorum.api import Link
from attestrio.quorum.finder import QCFinder
from attestrio.quorum.watch import VotesWatch
from attestrio.roles import AttesterSecretKey, BatchNumber, BatchQC, Genesis, GenesisHash
from attestrio.status import (
    AttestationStatusClient,
    AttestationStatusRunner,
    AttestationStatusWatch,
    LocalAttestationStatusClient,
)
from attestrio.store.api import BatchStore
from attestrio.store.sqlite import SqliteBatchStore

log = logging.getLogger("attestrio.app")

MAX_KEY_FILE = 4096  # bytes; a key has 91
MAX_GENESIS_FILE = 16 << 20  # bytes; 10,000 attesters are about 1.2 MB


@dataclass(frozen=True, slots=True)
class Epoch:
    """The parts of one epoch, for those who look on: everything that belongs to one genesis."""

    genesis: Genesis
    status: AttestationStatusWatch
    votes: VotesWatch | None
    """None without a committee: then nobody votes."""
    store: BatchStore


@dataclass(frozen=True, slots=True)
class RunningNode:
    """What an embedding program gets from `run_node`: to read and to wait on, never to write."""

    config: NodeConfig
    metrics: Metrics
    duty: DutyLog
    epoch: AsyncValue[Epoch | None]
    """None until the genesis is known."""
    api_url: AsyncValue[str | None]
    """Where the main-node API is served; None on a node that serves none, or not yet."""

    async def wait_epoch(self) -> Epoch:
        """The epoch that runs, as soon as there is one."""
        epoch = await self.epoch.wait_value(lambda value: value is not None)
        assert epoch is not None
        return epoch


async def run_node(
    config: NodeConfig,
    *,
    status_client: AttestationStatusClient | None = None,
    batch_source: BatchSource | None = None,
    store: BatchStore | None = None,
    link: Link | None = None,
    task_status: trio.TaskStatus[RunningNode] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Run one node until cancelled; everything it starts ends with it.

    Args:
      config: what `load_config` made, or `NodeConfig(...)`.
      status_client: who tells the next batch, instead of the main node of the configuration (or the own store).
      batch_source: who knows the batch to sign, instead of what `[batches]` names.
      store: where batches and certificates are kept, instead of `store.db` in the data directory; the caller has it
        running and keeps it.
      link: how votes travel; without one they stay here.
      task_status: started with a `RunningNode` once directory, keys and store are usable, before any remote answers.

    Raises SetupError before it has started, SafetyError when the epoch has to end; in groups, as nurseries do.
    """
    parts = Parts(config, status_client, batch_source, store, link)
    with DataDir.open(config.node.data_dir):
        await parts.run(task_status)


@dataclass(frozen=True, slots=True)
class Parts:
    """The choice of implementations for one node, and the order in which they live."""

    config: NodeConfig
    status_client: AttestationStatusClient | None
    batch_source: BatchSource | None
    store: BatchStore | None
    link: Link | None

    async def run(self, task_status: trio.TaskStatus[RunningNode]) -> NoReturn:
        """The node's life: keys, genesis, then its epoch."""
        key = attester_key(self.config)
        genesis = genesis_of_file(self.config)
        node = RunningNode(self.config, Metrics(), DutyLog(time.time), AsyncValue(None), AsyncValue(None))
        async with main_node_client(self.config, node.metrics) as upstream:
            lacking = holes(
                self.config, has_status=self.status_client is not None, has_batches=self.batch_source is not None
            )
            if lacking:
                raise BadConfig("configuration", lacking[0])
            announced = genesis is None
            if genesis is None:
                task_status.started(node)  # when the main node answers is not ours to say
                assert upstream is not None
                genesis = await first_genesis(upstream, self.config.poll_s)
            epoch = self._open_epoch(genesis)
            await self._run_epoch(node, epoch, key, upstream, None if announced else task_status)

    async def _run_epoch(
        self,
        node: RunningNode,
        epoch: Epoch,
        key: AttesterSecretKey | None,
        upstream: MainNodeClient | None,
        task_status: trio.TaskStatus[RunningNode] | None,
    ) -> NoReturn:
        """Everything that belongs to one genesis. What others write into lives longest."""
        if (batches := self._local_batches(epoch.genesis.hash())) is not None:
            await batches.check()  # here, so that a file that is wrong ends the start, not the run
        async with trio.open_nursery() as base:
            if self.store is None:
                await base.start(epoch.store.run)
            async with trio.open_nursery() as intake:
                if self.config.serve is not None and self.config.serve.bind:
                    server = MainNodeServer(epoch.store, epoch.genesis, self.config.serve.bind, metrics=node.metrics)
                    node.api_url.value = await intake.start(server.run)
                node.epoch.value = epoch
                for service in self._services(node, epoch, key, upstream):
                    intake.start_soon(service)
                if task_status is not None:
                    task_status.started(node)
                await trio.sleep_forever()
        raise AssertionError("unreachable: the services run until cancelled")

    def _open_epoch(self, genesis: Genesis) -> Epoch:
        config, genesis_hash = self.config, genesis.hash()
        first = BatchNumber(config.batches.first or 0)
        store = self.store or SqliteBatchStore(
            Path(config.node.data_dir) / "store.db",
            genesis_hash,
            first_batch=first,
            next_rule=config.serve.next_rule if config.serve else "gap",
        )
        votes = VotesWatch(genesis.attesters, genesis_hash) if genesis.attesters else None
        return Epoch(genesis, AttestationStatusWatch(genesis_hash), votes, store)

    def _services(
        self, node: RunningNode, epoch: Epoch, key: AttesterSecretKey | None, upstream: MainNodeClient | None
    ) -> Iterator[Callable[[], Awaitable[NoReturn]]]:
        """Every arrow of the epoch: who is given whom."""
        config, genesis_hash = self.config, epoch.genesis.hash()
        is_main = config.serve is not None
        local = LocalAttestationStatusClient(epoch.store, genesis_hash) if is_main else None
        client = self.status_client or local or upstream
        assert client is not None
        yield AttestationStatusRunner(
            client, epoch.status, config.poll_s, config.main_node.stale_grace_s, duty=node.duty
        ).run
        poll_s = config.batches.poll_s
        if (batches := self._local_batches(genesis_hash)) is not None:
            if is_main:
                yield LocalFeeder(batches, epoch.store, poll_s, node.duty).run
            else:
                yield BatchKeeper(epoch.status, batches, epoch.store, poll_s, node.duty).run
        elif is_main:
            yield BatchFeeder(self._source(upstream, genesis_hash), epoch.store, poll_s, node.duty).run
        else:
            source = self._source(upstream, genesis_hash)
            yield BatchKeeper(epoch.status, source, epoch.store, poll_s, node.duty).run
        committee = epoch.genesis.attesters
        if committee is not None and epoch.votes is not None:
            first_batch = BatchNumber(config.batches.first) if config.batches.first is not None else None
            yield QCFinder(
                epoch.status, epoch.votes, epoch.store, committee, genesis_hash, node.duty, first_batch,
                certificate_counter(node.metrics, epoch.store),
            ).run  # fmt: skip
            if self.link is not None:
                yield partial(self.link.run, epoch.votes)
        if key is not None:
            yield AttesterRunner(
                epoch.status, epoch.store, KeySigner(key), epoch.votes, committee, key.public(), config.batches.poll_s,
                node.duty,
            ).run  # fmt: skip

    def _local_batches(self, genesis: GenesisHash) -> LocalBatches | None:
        if self.batch_source is not None or self.config.batches.source != "file":
            return None
        return LocalBatches(Path(self.config.batches.file or ""), genesis)

    def _source(self, upstream: MainNodeClient | None, genesis: GenesisHash) -> BatchSource:
        if self.batch_source is not None:
            return self.batch_source
        assert upstream is not None
        return MainNodeBatches(upstream, genesis)


def holes(config: NodeConfig, *, has_status: bool = False, has_batches: bool = False) -> list[str]:
    """What a node of this configuration lacks, one sentence each; `has_...` is what the embedding program gives."""
    if config.main_node.url is not None:
        return []
    if config.serve is None and not has_status:
        return ["main_node.url is missing: which main node shall be asked?"]
    found = []
    if config.genesis.file is None:
        found.append("genesis.file is missing, and there is no main_node.url to ask for it")
    if config.batches.source == "main-node" and not has_batches:
        found.append('batches.source = "main-node" needs main_node.url; a sealer that writes a file is "file"')
    return found


def attester_key(config: NodeConfig) -> AttesterSecretKey | None:
    """The key that votes, from file or environment; None where none is configured. Raises BadConfig."""
    keys = config.keys
    if keys.attester is not None:
        where, text = "ATTESTRIO_KEYS_ATTESTER", keys.attester.reveal()
    elif keys.attester_file is not None:
        where = f"keys.attester_file {keys.attester_file}"
        try:
            text = read_bounded(Path(keys.attester_file), MAX_KEY_FILE).decode("ascii", "replace")
        except OSError as exc:
            raise BadConfig(where, f"cannot be read ({exc.strerror}); `attestrio keys generate` makes a key") from None
    else:
        return None
    try:
        return AttesterSecretKey.from_text(text.strip())
    except NodeError:
        raise BadConfig(where, "invalid format: expected attester:secret:secp256k1: and 64 hex digits") from None


def genesis_of_file(config: NodeConfig) -> Genesis | None:
    """The genesis of the configured file, verified; None where none is configured. Raises BadConfig."""
    if config.genesis.file is None:
        return None
    where = f"genesis.file {config.genesis.file}"
    try:
        genesis = Genesis.from_json(read_bounded(Path(config.genesis.file), MAX_GENESIS_FILE))
        genesis.verify()
    except OSError as exc:
        raise BadConfig(where, f"cannot be read ({exc.strerror}); `attestrio genesis new` makes one") from None
    except NodeError as exc:
        raise BadConfig(where, f"is no genesis: {exc}") from None
    return genesis


@asynccontextmanager
async def main_node_client(config: NodeConfig, metrics: Metrics) -> AsyncIterator[MainNodeClient | None]:
    """A client of the configured main node, closed at the end; None where none is configured."""
    section = config.main_node
    if section.url is None:
        yield None
        return
    try:
        made = MainNodeClient(
            section.url, timeout_s=section.timeout_s, max_answer_bytes=section.max_answer_bytes, metrics=metrics
        )
    except BadUrl as exc:
        raise BadConfig("main_node.url", f"{exc}; expected something like http://127.0.0.1:3060") from None
    async with made:
        yield made


async def first_genesis(upstream: MainNodeClient, every_s: float) -> Genesis:
    """Ask until the main node has a genesis: it may start later than this node."""
    said = None
    while True:
        try:
            genesis = await upstream.consensus_genesis()
            problem = "the main node has no genesis yet"
        except SourceError as exc:
            genesis, problem = None, f"genesis not read: {exc}"
        if genesis is not None:
            return genesis
        if problem != said:
            log.info("%s; asking again every %s s", problem, every_s)
            said = problem
        await trio.sleep(every_s)


def certificate_counter(metrics: Metrics, store: BatchStore) -> Callable[[BatchQC], None]:
    """Counts certificates as they become durable."""
    total = metrics.counter("attestrio_certificates_total", "Certificates this node has stored.")
    newest = metrics.gauge("attestrio_batch_certified_number", "Highest batch with a certificate stored here.")

    def count(certificate: BatchQC) -> None:
        total.inc()
        newest.set(certificate.batch.number)
        log.info("batch %d certified by %d votes", certificate.batch.number, len(certificate.signatures))

    return count
