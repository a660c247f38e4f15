"""The network during one epoch: who dials in, who is dialled, and what of the register and the store goes out."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

import trio
from trio_util import AsyncValue

from attestrio.gossip.accepting import Acceptor
from attestrio.gossip.dialling import Dialler
from attestrio.gossip.fetch import FetchQueue
from attestrio.gossip.fetching import Fetching, Statuses
from attestrio.gossip.io import Identity, Session
from attestrio.gossip.later import Later
from attestrio.gossip.node import GossipNode
from attestrio.gossip.peers import Direction
from attestrio.gossip.shared import OnDelivered, Shared, nowhere
from attestrio.quorum.watch import VotesWatch
from attestrio.roles import AttesterPublicKey, Genesis
from attestrio.store.api import BatchStore

log = logging.getLogger("attestrio.gossip")

Service = Callable[[], Awaitable[NoReturn]]


@dataclass(frozen=True, slots=True)
class GossipRunner:
    """One epoch of `node` on the network. Every link ends with it, since peers of another genesis are other peers.

    Args:
      votes: None without a committee.
      own_key: with which this node votes, if it does.
      statuses: see `Fetching`.
      on_delivered: see `Shared`.
    """

    node: GossipNode
    genesis: Genesis
    store: BatchStore
    votes: VotesWatch | None
    own_key: AttesterPublicKey | None = None
    statuses: Statuses | None = None
    on_delivered: OnDelivered = nowhere

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Take part until cancelled; started when others can reach this node. Peers' faults end their links only."""
        nudge = AsyncValue(0)
        later = Later()
        shared = self._shared(nudge, later)
        me = Identity(self.node.secret, self.genesis.hash(), self.node.rules.static_inbound)
        async with trio.open_nursery() as services:
            for service in self._services(shared, me, nudge, later):
                services.start_soon(service)
            task_status.started()
        raise AssertionError("unreachable: services run until cancelled")

    def _services(self, shared: Shared, me: Identity, nudge: AsyncValue[int], later: Later) -> Iterator[Service]:
        node, store = self.node, self.store

        def hold(direction: Direction) -> Callable[[Session], Awaitable[None]]:
            return partial(node.hold, direction=direction, shared=shared, store=store, votes=self.votes)

        if node.listener is not None:
            yield Acceptor(node, node.listener, me, hold(Direction.INBOUND)).run
        for key, address in node.rules.static_outbound.items():
            if key == node.key:
                log.warning("static_outbound names this very node: it is not dialled")
                continue
            yield Dialler(node, key, address, me, hold(Direction.OUTBOUND)).run
        if self.votes is not None:
            yield partial(self._push, self.votes, later)
        yield later.run
        yield partial(self._announce, shared)
        if shared.fetch is not None:
            yield Fetching(node, shared.fetch, store, nudge, self.statuses).run

    def _shared(self, nudge: AsyncValue[int], later: Later) -> Shared:
        node, store = self.node, self.store

        def on_fetchable() -> None:
            nudge.value += 1

        return Shared(
            genesis=self.genesis,
            rules=node.rules,
            scores=node.scores,
            votes=self.votes,
            own_key=self.own_key,
            fetch=FetchQueue(store.queued, store.persisted) if node.rules.fetch else None,
            held=store.held,
            on_served=node.metrics.served,
            on_called=node.metrics.called,
            on_delivered=self.on_delivered,
            on_fetchable=on_fetchable,
            on_later=later.add,
        )

    async def _push(self, votes: VotesWatch, later: Later) -> NoReturn:
        """The own vote goes out at once, others' votes in one pass later: a link carries few pushes, and full ones."""
        mark = 0
        while True:
            newer, mark = await votes.wait_newer(mark)
            own = any(vote.key == self.own_key for vote in newer)
            for connection in self.node.connections():
                if own:
                    connection.catch_up()
                else:
                    later.add(connection)

    async def _announce(self, shared: Shared) -> NoReturn:
        while True:
            shared.held = held = self.store.held
            for connection in self.node.connections():
                connection.announce()
            await self.store.wait_held_changed(held)
