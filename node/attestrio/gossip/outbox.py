"""What is still to be said to one peer: the votes it has not been sent and did not send itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from attestrio.gossip.votes_wire import MAX_PUSH, VoteCodec, check_max_bytes
from attestrio.roles import AttesterPublicKey, BatchNumber, Committee, SignedBatch


class VoteLog(Protocol):
    """Where new votes come from: a `VotesWatch` or a `VoteRegister`."""

    @property
    def min_batch_number(self) -> BatchNumber: ...

    def newer_than(self, mark: int) -> tuple[list[SignedBatch], int]: ...


class Outbox:
    """What one connection still has to send: a cursor into the log, less what came from that peer.

    A new connection starts with everything the log holds. One vote a member is kept, its newest, so memory is bounded
    by the committee: about 200 B a member for what the peer sent, 100 B for what waits. Cost of a new vote: O(1),
    whatever the size of the log.

    Args:
      log: the votes of one epoch, all of members of `committee`.
      codec: that of the epoch, shared by all its connections.
      own: the key of this node, for `is_own_due`.
      max_bytes: of one push.
    """

    def __init__(
        self,
        log: VoteLog,
        codec: VoteCodec,
        committee: Committee,
        own: AttesterPublicKey | None = None,
        max_bytes: int = MAX_PUSH,
    ) -> None:
        check_max_bytes(max_bytes)
        self._log = log
        self._codec = codec
        self._committee = committee
        # Bytes, since a key is compared in Python code; None: there is no vote of our own to wait for.
        self._own = own.raw if own is not None and own in committee else None
        self._max_bytes = max_bytes
        self._mark = 0
        self._waiting: dict[bytes, SignedBatch] = {}  # by key, oldest first
        self._heard: dict[bytes, bytes] = {}  # key to signature of the newest vote the peer sent of it
        self._highest = -1  # batch number in what was gathered
        self._own_number = -1  # batch number of the newest vote of `own` that the peer has
        self.carries: BatchNumber | None = None
        """For which batch the last push has the vote of `own`; None: it has none."""

    def heard(self, votes: Iterable[SignedBatch]) -> None:
        """The peer sent `votes`: they are not sent to it. Call it before they are counted; O(1) each.

        Key and signature stand for the bytes of a vote, since a good signature fits one message. Two signers with one
        key make different bytes for the same batch: the peer gets the other one's too. Strangers are not noted, the
        log has none of theirs. Whoever sends what is no vote keeps nothing but the real one from itself.
        """
        for vote in votes:
            if vote.key in self._committee:
                self._heard[vote.key.raw] = vote.signature.raw

    def next_push(self) -> bytes | None:
        """The body of the next push, or None: there is nothing to say now. What it holds counts as sent.

        The newest votes go first: a backlog of thousands takes many pushes, and a vote made meanwhile does not queue
        behind it. Inside a push the oldest stands first. Votes that have fallen below the floor are left out.
        """
        self._gather()
        floor, room = self._log.min_batch_number, self._max_bytes
        chosen: list[bytes] = []
        self.carries = None
        while self._waiting:
            key, vote = self._waiting.popitem()
            if vote.batch.number >= floor and self._heard.get(key) != vote.signature.raw:
                entry = self._codec.entry(vote)
                if len(entry) > room:
                    self._waiting[key] = vote
                    break
                room -= len(entry)
                chosen.append(entry)
                if key == self._own:
                    self.carries = vote.batch.number
            if key == self._own:
                self._own_number = vote.batch.number
        chosen.reverse()
        return b"".join(chosen) if chosen else None

    def is_own_due(self) -> bool:
        """Whether the own vote for the newest batch that others vote for is still to be made. O(new votes)."""
        if self._own is None:
            return False
        self._gather()
        return self._own_number < self._highest and self._own not in self._waiting

    def _gather(self) -> None:
        newer, self._mark = self._log.newer_than(self._mark)
        for vote in newer:
            key = vote.key.raw
            self._waiting.pop(key, None)  # replaced, and as new as its newest
            self._waiting[key] = vote
            if vote.batch.number > self._highest:
                self._highest = vote.batch.number
