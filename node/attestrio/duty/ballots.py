"""Who voted for a batch, when, and through whom; who took our vote. Bounded, and cheap on the path of a vote. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from attestrio.duty.story import Delivery, HeardVote
from attestrio.roles import BatchNumber, NodePublicKey, SignedBatch

LATE: Final = 3  # numbers told after a batch was passed, until a vote for it is of no interest
EARLY: Final = 16  # numbers above the one that was told: votes come before the status does


@dataclass(slots=True)
class Ballot:
    """The votes for one number."""

    votes: dict[bytes, HeardVote] = field(default_factory=dict)  # by the bytes of the key, which remember their hash
    deliveries: dict[NodePublicKey, float] = field(default_factory=dict)

    def snapshot(self) -> tuple[tuple[HeardVote, ...], tuple[Delivery, ...]]:
        """Both, in the order of coming. O(votes), as fast as a copy."""
        return tuple(self.votes.values()), tuple(Delivery(*one) for one in self.deliveries.items())


class Ballots:
    """The ballots of the numbers around the one that was told last.

    Args:
      max_batches: at and below the number told; the lowest goes first. Above it `EARLY` are kept, of which the highest
        goes first: a member that votes for the far future takes nobody else's place.
      max_votes: of all of them together; the newest two ballots are kept whatever they hold.
    """

    def __init__(self, max_batches: int, max_votes: int) -> None:
        self._max_batches, self._max_votes = max_batches, max_votes
        self._ballots: dict[BatchNumber, Ballot] = {}
        self._told = -1
        self._passed: deque[int] = deque(maxlen=LATE)  # the numbers told before
        self._count = 0
        self._grown = False  # a ballot was begun since the last look at the bounds

    def get(self, number: BatchNumber) -> Ballot | None:
        return self._ballots.get(number)

    def told(self, number: BatchNumber) -> list[tuple[BatchNumber, Ballot]]:
        """The batch that is attested now; what is forgotten for it. A lower number than before does nothing."""
        if number <= self._told:
            return []
        if self._told >= 0:
            self._passed.append(self._told)
        self._told = number
        self._at(number)  # from here on it is known that nobody has voted
        return self._bound()

    def wants_late(self, vote: SignedBatch) -> bool:
        """Whether it would be the first that is heard of its member on a batch that was passed a short while ago."""
        number = vote.batch.number
        if number not in self._passed:
            return False
        ballot = self._ballots.get(number)
        return ballot is not None and vote.key.raw not in ballot.votes

    def heard(self, votes: Iterable[SignedBatch], via: NodePublicKey | None, at: float) -> list[BatchNumber]:
        """Votes that counted; which ballots changed, each once if they stand together. About 0.5 µs a vote."""
        changed: list[BatchNumber] = []
        number: BatchNumber | None = None
        mine: dict[bytes, HeardVote] = {}
        for vote in votes:
            batch = vote.batch
            if batch.number != number:
                number = batch.number
                mine = self._at(number).votes
                changed.append(number)
            raw = vote.key.raw
            known = mine.get(raw)
            if known is None:
                self._count += 1
            elif known.hash == batch.hash and not (known.in_certificate and batch.number >= self._told):
                continue  # what a certificate has was in time, though it comes here only now
            mine[raw] = HeardVote(vote.key, at, via, batch.hash)
        return changed

    def put(self, number: BatchNumber, votes: Iterable[HeardVote], deliveries: Iterable[Delivery] = ()) -> None:
        """Votes known from elsewhere: those of members that are in the ballot already change nothing."""
        ballot = self._at(number)
        for vote in votes:
            if vote.key.raw not in ballot.votes:
                ballot.votes[vote.key.raw] = vote
                self._count += 1
        for one in deliveries:
            ballot.deliveries.setdefault(one.peer, one.at)

    def delivered(self, number: BatchNumber, peer: NodePublicKey, at: float) -> bool:
        """A peer took our vote. False when that is no news, or the ballot is forgotten."""
        ballot = self._ballots.get(number)
        if ballot is None or peer in ballot.deliveries:
            return False
        ballot.deliveries[peer] = at
        return True

    def bound(self) -> list[tuple[BatchNumber, Ballot]]:
        """Forget what is too much; what that was. To be called after something came in."""
        return self._bound() if self._grown or self._count > self._max_votes else []

    def clear(self) -> None:
        self._ballots.clear()
        self._passed.clear()
        self._told, self._count = -1, 0

    def _at(self, number: BatchNumber) -> Ballot:
        ballot = self._ballots.get(number)
        if ballot is None:
            ballot = self._ballots[number] = Ballot()
            self._grown = True
        return ballot

    def _bound(self) -> list[tuple[BatchNumber, Ballot]]:
        self._grown = False
        numbers = sorted(self._ballots)
        past = [number for number in numbers if number <= self._told]
        early = numbers[len(past) :]
        gone = [*past[: max(0, len(past) - self._max_batches)], *early[EARLY:]]
        forgotten = [self._forget(number) for number in gone]
        kept = sorted(self._ballots)
        while self._count > self._max_votes and len(kept) > 2:
            # from below as long as that is the past, then from above: in the middle stands what is attested now
            forgotten.append(self._forget(kept.pop(0 if kept[0] < self._told else -1)))
        return forgotten

    def _forget(self, number: BatchNumber) -> tuple[BatchNumber, Ballot]:
        ballot = self._ballots.pop(number)
        self._count -= len(ballot.votes)
        return number, ballot
