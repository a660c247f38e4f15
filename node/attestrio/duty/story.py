"""All that is known of one batch: its events, who voted and who brought the vote, who took ours, how it ended. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from attestrio.duty.events import DutyEvent, EndState, Reason, Step
from attestrio.roles import (
    AttesterPublicKey,
    BatchHash,
    BatchNumber,
    Committee,
    GenesisHash,
    NodePublicKey,
    WeightedAttester,
)

UNTIL_SIGNED: Final = (Step.TOLD, Step.PERSISTED, Step.HASHED, Step.RECORDED, Step.SIGNED)


@dataclass(frozen=True, slots=True)
class EpochOf:
    """Under which circumstances a batch was attested: who could vote, and who we were."""

    epoch: int
    genesis: GenesisHash
    committee: Committee | None
    """None: the genesis has no attesters."""
    own: AttesterPublicKey | None = None
    """The key this node votes with; None on one that does not vote."""

    @property
    def has_vote(self) -> bool:
        """Whether this node had to vote."""
        return self.own is not None and self.committee is not None and self.own in self.committee


class HeardVote(NamedTuple):
    """A member's vote that counted here, or came late. A tuple, since one is made for every vote."""

    key: AttesterPublicKey
    at: float
    """Seconds since 1970: when it came, or when the certificate that has it came."""
    via: NodePublicKey | None
    """The first peer that brought it; None for the vote of this node, and where nobody knows."""
    hash: BatchHash
    in_certificate: bool = False
    """It was never heard here: the certificate of somebody else has it."""


class Delivery(NamedTuple):
    """A peer that took the vote of this node."""

    peer: NodePublicKey
    at: float


@dataclass(frozen=True, slots=True)
class BatchStory:
    """One batch on this node, in memory or out of the book."""

    of: EpochOf | None
    """None where no epoch had begun: in a log that nobody told."""
    number: BatchNumber
    state: EndState
    reason: Reason
    """Why it ended so; `ok` while it is open."""
    ended_at: float | None
    events: tuple[DutyEvent, ...]
    """The oldest first; none where they were too old to be kept."""
    votes: tuple[HeardVote, ...] | None
    """In the order of coming; None: not in memory any more, the book may have them."""
    deliveries: tuple[Delivery, ...]

    @property
    def began_at(self) -> float | None:
        """The first thing known of it: seconds since 1970."""
        return min((event.at for event in self.events), default=self.ended_at)

    @property
    def passed_at(self) -> float | None:
        """When the status went on, after which a vote is late; None while it has not, or nobody noted it."""
        submitted = (event.at for event in self.events if event.step is Step.SUBMITTED and event.reason is Reason.OK)
        return next(submitted, None)

    def latecomers(self) -> dict[AttesterPublicKey, float]:
        """How many seconds after the status went on each late vote came. What a certificate has was in time. O(votes).

        A vote is taken until the status has named three more numbers; from then on who is not in `votes` is silent.
        """
        passed = self.passed_at
        if passed is None:
            return {}
        return {vote.key: vote.at - passed for vote in self.votes or () if vote.at > passed and not vote.in_certificate}

    def hindrance(self) -> DutyEvent | None:
        """What kept this node from voting: the first step up to the signature that was not done in the end; None where
        it has voted, had not to, or the votes are not known."""
        if self.of is None or not self.of.has_vote or not self.votes or self.of.own in {one.key for one in self.votes}:
            return None
        last = {event.step: event for event in self.events if event.step in UNTIL_SIGNED}
        return next((last[step] for step in UNTIL_SIGNED if step in last and last[step].reason is not Reason.OK), None)

    def hash(self) -> BatchHash | None:
        """The one with the greatest weight behind it; None without votes. On a draw the one heard first."""
        hashes = dict.fromkeys(vote.hash for vote in self.votes or ())
        return next(iter(hashes)) if len(hashes) == 1 else max(hashes, key=self.weight, default=None)

    def weight(self, batch_hash: BatchHash) -> int:
        """The weight of those who voted for it. O(votes)."""
        committee = self.of.committee if self.of else None
        if committee is None:
            return 0
        weights = weights_of(committee)
        return sum(
            weights.get(vote.key.raw, 0)
            for vote in self.votes or ()
            if vote.hash is batch_hash or vote.hash == batch_hash  # the first is quick, and mostly true
        )

    def missing(self) -> tuple[WeightedAttester, ...]:
        """The members whose vote never came here, in key order; empty where the votes are not known. O(members)."""
        if self.of is None or self.of.committee is None or self.votes is None:
            return ()
        voted = {vote.key.raw for vote in self.votes}
        return tuple(member for member in self.of.committee.members if member.key.raw not in voted)


@lru_cache(maxsize=2)
def weights_of(committee: Committee) -> Mapping[bytes, int]:
    """Weights by the bytes of the key, for who goes through all votes of a batch: a fifth of the time."""
    return {member.key.raw: member.weight for member in committee.members}
