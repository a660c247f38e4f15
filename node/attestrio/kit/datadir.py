"""The data directory: ours, writable, and held by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from attestrio.errors import DataDirInUse, StorageUnusable
from attestrio.kit.files import open_regular

MARKER = "ATTESTRIO"
MARKER_TEXT = "attestrio data directory, layout "
LAYOUT = 1
LOCK = "LOCK"
MAX_READ = 200


class DataDirUnwritable(StorageUnusable):
    """The directory cannot be made, or nothing can be written in it."""

    code: ClassVar[str] = "data_dir_unwritable"

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(f"data directory {path} is not usable ({detail}): check the path and its rights")
        self.path = path


class DataDirForeign(StorageUnusable):
    """The directory is kept by another program, or by a later release."""

    code: ClassVar[str] = "data_dir_foreign"

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(f"data directory {path} belongs to something else ({found}): choose another directory")
        self.path, self.found = path, found


class DataDir:
    """A directory held until `close()`. The lock is the kernel's (flock): it ends with the process, however it ends."""

    __slots__ = ("_lock", "path")

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock: int | None = lock

    @classmethod
    def open(cls, path: str | Path) -> DataDir:
        """Make the directory (0700) if it is missing and take its lock.

        Raises DataDirInUse with the process id of the holder, DataDirForeign before anything is changed, and
        DataDirUnwritable. The rights of an existing directory are left as the operator set them.
        """
        path = Path(path).absolute()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _claim(path)
            lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                _take(path, lock)
            except BaseException:
                os.close(lock)
                raise
        except OSError as exc:
            raise DataDirUnwritable(path, exc.strerror or str(exc)) from exc
        return cls(path, lock)

    def close(self) -> None:
        """Let the directory go. The LOCK file stays: removing it would let two holders lock two different files."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def __enter__(self) -> DataDir:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _claim(path: Path) -> None:
    """A directory is ours when it bears our marker, and may become ours as long as no other program locks it.

    Configuration, keys and logs that an operator put there before the first start are welcome, so "not empty" alone is
    no reason; the databases inside are each checked when they are opened.
    """
    marker = path / MARKER
    found = _read(marker) if marker.exists() else ""
    if found:
        if found != f"{MARKER_TEXT}{LAYOUT}":
            raise DataDirForeign(path, f"its {MARKER} file says {found!r}, this release writes {MARKER_TEXT}{LAYOUT}")
    elif not marker.exists() and (path / LOCK).exists():
        # LevelDB and RocksDB, which most chain clients are built on, keep a file of the same name. Ours comes after
        # the marker, so that a start that was killed half-way is not taken for theirs.
        raise DataDirForeign(path, f"it has a {LOCK} file but no {MARKER} file")
    else:
        marker.write_text(f"{MARKER_TEXT}{LAYOUT}\n")


def _take(path: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, MAX_READ, 0).decode("ascii", "replace").strip() or "unknown"
        raise DataDirInUse(
            f"data directory {path} is in use by process {holder}: stop it or choose another directory"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _read(marker: Path) -> str:
    try:
        file = open_regular(marker)
    except OSError as exc:
        if exc.errno in (errno.EINVAL, errno.EISDIR, errno.ENXIO):  # a pipe or a device, a directory, a socket
            raise DataDirForeign(marker.parent, f"its {MARKER} is not a regular file") from None
        raise
    with file:
        return file.read(MAX_READ).decode("utf-8", "replace").strip()
