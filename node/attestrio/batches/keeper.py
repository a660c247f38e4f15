"""Obtains the batch the status names and stores it, so that it counts as persisted."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import NoReturn

import trio

from attestrio.batches.api import BatchSource
from attestrio.batches.chain import reason_of
from attestrio.batches.putting import put
from attestrio.duty import DutyLog, Reason, Step
from attestrio.errors import SourceError
from attestrio.roles import BatchNumber
from attestrio.status.watch import AttestationStatusWatch, while_current
from attestrio.store.api import BatchStore

log = logging.getLogger("attestrio.batches")


@dataclass(frozen=True, slots=True)
class BatchKeeper:
    """For each number of the status: asks `source` until it knows the batch, and stores it.

    When the status moves on first, the number is left: the main node has its certificate, and nobody asks for the
    batch any more. What the store already has is not asked for, so a restart works without the main node.
    """

    watch: AttestationStatusWatch
    source: BatchSource
    store: BatchStore
    poll_s: float
    duty: DutyLog

    async def run(self) -> NoReturn:
        """Keep for ever. Raises SafetyError when the store refuses: another hash, or another genesis."""
        statuses = self.watch.subscribe()
        while True:
            number = (await anext(statuses)).next_batch
            if number is not None:
                await self._keep(number)

    async def _keep(self, number: BatchNumber) -> None:
        async def until_kept() -> None:
            said = ""
            while not await self._is_stored(number):
                try:
                    if await self._obtain(number):
                        return
                except SourceError as exc:
                    self.duty.record(number, Step.PERSISTED, reason_of(exc), exc.code)
                    if said != exc.code:  # once per kind, silent when well
                        log.warning("batch %d: not obtained, asking again every %g s: %s", number, self.poll_s, exc)
                        said = exc.code
                await trio.sleep(self.poll_s)

        await while_current(self.watch, number, until_kept)

    async def _is_stored(self, number: BatchNumber) -> bool:
        try:
            return await self.store.batch_to_sign(number) is not None
        except SourceError:
            return False  # then the attempt to store it says what is wrong

    async def _obtain(self, number: BatchNumber) -> bool:
        batch = await self.source.batch_to_sign(number)
        if batch is None:
            if number < self.store.persisted.next():  # it came by another way, without its hash
                self.duty.record(number, Step.HASHED, Reason.HASH_NOT_AVAILABLE)
            else:
                self.duty.record(number, Step.PERSISTED, Reason.BATCH_NOT_PERSISTED)
            return False
        await put(self.store, batch, self.duty)
        return True
