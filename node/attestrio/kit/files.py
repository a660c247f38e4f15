"""Files written so that they are whole or not there, and read with a bound."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def write_new(path: Path, text: str) -> None:
    """Write a new file, durably, mode 0600 in folders of mode 0700. Raises FileExistsError and OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    sync_folder(path.parent)


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """The whole file, which may be a pipe too. Raises OSError, also for one that is longer or never ends."""
    with path.open("rb") as file:
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
