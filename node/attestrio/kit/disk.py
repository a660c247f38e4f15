"""The disk port: what plain files are written through, so that a test can put a misbehaving disk below them.

Nothing is on disk before it was synced, and a name is on disk only after its folder was synced. After a sync that
failed nobody knows what is there: the pages may count as clean, and the next sync succeed without them. So whoever
gets an error from `sync` stops writing, and believes only what an earlier sync has covered.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from attestrio.kit import files


class DiskFile(Protocol):
    """An open file that only grows at its end. All of it blocks and raises OSError."""

    def size(self) -> int:
        """Bytes."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """What is there from `offset` on, at most `size` bytes; fewer only at the end of the file."""
        ...

    def append(self, data: bytes) -> None:
        """Write all of it at the end. Raises OSError, also after a part of it was written."""
        ...

    def truncate(self, size: int) -> None:
        """Cut off what is behind `size` bytes."""
        ...

    def sync(self) -> None:
        """Returns once all that was written before is on disk; the name of the file is another matter."""
        ...

    def close(self) -> None:
        """Does not sync."""
        ...


class Disk(Protocol):
    """Files by path. All of it blocks and raises OSError."""

    def open(self, path: Path) -> DiskFile:
        """For reading and appending, made (mode 0600) if it is missing. Links are not followed."""
        ...

    def read(self, path: Path, max_bytes: int) -> bytes:
        """The whole file. Raises OSError also for one that is longer."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """In the place of `target` if that exists; on disk after `sync_folder`."""
        ...

    def remove(self, path: Path) -> None:
        """On disk after `sync_folder`."""
        ...

    def sync_folder(self, path: Path) -> None:
        """Make names made, changed or removed in this folder durable."""
        ...


class RealDisk:
    """The system's own. A `Disk`."""

    def open(self, path: Path) -> RealFile:
        return RealFile(path)

    def read(self, path: Path, max_bytes: int) -> bytes:
        return files.read_bounded(path, max_bytes)

    def rename(self, source: Path, target: Path) -> None:
        source.replace(target)

    def remove(self, path: Path) -> None:
        path.unlink()

    def sync_folder(self, path: Path) -> None:
        files.sync_folder(path)


class RealFile:
    """One open file of the system. A `DiskFile`."""

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._handle: int | None = os.open(path, flags, 0o600)

    def size(self) -> int:
        return os.fstat(self._open()).st_size

    def read(self, offset: int, size: int) -> bytes:
        return read_at(self._open(), offset, size)

    def append(self, data: bytes) -> None:
        append_to(self._open(), data)

    def truncate(self, size: int) -> None:
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


def write_whole(disk: Disk, path: Path, data: bytes) -> None:
    """Put `data` where `path` is, durably: a crash leaves the former file, or none, or this one, never a part.

    The draft beside it is named after it, so one writer at a time. Raises OSError; then any of the three may be there.
    """
    draft = path.with_name(f".{path.name}.draft")
    file = disk.open(draft)
    try:
        file.truncate(0)  # what an earlier crash has left
        file.append(data)
        file.sync()
    finally:
        file.close()
    disk.rename(draft, path)
    disk.sync_folder(path.parent)


def read_at(handle: int, offset: int, size: int) -> bytes:
    """As `DiskFile.read`, for a descriptor."""
    parts = []
    while size > 0 and (part := os.pread(handle, size, offset)):
        parts.append(part)
        offset, size = offset + len(part), size - len(part)
    return b"".join(parts)


def append_to(handle: int, data: bytes) -> None:
    """As `DiskFile.append`, for a descriptor opened with O_APPEND: a signal or a full disk can cut a write short."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]
