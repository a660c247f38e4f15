"""The duty book: what the log knows of each batch, on disk, so that it outlives the process.

It is for people and never in the way of a vote: changes are gathered for a moment and written together, by a thread,
without waiting for the disk. A process that is killed loses the last moment of it; a power cut may take a little more.
The file is whole either way (a write-ahead log with `synchronous = NORMAL`). A disk that fails is said once, and the
node goes on without the book.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import apsw
import trio

from attestrio.duty import rows
from attestrio.duty.log import DutyLog
from attestrio.duty.story import BatchStory, EpochOf
from attestrio.errors import StorageUnusable
from attestrio.kit.blocking import RunBlocking
from attestrio.kit.sqlite import StorageCorrupt, open_database, storage_errors

log = logging.getLogger("attestrio.duty")

BOOK: Final = "duty.db"
T = TypeVar("T")

KEEP: Final = 20_000  # batches, a day and a half of one every six seconds
MAX_BYTES: Final = 64 << 20  # of the file; large committees reach it before KEEP
GROUP_S: Final = 0.25  # between two writings
BROUGHT_BACK: Final = 100  # batches of the last run that the log gets, and as many that are open


class DutyBook:
    """Writes down what `duty` learns, and gives it back what the last run wrote.

    Args:
      path: of the file; made where there is none. One that is damaged is put aside, as `duty.db.damaged`.
      keep, max_bytes: how much is kept; the oldest batches go first, `counts` knows of them still.
      group_s: how long changes are gathered; what is on disk is at most about so old.
    """

    def __init__(
        self,
        path: Path,
        duty: DutyLog,
        run_blocking: RunBlocking,
        *,
        keep: int = KEEP,
        max_bytes: int = MAX_BYTES,
        group_s: float = GROUP_S,
    ) -> None:
        self._path, self._duty, self._run_blocking = path, duty, run_blocking
        self._keep, self._max_bytes, self._group_s = keep, max_bytes, group_s
        self._connection: apsw.Connection | None = None
        self._closing, self._ended = trio.Event(), trio.Event()
        self._epoch: EpochOf | None = None  # the one that is in the file

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until `close()`; started when the log has what the last run left. Raises nothing of the disk's."""
        try:
            try:
                await self._open()
            except StorageUnusable as exc:
                log.warning("no duty book is kept: %s", exc)
            task_status.started()
            if self._connection is None:
                await self._closing.wait()
                return
            try:
                await self._follow()
            finally:
                connection = self._connection
                with trio.CancelScope(shield=True):
                    await self._run_blocking(partial(connection.close, True))
        finally:
            self._ended.set()

    async def close(self) -> None:
        """Write what waits, then end `run`."""
        self._closing.set()
        await self._ended.wait()

    async def _open(self) -> None:
        """Raises StorageUnusable."""
        try:
            self._connection = await self._run_blocking(self._connect)
            of, stories = await self._in_file(self._last_run)
        except StorageCorrupt as exc:
            aside = self._path.with_name(self._path.name + ".damaged")
            log.warning("%s is put aside as %s, and a new one begun: %s", self._path, aside.name, exc)
            self._connection = await self._run_blocking(partial(self._begin_anew, aside, self._connection))
            of, stories = None, []
        self._duty.keep_book(of, stories)

    async def _follow(self) -> None:
        """Write for ever, until closed; the last time after that."""
        failed = False
        while True:
            closing = await self._wait()
            stories = self._duty.take_unwritten()
            try:
                await self._in_file(partial(self._write, stories))
            except StorageUnusable as exc:
                if not failed:
                    log.warning("the duty book is not written, and goes on without these batches: %s", exc)
                failed, self._epoch = True, None
            else:
                failed = False
            if closing:
                return

    async def _wait(self) -> bool:
        """Until there is something to write, and a moment longer, so that what belongs together comes together; at
        once when closed. Whether it is."""
        async with trio.open_nursery() as either:

            async def closed() -> None:
                await self._closing.wait()
                either.cancel_scope.cancel()

            either.start_soon(closed)
            await self._duty.unwritten.wait_value(True)
            await trio.sleep(self._group_s)
            either.cancel_scope.cancel()
        return self._closing.is_set()

    async def _in_file(self, work: Callable[[apsw.Connection], T]) -> T:
        """Raises StorageUnusable."""
        connection = self._connection
        assert connection is not None

        def blocking() -> T:
            with storage_errors(str(self._path)):
                with connection:
                    done = work(connection)
                return done

        return await self._run_blocking(blocking)

    # --- in a thread

    def _connect(self) -> apsw.Connection:
        connection = open_database(self._path, application_id=rows.APPLICATION_ID, schema=rows.SCHEMA)
        with storage_errors(str(self._path)):
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA wal_autocheckpoint = 500")
        return connection

    def _begin_anew(self, aside: Path, damaged: apsw.Connection | None) -> apsw.Connection:
        if damaged is not None:
            self._connection = None
            damaged.close(True)
        with storage_errors(str(self._path)):
            os.replace(self._path, aside)
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        return self._connect()

    def _last_run(self, connection: apsw.Connection) -> tuple[EpochOf | None, list[BatchStory]]:
        """The epoch that was written last, and its newest batches."""
        rows.end_old(connection)
        known = rows.epochs(connection)
        if not known:
            return None, []
        try:
            of = rows.epoch_of(connection, known[-1])
            if of is None:
                return None, []
            found = {row.number: row for row in rows.still_open(connection, of.epoch, BROUGHT_BACK)}
            found |= {row.number: row for row in rows.newest(connection, of.epoch, BROUGHT_BACK)}
            return of, [rows.story_of(row, of) for row in found.values()]
        except rows.UNREADABLE as exc:  # of a later release, say: what it wrote stays, and is not gone on with
            log.warning("%s: what the last run wrote is not understood: %s", self._path, exc)
            return None, []

    def _write(self, stories: list[BatchStory], connection: apsw.Connection) -> None:
        for of in dict.fromkeys(story.of for story in stories if story.of is not None):
            if of != self._epoch:
                rows.put_epoch(connection, of)
                self._epoch = of
        rows.put_stories(connection, stories)
        rows.prune(connection, self._keep, self._max_bytes)
