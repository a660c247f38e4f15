"""SQLite's way onto a SimDisk: reads, locks and the shared memory of the WAL are the system's, changes are counted.

The `-shm` file is not on the disk: SQLite makes it anew from the WAL, and no crash leaves it.
"""

from __future__ import annotations

import errno
import itertools
import os
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any

import apsw

from attestrio.sim.disk_model import Remove, Sync, SyncFolder, Truncate, Write, folder_of

if TYPE_CHECKING:
    from attestrio.sim.disk import SimDisk

_serial = itertools.count()

# Whose folder SQLite syncs together with their first sync. Not the database: the journal that comes with it does that.
_SYNCS_FOLDER = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL
_TEMPORARY = (
    apsw.SQLITE_OPEN_DELETEONCLOSE
    | apsw.SQLITE_OPEN_TEMP_DB
    | apsw.SQLITE_OPEN_TEMP_JOURNAL
    | apsw.SQLITE_OPEN_TRANSIENT_DB
    | apsw.SQLITE_OPEN_SUBJOURNAL
)


class SimVfs(apsw.VFS):
    """Registered as `name` for as long as it lives."""

    def __init__(self, disk: SimDisk) -> None:
        self.name = f"sim-disk-{next(_serial)}"
        # Weak: SQLite holds the VFS, and a disk that nobody holds any more has no use for it.
        self._disk = weakref.ref(disk)
        super().__init__(self.name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None or flags[0] & _TEMPORARY:
            return apsw.VFSFile("", name, flags)
        disk = self._held()
        at = disk.name_of(path)
        file = disk.tree.names().get(at)
        made = file is None
        if file is None:
            if not flags[0] & apsw.SQLITE_OPEN_CREATE:
                raise _error(apsw.SQLITE_CANTOPEN)
            with _SqliteErrors(apsw.SQLITE_CANTOPEN):
                file = disk.create(at)
        return _SimVfsFile(disk, file, at, made and bool(flags[0] & _SYNCS_FOLDER), name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        disk = self._held()
        name = disk.name_of(filename)
        if os.path.exists(filename):
            with _SqliteErrors(apsw.SQLITE_IOERR_DELETE):
                disk.do(Remove(name))
        super().xDelete(filename, False)  # raises if there is none
        if syncdir:
            with _SqliteErrors(apsw.SQLITE_IOERR_DIR_FSYNC):
                disk.do(SyncFolder(folder_of(name)))

    def _held(self) -> SimDisk:
        disk = self._disk()
        if disk is None:
            raise _error(apsw.SQLITE_CANTOPEN)
        return disk


class _SimVfsFile(apsw.VFSFile):
    def __init__(
        self,
        disk: SimDisk,
        file: int,
        at: str,
        sync_folder: bool,
        name: str | apsw.URIFilename | None,
        flags: list[int],
    ) -> None:
        self._disk, self._file, self._at, self._sync_folder = disk, file, at, sync_folder
        super().__init__("", name, flags)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: ANN401  any buffer
        with _WRITING:
            self._disk.do(Write(self._file, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        with _SqliteErrors(apsw.SQLITE_IOERR_TRUNCATE):
            self._disk.do(Truncate(self._file, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        with _SqliteErrors(apsw.SQLITE_IOERR_FSYNC):
            self._disk.do(Sync(self._file))
            if self._sync_folder:
                self._disk.do(SyncFolder(folder_of(self._at)))
                self._sync_folder = False

    def xDeviceCharacteristics(self) -> int:
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE  # what the system's VFS says, wherever the folder is


class _SqliteErrors:
    """OSError as SQLite's own VFS reports it. A class: a generator would take as long as the write it guards."""

    __slots__ = ("_code",)

    def __init__(self, code: int) -> None:
        self._code = code

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, _kind: type[BaseException] | None, exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if isinstance(exc, OSError):
            raise _error(apsw.SQLITE_FULL if exc.errno == errno.ENOSPC else self._code) from exc


_WRITING = _SqliteErrors(apsw.SQLITE_IOERR_WRITE)


def _error(code: int) -> apsw.Error:
    error = apsw.exception_for(code)
    assert isinstance(error, apsw.Error)
    return error
