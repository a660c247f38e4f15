"""Brings the batches a main node has to certify into its store, in order: from its own file, or from another source."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, NoReturn

import trio

from attestrio.batches.api import BatchSource
from attestrio.batches.chain import reason_of
from attestrio.batches.local import LocalBatches
from attestrio.batches.putting import put
from attestrio.duty import DutyLog, Step
from attestrio.errors import SourceError
from attestrio.roles import Batch, BatchNumber
from attestrio.store.api import BatchStore

log = logging.getLogger("attestrio.batches")


class BatchGap(SourceError):
    """The file goes on above the next batch: what lies between was rotated away, or never sealed."""

    code: ClassVar[str] = "batch_gap"

    def __init__(self, got: BatchNumber, want: BatchNumber) -> None:
        super().__init__(f"the batch file begins with batch {got}, batch {want} is next")
        self.got, self.want = got, want


@dataclass(frozen=True, slots=True)
class LocalFeeder:
    """For a main node: stores each batch of the file, one after the other, and follows the file for ever.

    An empty store begins where the file does, or at the store's first batch if the file has it. Later no batch is
    jumped over: a main node has to certify each. After a restart the last batch is compared once more, so that a file
    that was rewritten under the same genesis is noticed (BatchConflict). Costs one lookup a batch.
    """

    batches: LocalBatches
    store: BatchStore
    poll_s: float
    duty: DutyLog

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Started once the file was read. Raises BatchFileUnusable before, SafetyError of the store later."""
        with suppress(SourceError):  # clients have taken all descriptors: the file is asked again below
            await self.batches.check()
        task_status.started()
        number = self.store.persisted.last
        said = ""
        while True:
            batch = None
            try:
                batch = await self._after(number)
                if batch is not None:
                    await put(self.store, batch, self.duty)
                    number, said = batch.number.next(), ""
            except SourceError as exc:
                batch = None
                if number is not None:
                    self.duty.record(number, Step.PERSISTED, reason_of(exc), exc.code)
                if said != exc.code:
                    log.warning("batch file not followed, asking again every %g s: %s", self.poll_s, exc)
                    said = exc.code
            if batch is None:
                await trio.sleep(self.poll_s)

    async def _after(self, number: BatchNumber | None) -> Batch | None:
        """The batch to store next. None for `number`: the store is empty and begins with what the file has."""
        first = await self.batches.first_number()
        if first is None:
            return None
        if number is None:
            return await self.batches.batch_to_sign(max(first, self.store.persisted.first))
        if first > number and self.store.persisted.next() != first:
            raise BatchGap(first, number)
        return await self.batches.batch_to_sign(max(first, number))


@dataclass(frozen=True, slots=True)
class BatchFeeder:
    """For a main node with a batch source of its own: stores each batch as soon as the source knows it, in order.

    Begins where the store ends, asks for the next number every `poll_s` seconds while it is not known, and at once
    after one that was. Raises SafetyError of the store.
    """

    source: BatchSource
    store: BatchStore
    poll_s: float
    duty: DutyLog

    async def run(self) -> NoReturn:
        """Feed for ever."""
        said = ""
        while True:
            number = self.store.persisted.next()
            batch = None
            try:
                batch = await self.source.batch_to_sign(number)
                if batch is not None:
                    await put(self.store, batch, self.duty)
                said = ""
            except SourceError as exc:
                batch = None
                self.duty.record(number, Step.PERSISTED, reason_of(exc), exc.code)
                if said != exc.code:
                    log.warning("batch %d: not obtained, asking again every %g s: %s", number, self.poll_s, exc)
                    said = exc.code
            if batch is None:
                await trio.sleep(self.poll_s)
