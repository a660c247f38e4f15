"""The journal in one SQLite file: one writer that commits for everybody who waits, one reader for point reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

import apsw
import trio

from attestrio.errors import StorageUnusable
from attestrio.journal import rows
from attestrio.journal.api import (
    DEFAULT_LIMITS,
    Cursor,
    Fence,
    Item,
    JournalClosed,
    Leadership,
    Leased,
    Limits,
    Listed,
    Put,
    TopicCount,
    Work,
)
from attestrio.journal.limits import require_names, require_within
from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.kit.group_commit import CLOSE_TIMEOUT_S, GroupCommit, GroupCommitStatistics
from attestrio.kit.sqlite import open_database, storage_errors

T = TypeVar("T")


class StorageEmptied(StorageUnusable):
    """The file of a journal has lost all its bytes; with them went what others were told is kept."""

    code: ClassVar[str] = "storage_emptied"

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} was a journal and is empty: restore it from a backup, or remove it to begin anew")
        self.path = path


class SqliteJournal:
    """`Journal` in one file, for one process. Construct, then `await nursery.start(journal.run)`.

    Args:
      run_blocking: where the writer's transactions run. Point reads run on the trio thread: they take 5 µs.
      clock: Unix seconds, for leases. A clock that is set back makes them last longer, one set forward ends them.
      vfs: the disk below; every read and write goes through it.

    An append of 1,000 items takes about 10 ms.
    """

    def __init__(
        self,
        path: str | Path,
        run_blocking: RunBlocking = in_thread,
        *,
        limits: Limits = DEFAULT_LIMITS,
        clock: Callable[[], float] = time.time,
        vfs: str | None = None,
    ) -> None:
        self._path = str(path)
        self._limits = limits
        self._run_blocking = run_blocking
        self._clock = clock
        self._vfs = vfs
        self._writer = GroupCommit(self._connect, run_blocking)
        self._reader: apsw.Connection | None = None
        self._changed = trio.Event()
        self._ended = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See `Journal.run`; once per object. A file that cannot be used is refused before anything is changed.

        A disk that fails later comes out as StorageUnusable inside an ExceptionGroup (`errors.leaves`).
        """
        reader = await self._run_blocking(self._open_reader)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._run_writer, nursery.cancel_scope)
                self._reader = reader
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._reader = None
            self._tell()
            try:
                with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True), storage_errors(self._path):
                    await self._run_blocking(lambda: reader.close(True))
            finally:
                self._ended.set()  # not before: the last to close folds the log into the file

    async def close(self) -> None:
        running = self._reader is not None
        await self._writer.close()
        if running:
            await self._ended.wait()

    def statistics(self) -> GroupCommitStatistics:
        return self._writer.statistics()

    # --- writing

    async def append(
        self,
        topic: str,
        items: Sequence[Item],
        *,
        cursor: Cursor | None = None,
        put: Sequence[Put] = (),
        fence: Fence | None = None,
    ) -> int:
        require_within(self._limits, [Work(topic, items)], (), cursor, put)

        def write(connection: apsw.Connection) -> int:
            new = rows.append(connection, Work(topic, items), self._limits)
            _beside(connection, cursor, put)
            return new

        return await self._write(write, fence)

    async def ack(
        self,
        topic: str,
        keys: Sequence[bytes],
        *,
        append: Sequence[Work] = (),
        cursor: Cursor | None = None,
        put: Sequence[Put] = (),
        fence: Fence | None = None,
    ) -> int:
        require_within(self._limits, [Work(topic, ()), *append], keys, cursor, put)

        def write(connection: apsw.Connection) -> int:
            ended = rows.ack(connection, topic, keys, self._clock())
            for work in append:
                rows.append(connection, work, self._limits)
            _beside(connection, cursor, put)
            return ended

        return await self._write(write, fence)

    async def move(
        self, topic: str, keys: Sequence[bytes], to: str, *, put: Sequence[Put] = (), fence: Fence | None = None
    ) -> int:
        require_within(self._limits, [Work(topic, ()), Work(to, ())], keys, None, put)

        def write(connection: apsw.Connection) -> int:
            items = rows.bodies(connection, topic, keys)
            moved = rows.ack(connection, topic, [item.key for item in items], self._clock())
            rows.append(connection, Work(to, items), self._limits)
            _beside(connection, None, put)
            return moved

        return await self._write(write, fence)

    async def lease(
        self, topic: str, owner: str, limit: int, for_s: float, *, fence: Fence | None = None
    ) -> list[Leased]:
        require_names(self._limits, topic, owner)
        wanted = min(limit, self._limits.max_items)

        def write(connection: apsw.Connection) -> list[Leased]:
            now = self._clock()
            return rows.lease(connection, topic, owner, wanted, now + for_s, now)

        return await self._write(write, fence)

    async def release(self, topic: str, key: bytes, after_s: float = 0.0, *, fence: Fence | None = None) -> bool:
        require_within(self._limits, [Work(topic, ())], (key,))
        return await self._write(
            lambda connection: rows.release(connection, topic, key, self._clock() + after_s), fence
        )

    async def abandon(self, owner: str, *, fence: Fence | None = None) -> int:
        return await self._write(lambda connection: rows.abandon(connection, owner, self._clock()), fence)

    async def put(self, table: str, key: bytes, value: bytes | None, *, fence: Fence | None = None) -> None:
        values = (Put(table, key, value),)
        require_within(self._limits, (), put=values)
        await self._write(lambda connection: rows.put(connection, values), fence)

    async def prune(self, topic: str, older_than_s: float, limit: int = 10_000, *, fence: Fence | None = None) -> int:
        return await self._write(
            lambda connection: rows.prune(connection, topic, self._clock() - older_than_s, limit), fence
        )

    async def lead(self, name: str, owner: str, for_s: float) -> Fence | None:
        require_names(self._limits, name, owner)

        def write(connection: apsw.Connection) -> Fence | None:
            now = self._clock()
            return rows.lead(connection, name, owner, now + for_s, now)

        return await self._write(write)

    async def resign(self, fence: Fence) -> None:
        await self._write(lambda connection: rows.resign(connection, fence))

    # --- reading

    async def cursor(self, name: str) -> bytes | None:
        return await self._read(lambda connection: rows.cursor(connection, name))

    async def get(self, table: str, key: bytes) -> bytes | None:
        return await self._read(lambda connection: rows.get(connection, table, key))

    async def scan(self, table: str, limit: int, after: bytes | None = None) -> list[tuple[bytes, bytes]]:
        return await self._read(lambda connection: rows.scan(connection, table, limit, after))

    async def listed(self, topic: str, limit: int, after: int = -1) -> list[Listed]:
        return await self._read(lambda connection: rows.listed(connection, topic, limit, after, self._clock()))

    async def count(self, topic: str) -> TopicCount:
        return await self._read(lambda connection: rows.count(connection, topic))

    async def knows(self, topic: str, key: bytes) -> bool:
        return await self._read(lambda connection: rows.knows(connection, topic, key))

    async def leader(self, name: str) -> Leadership | None:
        return await self._read(lambda connection: rows.leader(connection, name, self._clock()))

    async def wait(self, topic: str, at_most_s: float) -> bool:
        with trio.move_on_after(at_most_s):
            while True:
                changed = self._changed  # taken before reading: what is written meanwhile sets it
                due = await self._read(lambda connection: rows.next_due(connection, topic))
                left_s = float("inf") if due is None else due - self._clock()
                if left_s <= 0:
                    return True
                with trio.move_on_after(left_s):
                    await changed.wait()
        return False

    async def _read(self, read: Callable[[apsw.Connection], T]) -> T:
        await trio.lowlevel.checkpoint()
        if self._reader is None:
            raise JournalClosed
        with storage_errors(self._path):
            return read(self._reader)

    async def _write(self, job: Callable[[apsw.Connection], T], fence: Fence | None = None) -> T:
        if self._reader is None:
            raise JournalClosed

        def fenced(connection: apsw.Connection) -> T:
            if fence is not None:
                rows.require_newest(connection, fence)
            return job(connection)

        return await self._writer.submit(fenced, on_commit=lambda _: self._tell())

    def _tell(self) -> None:
        """Wake who waits for work; each looks for itself."""
        self._changed.set()
        self._changed = trio.Event()

    def _connect(self) -> apsw.Connection:
        return open_database(self._path, application_id=rows.APPLICATION_ID, schema=rows.SCHEMA, vfs=self._vfs)

    def _open_reader(self) -> apsw.Connection:
        if self._vfs is None:
            refuse_emptied(Path(self._path))
        reader = self._connect()
        if self._vfs is None:  # otherwise every write goes through that
            try:
                mark_made(Path(self._path))
            except BaseException:
                reader.close(True)
                raise
        reader.execute("PRAGMA query_only = ON")
        return reader

    async def _run_writer(
        self, life: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        await self._writer.run(task_status=task_status)
        life.cancel()  # it was closed: nothing is left to be written


def mark_made(path: Path) -> None:
    """Leave beside the file that it was made. To SQLite an empty file is a new database, as if nothing had been."""
    with storage_errors(str(path)):
        _mark_of(path).touch(mode=0o600)


def refuse_emptied(path: Path) -> None:
    """Raise StorageEmptied for a file of no bytes that was a journal once. One that is not there is begun anew: whoever
    moved it away wanted that."""
    with storage_errors(str(path)):
        if path.exists() and path.stat().st_size == 0 and _mark_of(path).exists():
            raise StorageEmptied(path)


def _mark_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.made")


def _beside(connection: apsw.Connection, cursor: Cursor | None, put: Sequence[Put]) -> None:
    """What goes into the same transaction as the work."""
    if cursor is not None:
        rows.set_cursor(connection, cursor)
    rows.put(connection, put)
