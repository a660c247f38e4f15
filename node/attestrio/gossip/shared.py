"""What all connections of one epoch have in common. Pure: no task, no clock."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from attestrio.gossip.fetch import NOTHING, FetchQueue
from attestrio.gossip.outbox import Outbox, VoteLog
from attestrio.gossip.rules import GossipRules
from attestrio.gossip.scores import Fault, Scores
from attestrio.gossip.votes_wire import VoteCodec
from attestrio.roles import AttesterPublicKey, Batch, BatchNumber, Committee, Genesis, NodePublicKey, SignedBatch
from attestrio.store.api import StoreState

if TYPE_CHECKING:
    from attestrio.gossip.connection import Connection
    from attestrio.gossip.talk import Talk

log = logging.getLogger("attestrio.gossip")

OnDelivered = Callable[[NodePublicKey, BatchNumber], None]
"""Told of each peer that has taken a vote of this node, and for which batch; must be cheap."""

OnCall = Callable[[str, bool], None]
"""Told of each call that ended: the method's name, and whether it was answered."""


class Votes(VoteLog, Protocol):
    """Where the votes of strangers go: a `VotesWatch`."""

    @property
    def agreed(self) -> Batch | None:
        """The batch that has a quorum."""
        ...

    def add(self, votes: Iterable[SignedBatch], via: NodePublicKey) -> object:
        """Verify and count at once what this peer brought. Raises PeerError."""
        ...


def _nobody(_method: str, _answered: bool) -> None:
    """For who does not count calls."""


def nowhere(_peer: NodePublicKey, _number: BatchNumber) -> None:
    """For who does not ask where its votes are."""


def _at_once(connection: Connection) -> None:
    """For who puts nothing off."""
    connection.catch_up()


@dataclass(slots=True, eq=False)
class Shared:
    """One epoch of the network as its connections see it.

    Args:
      votes: None without a committee; then votes are neither called for nor served.
      own_key: with which this node votes, if it does.
      fetch: None when nothing is fetched.
      on_served, on_called: told of each call of a peer, and of each of ours.
      on_delivered: see `OnDelivered`.
      on_fetchable: told when some connection could start to fetch something; must be cheap.
      on_later: told of a connection whose `catch_up` should be called when nothing else is to be done; must be cheap.
    """

    genesis: Genesis
    rules: GossipRules
    scores: Scores
    votes: Votes | None = None
    own_key: AttesterPublicKey | None = None
    fetch: FetchQueue[Talk] | None = None
    held: StoreState = NOTHING
    """What can be given to peers; who changes it calls `announce` of every talk."""
    unsent_bytes: int = 0
    """What waits to be sent on all connections together; each adds and takes off its own."""
    on_served: OnCall = _nobody
    on_called: OnCall = _nobody
    on_delivered: OnDelivered = nowhere
    on_fetchable: Callable[[], None] = lambda: None
    on_later: Callable[[Connection], None] = _at_once
    codec: VoteCodec = field(default_factory=VoteCodec)

    @property
    def committee(self) -> Committee | None:
        return self.genesis.attesters if self.votes is not None else None

    def outbox(self) -> Outbox | None:
        """What a new connection has to be told; None without a committee."""
        if self.votes is None or self.committee is None:
            return None
        return Outbox(self.votes, self.codec, self.committee, self.own_key)

    def fault(self, key: NodePublicKey, fault: Fault, why: Exception, now: float) -> None:
        """Lower a peer's score. Raises PeerRefused when a dynamic peer fell below the floor: drop it."""
        if self.scores.lower(key, fault, now):
            log.warning("%s behaves badly, its score is below %g: %s", key, self.scores.rules.floor, why)
        else:
            log.info("%s: %s: %s", key, fault, why)
        self.scores.check(key, now)
