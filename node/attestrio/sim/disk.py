"""A disk that misbehaves: below SQLite as a VFS, below plain files as a `kit.disk.Disk`, both of the same model.

The files are real ones in a folder, which plays the page cache; what of them is on disk is kept beside it
(`disk_model`). A crash makes a new folder with what survived. Nothing here syncs the real disk, so that thousands of
crashes take a few seconds.
"""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from attestrio.kit.disk import append_to, read_at
from attestrio.sim.disk_model import (
    Create,
    FileTree,
    Operation,
    Remove,
    Rename,
    Survival,
    Sync,
    SyncFolder,
    Truncate,
    Write,
)
from attestrio.sim.disk_vfs import SimVfs


@dataclass(slots=True)
class Faults:
    """What goes wrong, by the number of an operation that changes or syncs something, counted from 0. None: never."""

    crash_at: int | None = None
    """Nothing is done from this one on; the process counts as dead."""
    error_at: int | None = None
    """This one fails with EIO. If it is a sync, what it should have synced counts as clean and may be lost."""
    full_at: int | None = None
    """From this one on no file grows (ENOSPC)."""
    ignore_syncs_of: Collection[str] = ()
    """Files (names from the root of the disk) whose syncs do nothing and are not counted: the disk lies, or the program
    forgot to ask. The files that SQLite keeps beside a database count as the database."""
    sync_s: float = 0.0
    """Seconds that every sync takes."""
    sleep: Callable[[float], None] = time.sleep
    """How a sync takes them; in the thread that syncs."""


@dataclass(eq=False)
class SimDisk:
    """A disk whose files are in `folder`, which has to be empty, or filled by `surviving`. A `kit.disk.Disk`.

    `vfs` is its name for SQLite; both ways work on the same files. Everything is decided by `seed` and by the order of
    the operations. Any thread may use it.
    """

    folder: Path
    seed: int = 0
    faults: Faults = field(default_factory=Faults)
    tree: FileTree = field(default_factory=FileTree)
    done: list[Operation] = field(default_factory=list)
    """What was done, in order. Without a fault, `done[i]` is the operation with number i."""

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._rng = random.Random(f"disk {self.seed}")
        self._asked = 0
        self._in_flight: Operation | None = None
        self._vfs = SimVfs(self)

    @property
    def vfs(self) -> str:
        """For `apsw.Connection(vfs=...)`; valid as long as this object lives."""
        return self._vfs.name

    @property
    def dead(self) -> bool:
        """Whether the crash has come."""
        return self._in_flight is not None

    @property
    def operations(self) -> int:
        """How many were asked for, the failed ones included: the number of the next one."""
        return self._asked

    # --- crashes

    def after_crash(self, survival: Survival, rng: random.Random | None = None) -> FileTree:
        """What a crash now, or the one that came, leaves on disk. The disk itself goes on."""
        return self.tree.after(survival, rng or self._rng, self._in_flight)

    @classmethod
    def surviving(cls, tree: FileTree, folder: Path, seed: int = 0, faults: Faults | None = None) -> SimDisk:
        """The disk that holds `tree`, with its files in `folder`, which is made and has to be new."""
        folder.mkdir()
        for name, content in tree.view().items():
            path = folder / name
            if path.parent != folder:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return cls(folder, seed, faults or Faults(), tree)

    def crash(self, folder: Path, survival: Survival = Survival.REORDERED) -> SimDisk:
        """The disk after a crash, in a new folder and without faults."""
        return self.surviving(self.after_crash(survival), folder, self.seed)

    # --- kit.disk.Disk

    def open(self, path: Path) -> SimFile:
        name = self.name_of(path)
        with self._lock:
            file = self.tree.names().get(name)
            if file is None:
                file = self.create(name)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        return SimFile(self, file, handle)

    def read(self, path: Path, max_bytes: int) -> bytes:
        raw = path.read_bytes()
        if len(raw) > max_bytes:
            raise OSError(errno.EFBIG, f"longer than {max_bytes} bytes", str(path))
        return raw

    def rename(self, source: Path, target: Path) -> None:
        with self._lock:
            if not source.exists():
                raise FileNotFoundError(errno.ENOENT, "no such file", str(source))
            self.do(Rename(self.name_of(source), self.name_of(target)))
            source.replace(target)

    def remove(self, path: Path) -> None:
        with self._lock:
            if not path.exists():
                raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
            self.do(Remove(self.name_of(path)))
            path.unlink()

    def sync_folder(self, path: Path) -> None:
        self.do(SyncFolder(self.name_of(path)))

    # --- for the files and the VFS

    def name_of(self, path: Path | str) -> str:
        """Relative to the root. Raises ValueError for what is not on this disk."""
        return os.path.normpath(Path(path).absolute().relative_to(self.folder.absolute()))

    def create(self, name: str) -> int:
        """The number of a new file."""
        with self._lock:
            file = self.tree.fresh_file()
            self.do(Create(name, file))
            return file

    def do(self, operation: Operation) -> None:
        """Count the operation, and do it on the model unless a fault has its turn. Raises OSError."""
        faults = self.faults
        if faults.sync_s and isinstance(operation, Sync | SyncFolder):
            faults.sleep(faults.sync_s)
        with self._lock:
            if faults.ignore_syncs_of and isinstance(operation, Sync) and self._ignored(operation.file):
                return
            number = self._asked
            if self._in_flight is not None:
                raise OSError(errno.EIO, "the process is dead")
            if number == faults.crash_at:
                self._in_flight = operation
                raise OSError(errno.EIO, f"crashed at operation {number}")
            self._asked += 1
            if number == faults.error_at:
                if isinstance(operation, Sync):
                    self.tree.fail_sync(operation.file, self._rng)
                raise OSError(errno.EIO, f"operation {number} failed")
            if faults.full_at is not None and number >= faults.full_at and self._grows(operation):
                raise OSError(errno.ENOSPC, f"no space from operation {faults.full_at} on")
            self.tree.do(operation)
            self.done.append(operation)

    def _grows(self, operation: Operation) -> bool:
        match operation:
            case Create():
                return True
            case Write(file, offset, data):
                return offset + len(data) > self.tree.size(file)
            case Truncate(file, size):
                return size > self.tree.size(file)
        return False

    def _ignored(self, file: int) -> bool:
        names = [name for name, found in self.tree.names().items() if found == file]
        return any(_database_of(name) in self.faults.ignore_syncs_of for name in names)


class SimFile:
    """One open file of a SimDisk. A `kit.disk.DiskFile`."""

    def __init__(self, disk: SimDisk, file: int, handle: int) -> None:
        self._disk = disk
        self._file = file
        self._handle: int | None = handle

    def size(self) -> int:
        return os.fstat(self._open()).st_size

    def read(self, offset: int, size: int) -> bytes:
        return read_at(self._open(), offset, size)

    def append(self, data: bytes) -> None:
        handle = self._open()
        self._disk.do(Write(self._file, self.size(), bytes(data)))
        append_to(handle, data)

    def truncate(self, size: int) -> None:
        handle = self._open()
        self._disk.do(Truncate(self._file, size))
        os.ftruncate(handle, size)

    def sync(self) -> None:
        self._open()
        self._disk.do(Sync(self._file))

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _open(self) -> int:
        if self._handle is None:
            raise ValueError("the file is closed")
        return self._handle


def _database_of(name: str) -> str:
    return name.removesuffix("-wal").removesuffix("-journal")
