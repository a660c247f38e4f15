"""Opening a SQLite file that is surely ours, and one place where its errors become ours.

Every read and write of a connection goes through the VFS named at opening (WAL works through one written in
Python, apsw hands the shared memory on), so that a test can put a misbehaving disk below any table.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import apsw

from attestrio.errors import OutOfDescriptors, StorageUnusable

BUSY_TIMEOUT_MS = 5_000
DESCRIPTORS = 5  # of one database: itself, the log, its index, a journal, and the folder while it is synced
SWITCH_RETRY_MS = 10
QUICK_CHECK_MAX_BYTES = 4 << 20
"""Above this the full check would make the start cost grow with the history; what is damaged further in is found when
it is read. The header, the schema and the length of the file are checked at any size."""

CHECKPOINT_PAGES = 4_000
"""Of the log, 16 MB, before a commit folds it back. Whoever waits for that commit waits for three flushes more, so it
is one in 500 of those that share a hundred rows, and not one in 125 as by default. A longer log would make the start
after a kill slow, which reads it once."""


class StorageCorrupt(StorageUnusable):
    """The file is damaged, or is no SQLite database at all."""

    code: ClassVar[str] = "storage_corrupt"

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"{path} is damaged or no database ({detail}): restore it from a backup or move it away")
        self.path = path


class StorageForeign(StorageUnusable):
    """A database, but of another program or another part of this one."""

    code: ClassVar[str] = "storage_foreign"

    def __init__(self, path: str, got: int, want: int) -> None:
        super().__init__(f"{path} belongs to something else (application id {got:#x}, not {want:#x}): use another file")
        self.path, self.got, self.want = path, got, want


class StorageNewer(StorageUnusable):
    """Written by a later release, whose tables this one does not know."""

    code: ClassVar[str] = "storage_newer"

    def __init__(self, path: str, got: int, known: int) -> None:
        super().__init__(f"{path} has schema version {got}, this release knows {known}: run the newer release")
        self.path, self.got, self.known = path, got, known


class StorageUnwritable(StorageUnusable):
    """The file cannot be opened, made or written: rights, a missing directory, a read-only file system."""

    code: ClassVar[str] = "storage_unwritable"

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"{path} cannot be opened for writing ({detail}): check the directory and its rights")
        self.path = path


class StorageFull(StorageUnusable):
    """No space left."""

    code: ClassVar[str] = "storage_full"

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"no space left for {path} ({detail}): free some, then start again")
        self.path = path


class StorageBusy(StorageUnusable):
    """Another process kept the database locked for longer than the busy timeout."""

    code: ClassVar[str] = "storage_busy"

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"{path} is locked by another process ({detail}): stop that process")
        self.path = path


class StorageFailed(StorageUnusable):
    """The disk reported an error while reading, writing or flushing."""

    code: ClassVar[str] = "storage_failed"

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"the disk failed under {path} ({detail}): check the disk, then start again")
        self.path = path


_BY_APSW: tuple[tuple[tuple[type[apsw.Error], ...], Callable[[str, str], StorageUnusable]], ...] = (
    ((apsw.CorruptError, apsw.NotADBError, apsw.FormatError), StorageCorrupt),
    ((apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError, apsw.AuthError), StorageUnwritable),
    ((apsw.FullError,), StorageFull),
    ((apsw.BusyError, apsw.LockedError), StorageBusy),
    ((apsw.IOError, apsw.ProtocolError, apsw.NoLFSError, apsw.NoMemError), StorageFailed),
)
_TABLES_ARE_GONE = ("no such table", "no such column")
"""All other mistakes in a statement are ours."""
_BY_ERRNO: dict[int, Callable[[str, str], StorageUnusable]] = {
    errno.ENOSPC: StorageFull,
    errno.EDQUOT: StorageFull,
    errno.EACCES: StorageUnwritable,
    errno.EPERM: StorageUnwritable,
    errno.EROFS: StorageUnwritable,
    errno.ENOENT: StorageUnwritable,
    errno.ENOTDIR: StorageUnwritable,
    errno.EISDIR: StorageUnwritable,
}


def storage_error(exc: BaseException, path: str) -> StorageUnusable | None:
    """What `exc` means for whoever runs the node, as a new exception; None when it is not the storage's doing.

    OSError counts too: a VFS written in Python raises it straight through SQLite.
    """
    if isinstance(exc, apsw.SQLError) and str(exc).startswith(_TABLES_ARE_GONE):
        return StorageCorrupt(path, str(exc))
    for sources, target in _BY_APSW:
        if isinstance(exc, sources):
            return target(path, str(exc))
    if isinstance(exc, OSError):
        return _BY_ERRNO.get(exc.errno or 0, StorageFailed)(path, str(exc))
    return None


@contextmanager
def storage_errors(path: str) -> Iterator[None]:
    """Raise StorageUnusable, naming `path`, for the SQLite and OS errors inside; everything else passes unchanged."""
    try:
        yield
    except (apsw.Error, OSError) as exc:
        ours = storage_error(exc, path)
        if ours is None:
            raise
        raise ours from exc


def _require_descriptors(path: str) -> None:
    """Raise OutOfDescriptors where a database cannot be opened for want of them: SQLite does not say why."""
    taken: list[int] = []
    try:
        taken.extend(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(DESCRIPTORS))
    except OSError as exc:
        if exc.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        raise OutOfDescriptors(f"{path} cannot be opened ({exc.strerror})") from exc
    finally:
        for handle in taken:
            os.close(handle)


def _require_regular(path: str) -> None:
    """Raise StorageUnwritable for what is there and is no file of bytes: SQLite would wait for ever for somebody to
    write into a pipe, deaf to signals, and calls a directory a failing disk."""
    with suppress(OSError):  # nothing there, or no way to see it: SQLite finds out the same
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise StorageUnwritable(path, "it is no regular file")


@contextmanager
def _opening(path: str) -> Iterator[None]:
    """Raise OutOfDescriptors or StorageUnusable, naming `path`, for what goes wrong inside.

    Asked again after a refusal: since the first question another thread may have taken what was left.
    """
    _require_descriptors(path)
    _require_regular(path)
    try:
        with storage_errors(path):
            yield
    except StorageUnwritable:
        _require_descriptors(path)
        raise


def open_database(
    path: str | Path, *, application_id: int, schema: Sequence[str], vfs: str | None = None
) -> apsw.Connection:
    """Open or make the database; every commit of the connection is on disk when it returns (WAL, synchronous=FULL).

    Args:
      application_id: u31 that marks the file as ours; 0 is what every unmarked file has and is not allowed.
      schema: one script per version; a file of version n gets the scripts from n on, all in one transaction.
      vfs: name of a registered VFS; None is the system's own.

    Raises StorageForeign, StorageNewer, StorageCorrupt, StorageUnwritable and the other StorageUnusable. A file that is
    refused is left as it was: identity is read before anything is written. Blocks: some milliseconds, up to
    `BUSY_TIMEOUT_MS` when another process migrates the same file.
    """
    if not 0 < application_id < 1 << 31:
        raise ValueError(f"application_id {application_id} is not within 1..2^31-1")
    name = str(path)
    with _opening(name):
        connection = apsw.Connection(name, vfs=vfs)
        try:
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            check_identity(connection, name, application_id, len(schema))
            _set_durable(connection, name)
            _migrate(connection, name, application_id, schema)
            _settle(connection)
        except BaseException:
            connection.close(True)
            raise
    return connection


def open_read_only(path: str | Path, *, application_id: int, version: int, vfs: str | None = None) -> apsw.Connection:
    """Open an existing database of ours without changing it. Raises as `open_database`; also for an empty file."""
    name = str(path)
    with _opening(name):
        connection = apsw.Connection(name, flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs)
        try:
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            check_identity(connection, name, application_id, version)
            if _pragma(connection, "user_version") == 0:
                raise StorageCorrupt(name, "it is empty")
        except BaseException:
            connection.close(True)
            raise
    return connection


def check_identity(connection: apsw.Connection, path: str, application_id: int, version: int) -> None:
    """Raise unless the file is empty, or ours, of a known version and sound as far as a bounded look can tell."""
    connection.execute("BEGIN")  # one snapshot: another process may be making the file at this moment
    try:
        found = _pragma(connection, "application_id")
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
        current = _pragma(connection, "user_version")
        small = _pragma(connection, "page_count") * _pragma(connection, "page_size") <= QUICK_CHECK_MAX_BYTES
        verdict = connection.execute("PRAGMA quick_check(1)").get if small else "ok"
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    if found != application_id and (found != 0 or tables != 0):
        raise StorageForeign(path, found, application_id)
    if current > version:
        raise StorageNewer(path, current, version)
    if verdict != "ok":
        raise StorageCorrupt(path, str(verdict))


def _settle(connection: apsw.Connection) -> None:
    """Put on disk what can be read now: a commit syncs the whole log, not only what it adds.

    A process that was killed between writing a transaction and its sync leaves it in the page cache. The next process
    reads it like any other; acted upon, and then taken back by a power cut, it would be a promise broken.
    """
    version = _pragma(connection, "user_version")
    connection.execute(f"BEGIN IMMEDIATE; PRAGMA user_version = {version}; COMMIT")


def _set_durable(connection: apsw.Connection, path: str) -> None:
    mode = _switch_to_wal(connection)
    if mode != "wal":
        raise StorageUnwritable(path, f"journal mode stays {mode}, WAL is not possible here")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute("PRAGMA foreign_keys = ON")


def _switch_to_wal(connection: apsw.Connection) -> str:
    # The one statement that does not honour the busy timeout, and two openers of a new file do meet here.
    for _ in range(BUSY_TIMEOUT_MS // SWITCH_RETRY_MS):
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").get)
        except apsw.BusyError:
            time.sleep(SWITCH_RETRY_MS / 1000)
    return str(connection.execute("PRAGMA journal_mode = WAL").get)


def _migrate(connection: apsw.Connection, path: str, application_id: int, schema: Sequence[str]) -> None:
    if _pragma(connection, "user_version") == len(schema):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again under the write lock: another process may just have done it, even one of a later release.
        current = _pragma(connection, "user_version")
        if current > len(schema):
            raise StorageNewer(path, current, len(schema))
        for script in schema[current:]:
            connection.execute(script)
        connection.execute(f"PRAGMA application_id = {application_id}")
        connection.execute(f"PRAGMA user_version = {len(schema)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _pragma(connection: apsw.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").get)
