"""What the network is to a process, whatever the epoch: its key, its socket, who is connected, how each has behaved."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

import trio
from trio_util import AsyncValue

from attestrio.errors import PeerError
from attestrio.gossip.connection import Connection
from attestrio.gossip.fairness import Allowance
from attestrio.gossip.io import Session
from attestrio.gossip.listener import Listener
from attestrio.gossip.metrics import GossipMetrics
from attestrio.gossip.peers import Direction, PeerInfo, Pool
from attestrio.gossip.rules import GossipRules
from attestrio.gossip.scores import Scores
from attestrio.gossip.shared import Shared
from attestrio.kit.events import EventName, named
from attestrio.kit.metrics import Metrics
from attestrio.quorum.watch import VotesWatch
from attestrio.roles import NodePublicKey, NodeSecretKey
from attestrio.store.api import BatchStore

log = logging.getLogger("attestrio.gossip")


class GossipNode:
    """One node of the network. `GossipRunner` runs an epoch on it.

    Args:
      wall: Unix time in seconds, to be shown.
    """

    def __init__(
        self,
        secret: NodeSecretKey,
        rules: GossipRules,
        metrics: Metrics | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.secret = secret
        self.key: NodePublicKey = secret.public()
        self.rules = rules
        self._known = rules.static_inbound | rules.static_outbound.keys()
        self._allowance = Allowance()
        self.scores = Scores(self._known)
        self.metrics = GossipMetrics(metrics or Metrics())
        self.connected = AsyncValue(0)
        """How many links are up, in both directions."""
        self.heard_from = AsyncValue(0)
        """The same, without links to oneself, and of static peers alone where there are any."""
        self.listener: Listener | None = None
        self._wall = wall
        self._pools = {
            Direction.INBOUND: Pool[Connection](rules.static_inbound, rules.dynamic_inbound_limit),
            Direction.OUTBOUND: Pool[Connection](rules.static_outbound),
        }

    @property
    def peers(self) -> list[PeerInfo]:
        """Who is connected now, inbound first, each in the order of coming."""
        return [connection.info() for connection in self.connections()]

    def connections(self) -> Iterator[Connection]:
        """The links that are up; links may come and go meanwhile."""
        for pool in self._pools.values():
            yield from pool

    async def listen(self, bind: str) -> str:
        """Let others dial in from now on, at `bind` (HOST:PORT); the address with its real port.

        They are answered while an epoch runs. Raises AddressInUse, BadAddress.
        """
        self.listener = await Listener.open(bind, self.metrics.skipped.inc)
        return self.listener.address

    def close(self) -> None:
        """Listen no more."""
        if self.listener is not None:
            self.listener.close()

    async def hold(
        self, session: Session, direction: Direction, shared: Shared, store: BatchStore, votes: VotesWatch | None
    ) -> None:
        """Keep a link with the peer until it ends; returns never, unless cancelled.

        Raises PeerError: AlreadyConnected, LimitExceeded and PeerRefused when the link is not wanted, else its end.
        """
        pool = self._pools[direction]
        if direction is Direction.INBOUND:
            self.scores.check(session.key, trio.current_time())
        now, key = trio.current_time(), session.key
        account = None if key in self._known else self._allowance.account(now)
        connection = Connection(session, shared, store, votes, direction, self._wall(), account, self._count_bytes)
        pool.insert(session.key, connection)
        self._count()
        log.info("%s %s is connected", direction, key, extra=named(EventName.PEER_CONNECTED, member=str(key)))
        try:
            await connection.run()
        finally:
            pool.remove(session.key, connection)
            self._count()
            log.info("%s %s is gone", direction, key, extra=named(EventName.PEER_LOST, member=str(key)))

    def began(self, direction: Direction, error: PeerError | None) -> None:
        """Count how a connection began."""
        self.metrics.handshakes.labels(direction=direction, result="done" if error is None else "failed").inc()

    def _count(self) -> None:
        for direction, pool in self._pools.items():
            self.metrics.connections.labels(direction=direction).set(len(pool))
        self.connected.value = sum(len(pool) for pool in self._pools.values())
        self.heard_from.value = sum(
            1 for one in self.connections() if (one.key in self._known or not self._known) and one.key != self.key
        )

    def _count_bytes(self, received: int, sent: int) -> None:
        self.metrics.received.inc(received)
        self.metrics.sent.inc(sent)
