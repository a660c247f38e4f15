"""The node's memory of what happened to each batch, bounded, with exactly one end state per batch."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from trio_util import AsyncValue

from attestrio.duty.ballots import Ballot, Ballots
from attestrio.duty.events import FIRST, DutyEvent, EndState, Reason, Step
from attestrio.duty.story import UNTIL_SIGNED, BatchStory, EpochOf, HeardVote
from attestrio.kit.events import EventName, named
from attestrio.roles import BatchNumber, BatchQC, NodePublicKey, SignedBatch

log = logging.getLogger("attestrio.duty")

STEPS: Final = {step: EventName[f"BATCH_{step.name}"] for step in Step}


@dataclass(slots=True)
class _Entry:
    events: list[DutyEvent] = field(default_factory=list)
    state: EndState = EndState.OPEN
    reason: Reason = Reason.OK
    ended_at: float | None = None
    brought_back: bool = False
    """Of an earlier run, in which it was still open."""


class DutyLog:
    """What every part did with a batch, and why not. Used from the trio thread only.

    Args:
      now: the wall clock, in seconds since 1970.
      max_batches: how many batches are remembered. The one seen first is forgotten first; it stays in `counts()`, and
        would count once more if it came back.
      max_events: how many events are kept per batch. Beyond it the middle goes: the beginning says how a batch
        started, the end why it hangs.
      max_ballots, max_votes: of how many batches, and how many in all, the votes are remembered.

    `watch` carries a version that grows with every change, so that a page or a metric can wait for news. Votes and
    deliveries alone do not move it: they are many, and votes have a watch of their own.

    A `DutyBook` writes it all down: `unwritten` says that there is something, `take_unwritten` hands it over.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        max_batches: int = 1_000,
        max_events: int = 64,
        max_ballots: int = 100,
        max_votes: int = 50_000,
    ) -> None:
        if max_batches < 1 or max_events < 2:
            raise ValueError(f"max_batches={max_batches} and max_events={max_events} must be at least 1 and 2")
        self._now = now
        self._max_batches = max_batches
        self._max_events = max_events
        self._entries: dict[BatchNumber, _Entry] = {}
        self._open: dict[BatchNumber, None] = {}
        self._ballots = Ballots(max_ballots, max_votes)
        self._epoch: EpochOf | None = None
        self._counts = dict.fromkeys(EndState, 0)
        self._version = AsyncValue(0)
        self._has_book = self._came_back = False
        self._unwritten: dict[BatchNumber, None] = {}
        self._leaving: deque[BatchStory] = deque(maxlen=2 * max_batches)  # forgotten before they were written
        self.unwritten = AsyncValue(False)
        """Whether `take_unwritten` has something; stays False without a book."""

    @property
    def watch(self) -> AsyncValue[int]:
        """The version, to wait on. Only this log sets it."""
        return self._version

    @property
    def epoch(self) -> EpochOf | None:
        """The epoch its batches belong to."""
        return self._epoch

    # --- what the parts say

    def record(self, batch: BatchNumber, step: Step, reason: Reason = Reason.OK, detail: str = "") -> None:
        """Add one event. What repeats the last event of the same step adds nothing: a waiting loop may call freely.

        Under a genesis without attesters nobody votes and nobody certifies, so a batch ends with the first thing seen.
        """
        entry = self._entry(batch)
        events = entry.events
        if step is Step.TOLD:
            self._forgotten(self._ballots.told(batch))
        last = next((event for event in reversed(events) if event.step is step), None)
        if last is not None and (last.reason, last.detail.removeprefix(FIRST)) == (reason, detail):
            return
        if step is Step.TOLD and reason is Reason.OK and self._came_back:
            self._came_back, detail = False, FIRST + detail
        if len(events) == self._max_events:
            del events[self._max_events // 2]
        events.append(DutyEvent(batch, step, self._now(), reason, detail))
        self._changed(batch)
        _tell_step(batch, step, reason, detail)
        if entry.state is EndState.OPEN and self._epoch is not None and self._epoch.committee is None:
            self.end(batch, EndState.SKIPPED, Reason.NO_COMMITTEE)

    def end(self, batch: BatchNumber, state: EndState, reason: Reason = Reason.OK) -> bool:
        """Give the batch its end state. True when it was taken.

        The first end stays. One exception: `certified` replaces `missed` and `skipped`, because a certificate may
        come after this node gave up, and is a proof. `open` is no end: ValueError.
        """
        if state is EndState.OPEN:
            raise ValueError("a batch cannot be ended as open")
        entry = self._entry(batch)
        proved_late = state is EndState.CERTIFIED and entry.state is not EndState.CERTIFIED
        if entry.state is not EndState.OPEN and not proved_late:
            return False
        self._counts[entry.state] -= 1
        self._counts[state] += 1
        self._open.pop(batch, None)
        entry.state, entry.reason, entry.ended_at = state, reason, self._now()
        self._changed(batch)
        _tell_end(batch, state, reason)
        return True

    def hindrance(self, batch: BatchNumber) -> Reason | None:
        """What keeps this node from signing: why the first step that is not done is not. None where nothing failed."""
        now = {event.step: event.reason for event in self.timeline(batch)}
        steps = UNTIL_SIGNED[1:]  # what a main node says wrongly of a batch that was told is a note
        return next((now[step] for step in steps if now.get(step, Reason.OK) is not Reason.OK), None)

    def end_below(self, number: BatchNumber) -> None:
        """The status went past `number`: what lies below and is open still will not go on here. O(open batches)."""
        for batch in [batch for batch in self._open if batch < number]:
            entry = self._entries[batch]
            if not entry.brought_back:
                self.end(batch, EndState.SKIPPED, Reason.QC_ELSEWHERE)
                continue
            signed = any(event.step is Step.SIGNED and event.reason is Reason.OK for event in entry.events)
            had_to = self._epoch is not None and self._epoch.has_vote and not signed
            self.end(batch, EndState.MISSED if had_to else EndState.SKIPPED, Reason.NODE_STOPPED)

    def heard(self, votes: Iterable[SignedBatch], via: NodePublicKey | None = None) -> None:
        """Votes that have just counted, or came late, and who brought them. On the path of a vote: some 0.5 µs each."""
        for number in self._ballots.heard(votes, via, self._now()):
            if self._has_book and number in self._entries:
                self._note(number)
        self._forgotten(self._ballots.bound())

    def wants_late(self, vote: SignedBatch) -> bool:
        """Whether `heard` is to be told of a vote although its batch is over: until the status has named three more
        numbers. O(1)."""
        return self._ballots.wants_late(vote)

    def delivered(self, peer: NodePublicKey, batch: BatchNumber) -> None:
        """A peer has taken this node's own vote."""
        if self._ballots.delivered(batch, peer, self._now()) and self._has_book and batch in self._entries:
            self._note(batch)

    def obtained(self, certificate: BatchQC) -> None:
        """The certificate of a batch came from elsewhere and is stored; nothing for a batch that is not remembered."""
        batch = certificate.batch
        if batch.number not in self._entries:
            return
        self._proved(certificate, "obtained from a main node")
        log.info(
            "batch %d: its certificate came from a main node", batch.number,
            extra=named(EventName.BATCH_CERTIFIED, batch=int(batch.number), hash=batch.hash.to_text()),
        )  # fmt: skip

    def brought_back(self) -> tuple[BatchNumber, ...]:
        """The batches that were open in the book when this node was started, and are still."""
        return tuple(batch for batch in self._open if self._entries[batch].brought_back)

    def found(self, certificate: BatchQC) -> None:
        """The store has the certificate of a batch that was brought back: the book was behind it when the node died."""
        self._proved(certificate, "in the store since before this node was started")

    def _proved(self, certificate: BatchQC, detail: str) -> None:
        batch = certificate.batch
        if self._ballots.get(batch.number) is not None:
            at = self._now()
            self._ballots.put(
                batch.number, [HeardVote(key, at, None, batch.hash, True) for key in certificate.signatures]
            )
        self.record(batch.number, Step.CERTIFIED, detail=detail)
        self.end(batch.number, EndState.CERTIFIED)

    def begin_epoch(self, of: EpochOf) -> None:
        """From now on batches belong to this epoch. One that goes on keeps its batches; those of another are forgotten,
        since their numbers come again, and the open ones end as skipped."""
        if self._epoch is not None and self._epoch.epoch != of.epoch:
            for batch in list(self._open):
                self.end(batch, EndState.SKIPPED, Reason.EPOCH_ENDED)
            for batch in self._unwritten:
                self._leaving.append(self._story(batch, self._ballots.get(batch)))
            self._unwritten.clear()
            self._entries.clear()
            self._ballots.clear()
        self._epoch = of
        self._version.value += 1

    # --- who looks on

    def timeline(self, batch: BatchNumber) -> tuple[DutyEvent, ...]:
        """The events of a batch, oldest first; empty for one never seen or forgotten."""
        entry = self._entries.get(batch)
        return tuple(entry.events) if entry else ()

    def end_state(self, batch: BatchNumber) -> EndState | None:
        """How the batch ended, `open` while it has not, None for one never seen or forgotten."""
        entry = self._entries.get(batch)
        return entry.state if entry else None

    def end_reason(self, batch: BatchNumber) -> Reason | None:
        """Why the batch ended as it did; None while it is open, never seen or forgotten."""
        entry = self._entries.get(batch)
        return entry.reason if entry and entry.state is not EndState.OPEN else None

    def story(self, batch: BatchNumber) -> BatchStory | None:
        """All that is remembered of a batch; None for one never seen or forgotten. O(votes), as fast as a copy."""
        return self._story(batch, self._ballots.get(batch)) if batch in self._entries else None

    def batches(self) -> tuple[BatchNumber, ...]:
        """The batches remembered, in the order in which they were first seen."""
        return tuple(self._entries)

    def counts(self) -> dict[EndState, int]:
        """How many batches are in each end state, forgotten ones included. The sum is the number of batches seen."""
        return dict(self._counts)

    # --- the book

    def keep_book(self, of: EpochOf | None, stories: Iterable[BatchStory]) -> None:
        """From now on everything is to be written; `stories` are the newest of the last epoch written, oldest first."""
        self._epoch = of or self._epoch
        for story in stories:
            entry = self._entry(story.number)
            entry.events = list(story.events[-self._max_events :])
            if story.votes is not None:
                self._ballots.put(story.number, story.votes, story.deliveries)
            if story.state is not EndState.OPEN:
                self._counts[EndState.OPEN] -= 1
                self._counts[story.state] += 1
                del self._open[story.number]
                entry.state, entry.reason, entry.ended_at = story.state, story.reason, story.ended_at
        self._has_book, self._came_back = True, bool(self._entries)
        for number in list(self._open):
            self._entries[number].brought_back = True
            self.record(number, Step.TOLD, Reason.NODE_STOPPED, "started again")
        self._forgotten(self._ballots.bound())

    def take_unwritten(self) -> list[BatchStory]:
        """What has changed since the last call; a batch stands there once, with everything."""
        stories = [*self._leaving, *(self._story(batch, self._ballots.get(batch)) for batch in self._unwritten)]
        self._leaving.clear()
        self._unwritten.clear()
        self.unwritten.value = False
        return stories

    def _story(self, batch: BatchNumber, ballot: Ballot | None) -> BatchStory:
        entry = self._entries[batch]
        votes, deliveries = ballot.snapshot() if ballot else (None, ())
        return BatchStory(
            self._epoch, batch, entry.state, entry.reason, entry.ended_at, tuple(entry.events), votes, deliveries
        )

    def _entry(self, batch: BatchNumber) -> _Entry:
        entry = self._entries.get(batch)
        if entry is None:
            if len(self._entries) == self._max_batches:
                self._forget(next(iter(self._entries)))
            entry = self._entries[batch] = _Entry()
            self._open[batch] = None
            self._counts[EndState.OPEN] += 1
            self._changed(batch)
        return entry

    def _forget(self, batch: BatchNumber) -> None:
        if batch in self._unwritten:
            self._leaving.append(self._story(batch, self._ballots.get(batch)))
            del self._unwritten[batch]
        del self._entries[batch]
        self._open.pop(batch, None)

    def _forgotten(self, ballots: Iterable[tuple[BatchNumber, Ballot]]) -> None:
        """Votes that are not remembered any more; those that are not written yet go to the book now."""
        for batch, ballot in ballots:
            if batch in self._unwritten:
                self._leaving.append(self._story(batch, ballot))
                del self._unwritten[batch]

    def _changed(self, batch: BatchNumber) -> None:
        if self._has_book:
            self._note(batch)
        self._version.value += 1

    def _note(self, batch: BatchNumber) -> None:
        self._unwritten[batch] = None
        if not self.unwritten.value:
            self.unwritten.value = True


def _tell_step(batch: BatchNumber, step: Step, reason: Reason, detail: str) -> None:
    """A certificate is told by who stores it."""
    if step is Step.CERTIFIED or not log.isEnabledFor(logging.DEBUG):
        return
    if reason is Reason.OK:
        log.debug("batch %d: %s %s", batch, step, detail, extra=named(STEPS[step], batch=int(batch)))
    else:
        fields = named(EventName.BATCH_WAITS, batch=int(batch), step=step, reason=reason)
        log.debug("batch %d: not %s: %s %s", batch, step, reason, detail, extra=fields)


def _tell_end(batch: BatchNumber, state: EndState, reason: Reason) -> None:
    """A missed one is no warning here: whoever could not do its part has warned."""
    if state is EndState.MISSED:
        log.info("batch %d is missed: %s", batch, reason.meaning, extra=_end(EventName.BATCH_MISSED, batch, reason))
    elif state is EndState.SKIPPED and log.isEnabledFor(logging.DEBUG):
        log.debug("batch %d is skipped: %s", batch, reason.meaning, extra=_end(EventName.BATCH_SKIPPED, batch, reason))


def _end(name: EventName, batch: BatchNumber, reason: Reason) -> dict[str, object]:
    return named(name, batch=int(batch), reason=reason)
