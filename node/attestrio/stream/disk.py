"""What a stream file is written through: the disk port of `kit.disk`, and files that are written in their middle."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Protocol

from attestrio.kit.disk import Disk, RealDisk, read_at


class PagedFile(Protocol):
    """An open file that is written at any position. All of it blocks and raises OSError; any thread may read."""

    def size(self) -> int:
        """Bytes."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """What is there from `offset` on, at most `size` bytes; fewer only at the end of the file."""
        ...

    def write(self, offset: int, data: bytes) -> None:
        """Write all of it there. Raises OSError, also after a part of it was written."""
        ...

    def resize(self, size: int) -> None:
        """Make the file longer, with zeros, or cut it."""
        ...

    def sync(self) -> None:
        """Returns once all that was written before is on disk, the size included."""
        ...

    def close(self) -> None:
        """Does not sync."""
        ...


class StreamDisk(Disk, Protocol):
    """A disk on which files can be written in their middle too."""

    def open_paged(self, path: Path, *, writable: bool) -> PagedFile:
        """An existing regular file. Writable, it is locked: BlockingIOError where another process has it so."""
        ...


class RealStreamDisk(RealDisk):
    """The system's own. A `StreamDisk`."""

    def open_paged(self, path: Path, *, writable: bool) -> RealPagedFile:
        return RealPagedFile(path, writable=writable)


class RealPagedFile:
    """One open file of the system. A `PagedFile`. Links are followed: a stream is often kept on a disk of its own."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        # O_NONBLOCK: a pipe would keep us until somebody writes into it.
        flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK
        handle = os.open(path, flags)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", str(path))
            if writable:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(handle)
            raise
        self._handle: int | None = handle

    def size(self) -> int:
        return os.fstat(self._open()).st_size

    def read(self, offset: int, size: int) -> bytes:
        return read_at(self._open(), offset, size)

    def write(self, offset: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._open(), rest, offset)
            rest, offset = rest[written:], offset + written

    def resize(self, size: int) -> None:
        os.ftruncate(self._open(), size)

    def sync(self) -> None:
        os.fsync(self._open())

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _open(self) -> int:
        if self._handle is None:
            raise ValueError("the file is closed")
        return self._handle


REAL_DISK: StreamDisk = RealStreamDisk()
