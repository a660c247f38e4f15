"""The node's memory of what happened to each batch, bounded, with exactly one end state per batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from trio_util import AsyncValue

from attestrio.duty.events import DutyEvent, EndState, Reason, Step
from attestrio.roles import BatchNumber


@dataclass(slots=True)
class _Entry:
    events: list[DutyEvent] = field(default_factory=list)
    state: EndState = EndState.OPEN
    reason: Reason = Reason.OK


class DutyLog:
    """What every part did with a batch, and why not. Used from the trio thread only.

    Args:
      now: the wall clock, in seconds since 1970.
      max_batches: how many batches are remembered. The one seen first is forgotten first; it stays in `counts()`, and
        would count once more if it came back.
      max_events: how many events are kept per batch. Beyond it the middle goes: the beginning says how a batch
        started, the end why it hangs.

    `watch` carries a version that grows with every change, so that a page or a metric can wait for news.
    """

    def __init__(self, now: Callable[[], float], *, max_batches: int = 1_000, max_events: int = 64) -> None:
        if max_batches < 1 or max_events < 2:
            raise ValueError(f"max_batches={max_batches} and max_events={max_events} must be at least 1 and 2")
        self._now = now
        self._max_batches = max_batches
        self._max_events = max_events
        self._entries: dict[BatchNumber, _Entry] = {}
        self._counts = dict.fromkeys(EndState, 0)
        self._version = AsyncValue(0)

    @property
    def watch(self) -> AsyncValue[int]:
        """The version, to wait on. Only this log sets it."""
        return self._version

    def record(self, batch: BatchNumber, step: Step, reason: Reason = Reason.OK, detail: str = "") -> None:
        """Add one event. What repeats the last event of the same step adds nothing: a waiting loop may call freely."""
        events = self._entry(batch).events
        last = next((event for event in reversed(events) if event.step is step), None)
        if last is not None and (last.reason, last.detail) == (reason, detail):
            return
        if len(events) == self._max_events:
            del events[self._max_events // 2]
        events.append(DutyEvent(batch, step, self._now(), reason, detail))
        self._version.value += 1

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
        entry.state, entry.reason = state, reason
        self._version.value += 1
        return True

    def begin_epoch(self) -> None:
        """Forget the batches of the epoch that ended, since their numbers come again; the open ones end as skipped."""
        for batch, entry in self._entries.items():
            if entry.state is EndState.OPEN:
                self.end(batch, EndState.SKIPPED, Reason.EPOCH_ENDED)
        self._entries.clear()
        self._version.value += 1

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

    def batches(self) -> tuple[BatchNumber, ...]:
        """The batches remembered, in the order in which they were first seen."""
        return tuple(self._entries)

    def counts(self) -> dict[EndState, int]:
        """How many batches are in each end state, forgotten ones included. The sum is the number of batches seen."""
        return dict(self._counts)

    def _entry(self, batch: BatchNumber) -> _Entry:
        entry = self._entries.get(batch)
        if entry is None:
            if len(self._entries) == self._max_batches:
                del self._entries[next(iter(self._entries))]
            entry = self._entries[batch] = _Entry()
            self._counts[EndState.OPEN] += 1
            self._version.value += 1
        return entry
