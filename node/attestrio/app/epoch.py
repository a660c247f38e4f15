"""Everything that belongs to one genesis, in one nursery; it ends for a named cause, and the process goes on.

Arrows (who knows whom):

    main node ─▶ AttestationStatusRunner ─▶ AttestationStatusWatch ─┬─▶ AttesterRunner ─▶ record ─▶ VotesWatch ◀─▶ Link
    BatchSource ─▶ BatchKeeper or BatchFeeder ─▶ BatchStore ────────┴─▶ QCFinder ◀────────────────────────┘
                                                     ▲                     │
    MainNodeServer ──────────────────────────────────┼──── certificates ◀──┘
    main node ─▶ CertificateBackfill (those missed) ─┘

    peers ◀─▶ GossipRunner ◀─▶ VotesWatch, BatchStore (a Link that is given knows the VotesWatch alone)
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import trio

from attestrio.app.drain import Grace, draining
from attestrio.app.evidence import Evidence, NotedBatches
from attestrio.app.l1 import OnChain
from attestrio.app.metrics import NodeMetrics
from attestrio.app.parts import Epoch, Given, RunningNode
from attestrio.app.upstream import MainNode, certificate_sources
from attestrio.attester.api import VoteSigner
from attestrio.attester.runner import AttesterRunner
from attestrio.batches.api import BatchSource
from attestrio.batches.chain import CheckedBatches, CommittedBatches
from attestrio.batches.feeder import BatchFeeder, LocalFeeder
from attestrio.batches.keeper import BatchKeeper
from attestrio.batches.local import LocalBatches
from attestrio.batches.main_node import GivenBatches, MainNodeBatches
from attestrio.config import NodeConfig
from attestrio.errors import SafetyError, leaves
from attestrio.gossip.runner import GossipRunner
from attestrio.mainnode.backfill import CertificateBackfill
from attestrio.mainnode.client import MainNodeClient
from attestrio.protection.clone import CloneGuard
from attestrio.protection.commands import CommandBox, Verb
from attestrio.protection.epochs import EpochEnded, KnowsGenesis, SuccessorCheck, cause_of
from attestrio.protection.equivocation import EquivocationBook
from attestrio.protection.receipts import ReceiptLog
from attestrio.quorum.finder import QCFinder
from attestrio.roles import AttesterPublicKey, BatchNumber, BatchQC, GenesisHash
from attestrio.status import AttestationStatusClient, AttestationStatusRunner, LocalAttestationStatusClient

log = logging.getLogger("attestrio.app")

Service = Callable[[], Awaitable[NoReturn]]


@dataclass(frozen=True, slots=True)
class EpochParts:
    """What all epochs of one process share."""

    node: RunningNode
    given: Given
    main_node: MainNode | None
    key: AttesterPublicKey | None
    commands: CommandBox
    data_dir: Path
    book: EquivocationBook
    evidence: Evidence
    receipts: ReceiptLog | None
    """None without a key."""
    counts: NodeMetrics
    grace: Grace
    on_chain: OnChain | None = None
    """Ethereum, where batches come from there or are compared with it."""

    @property
    def config(self) -> NodeConfig:
        return self.node.config

    async def run(
        self, epoch: Epoch, signer: VoteSigner | None, guard: CloneGuard | None, *, started: Callable[[], None]
    ) -> SafetyError:
        """Run `epoch` until something ends it; returns what did. What others write into lives longest.

        Raises SafetyError that no further epoch may follow, and whatever is no SafetyError.
        """
        ended: list[SafetyError] = []
        try:
            own = nullcontext() if self.store_is_given else draining(epoch.store, self.grace, "store")
            async with own, trio.open_nursery() as services:
                self.counts.began(epoch.genesis.attesters)
                on_certificate = await self.counts.certificates(epoch.store)
                self.node.epoch.value = epoch
                if guard is not None:
                    await services.start(guard.run)  # before anything can be heard
                await self._look_back(epoch)
                for service in self._services(epoch, signer, on_certificate):
                    services.start_soon(service)
                started()
        except* SafetyError as group:
            ended.extend(exc for exc in leaves(group) if isinstance(exc, SafetyError))
        finally:
            self.node.epoch.value = None
        if guard is not None and guard.clone is not None:
            raise guard.clone  # seen in the moment in which something else ended the epoch
        for exc in ended:
            if cause_of(exc) is None:
                raise exc  # nothing may follow this one, whatever else happened
        return ended[0]

    async def _look_back(self, epoch: Epoch) -> None:
        """A node that was killed may have stored a certificate that its duty book does not have yet."""
        for number in self.node.duty.brought_back():
            certificate = await epoch.store.qc(number)
            if certificate is not None:
                self.node.duty.found(certificate)

    @property
    def store_is_given(self) -> bool:
        """Whether the embedding program runs the store itself."""
        return self.given.store is not None and not callable(self.given.store)

    def _services(
        self, epoch: Epoch, signer: VoteSigner | None, on_certificate: Callable[[BatchQC], None]
    ) -> Iterator[Service]:
        """Every arrow of the epoch: who is given whom."""
        config, node = self.config, self.node
        committee, genesis = epoch.genesis.attesters, epoch.genesis.hash()
        yield AttestationStatusRunner(
            self._status_client(epoch), epoch.status, config.poll_s, config.main_node.stale_grace_s,
            self.counts.polled, node.duty,
        ).run  # fmt: skip
        yield self._batches(epoch)
        yield self._obey
        if committee is not None and epoch.votes is not None:
            yield QCFinder(
                epoch.status, epoch.votes, epoch.store, committee, genesis, node.duty, epoch.first_batch,
                on_certificate,
            ).run  # fmt: skip
            if (sources := certificate_sources(self.main_node)) and config.serve is None:
                yield CertificateBackfill(
                    epoch.status, sources, epoch.store, genesis, committee, epoch.first_batch, config.poll_s,
                    self._obtained(on_certificate), self.given.run_blocking,
                ).run  # fmt: skip
            if self.given.link is not None:
                yield partial(self.given.link.run, epoch.votes)
        if node.network is not None:
            yield GossipRunner(
                node.network,
                epoch.genesis,
                epoch.store,
                epoch.votes,
                self.key,
                epoch.status.subscribe,
                node.duty.delivered,
            ).run
        if self.key is not None and signer is not None:
            shown = self.counts.signing(signer if self.on_chain is None else self.on_chain.signing(signer))
            yield AttesterRunner(
                epoch.status, epoch.store, shown, epoch.votes, committee, self.key, config.batches.poll_s, node.duty
            ).run

    def _obtained(self, on_certificate: Callable[[BatchQC], None]) -> Callable[[BatchQC], None]:
        """`on_certificate` for one that a main node gave."""

        def obtained(certificate: BatchQC) -> None:
            self.node.duty.obtained(certificate)
            on_certificate(certificate)

        return obtained

    def _status_client(self, epoch: Epoch) -> AttestationStatusClient:
        """Who tells the number; a genesis that may not follow this epoch's is kept away."""
        local = None
        if self.config.serve is not None:
            first = epoch.first_batch or BatchNumber(0)
            local = LocalAttestationStatusClient(epoch.store, epoch.genesis.hash(), self.node.duty, first)
        client = self.given.status_client or local or self.main_node
        assert client is not None
        shows = genesis_source(self.given.status_client, self.main_node)
        return client if shows is None else SuccessorCheck(client, epoch.genesis, shows)

    def _batches(self, epoch: Epoch) -> Service:
        """How batches to sign get into the store."""
        is_main = self.config.serve is not None
        poll_s, duty, genesis = self.config.batches.poll_s, self.node.duty, epoch.genesis.hash()
        source: BatchSource | None = self.local_batches(genesis)
        if isinstance(source, LocalBatches) and is_main:
            return LocalFeeder(source, epoch.store, poll_s, duty).run
        if self.given.batch_source is not None:
            name, source = "given", GivenBatches(self.given.batch_source, genesis)
        elif self.config.batches.source == "l1" and self.on_chain is not None:
            name, source = "l1", CommittedBatches(self.on_chain.committed, genesis)
        elif source is not None:
            name = "batch file"
        else:
            assert self.main_node is not None
            source = MainNodeBatches(self.main_node, genesis)
            # several that agree say themselves who said what
            name = self.main_node.name if isinstance(self.main_node, MainNodeClient) else ""
        if name:
            source = NotedBatches(source, name, self.evidence)
        if self.on_chain is not None and name != "l1":
            source = CheckedBatches(source, self.on_chain.check)
        if is_main:
            return BatchFeeder(source, epoch.store, poll_s, duty).run
        return BatchKeeper(epoch.status, source, epoch.store, poll_s, duty).run

    def local_batches(self, genesis: GenesisHash) -> LocalBatches | None:
        """The configured batch file, where the configuration decides and names one."""
        if self.given.batch_source is not None or self.config.batches.source != "file":
            return None
        return LocalBatches(Path(self.config.batches.file or ""), genesis, self.given.run_blocking)

    async def _obey(self) -> NoReturn:
        """End the epoch when the operator says so."""
        while True:
            command = self.commands.take()
            if command is not None and command.verb is Verb.END_EPOCH:
                raise EpochEnded(command.why)
            await trio.sleep(1.0)


def genesis_source(given: AttestationStatusClient | None, main_node: MainNode | None) -> KnowsGenesis | None:
    """Who can show the genesis behind a status: the one who tells it, else the main node; None if nobody can."""
    if isinstance(given, KnowsGenesis):
        return given
    return main_node
