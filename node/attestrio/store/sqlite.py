"""The batch store on disk: one writer that commits for everybody who waits, one reader for point reads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import apsw
import trio
import trio_util

from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.kit.group_commit import CLOSE_TIMEOUT_S, GroupCommit, GroupCommitStatistics
from attestrio.kit.sqlite import open_database, storage_errors
from attestrio.roles import Batch, BatchNumber, BatchQC, GenesisHash, SyncBatch
from attestrio.store.api import FROM_ZERO, NextRule, StoreClosed, StoreState
from attestrio.store.queue import BatchQueue, QueuedStore
from attestrio.store.rows import APPLICATION_ID, SCHEMA, EpochRows
from attestrio.store.rules import check_genesis, check_number, is_pruned, next_to_attest

T = TypeVar("T")


class SqliteBatchStore(QueuedStore):
    """`BatchStore` in one SQLite file. Construct, then `await nursery.start(store.run)`.

    Args:
      first_batch: where an empty range begins, and where attestation begins (`next_batch_to_attest`).
      run_blocking: where the writer's transactions run. Point reads run on the trio thread: they take 5 µs, a thread
        hop takes 80.
      epoch: which run of the node this is; other epochs in the same file are neither seen nor touched.
      vfs: the disk below; every read and write goes through it.
    """

    def __init__(
        self,
        path: str | Path,
        genesis_hash: GenesisHash,
        first_batch: BatchNumber = FROM_ZERO,
        next_rule: NextRule = "gap",
        run_blocking: RunBlocking = in_thread,
        epoch: int = 0,
        vfs: str | None = None,
    ) -> None:
        super().__init__(first_batch, next_rule)
        self._path = str(path)
        self._vfs = vfs
        self._rows = EpochRows(epoch, genesis_hash)
        self._run_blocking = run_blocking
        self._writer = GroupCommit(self._connect, run_blocking)
        self._reader: apsw.Connection | None = None

    @property
    def pruned_first_batch(self) -> bool:
        with storage_errors(self._path):
            return is_pruned(self._first_batch, self.persisted, self._rows.last_certified(self._reading()))

    def statistics(self) -> GroupCommitStatistics:
        return self._writer.statistics()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See `BatchStore.run`; once per object. A file that cannot be used is refused before anything is changed.

        A disk that fails later comes out as StorageUnusable inside an ExceptionGroup (`errors.leaves`).
        """
        reader, persisted, whole = await self._run_blocking(self._open)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._run_writer, nursery.cancel_scope)
                self._reader, self._opened = reader, BatchQueue(persisted, whole)
                nursery.start_soon(self._write_queue, self._opened)
                task_status.started()
        finally:
            self._reader = None
            self._ended.set()
            if self._opened is not None:
                self._opened.close()
            with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True), storage_errors(self._path):
                await self._run_blocking(lambda: reader.close(True))

    async def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            await trio_util.wait_any(self._opened.wait_written, self._ended.wait)
        await self._writer.close()
        if self._opened is not None:
            await self._ended.wait()

    async def batch(self, number: BatchNumber) -> SyncBatch | None:
        if not self.queued.contains(number):
            await trio.lowlevel.checkpoint()
            return None
        if (cached := self._queue.cached(number)) is not None:
            await trio.lowlevel.checkpoint()
            return cached
        return await self._read(partial(self._rows.sync_batch, number=number))

    async def put_batch_to_sign(self, batch: Batch) -> None:
        check_number(batch.number)
        check_genesis(batch.number, batch.genesis, self._rows.genesis)
        # The watch moves in the writer's task, not here: in the order of the commits, and also if we are cancelled.
        await self._write(partial(self._rows.put_batch_to_sign, batch=batch), on_commit=self._queue.moved)

    async def batch_to_sign(self, number: BatchNumber) -> Batch | None:
        return await self._read(partial(self._rows.batch_to_sign, number=number))

    async def persist_qc(self, qc: BatchQC) -> None:
        check_number(qc.batch.number)
        check_genesis(qc.batch.number, qc.batch.genesis, self._rows.genesis)
        await self._queue.wait_until_persisted(qc.batch.number)
        encoded = qc.encode()  # not inside the transaction, where everybody would wait for it
        await self._write(partial(self._rows.put_qc, qc=qc, encoded=encoded))

    async def qc(self, number: BatchNumber) -> BatchQC | None:
        return await self._read(partial(self._rows.qc, number=number))

    async def last_qc(self) -> BatchQC | None:
        def read(connection: apsw.Connection) -> BatchQC | None:
            last = self._rows.last_certified(connection)
            return None if last is None else self._rows.qc(connection, last)

        return await self._read(read)

    async def qcs(self, first: BatchNumber, limit: int) -> tuple[BatchQC, ...]:
        found: list[BatchQC] = []
        wanted = BatchNumber(first)
        await trio.lowlevel.checkpoint()
        # One by one: decoding a certificate of 10,000 members takes long enough to let others run in between.
        while len(found) < limit:
            qc = await self._read(partial(self._rows.qc_from, number=wanted))
            if qc is None:
                break
            found.append(qc)
            wanted = qc.batch.number.next()
        return tuple(found)

    async def certified(self, first: BatchNumber, limit: int) -> tuple[BatchNumber, ...]:
        return await self._read(partial(self._rows.certified, first=first, limit=limit))

    async def next_batch_to_attest(self) -> BatchNumber | None:
        def read(connection: apsw.Connection) -> BatchNumber | None:
            return next_to_attest(
                self._next_rule,
                self._first_batch,
                self.persisted,
                self._rows.last_certified(connection),
                lambda start: self._rows.first_gap(connection, start),
            )

        return await self._read(read)

    def _reading(self) -> apsw.Connection:
        if self._reader is None:
            raise StoreClosed
        return self._reader

    async def _read(self, read: Callable[[apsw.Connection], T]) -> T:
        await trio.lowlevel.checkpoint()
        with storage_errors(self._path):
            return read(self._reading())

    async def _write(self, job: Callable[[apsw.Connection], T], on_commit: Callable[[T], None] | None = None) -> None:
        self._reading()  # StoreClosed
        await self._writer.submit(job, on_commit=on_commit)

    def _connect(self) -> apsw.Connection:
        return open_database(self._path, application_id=APPLICATION_ID, schema=SCHEMA, vfs=self._vfs)

    def _open(self) -> tuple[apsw.Connection, StoreState, StoreState]:
        """The reader, after making sure that file and epoch are ours; the persisted range, and what of it is whole."""
        reader = self._connect()
        try:
            with storage_errors(self._path):
                self._rows.open(reader, self._first_batch)
                reader.execute("PRAGMA query_only = ON")
                return reader, self._rows.persisted(reader), self._rows.whole(reader)
        except BaseException:
            reader.close(True)
            raise

    async def _run_writer(
        self, life: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        await self._writer.run(task_status=task_status)
        life.cancel()  # it was closed: nothing is left to be written

    async def _write_queue(self, queue: BatchQueue) -> None:
        while True:
            batches = await queue.wait_unwritten()
            await self._writer.submit(
                partial(self._rows.put_sync_batches, batches=batches), on_commit=partial(queue.moved, written=batches)
            )
