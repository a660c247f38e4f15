"""A batch store that lasts as long as the process: for tests, stories and embedders who keep certificates elsewhere."""

from __future__ import annotations

import trio

from attestrio.roles import Batch, BatchHash, BatchNumber, BatchQC, GenesisHash, SyncBatch
from attestrio.store.api import FROM_ZERO, NextRule, StoreClosed, StoreState
from attestrio.store.queue import BatchQueue, QueuedStore
from attestrio.store.rules import (
    check_batch,
    check_genesis,
    check_number,
    check_qc,
    extended,
    is_pruned,
    next_to_attest,
)


class MemoryBatchStore(QueuedStore):
    """`BatchStore` in dictionaries; nothing is ever removed, and nothing survives."""

    def __init__(
        self, genesis_hash: GenesisHash, first_batch: BatchNumber = FROM_ZERO, next_rule: NextRule = "gap"
    ) -> None:
        super().__init__(first_batch, next_rule)
        self._genesis = genesis_hash
        self._opened = BatchQueue(StoreState(self._first_batch))
        self._synced: dict[BatchNumber, SyncBatch] = {}
        self._to_sign: dict[BatchNumber, Batch] = {}
        self._qcs: dict[BatchNumber, BatchQC] = {}
        self._last_certified: BatchNumber | None = None
        self._gap = self._first_batch  # where the last search for a gap ended, and from where it had begun
        self._gap_from = self._first_batch
        self._running = False

    @property
    def pruned_first_batch(self) -> bool:
        return is_pruned(self._first_batch, self.persisted, self._last_certified)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._running = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_queue)
                task_status.started()
                await self._ended.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._running = False
            self._queue.close()
            self._ended.set()

    async def close(self) -> None:
        self._queue.close()
        if self._running:
            await self._queue.wait_written()
        self._running = False
        self._ended.set()
        await trio.lowlevel.checkpoint()

    async def batch(self, number: BatchNumber) -> SyncBatch | None:
        await self._checkpoint()
        return self._synced.get(number) or self._queue.cached(number) if self.queued.contains(number) else None

    async def put_batch_to_sign(self, batch: Batch) -> None:
        await self._checkpoint()
        check_number(batch.number)
        check_genesis(batch.number, batch.genesis, self._genesis)
        check_batch(batch, self._hash_to_sign(batch.number), self._hash_certified(batch.number))
        self._to_sign[batch.number] = batch
        self._queue.moved(extended(self.persisted, batch.number))

    async def batch_to_sign(self, number: BatchNumber) -> Batch | None:
        await self._checkpoint()
        return self._to_sign.get(number)

    async def persist_qc(self, qc: BatchQC) -> None:
        number = qc.batch.number
        check_number(number)
        check_genesis(number, qc.batch.genesis, self._genesis)
        await self._queue.wait_until_persisted(number)
        await self._checkpoint()
        check_qc(qc, self._hash_to_sign(number), self._hash_certified(number))
        self._qcs.setdefault(number, qc)
        self._last_certified = max(number, self._last_certified or number)

    async def qc(self, number: BatchNumber) -> BatchQC | None:
        await self._checkpoint()
        return self._qcs.get(number)

    async def last_qc(self) -> BatchQC | None:
        await self._checkpoint()
        return None if self._last_certified is None else self._qcs[self._last_certified]

    async def qcs(self, first: BatchNumber, limit: int) -> tuple[BatchQC, ...]:
        await self._checkpoint()
        return tuple(self._qcs[number] for number in sorted(self._qcs) if number >= first)[:limit]

    async def certified(self, first: BatchNumber, limit: int) -> tuple[BatchNumber, ...]:
        await self._checkpoint()
        return tuple(number for number in sorted(self._qcs) if number >= first)[:limit]

    async def next_batch_to_attest(self) -> BatchNumber | None:
        await self._checkpoint()
        return next_to_attest(self._next_rule, self._first_batch, self.persisted, self._last_certified, self._first_gap)

    def _first_gap(self, start: BatchNumber) -> BatchNumber:
        if start != self._gap_from:
            self._gap_from = self._gap = start
        while self._gap in self._qcs:
            self._gap = self._gap.next()
        return self._gap

    async def _checkpoint(self) -> None:
        await trio.lowlevel.checkpoint()
        if not self._running:
            raise StoreClosed

    async def _write_queue(self) -> None:
        while True:
            batches = await self._queue.wait_unwritten()
            persisted = self.persisted
            for batch in batches:
                self._synced.setdefault(batch.number, batch)
                persisted = extended(persisted, batch.number)
            self._queue.moved(persisted, batches)

    def _hash_to_sign(self, number: BatchNumber) -> BatchHash | None:
        batch = self._to_sign.get(number)
        return None if batch is None else batch.hash

    def _hash_certified(self, number: BatchNumber) -> BatchHash | None:
        qc = self._qcs.get(number)
        return None if qc is None else qc.batch.hash
