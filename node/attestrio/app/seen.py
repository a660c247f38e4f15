"""What the page shows of a node that no part keeps: when something happened last, and who votes."""

from __future__ import annotations

from collections.abc import Callable

from attestrio.app.parts import Epoch
from attestrio.duty import DutyLog
from attestrio.roles import BatchNumber
from attestrio.status.runner import PollOutcome
from attestrio.web.attendance import Attendance, OnMiss, uncounted


class Seen:
    """Filled by hooks of the parts; the hooks cost nothing worth a number and never raise.

    Args:
      duty: what happened to each batch.
      now: the wall clock, in seconds since 1970.
    """

    def __init__(self, duty: DutyLog, now: Callable[[], float]) -> None:
        self._duty, self._now = duty, now
        self.on_miss: OnMiss = uncounted
        """For the epochs that begin from then on."""
        self.attendance = Attendance(duty.story, now)
        self.poll: PollOutcome | None = None
        """The last poll of the status; None before the first."""
        self.no_genesis: str | None = None
        """Why the main node has shown no genesis, by code; "": it has none. None once it has, or where nobody asks."""
        self.polled_at: float | None = None
        """Of the last poll that was answered."""
        self.certified: BatchNumber | None = None
        """The newest batch with a certificate stored here."""
        self.certified_at: float | None = None
        """None for a certificate from before this process."""
        self.signed: BatchNumber | None = None

    def began(self, newest: BatchNumber | None) -> None:
        """An epoch begins, over a store whose newest certificate is `newest`."""
        self.attendance = Attendance(self._duty.story, self._now, self.on_miss)
        self.no_genesis = None
        self.poll, self.certified, self.certified_at, self.signed = None, newest, None, None

    def without_genesis(self, code: str) -> None:
        """The main node was asked for the genesis in vain."""
        self.no_genesis = code

    def polled(self, outcome: PollOutcome, epoch: Epoch | None) -> None:
        self.poll = outcome
        if not outcome.code:
            self.polled_at = self._now()
        if epoch is not None and epoch.status.status.next_batch is not None:
            self.attendance.told(epoch.status.status.next_batch)

    def stored(self, number: BatchNumber) -> None:
        """A certificate is stored durably."""
        if self.certified is None or number > self.certified:
            self.certified, self.certified_at = number, self._now()

    def voted(self, number: BatchNumber) -> None:
        self.signed = number
