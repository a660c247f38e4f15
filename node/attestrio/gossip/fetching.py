"""Batches that are not here: asked of peers, lowest first, and put into the store in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import NoReturn

import trio
from trio_util import AsyncValue

from attestrio.gossip.fetch import FetchQueue
from attestrio.gossip.node import GossipNode
from attestrio.gossip.talk import Talk
from attestrio.status import AttestationStatus
from attestrio.store.api import BatchStore

Statuses = Callable[[], AsyncIterator[AttestationStatus]]


@dataclass(frozen=True, slots=True)
class Fetching:
    """Keeps the queue at the store's state, the peers asked, and the store fed.

    Args:
      nudge: grows whenever a peer could be asked, or an answer came.
      statuses: the current one of the main node, then each newer one: no batch above the one it names is fetched.
        None: no such bound.
    """

    node: GossipNode
    queue: FetchQueue[Talk]
    store: BatchStore
    nudge: AsyncValue[int]
    statuses: Statuses | None = None

    async def run(self) -> NoReturn:
        async with trio.open_nursery() as tasks:
            if self.statuses is not None:
                self.queue.named(None)
                tasks.start_soon(self._heed, self.statuses)
            tasks.start_soon(self._follow)
            tasks.start_soon(self._ask)
            tasks.start_soon(self._feed)
        raise AssertionError("unreachable: tasks run until cancelled")

    async def _follow(self) -> NoReturn:
        """What gets into the store by any way is wanted no more."""
        while True:
            queued, persisted = self.store.queued, self.store.persisted
            self.queue.moved(queued, persisted)
            self.nudge.value += 1
            await self.store.wait_moved(queued, persisted)

    async def _heed(self, statuses: Statuses) -> None:
        """What the main node has not named yet is not wanted."""
        async for status in statuses():
            self.queue.named(status.next_batch)
            self.nudge.value += 1

    async def _ask(self) -> NoReturn:
        """One number a connection and round, so that the numbers spread over those who have them."""
        while True:
            seen = self.nudge.value
            while sum(connection.fetch_one() for connection in self.node.connections()):
                await trio.lowlevel.checkpoint()
            await self.nudge.wait_value(lambda now, seen=seen: now != seen)  # type: ignore[misc]

    async def _feed(self) -> NoReturn:
        while True:
            seen = self.nudge.value
            batch = self.queue.ready()
            if batch is None:
                await self.nudge.wait_value(lambda now, seen=seen: now != seen)  # type: ignore[misc]
                continue
            await self.store.queue_batch(batch)
            self.queue.moved(self.store.queued, self.store.persisted)
