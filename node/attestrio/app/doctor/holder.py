"""Which process holds a data directory, and where it listens: read from /proc, so that no lock is taken to find out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from attestrio.kit.datadir import LOCK

PROC: Final = Path("/proc")
FLOCK: Final = re.compile(r"^\d+: FLOCK\s+ADVISORY\s+WRITE\s+(-?\d+)\s+[0-9a-f]+:[0-9a-f]+:(\d+)\s", re.MULTILINE)
LISTENING: Final = "0A"
MAX_FDS: Final = 100_000


def holder_of(data_dir: Path, proc: Path = PROC) -> int | None:
    """The process that holds the directory; None where none does, or where the system does not tell.

    The number in LOCK is that of the last holder, and believed only while the kernel has a lock on that file.
    """
    try:
        inode = (data_dir / LOCK).stat().st_ino
        told = int((data_dir / LOCK).read_text("ascii")[:20])
        locks = FLOCK.findall((proc / "locks").read_text("ascii"))
    except (OSError, ValueError):
        return None
    # in another pid namespace the kernel names process 0 or -1
    return told if any(int(number) == inode and int(pid) in (told, 0, -1) for pid, number in locks) else None


def ports_of(pid: int, proc: Path = PROC) -> set[int] | None:
    """TCP ports that a process listens at; None where we may not look."""
    place = proc / str(pid)
    try:
        links = list(_links(place / "fd"))
        tables = [
            (place / "net" / name).read_text("ascii") for name in ("tcp", "tcp6") if (place / "net" / name).exists()
        ]
    except OSError:
        return None
    sockets = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    found = set()
    for line in (line.split() for table in tables for line in table.splitlines()[1:]):
        if len(line) > 9 and line[3] == LISTENING and line[9] in sockets:
            found.add(int(line[1].rpartition(":")[2], 16))
    return found


def _links(folder: Path) -> Iterator[str]:
    """Where the descriptors of a process lead. Raises OSError."""
    for one in list(folder.iterdir())[:MAX_FDS]:
        with suppress(FileNotFoundError):  # closed in the meantime, as the one with which we look into our own
            yield os.readlink(one)
