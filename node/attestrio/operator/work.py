"""From a batch on the chain to a verdict on the disk: several at a time, the oldest first."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn

import trio

from attestrio.duty import Reason
from attestrio.errors import SourceError
from attestrio.kit.blocking import RunBlocking
from attestrio.l1.api import Address, Chain
from attestrio.l1.contract import Contract
from attestrio.operator import rows
from attestrio.operator.batch import Entry, batch_untrusted
from attestrio.operator.download import Downloader
from attestrio.operator.errors import BadPointer, RootDiffers, TaskDiffers, VerifierFailed
from attestrio.operator.merkle import batch_root
from attestrio.operator.rows import Ended
from attestrio.operator.settings import WorkSettings
from attestrio.operator.signing import ResponseRecord
from attestrio.operator.state import Batch, OperatorState
from attestrio.operator.surface import BATCHES_STATE, DISABLED_VERIFIERS
from attestrio.operator.verify import Checked, ProofVerifier, check_proofs

log = logging.getLogger("attestrio.operator")

LOOK_S: Final = 1.0  # for what another process put into the journal
LEASE_S: Final = 86_400.0  # nobody else takes work from this journal, and a start ends all leases
AGAIN_S: Final = 15.0  # for a further attempt that found no place
VOID_S: Final = 60.0  # between two looks at a batch that a reorg took away; it is woken when it comes back


@dataclass(frozen=True, slots=True)
class Worker:
    """Brings work to its end. `run` it once."""

    state: OperatorState
    chain: Chain
    manager: Address
    downloader: Downloader
    verifier: ProofVerifier
    record: ResponseRecord
    settings: WorkSettings
    past_horizon: Callable[[Batch], bool]
    run_blocking: RunBlocking
    _failures: dict[bytes, int] = field(default_factory=dict)

    async def run(self) -> NoReturn:
        """Take work, oldest first, as much at a time as the settings allow. Only faults of the journal come out.

        One place is kept for first attempts: anybody can post batches whose data never comes, and each would take a
        place again and again, before whatever is younger.
        """
        journal, room = self.state.journal, trio.CapacityLimiter(self.settings.batches)
        again = trio.CapacityLimiter(max(self.settings.batches - 1, 1))
        proofs = trio.CapacityLimiter(self.settings.proofs)
        async with trio.open_nursery() as nursery:
            while True:
                await room.acquire()  # there is room for one more, and perhaps for others
                room.release()
                leased = await journal.lease(rows.WORK, rows.OWNER, int(room.available_tokens), LEASE_S)
                for one in leased:
                    places = [room]
                    if one.attempt > 1:
                        if again.available_tokens == 0:
                            await journal.release(rows.WORK, one.key, AGAIN_S)
                            continue
                        places.append(again)
                    for place in places:
                        await place.acquire_on_behalf_of(one.key)
                    self.state.busy.add(one.key)
                    nursery.start_soon(self._do, one.key, places, proofs)
                if not leased:
                    await journal.wait(rows.WORK, LOOK_S)

    async def _do(self, key: bytes, places: list[trio.CapacityLimiter], proofs: trio.CapacityLimiter) -> None:
        """One attempt at one batch: it ends, or is put off."""
        try:
            batch = await self.state.batch(rows.identifier_of(key))
            if batch is None or batch.key != key:  # a later round or turn has taken its place
                await self.record.forget(key)
                return
            try:
                await self._attempt(batch, proofs)
            except SourceError as exc:
                await self._failed(batch, exc)
            else:
                self._failures.pop(key, None)
        finally:
            self.state.busy.discard(key)
            for place in places:
                place.release_on_behalf_of(key)

    async def _attempt(self, batch: Batch, proofs: trio.CapacityLimiter) -> None:
        """See what is left to be done, do it, record it. Raises SourceError where it cannot be done now."""
        verdict = batch.verdict
        if verdict is not None and verdict.final:
            if verdict.ended is Ended.SIGNED:  # verified before: only the answer is missing
                await self.record.sign(batch)
            else:
                await self.record.forget(batch.key)
        elif batch.row.responded is not None:
            await self.record.end(batch, Ended.SKIPPED, Reason.ANSWERED_BY_OTHERS)
        elif batch.row.void:
            if self.past_horizon(batch):
                await self.record.end(batch, Ended.SKIPPED, Reason.REORGED_AWAY)
            else:
                await self.state.journal.release(rows.WORK, batch.key, VOID_S)
        elif await self._answered(batch):
            await self.record.end(batch, Ended.SKIPPED, Reason.ANSWERED_BY_OTHERS)
        else:
            await self._verify(batch, proofs)

    async def _answered(self, batch: Batch) -> bool:
        """Whether the contract has an answer already. Raises TaskDiffers, SourceError."""
        contract = Contract(self.chain, self.manager)
        created, responded, _ = await contract.call(BATCHES_STATE, batch.identifier)
        if created != batch.row.created:
            raise TaskDiffers(batch.identifier, created, batch.row.created)
        return bool(responded)

    async def _verify(self, batch: Batch, proofs: trio.CapacityLimiter) -> None:
        """Get the data, verify the proofs, record the verdict. Raises SourceError where there is none."""

        async def read(raw: bytes) -> tuple[Entry, ...]:
            return await self.run_blocking(lambda: entries_of(raw, batch.row.root))

        try:
            entries = await self.downloader.fetch(batch.row.pointer, read)
        except BadPointer as exc:
            await self.record.end(batch, Ended.MISSED, Reason.DATA_UNAVAILABLE, str(exc))
            return
        contract = Contract(self.chain, self.manager)
        (disabled,) = await contract.call(DISABLED_VERIFIERS)
        checked = await check_proofs(entries, disabled, self.verifier, proofs)
        if checked.bad is None:
            self.state.metrics.proofs.labels("valid").inc(len(entries))
            await self.record.sign(batch)
        else:
            await self._refuse(batch, checked, entries[checked.bad])

    async def _refuse(self, batch: Batch, checked: Checked, entry: Entry) -> None:
        self.state.metrics.proofs.labels("invalid").inc()
        reason = Reason.PROOF_INVALID if checked.disabled is None else Reason.VERIFIER_DISABLED
        detail = f"entry {checked.bad}, {entry.system.text}"
        log.warning("batch %s is not signed: %s (%s)", batch, detail, reason)
        await self.record.end(batch, Ended.REFUSED, reason, detail)

    async def _failed(self, batch: Batch, exc: SourceError) -> None:
        """Put the batch off, or give it up where it is too old."""
        self.state.metrics.failures.labels(code=exc.code).inc()
        if self.past_horizon(batch):
            log.error("batch %s is missed: %s (%s)", batch, exc, exc.code)
            self._failures.pop(batch.key, None)
            await self.record.end(batch, Ended.MISSED, reason_of(exc), str(exc))
            return
        failures = self._failures[batch.key] = self._failures.get(batch.key, 0) + 1
        wait_s = self.settings.wait_s(failures)
        log.warning("batch %s: tried again in %g s: %s (%s)", batch, wait_s, exc, exc.code)
        await self.state.journal.release(rows.WORK, batch.key, wait_s)


def entries_of(raw: bytes, root: bytes) -> tuple[Entry, ...]:
    """The entries of downloaded data that has the chain's root. Raises BatchUnreadable, RootDiffers."""
    entries = batch_untrusted(raw)
    got = batch_root(entries)
    if got != root:
        raise RootDiffers(got, root)
    return entries


def reason_of(exc: SourceError) -> Reason:
    """Why a batch was missed, by what went wrong last."""
    if isinstance(exc, VerifierFailed):
        return Reason.VERIFIER_FAILED
    if isinstance(exc, TaskDiffers):
        return Reason.NOT_ON_CHAIN
    return Reason.DATA_UNAVAILABLE
