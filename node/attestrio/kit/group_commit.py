"""Durability for many at the price of one: a single writer, one transaction for everyone who is waiting.

The promise: `submit` returns only after a COMMIT that contains the job has returned, on a connection whose commits are
on disk by then (see `open_database`). Whatever goes wrong on the way, a caller that got no result must assume nothing.

What can go wrong, and who hears of it:

1. A job raises. Its savepoint is rolled back, its caller gets the exception, everybody else is committed.
2. BEGIN fails (another process holds the lock). Nothing was started: the callers of the batch get StorageUnusable, the
   writer goes on.
3. COMMIT fails and the transaction is still open (a deferred constraint). It is rolled back, so the state is known: the
   callers get TransactionLost, the writer goes on.
4. The transaction is gone without a COMMIT of ours that returned: COMMIT failed on the disk, or SQLite rolled back on
   its own in the middle (disk full, I/O error), or a job ended it. All callers of the batch get StorageUnusable,
   **and the writer ends**. It does not reopen the connection: the frames of a failed COMMIT may be whole in the page
   cache and yet not on disk (after a failed fsync Linux may call the pages clean, and the next fsync succeed), so a
   reopened connection could show a row as recorded that a power cut takes away again, and a signature would leave on
   its strength. An operator has to look at the disk first.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

import apsw
import outcome
import trio

from attestrio.errors import SourceError, StorageUnusable
from attestrio.kit.blocking import RunBlocking
from attestrio.kit.sqlite import storage_error

T = TypeVar("T")
log = logging.getLogger(__name__)

MAX_BATCH = 1_000
MAX_QUEUED = 10_000
CLOSE_TIMEOUT_S = 30.0


class TransactionLost(StorageUnusable):
    """The transaction with this job was not committed, or nobody can say whether it was."""

    code: ClassVar[str] = "transaction_lost"

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"{path}: a transaction did not reach the disk ({detail}): check the disk, start again")
        self.path = path


class WriterStopped(SourceError):
    """The writer was closed or cancelled before it took the job up, or before it could say how the job ended."""

    code: ClassVar[str] = "writer_stopped"

    def __init__(self) -> None:
        super().__init__("the database writer has stopped")


@dataclass(frozen=True, slots=True)
class GroupCommitStatistics:
    """Since the start. `committed` and `failed` count jobs; `dropped` those whose callers left before their turn."""

    batches: int = 0
    committed: int = 0
    failed: int = 0
    dropped: int = 0
    largest_batch: int = 0
    queued: int = 0


@dataclass(eq=False, slots=True)
class _Job(Generic[T]):
    fn: Callable[[apsw.Connection], T]
    on_commit: Callable[[T], None] | None
    done: trio.Event = field(default_factory=trio.Event)
    result: outcome.Outcome[T] | None = None
    abandoned: bool = False

    def finish(self, result: outcome.Outcome[T]) -> None:
        if self.result is None:
            self.result = result
            self.done.set()

    def committed(self, result: outcome.Outcome[T]) -> None:
        if self.on_commit is not None and isinstance(result, outcome.Value):
            self.on_commit(result.value)
        self.finish(result)


class _BatchLost(Exception):
    """Between `_transact` and `_write_batch` only: no caller of the batch can be told that it was committed."""

    def __init__(self, path: str, *, usable: bool) -> None:
        super().__init__(path)
        self.path = path
        self.usable = usable  # the transaction was never begun or surely rolled back: the connection can go on

    def for_caller(self) -> StorageUnusable:
        """A new exception for each caller, because a raised one collects the traceback of whoever it was raised in."""
        cause = self.__cause__
        error = (storage_error(cause, self.path) if cause else None) or TransactionLost(self.path, repr(cause))
        error.__cause__ = cause
        return error


class GroupCommit:
    """The one writer of a database. Callers on the trio thread; the jobs run wherever `run_blocking` runs them.

    Args:
      connect: opens the writer's own connection; runs once, through `run_blocking`.
      max_batch: jobs in one transaction. What came in while one commits is the next batch: no waiting, no timer.
      max_queued: jobs waiting for their turn; `submit` waits for a place above that.

    Cost on a quiet disk: a lone caller about one commit and one thread hop (0.25 ms), 100 callers about 1 ms together.
    """

    def __init__(
        self,
        connect: Callable[[], apsw.Connection],
        run_blocking: RunBlocking,
        *,
        max_batch: int = MAX_BATCH,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        if max_batch < 1 or not 1 <= max_queued < math.inf:
            raise ValueError(f"max_batch {max_batch} and max_queued {max_queued} must be at least 1")
        self._connect = connect
        self._run_blocking = run_blocking
        self._max_batch = max_batch
        self._send, self._receive = trio.open_memory_channel[_Job[object]](max_queued)
        self._started = self._running = False
        self._ended = trio.Event()
        self._failure: _BatchLost | None = None
        self._stats = GroupCommitStatistics()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open the connection, then commit what is submitted; returns after `close()`. Runs once.

        Raises StorageUnusable (case 4 above). However it ends, every caller still waiting gets an answer: what was
        committed its result, the others WriterStopped or StorageUnusable.
        """
        if self._started:
            raise trio.BusyResourceError("this writer runs, or has run, already")
        self._started = True
        if self._ended.is_set():  # closed before its start
            task_status.started()
            return
        self._running = True
        try:
            connection = await self._run_blocking(self._connect)
            try:
                task_status.started()
                await self._serve(connection)
            finally:
                await self._close_connection(connection)
        finally:
            self._running = False
            self._end()

    async def submit(self, fn: Callable[[apsw.Connection], T], *, on_commit: Callable[[T], None] | None = None) -> T:
        """Run `fn` inside the next transaction; returns what it returned after the COMMIT that contains it.

        Args:
          fn: reads and writes through the connection it is given, and returns plain values (no cursor). It must not
            begin, commit or roll back; `with connection:` (a savepoint) is fine. Raising undoes only this job.
          on_commit: called with the result on the trio thread, in the order of the jobs, before `submit` returns, and
            also when the caller has been cancelled meanwhile. Must not raise.

        Cancelled while the job waits for its turn: it is never run. Cancelled later: `Cancelled` is raised at once, and
        the job completes or fails without its caller. Raises what `fn` raised (SQLite's storage errors as
        StorageUnusable), StorageUnusable when the transaction failed, WriterStopped. Before `run` has started it waits.
        """
        job = _Job(fn, on_commit)
        try:
            await self._send.send(job)  # type: ignore[arg-type]  # the channel holds jobs of every T
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            raise self._stopped() from None
        try:
            await job.done.wait()
        finally:
            job.abandoned = True
        assert job.result is not None
        return job.result.unwrap()

    async def close(self) -> None:
        """Take no more jobs, finish those that wait, end `run`. Afterwards `submit` raises WriterStopped."""
        self._send.close()
        if self._running:
            await self._ended.wait()
        else:
            self._end()
            await trio.lowlevel.checkpoint()

    def statistics(self) -> GroupCommitStatistics:
        """Counters so far; `queued` is the number waiting now. O(1)."""
        stats = self._stats
        return GroupCommitStatistics(
            stats.batches,
            stats.committed,
            stats.failed,
            stats.dropped,
            stats.largest_batch,
            self._send.statistics().current_buffer_used,
        )

    async def _serve(self, connection: apsw.Connection) -> None:
        while True:
            try:
                jobs = [await self._receive.receive()]
            except trio.EndOfChannel:
                return
            try:
                while len(jobs) < self._max_batch:
                    jobs.append(self._receive.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                pass
            wanted = [job for job in jobs if not job.abandoned]
            self._count(dropped=len(jobs) - len(wanted))
            if wanted:
                await self._write_batch(connection, wanted)

    async def _write_batch(self, connection: apsw.Connection, jobs: list[_Job[object]]) -> None:
        fns = [job.fn for job in jobs]
        try:
            results = await self._run_blocking(lambda: _transact(connection, fns))
        except _BatchLost as lost:
            self._count(failed=len(jobs), batch=len(jobs))
            for job in jobs:
                job.finish(outcome.Error(lost.for_caller()))
            if not lost.usable:
                self._failure = lost
                raise lost.for_caller() from lost.__cause__
            log.warning("%s: a batch of %d was rolled back: %s", lost.path, len(jobs), lost.__cause__)
        else:
            failed = sum(isinstance(result, outcome.Error) for result in results)
            self._count(committed=len(jobs) - failed, failed=failed, batch=len(jobs))
            for job, result in zip(jobs, results, strict=True):
                job.committed(result)
        finally:
            for job in jobs:  # cancelled before the batch began: they have left the queue, nobody else answers them
                job.finish(outcome.Error(WriterStopped()))

    def _end(self) -> None:
        """Answer everybody who still waits. Not a checkpoint, so nobody can slip in between."""
        self._send.close()
        try:
            while True:
                self._receive.receive_nowait().finish(outcome.Error(self._stopped()))
        except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
            self._receive.close()
        self._ended.set()

    def _stopped(self) -> WriterStopped | StorageUnusable:
        return WriterStopped() if self._failure is None else self._failure.for_caller()

    async def _close_connection(self, connection: apsw.Connection) -> None:
        # All that was promised is in the file already; closing only folds the WAL back, so its failure costs nothing
        # and must not hide the reason for which the writer ends.
        path = connection.filename
        with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
            closed = await self._run_blocking(lambda: outcome.capture(connection.close, True))
            if isinstance(closed, outcome.Error):
                log.warning("%s: not closed cleanly: %r", path, closed.error)

    def _count(self, *, committed: int = 0, failed: int = 0, dropped: int = 0, batch: int = 0) -> None:
        stats = self._stats
        self._stats = GroupCommitStatistics(
            stats.batches + (batch > 0),
            stats.committed + committed,
            stats.failed + failed,
            stats.dropped + dropped,
            max(stats.largest_batch, batch),
        )


def _transact(
    connection: apsw.Connection, fns: Sequence[Callable[[apsw.Connection], object]]
) -> list[outcome.Outcome[object]]:
    """One transaction: what each job returned or raised, after COMMIT. Raises only _BatchLost."""
    path = connection.filename
    begun = committing = False
    try:
        connection.execute("BEGIN IMMEDIATE")
        begun = True
        results = [_run_job(connection, fn) for fn in fns]
        committing = True
        connection.execute("COMMIT")
    except BaseException as exc:  # also what a VFS written in Python lets through, and Ctrl-C when run inline
        still_open = connection.in_transaction
        known = (not begun) or (committing and still_open)
        if still_open:
            known = _roll_back(connection) and known
        # A lock held by another process is theirs and passes; any other failure of BEGIN is the disk's.
        usable = known and (begun or isinstance(exc, apsw.BusyError))
        raise _BatchLost(path, usable=usable) from exc
    return [_in_our_words(result, path) for result in results]


def _run_job(connection: apsw.Connection, fn: Callable[[apsw.Connection], object]) -> outcome.Outcome[object]:
    """One job in its own savepoint. Raises when the transaction around it is gone: then it is gone for everybody."""
    connection.execute("SAVEPOINT job")
    result: outcome.Outcome[object] = outcome.capture(fn, connection)
    if isinstance(result, outcome.Error):
        if not connection.in_transaction:
            raise result.error
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")  # fails when the job itself ended the transaction
    return result


def _roll_back(connection: apsw.Connection) -> bool:
    """Whether the connection is surely outside a transaction again."""
    try:
        connection.execute("ROLLBACK")
    except (apsw.Error, OSError) as exc:
        log.warning("%s: rollback failed: %s", connection.filename, exc)
    return not connection.in_transaction


def _in_our_words(result: outcome.Outcome[object], path: str) -> outcome.Outcome[object]:
    if isinstance(result, outcome.Error) and (ours := storage_error(result.error, path)) is not None:
        ours.__cause__ = result.error
        return outcome.Error(ours)
    return result
