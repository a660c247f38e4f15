"""The page of a node: its parts, as the status document shows them, and its checks of readiness."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from attestrio.app.l1 import asks_l1
from attestrio.app.page import l1_answers, l1_view, origin_of, served
from attestrio.app.parts import Epoch, RunningNode
from attestrio.app.seen import Seen
from attestrio.config import WebSection
from attestrio.duty import BatchStory
from attestrio.duty.reader import open_book
from attestrio.errors import SourceError, StorageUnusable
from attestrio.kit.blocking import RunBlocking
from attestrio.protection.pending import read_pending
from attestrio.roles import AttesterPublicKey, BatchNumber, BatchQC
from attestrio.status.runner import PollResult
from attestrio.store.api import StoreClosed
from attestrio.web.api import (
    SCHEMA,
    BatchView,
    EpochView,
    FactView,
    L1View,
    NodeView,
    ProgressView,
    QueueView,
    StatusView,
)
from attestrio.web.health import Finding, Health
from attestrio.web.names import Names
from attestrio.web.tail import LogTail
from attestrio.web.view import (
    ALL,
    BatchViews,
    batch_view,
    check_views,
    committee_view,
    epoch_views,
    peers_view,
)

if TYPE_CHECKING:
    from attestrio.l1.provider import L1Provider
    from attestrio.protection.record import EpochRow

GOOD_POLLS: Final = frozenset({PollResult.MOVED, PollResult.SAME})


class NodePage:
    """A node as a `Source` of documents. Reads values of the parts, and the duty book where memory does not reach."""

    def __init__(
        self, node: RunningNode, seen: Seen, key: AttesterPublicKey | None, book: Path, run_blocking: RunBlocking
    ) -> None:
        section = node.config.web or WebSection()
        self.epochs: Callable[[], Sequence[EpochRow]] = tuple
        """All epochs on record; empty until the record is open."""
        self.chain: L1Provider | None = None
        """Ethereum, where it is asked for batches."""
        self.names = Names(section.names)
        self.health = Health(time.time, node.metrics)
        self.tail = LogTail()
        self._node = node
        self._seen = seen
        self._key = key
        self._book = book
        self._run_blocking = run_blocking
        self._batches = BatchViews(node.duty, self.names)
        self._started_at = time.time()
        self._known_epochs: tuple[int | None, list[EpochView]] = (None, [])
        self._add_checks()

    # --- Source

    def stamp(self) -> object:
        epoch, network = self._node.epoch.value, self._node.network
        votes = None if epoch is None or epoch.votes is None else epoch.votes.version
        peers = None if network is None else network.connected.value
        seen = self._seen
        return (
            self._node.duty.watch.value, None if epoch is None else epoch.number, votes, peers, self.tail.version,
            self.health.version, seen.certified, seen.signed, seen.attendance.wanted,
        )  # fmt: skip

    async def document(self) -> StatusView:
        """In pieces: with 10,000 members the first one takes a while, and votes must not wait for it."""
        await trio.lowlevel.checkpoint()
        node, epoch = self._node, self._node.epoch.value
        committee = None
        if epoch is not None and epoch.genesis.attesters is not None:
            attendance = self._seen.attendance
            wanted = None if attendance.wanted is None else node.duty.story(attendance.wanted)
            committee = committee_view(epoch.genesis.attesters, attendance, wanted, self.names, self._key)
            await trio.lowlevel.checkpoint()
        for _ in self._batches.renew():
            await trio.lowlevel.checkpoint()
        network = node.network
        return StatusView(
            schema=SCHEMA,
            version=0,
            as_of=0.0,
            node=self._about(),
            ready=self.health.ready,
            checks=check_views(self.health.checks()),
            facts=self._facts(),
            progress=None if epoch is None else self._progress(epoch),
            epochs=self._epochs(epoch),
            committee=committee,
            counts={state.value: count for state, count in node.duty.counts().items()},
            batches=self._batches.newest(),
            peers=None
            if network is None
            else peers_view(network.peers, self.names, len(network.rules.static_outbound)),
            l1=self._l1(),
            queues=[] if epoch is None else _queues(epoch),
            log=self.tail.lines(),
        )

    async def batch(self, number: int) -> BatchView | None:
        await trio.lowlevel.checkpoint()
        story = self._node.duty.story(BatchNumber(number))
        if story is None or story.votes is None:
            story = await self._read(number) or story
        return None if story is None else batch_view(story, self.names, ALL)

    async def _read(self, number: int) -> BatchStory | None:
        """What the duty book has, of the newest epoch that knows the batch, or can tell of one it has not seen."""

        def read() -> BatchStory | None:
            with open_book(self._book) as book:
                return next(iter(book.stories(BatchNumber(number))), None)

        def tell(certificate: BatchQC | None) -> BatchStory | None:
            with open_book(self._book) as book:
                return book.unseen(BatchNumber(number), certificate)

        epoch = self._node.epoch.value
        try:
            known = await self._run_blocking(read)
            if known is not None or epoch is None:
                return known
            certificate = await epoch.store.qc(BatchNumber(number))
            return await self._run_blocking(partial(tell, certificate))
        except (StorageUnusable, StoreClosed):  # no book yet, or the epoch ends
            return None

    # --- sections

    def _about(self) -> NodeView:
        node, key = self._node, None if self._key is None else self._key.to_text()
        role, network = "attester" if node.config.serve is None else "main-node", node.network
        network_key = None if network is None else str(network.key)
        name = self.names.given(key) or self.names.given(network_key)
        listener = None if network is None else network.listener
        return NodeView(
            role="attester" if node.config.serve is None else "main-node",
            name=name or (role if key is None else self.names.of(key)),
            version=node.metrics.version,
            started_at=self._started_at,
            key=key,
            network_key=network_key,
            listening=None if listener is None else listener.address,
            api_url=node.api_url.value,
        )

    def _facts(self) -> list[FactView]:
        config = self._node.config
        urls = config.main_node.urls or ((config.main_node.url,) if config.main_node.url else ())
        facts = [FactView(name="main node", value=origin_of(url)) for url in urls]
        if len(urls) > 1:
            facts.append(FactView(name="have to agree", value=str(config.main_node.agree or len(urls) // 2 + 1)))
        epoch = self._node.epoch.value
        if epoch is not None:
            facts.append(FactView(name="chain", value=str(epoch.genesis.chain_id)))
        facts.append(FactView(name="batches from", value=config.batches.source))
        facts.append(FactView(name="after a rollback", value=config.protection.on_rollback))
        return facts

    def _progress(self, epoch: Epoch) -> ProgressView:
        seen = self._seen
        persisted = None
        with suppress(SourceError):  # a store that the embedding program runs, but not yet
            persisted = epoch.store.persisted.last
        return ProgressView(
            wanted=_int(epoch.status.status.next_batch),
            wanted_since=seen.attendance.wanted_since,
            certified=_int(seen.certified),
            certified_at=seen.certified_at,
            signed=_int(seen.signed),
            persisted=_int(persisted),
            floor=None if epoch.votes is None else int(epoch.votes.min_batch_number),
        )

    def _epochs(self, epoch: Epoch | None) -> list[EpochView]:
        """Read when another epoch runs than before."""
        number = None if epoch is None else epoch.number
        known, views = self._known_epochs
        if number is None:
            return views
        if number != known:
            views = epoch_views(self.epochs())
            self._known_epochs = number, views
        return views

    def _l1(self) -> L1View | None:
        section, chain = self._node.config.l1, self.chain
        if section is None or chain is None:
            return None
        # the contract is read at the newest block that is final enough: it tells of all that came before
        cursor = None if chain.head is None or chain.problem else int(chain.head) + 1
        return l1_view(chain, cursor, section.finality)

    # --- checks

    def _add_checks(self) -> None:
        config = self._node.config
        self.health.add("epoch", self._epoch_runs)
        self.health.add("status" if config.serve is not None else "main_node", self._status_known)
        if self._key is not None:
            self.health.add("committee", self._in_committee)
        if self._node.network is not None and self._node.network.rules.static_outbound:
            self.health.add("peers", self._has_peers)
        if asks_l1(config):
            self.health.add("l1", self._l1_answers)

    def _epoch_runs(self) -> Finding:
        epoch = self._node.epoch.value
        if epoch is not None:
            return Finding(True, f"epoch {epoch.number} runs")
        pending = read_pending(Path(self._node.config.node.data_dir))
        if pending is not None:
            return Finding(False, f"epoch {pending.ended} ended ({pending.cause}): `attestrio rollback apply` goes on")
        return Finding(False, "no epoch runs: the genesis is not known yet, or one has just ended")

    def _status_known(self) -> Finding:
        poll, asked = self._seen.poll, "the own store" if self._node.config.serve is not None else "the main node"
        if poll is None and self._seen.no_genesis is not None:
            code = self._seen.no_genesis
            return Finding(False, f"{asked} {f'gave no usable answer: {code}' if code else 'has no genesis yet'}")
        if poll is None:
            return Finding(False, f"{asked} was not asked yet")
        if poll.result in GOOD_POLLS:
            return Finding(True, f"{asked} names a batch")
        if poll.result is PollResult.LOWER:
            return Finding(True, f"{asked} names a lower batch than before: it is given time")
        if poll.result is PollResult.UNKNOWN:
            return Finding(False, f"{asked} answers, but names no batch yet")
        return Finding(False, f"{asked} gave no usable answer: {poll.code}")

    def _in_committee(self) -> Finding:
        epoch = self._node.epoch.value
        if epoch is None:
            return Finding(False, "no epoch runs")
        committee = epoch.genesis.attesters
        if committee is None:
            return Finding(False, "the genesis names no attesters, so nobody votes")
        if self._key not in committee:
            return Finding(False, "the key of this node is not in the committee: its votes would not count")
        return Finding(True, "the key of this node is in the committee")

    def _has_peers(self) -> Finding:
        network = self._node.network
        assert network is not None
        wanted = len(network.rules.static_outbound)
        if network.connected.value:
            return Finding(True, "peers are connected")
        return Finding(False, f"no peer is connected; {wanted} are dialled")

    def _l1_answers(self) -> Finding:
        return Finding(True, "Ethereum was not asked yet") if self.chain is None else l1_answers(self.chain)()


def _int(number: BatchNumber | None) -> int | None:
    return None if number is None else int(number)


def _queues(epoch: Epoch) -> list[QueueView]:
    try:
        waiting = int(epoch.store.queued.next()) - int(epoch.store.persisted.next())
    except SourceError:
        return []
    return [QueueView(name="batches to be written", waiting=max(waiting, 0))]


@asynccontextmanager
async def node_page(node: RunningNode, page: NodePage) -> AsyncIterator[None]:
    """The page is served for as long as the body runs, where the configuration says so. Raises AddressInUse."""
    section = node.config.web
    if section is None:
        yield
        return
    async with served(page, page.health, page.tail, node.metrics, section.bind, section.hosts) as url:
        node.web_url.value = url
        try:
            yield
        finally:
            node.web_url.value = None
