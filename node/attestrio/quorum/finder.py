"""From votes to stored certificates: the QC finder, which runs on every node whose genesis has a committee."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

import trio
from trio_util import AsyncValue

from attestrio.duty import DutyLog, EndState, Reason, Step
from attestrio.quorum.watch import VotesWatch
from attestrio.roles import Batch, BatchNumber, BatchQC, Committee, GenesisHash
from attestrio.status.api import AttestationStatus
from attestrio.status.watch import AttestationStatusWatch
from attestrio.store.api import BatchNumberTooLarge, BatchStore, QCConflict

log = logging.getLogger("attestrio.quorum")


def _nothing(certificate: BatchQC) -> None:
    """The default hook."""


@dataclass(frozen=True, slots=True)
class QCFinder:
    """Takes each quorum the committee reaches, stores its certificate, and lets the floor follow.

    Where the floor is. At the start: at `first_batch`, which is the same on every node and after every restart; on a
    node that has none configured, at the first status heard, but not past the number after the newest certificate
    stored here before a restart. From then on it is the smaller of the status and that number. Both are needed:

    * Not past the newest certificate stored here, or a status that was told too early (PR #161 of era-consensus)
      would make this node ignore votes for a batch that nobody has certified. Votes are sent once per connection, so
      they would be lost until a restart.
    * Not past the status, although the certificate is here: a neighbour, perhaps the main node itself, may still need
      the votes, and gets them from this register.
    * It may pass batches that have no certificate *here* once a later one is stored and the status has gone past
      them: the main node names a number only when it has the certificates below. Such gaps are normal outside the
      main node.

    A low floor costs nothing: one vote per member is kept, wherever the floor is.

    A certificate waits for its batch in a task of its own, so one whose batch is late, or never comes because a
    threshold voted for a number in the far future, holds up no other. At most `max_waiting` wait; beyond that a
    quorum stays in the register, to be looked at when there is room. Its signatures are not verified again: each
    was, against exactly this message, when it was counted.

    Errors of the store come out of `run`: `QCConflict` when this node holds another hash for the batch.

    Source: era-consensus d1d3b51e, network/gossip; there the floor follows the status, and one certificate that
    waits for its batch stops everything.
    """

    watch: AttestationStatusWatch
    votes: VotesWatch
    store: BatchStore
    committee: Committee
    genesis: GenesisHash
    duty: DutyLog
    first_batch: BatchNumber | None = None
    on_certificate: Callable[[BatchQC], None] = _nothing  # after it is durable, never twice for a number
    max_waiting: int = 16

    async def run(self) -> NoReturn:
        """Collect certificates until cancelled."""
        stored = await self.store.last_qc()
        progress = _Progress(stored=stored.batch.number if stored else None)
        first = await self._first()
        self.votes.raise_floor(first if progress.stored is None else min(first, progress.stored.next()))
        self._move_floor(progress)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_status, progress)
            await self._collect(progress, nursery)
        raise AssertionError("unreachable: both loops run until cancelled")

    async def _first(self) -> BatchNumber:
        if self.first_batch is not None:
            return self.first_batch
        status = await self.watch.wait_for(_names_a_batch)
        assert status.next_batch is not None
        return status.next_batch

    async def _follow_status(self, progress: _Progress) -> None:
        """Move the floor with the status, and say of batches left behind that their certificate is elsewhere."""
        passed: BatchNumber | None = None  # one status ago: its votes may still arrive, so it is ended one later
        told: BatchNumber | None = None
        why = Reason.QC_ELSEWHERE
        async for status in self.watch.subscribe():
            if status.next_batch is None:
                continue
            if passed is not None:
                self.duty.end(passed, EndState.SKIPPED, why)  # does nothing if it has ended
            passed, told = told, status.next_batch
            self.duty.end_below(told if passed is None else passed)
            if passed is not None:
                self.duty.record(passed, Step.SUBMITTED, detail=f"it went on to batch {told}")
                why = self._why_passed(passed)  # before the floor moves: the votes are still here
            self._move_floor(progress)

    def _why_passed(self, number: BatchNumber) -> Reason:
        """Why this node has no certificate for a batch that the status has passed, in case none comes any more."""
        weight, threshold = self.votes.support_for(number), self.committee.threshold
        if not weight:
            return Reason.QC_ELSEWHERE
        if weight < threshold:
            self.duty.record(number, Step.SEEN, Reason.QUORUM_NOT_REACHED, f"weight {weight} of {threshold}")
        return Reason.QUORUM_NOT_REACHED

    async def _collect(self, progress: _Progress, nursery: trio.Nursery) -> NoReturn:
        taken: Batch | None = None
        while True:
            await progress.waiting.wait_value(lambda waiting: waiting < self.max_waiting)
            certificate = await self.votes.wait_quorum(after=taken)
            taken = certificate.batch
            progress.waiting.value += 1
            nursery.start_soon(self._keep, certificate, progress)

    async def _keep(self, certificate: BatchQC, progress: _Progress) -> None:
        """Store one certificate once its batch is here, then tell others and let the floor follow."""
        number = certificate.batch.number
        self.duty.record(number, Step.SEEN, detail=f"quorum of {len(certificate.signatures)} votes")
        if not self.store.persisted.next() > number:
            log.info("batch %d: quorum reached, waiting for the batch", number)
            self.duty.record(number, Step.CERTIFIED, Reason.BATCH_NOT_PERSISTED)
        known = await self.store.qc(number) is not None
        try:
            await self.store.persist_qc(certificate)  # also if known: it is compared, so that a conflict is seen
        except BatchNumberTooLarge as exc:
            # No chain gets there: a threshold voted for nonsense. That must not end the node.
            log.warning("batch %d: certificate left out: %s", number, exc)
            self.duty.end(number, EndState.SKIPPED, Reason.QC_INVALID)
            progress.waiting.value -= 1
            return
        except QCConflict as exc:
            self.duty.record(number, Step.CERTIFIED, Reason.QC_CONFLICT, str(exc))
            self.duty.end(number, EndState.MISSED, Reason.QC_CONFLICT)
            raise
        kept = await self.store.qc(number)
        news = not known and kept is not None and kept.batch == certificate.batch
        progress.waiting.value -= 1
        progress.stored = number if progress.stored is None else max(progress.stored, number)
        self.duty.record(number, Step.CERTIFIED, Reason.OK if news else Reason.QC_KNOWN)
        self.duty.end(number, EndState.CERTIFIED)
        if news:
            self.on_certificate(certificate)
        self._move_floor(progress)

    def _move_floor(self, progress: _Progress) -> None:
        told, stored = self.watch.status.next_batch, progress.stored
        if told is not None and stored is not None:
            self.votes.raise_floor(told if told <= stored else stored.next())


@dataclass(slots=True, eq=False)
class _Progress:
    """What one run knows: the newest number with a certificate stored here, how many certificates are on their way."""

    stored: BatchNumber | None
    waiting: AsyncValue[int] = field(default_factory=lambda: AsyncValue(0))


def _names_a_batch(status: AttestationStatus) -> bool:
    return status.next_batch is not None
