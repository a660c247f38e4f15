"""Files written so that they are whole or not there, and read with a bound."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, ClassVar

from attestrio.errors import StorageUnusable

DISK_FAULTS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""What an operator mends at the disk, not at the command."""

NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})  # FAT, some network and FUSE file systems


class FileUnwritable(StorageUnusable):
    """The disk below a new file is full, read-only or failing. Nothing is left of the file."""

    code: ClassVar[str] = "file_unwritable"

    def __init__(self, path: Path, cause: OSError) -> None:
        super().__init__(f"{path} cannot be written ({cause.strerror}): mend the disk, then try again")
        self.path = path


def write_new(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Write a new file, durably, in folders made with mode 0700 if they are missing. Raises FileExistsError, OSError.

    It gets its name once all of it is on the disk: after an error, or a power cut, nothing stands in the way of the
    next attempt. A process that is killed half-way leaves a `.new-...` beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".new-{os.getpid()}-{os.urandom(4).hex()}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        _name(part, path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def _name(part: Path, path: Path) -> None:
    """Let `part` be found as `path`, never in the place of another file: renaming would replace one."""
    try:
        os.link(part, path)
    except OSError as exc:
        if exc.errno not in NO_HARD_LINKS:
            raise
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        part.replace(path)


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, without ever waiting: a pipe would keep its reader until somebody writes, and a thread
    that waits in `open` cannot be cancelled. Raises OSError, also for whatever is no regular file."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bounded(path: Path, max_bytes: int, *, pipes: bool = False) -> bytes:
    """The whole file. Raises OSError, also for one that is longer or never ends.

    Args:
      pipes: read one too (`/dev/stdin`, `<(...)`). For commands, which a signal ends while they wait; never for what
        runs in the loop.
    """
    with path.open("rb") if pipes else open_regular(path) as file:
        raw = file.read(max_bytes + 1)  # one more than allowed tells a full file from one that is too long
    if len(raw) > max_bytes:
        raise OSError(errno.EFBIG, f"longer than {max_bytes} bytes", str(path))
    return raw


def sync_folder(folder: Path) -> None:
    """Make names made, changed or removed in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
