"""Which member votes, and which does not: over the batches of one epoch. Pure.

A batch is judged when the status has named three more numbers since it was passed: until then votes for it are taken
note of, so that who is late is told apart from who is silent. Nothing here stands on the way of a vote.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from attestrio.duty.ballots import LATE
from attestrio.duty.story import BatchStory
from attestrio.roles import AttesterPublicKey, BatchNumber


class Miss(StrEnum):
    """Why a member's vote was not there when the status went on."""

    SILENT = (
        "silent"  # no vote was heard, not even late; one made after its author's register went on is sent to nobody
    )
    LATE = "late"  # the vote came afterwards, while the status named the next three numbers
    OTHER_HASH = "other_hash"  # it voted for another hash than most


@dataclass(frozen=True, slots=True)
class LastVote:
    """The newest batch a member voted for, and when that was counted here."""

    number: BatchNumber
    at: float


OnMiss = Callable[[AttesterPublicKey, Miss], None]


def uncounted(key: AttesterPublicKey, reason: Miss) -> None:
    """The default for `on_miss`."""


class Attendance:
    """The members of one epoch's committee.

    The first number that the status names is not held against anybody: its votes may have come before there were
    links. Neither is a batch of which no vote was heard: then this node was cut off, or nobody was at work.

    Args:
      story: what is known of a batch, `DutyLog.story`.
      now: the wall clock, in seconds since 1970.
      on_miss: told of each miss as it is counted; must not raise.
    """

    def __init__(
        self,
        story: Callable[[BatchNumber], BatchStory | None],
        now: Callable[[], float],
        on_miss: OnMiss = uncounted,
    ) -> None:
        self._story = story
        self._now = now
        self._on_miss = on_miss
        self._last: dict[bytes, tuple[int, float]] = {}  # by the bytes of the key: number, time
        self._missed: dict[AttesterPublicKey, Counter[str]] = {}
        self._wanted: BatchNumber | None = None
        self._passed: deque[BatchNumber] = deque()  # not judged yet
        self._looked: dict[BatchNumber, int] = {}  # how many votes of a batch are taken in
        self._is_first = True
        self.wanted_since: float | None = None
        """When the status was first heard to name the number it names."""

    @property
    def wanted(self) -> BatchNumber | None:
        """The number the status names."""
        return self._wanted

    def told(self, number: BatchNumber) -> None:
        """The status names `number`. O(members) when that is news."""
        if number == self._wanted:
            return
        if self._wanted is not None and not self._is_first:
            self._passed.append(self._wanted)
            if len(self._passed) > LATE:
                self._judge(self._passed.popleft())
        self._is_first = self._wanted is None
        self._wanted, self.wanted_since = number, self._now()

    def look(self) -> None:
        """Take in who has voted for the batches at hand: before `last` is asked. O(votes that are new)."""
        at_hand = [*self._passed, *([] if self._wanted is None else [self._wanted])]
        for number in at_hand:
            story = self._story(number)
            if story is not None:
                self._note(story)
        self._looked = {number: self._looked.get(number, 0) for number in at_hand}

    def last(self, key: AttesterPublicKey) -> LastVote | None:
        """The newest batch a member voted for."""
        last = self._last.get(key.raw)
        return None if last is None else LastVote(BatchNumber(last[0]), last[1])

    def missed(self, key: AttesterPublicKey) -> Mapping[str, int]:
        """How many batches a member missed, by reason; reasons it never had are left out."""
        return self._missed.get(key, {})

    def _note(self, story: BatchStory) -> None:
        votes, number, known = story.votes or (), int(story.number), self._last
        for vote in votes[self._looked.get(story.number, 0) :]:
            raw = vote.key.raw
            last = known.get(raw)
            if (last is None or last[0] < number) and not vote.in_certificate:
                known[raw] = number, vote.at
        self._looked[story.number] = len(votes)

    def _judge(self, passed: BatchNumber) -> None:
        story = self._story(passed)
        if story is None or not story.votes:
            return
        self._note(story)
        most, late = story.hash(), story.latecomers()
        for member in story.missing():
            self._count(member.key, Miss.SILENT)
        for vote in story.votes:
            if vote.hash is not most and vote.hash != most:
                self._count(vote.key, Miss.OTHER_HASH)
            elif late and vote.key in late:
                self._count(vote.key, Miss.LATE)

    def _count(self, key: AttesterPublicKey, reason: Miss) -> None:
        self._missed.setdefault(key, Counter())[reason.value] += 1
        self._on_miss(key, reason)
