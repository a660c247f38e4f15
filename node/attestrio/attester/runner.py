"""Votes for each batch the status names: wait for it, sign it, put the vote where links find it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar, NoReturn

import trio

from attestrio.attester.api import VoteSigner
from attestrio.batches.chain import reason_of
from attestrio.duty import DutyLog, EndState, Reason, Step
from attestrio.errors import SafetyError, SourceError
from attestrio.protection.errors import SigningRefused
from attestrio.quorum.watch import VotesWatch
from attestrio.roles import AttesterPublicKey, Batch, BatchNumber, Committee, SignedBatch
from attestrio.status.watch import AttestationStatusWatch, while_current
from attestrio.store.api import BatchStore

log = logging.getLogger("attestrio.attester")


class OtherBatchStored(SafetyError):
    """The store gave another batch than was asked for, or one of another genesis: it must not be signed."""

    code: ClassVar[str] = "other_batch_stored"

    def __init__(self, got: Batch, want: BatchNumber) -> None:
        super().__init__(f"asked the store for batch {want}, got batch {got.number} of {got.genesis.to_text()}")
        self.got, self.want = got, want


@dataclass(frozen=True, slots=True)
class AttesterRunner:
    """One vote for each batch the status names, if it can be had in time.

    While the batch or its hash is not here, a newer status ends the wait: the main node has the certificate of the
    batch, so a vote is of no use, and the newest number is taken up at once. If both come together the vote is cast.
    A batch that is signed is sent, whatever the status says by then. `committee` and `votes` are None under a genesis
    without attesters. Every step, and what prevents it, goes to `duty`.

    Source: era-consensus d1d3b51e, executor/attestation.rs `AttesterRunner`; there newer statuses are not seen during a
    wait, and an error of the store is fatal.
    """

    watch: AttestationStatusWatch
    store: BatchStore
    signer: VoteSigner
    votes: VotesWatch | None
    committee: Committee | None
    key: AttesterPublicKey
    poll_s: float
    duty: DutyLog

    async def run(self) -> NoReturn:
        """Vote for ever; idle for ever when this key has no vote.

        Raises SafetyError of the store and of a signer that stopped; a refused vote is a missed duty and no more.
        """
        if self.committee is None or self.votes is None:
            log.warning("the genesis has no attesters: this node does not vote")
            await self._idle(Reason.NO_COMMITTEE)
        if self.key not in self.committee:
            log.warning("%s is not in the committee: this node does not vote", self.key.to_text())
            await self._idle(Reason.NOT_IN_COMMITTEE)
        statuses = self.watch.subscribe()
        while True:
            number = (await anext(statuses)).next_batch
            if number is not None:
                await self._attest(number, self.votes)

    async def _idle(self, reason: Reason) -> NoReturn:
        """Only note of each batch why there is no vote."""
        statuses = self.watch.subscribe()
        while True:
            number = (await anext(statuses)).next_batch
            if number is not None:
                self.duty.record(number, Step.SIGNED, reason)
                self.duty.end(number, EndState.SKIPPED, reason)

    async def _attest(self, number: BatchNumber, votes: VotesWatch) -> None:
        batch = await while_current(self.watch, number, lambda: self._wait_batch(number))
        try:
            vote = None if batch is None else await self._sign(number, batch)
        except SigningRefused as exc:
            # Refusing is all that safety asks for: the number is lost, the next one is not.
            log.error("batch %d: not signed: %s", number, exc)
            self._refuse(number, exc.code)
            return
        if vote is None:
            self._miss(number)
        else:
            self._send(vote, votes)

    async def _wait_batch(self, number: BatchNumber) -> Batch:
        """The batch once it is persisted and its hash is known."""
        said = ""
        while True:
            try:
                batch = await self._read(number)
            except SourceError as exc:
                self.duty.record(number, Step.HASHED, reason_of(exc), exc.code)
                if said != exc.code:  # once per kind
                    log.warning("batch %d: store not read, asking again every %g s: %s", number, self.poll_s, exc)
                    said = exc.code
            else:
                if batch is not None:
                    return batch
            await trio.sleep(self.poll_s)

    async def _read(self, number: BatchNumber) -> Batch | None:
        if self.store.persisted.next() <= number:
            self.duty.record(number, Step.PERSISTED, Reason.BATCH_NOT_PERSISTED)
        await self.store.wait_until_persisted(number)
        self.duty.record(number, Step.PERSISTED)
        batch = await self.store.batch_to_sign(number)
        self.duty.record(number, Step.HASHED, Reason.HASH_NOT_AVAILABLE if batch is None else Reason.OK)
        return batch

    async def _sign(self, number: BatchNumber, batch: Batch) -> SignedBatch | None:
        """The vote, or None when the signer had to be asked again and the status moved on meanwhile."""
        if batch.number != number or batch.genesis != self.watch.status.genesis:
            self._refuse(number, OtherBatchStored.code)
            raise OtherBatchStored(batch, number)
        while True:
            try:
                vote = await self.signer.sign(batch)
            except SourceError as exc:
                log.info("batch %d: not signed yet, asking again in %g s: %s", number, self.poll_s, exc)
                self.duty.record(number, Step.SIGNED, reason_of(exc), exc.code)
            else:
                self.duty.record(number, Step.RECORDED)
                self.duty.record(number, Step.SIGNED)
                return vote
            with trio.move_on_after(self.poll_s):
                await self.watch.wait_past(number)
                return None

    def _send(self, vote: SignedBatch, votes: VotesWatch) -> None:
        number = vote.batch.number
        if votes.add([vote]).added:
            self.duty.record(number, Step.SENT)
        elif number < votes.min_batch_number:
            log.info("batch %d: the vote came too late", number)
            self.duty.record(number, Step.SENT, Reason.VOTE_BELOW_FLOOR)
            newest = self.watch.status.next_batch
            if newest is not None and newest > number:  # else a certificate stored here has raised the floor
                self.duty.end(number, EndState.MISSED, Reason.VOTE_BELOW_FLOOR)
        else:
            self.duty.record(number, Step.SENT, Reason.VOTE_NOT_NEWER)

    def _refuse(self, number: BatchNumber, code: str) -> None:
        self.duty.record(number, Step.SIGNED, Reason.SIGNING_REFUSED, code)
        self.duty.end(number, EndState.MISSED, Reason.SIGNING_REFUSED)

    def _miss(self, number: BatchNumber) -> None:
        """The batch ends with what hindered the vote; that the status has moved stands in the timeline."""
        newest, reason = self.watch.status.next_batch, self.duty.hindrance(number)
        log.warning("batch %d: not signed, the status moved to %s first", number, newest)
        self.duty.record(number, Step.SIGNED, Reason.SUPERSEDED, f"status moved to {newest}")
        self.duty.end(number, EndState.MISSED, reason or Reason.SUPERSEDED)
