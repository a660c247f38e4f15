"""The life of a node: what it holds from start to end, and its epochs one after the other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import trio
from trio_util import AsyncValue

from attestrio.app.drain import Grace, draining
from attestrio.app.epoch import EpochParts
from attestrio.app.epochs import Epochs
from attestrio.app.evidence import Evidence
from attestrio.app.files import attester_key, genesis_of_file, holes
from attestrio.app.gossip import PeersFile, gossip_rules, node_secret
from attestrio.app.l1 import on_chain
from attestrio.app.metrics import NodeMetrics
from attestrio.app.parts import Given, RunningNode, StoreFactory
from attestrio.app.seen import Seen
from attestrio.app.upstream import first_genesis, main_nodes
from attestrio.app.web import NodePage, node_page
from attestrio.batches.api import BatchSource
from attestrio.config import BadConfig, NodeConfig
from attestrio.duty import DutyLog, Reason, Step
from attestrio.duty.book import BOOK, DutyBook
from attestrio.gossip.node import GossipNode
from attestrio.gossip.peers_file import PEERS, forget_peers
from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.kit.datadir import DataDir
from attestrio.kit.disk import RealDisk
from attestrio.kit.metrics import Metrics
from attestrio.mainnode.server import MainNodeServer
from attestrio.protection.clone import take_over
from attestrio.protection.commands import CommandBox
from attestrio.protection.equivocation import EquivocationBook
from attestrio.protection.halt import refuse_if_halted, reserve
from attestrio.protection.hedged import ENTROPY, HedgedKey
from attestrio.protection.history import HISTORY, open_history
from attestrio.protection.receipts import RECEIPTS, ReceiptLog
from attestrio.protection.record import VoteRecord
from attestrio.quorum.api import Link
from attestrio.roles import AttesterSecretKey, BatchNumber, GenesisHash
from attestrio.status import AttestationStatusClient
from attestrio.store.api import BatchStore

PRUNE_EVERY_S = 3600.0
PRUNE_STEP_S = 1.0


async def run_node(
    config: NodeConfig,
    *,
    status_client: AttestationStatusClient | None = None,
    batch_source: BatchSource | None = None,
    store: BatchStore | StoreFactory | None = None,
    link: Link | None = None,
    run_blocking: RunBlocking = in_thread,
    init_protection: bool = False,
    accept_genesis: GenesisHash | None = None,
    task_status: trio.TaskStatus[RunningNode] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Run one node until cancelled; everything it starts ends with it.

    Args:
      config: what `load_config` made, or `NodeConfig(...)`.
      status_client: who tells the next batch, instead of the main node of the configuration (or the own store). If it
        can also show the genesis (`consensus_genesis`), a fork is followed in a new epoch.
      batch_source: who knows the batch to sign, instead of what `[batches]` names.
      store: where batches and certificates are kept, instead of `store.db` in the data directory: either a store that
        the caller runs, for one epoch only, or a factory that makes one for each epoch.
      link: how votes travel; without one they stay here.
      init_protection: begin a signing history for a key that has none here; see `protection.history` before using it.
      accept_genesis: begin under this genesis although it cannot follow the one on record; see `app.succession`.
      run_blocking: how code that waits for the disk is run; `inline` in virtual time.
      task_status: started with a `RunningNode` once directory, keys, history and store are usable, before any remote
        answers.

    Raises SetupError before it has started, SafetyError when nothing may be signed any more; in groups.
    """
    given = Given(status_client, batch_source, store, link, run_blocking, accept_genesis)
    data_dir = Path(config.node.data_dir)
    refuse_if_halted(data_dir)
    with DataDir.open(data_dir):
        refuse_if_halted(data_dir)  # once more: whoever held the directory until now may have left it
        reserve(data_dir)
        forget_peers(data_dir / PEERS)  # of the last run
        key = attester_key(config)
        if key is not None:
            file = config.keys.attester_file if config.keys.attester is None else None
            key_file = None if file is None else Path(file)
            open_history(data_dir, key.public(), key_file=key_file, init=init_protection)
        metrics = Metrics()
        network = None
        if config.gossip is not None:
            rules = gossip_rules(config.gossip, makes_batches=config.serve is not None)
            network = GossipNode(node_secret(config), rules, metrics)
        node = RunningNode(config, metrics, DutyLog(time.time), AsyncValue(None), AsyncValue(None), network)
        await NodeLife(node, given, key, data_dir).run(task_status)
    raise AssertionError("unreachable: a node runs until cancelled")


@dataclass(frozen=True, slots=True)
class NodeLife:
    """What a process does once, and its epochs one after the other."""

    node: RunningNode
    given: Given
    key: AttesterSecretKey | None
    data_dir: Path

    @property
    def config(self) -> NodeConfig:
        return self.node.config

    async def run(self, task_status: trio.TaskStatus[RunningNode]) -> NoReturn:
        """Everything but the epoch's nursery is started here, once."""
        given, config = self.given, self.config
        lacking = holes(config, has_status=given.status_client is not None, has_batches=given.batch_source is not None)
        if lacking:
            raise BadConfig("configuration", lacking[0])
        pinned = genesis_of_file(config)
        announce = once(lambda: task_status.started(self.node))
        evidence = Evidence()
        grace = Grace(config.node.grace_s)
        seen = Seen(self.node.duty, time.time)
        counts = NodeMetrics(self.node.metrics, self.node.epoch, seen)
        public = None if self.key is None else self.key.public()
        page = NodePage(self.node, seen, public, self.data_dir / BOOK, given.run_blocking)
        async with AsyncExitStack() as life:  # what others write into lives longest
            await life.enter_async_context(node_page(self.node, page))
            if self.node.network is not None and config.gossip is not None:
                life.callback(self.node.network.close)
                await self.node.network.listen(config.gossip.bind)  # peers wait until an epoch runs
            upstream = main_nodes(config, self.node.metrics, self._dissent, evidence.note)
            main_node = await life.enter_async_context(upstream)
            chain = await life.enter_async_context(on_chain(config, self.node.metrics))
            page.chain = None if chain is None else chain.provider
            genesis = pinned
            if genesis is None:
                announce()  # when the main node answers is not ours to say
                assert main_node is not None
                genesis = await first_genesis(main_node, config.poll_s, seen.without_genesis)
            book = DutyBook(self.data_dir / BOOK, self.node.duty, given.run_blocking)
            await life.enter_async_context(draining(book, grace, BOOK))  # ends last: all others go first in the grace
            record = VoteRecord(
                self.data_dir / HISTORY, genesis.chain_id, given.run_blocking, metrics=self.node.metrics
            )
            await life.enter_async_context(draining(record, grace, HISTORY))
            page.epochs = record.epochs
            receipts = None
            if public is not None:
                await take_over(record, public, self.data_dir)
                receipts = ReceiptLog(self.data_dir / RECEIPTS, RealDisk(), given.run_blocking)
                await life.enter_async_context(draining(receipts, grace, RECEIPTS))
            base = await life.enter_async_context(trio.open_nursery())
            base.start_soon(grace.run)
            if chain is not None:
                base.start_soon(chain.greet)
            base.start_soon(prune_for_ever, record, config.protection.keep_votes)
            if self.node.network is not None:
                base.start_soon(PeersFile(self.node.network, self.data_dir / PEERS, given.run_blocking).run)
            server = None
            if config.serve is not None and config.serve.bind:
                server = MainNodeServer(None, None, config.serve.bind, metrics=self.node.metrics)
                self.node.api_url.value = await base.start(server.run)
            proofs = EquivocationBook(self.data_dir, metrics=self.node.metrics, own_key=public)
            parts = EpochParts(
                self.node, given, main_node, public, CommandBox(self.data_dir), self.data_dir, proofs, evidence,
                receipts, counts, grace, chain,
            )  # fmt: skip
            secret = None if self.key is None else HedgedKey.of(self.key, os.urandom(ENTROPY))
            await Epochs(parts, record, secret, server).run(genesis, announce)
        raise AssertionError("unreachable: epochs follow one another until cancelled")

    def _dissent(self, name: str, what: str, batch: BatchNumber | None) -> None:
        """A main node contradicts the others: kept with the batch it was about."""
        epoch = self.node.epoch.value
        number = batch or (epoch.status.status.next_batch if epoch else None)
        if number is not None:
            self.node.duty.record(number, Step.TOLD, Reason.DISSENT, f"{name} about the {what}")


async def prune_for_ever(record: VoteRecord, keep: int) -> NoReturn:
    """Bound the history, in steps that hold nobody up for long."""
    while True:
        removed = await record.prune(keep)
        await trio.sleep(PRUNE_STEP_S if removed else PRUNE_EVERY_S)


def once(call: Callable[[], None]) -> Callable[[], None]:
    """`call`, the first time only."""
    calls = [call]

    def first() -> None:
        if calls:
            calls.pop()()

    return first
