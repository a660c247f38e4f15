"""Asks for the status at a fixed interval and moves the watch forward."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

import trio

from attestrio.duty import DutyLog, EndState, Reason, Step
from attestrio.errors import SourceError
from attestrio.roles import BatchNumber
from attestrio.status.api import AttestationStatus, AttestationStatusClient
from attestrio.status.watch import AttestationStatusWatch, GenesisChanged, MovedBackwards

log = logging.getLogger("attestrio.status")


class PollResult(StrEnum):
    """What one poll brought."""

    MOVED = "moved"  # a first or greater number: the watch went forward
    SAME = "same"
    UNKNOWN = "unknown"  # answered, but no genesis or number yet
    FAILED = "failed"  # a SourceError; `code` says which
    LOWER = "lower"  # below the watch's number: held
    REFUSED = "refused"  # a SafetyError, which is raised next; `code` says which


@dataclass(frozen=True, slots=True)
class PollOutcome:
    """One poll, for metrics. `took_s` is the time of the ask; `code` is the error's, "" without one."""

    result: PollResult
    took_s: float
    code: str = ""


def _nobody(_outcome: PollOutcome) -> None:
    """For who does not count polls."""


@dataclass(slots=True)
class _Memory:
    """What one run remembers between polls."""

    complaint: str = ""  # the last thing logged as wrong, "" when well
    lower_since: float | None = None  # trio time of the first lower answer since the last good one


@dataclass(frozen=True, slots=True)
class AttestationStatusRunner:
    """Asks `source` which batch comes next and moves `watch` forward.

    Every SourceError and every "not known yet" means: ask again after `every_s`; no backoff, since the main node
    restarts on every upgrade and one small request is all it gets. A number lower than the watch's is held back
    while fewer than `stale_grace_s` seconds passed since the first such answer (a replica that lags behind); any
    answer that is not lower starts that time anew, silence does not. After it MovedBackwards is raised, and
    GenesisChanged at once: both end the epoch. How long one ask may take is the client's business.

    Source: era-consensus d1d3b51e, executor/attestation.rs; there a lower number is fatal at once.
    """

    source: AttestationStatusClient
    watch: AttestationStatusWatch
    every_s: float = 5.0
    stale_grace_s: float = 60.0
    on_poll: Callable[[PollOutcome], None] = _nobody
    duty: DutyLog | None = None

    async def run(self) -> NoReturn:
        """Poll for ever. Raises GenesisChanged, MovedBackwards."""
        memory = _Memory()
        while True:
            await self._poll(memory)
            await trio.sleep(self.every_s)

    async def _poll(self, memory: _Memory) -> None:
        asked = trio.current_time()
        try:
            told = await self.source.attestation_status()
        except SourceError as exc:
            self._complain(memory, exc.code, f"status not read, asking again every {self.every_s:g} s: {exc}")
            self._note(Reason.MAIN_NODE_DOWN, exc.code)
            self._report(asked, PollResult.FAILED, exc.code)
            return
        try:
            result = self._apply(told, memory)
        except (GenesisChanged, MovedBackwards) as exc:
            self._report(asked, PollResult.REFUSED, exc.code)
            reason = Reason.GENESIS_CHANGED if isinstance(exc, GenesisChanged) else Reason.MOVED_BACKWARDS
            self._note(reason, str(exc), end=True)
            raise
        self._report(asked, result)

    def _apply(self, told: AttestationStatus | None, memory: _Memory) -> PollResult:
        """Bring an answer into the watch, or hold it back."""
        if told is None:
            self._complain(memory, "unknown", "status not known yet, asking again")
            self._note(Reason.STATUS_NOT_KNOWN)
            return PollResult.UNKNOWN
        known = self.watch.status
        if told.genesis == known.genesis and self._is_held(known.next_batch, told.next_batch, memory):
            return PollResult.LOWER
        moved = self.watch.update(told)
        if told.next_batch is None:
            self._complain(memory, "unknown", "status not known yet, asking again")
            return PollResult.UNKNOWN
        memory.lower_since = None
        if memory.complaint:
            log.info("batch %s: status is well again", told.next_batch)
            memory.complaint = ""
        self._note(Reason.OK)
        return PollResult.MOVED if moved else PollResult.SAME

    def _is_held(self, known: BatchNumber | None, told: BatchNumber | None, memory: _Memory) -> bool:
        """Whether this is a lower number that is still given time."""
        if known is None or told is None or told >= known:
            return False
        now = trio.current_time()
        if memory.lower_since is None:
            memory.lower_since = now
        lasted = now - memory.lower_since
        if lasted >= self.stale_grace_s:
            return False
        text = f"status names {told} after {known}: held for up to {self.stale_grace_s:g} s (a replica that lags?)"
        self._complain(memory, "lower", text)
        self._note(Reason.STATUS_LOWER, f"told {told}")
        return True

    def _complain(self, memory: _Memory, complaint: str, text: str) -> None:
        """Log what is wrong once, until something else is wrong or all is well."""
        if memory.complaint != complaint:
            log.warning("%s", text)
            memory.complaint = complaint

    def _note(self, reason: Reason, detail: str = "", *, end: bool = False) -> None:
        """Write to the duty log, under the number known now; nothing while none is."""
        number = self.watch.status.next_batch
        if self.duty is None or number is None:
            return
        self.duty.record(number, Step.TOLD, reason, detail)
        if end:
            self.duty.end(number, EndState.SKIPPED, reason)

    def _report(self, asked: float, result: PollResult, code: str = "") -> None:
        self.on_poll(PollOutcome(result, trio.current_time() - asked, code))
