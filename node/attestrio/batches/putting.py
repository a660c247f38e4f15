"""Puts a batch into the store, and on record for the batch why the store would not have it."""

from __future__ import annotations

from attestrio.duty import DutyLog, EndState, Reason, Step
from attestrio.roles import Batch
from attestrio.store.api import BatchConflict, BatchStore, QCConflict


async def put(store: BatchStore, batch: Batch, duty: DutyLog) -> None:
    """As `BatchStore.put_batch_to_sign`, told to `duty`. A conflict ends the batch, and is raised."""
    try:
        await store.put_batch_to_sign(batch)
    except (BatchConflict, QCConflict) as exc:
        reason = Reason.QC_CONFLICT if isinstance(exc, QCConflict) else Reason.BATCH_CONFLICT
        duty.record(batch.number, Step.PERSISTED, reason, str(exc))
        duty.end(batch.number, EndState.MISSED, reason)
        raise
    duty.record(batch.number, Step.PERSISTED)
