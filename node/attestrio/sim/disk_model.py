"""What is on a disk and what only seems to be: pure, from the operations in their order to what a crash leaves.

An operation that was done is seen by every process at once; it is on disk after the sync of its file, or, for a name,
of its folder. Names that were changed and not synced survive a crash up to some moment and not beyond it, as on every
journalling file system; what was written and not synced survives in any choice, whole or by sectors.
Folders themselves are always on disk.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath

SECTOR = 512
"""Bytes. A disk writes a sector whole or not at all, and no other bytes with it (SQLite: powersafe overwrite)."""


class Survival(StrEnum):
    """Which of the operations that were not synced a crash leaves."""

    LOST = "lost"  # none: the power is cut with everything in caches
    KILLED = "killed"  # all, and still not on disk but for the names: the process dies, the machine goes on
    TORN = "torn"  # all up to the last, and that one cut at a sector
    REORDERED = "reordered"  # any choice, whatever their order, some of them torn, some lengths without their bytes


@dataclass(frozen=True, slots=True)
class Write:
    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    file: int


@dataclass(frozen=True, slots=True)
class Create:
    name: str
    file: int


@dataclass(frozen=True, slots=True)
class Rename:
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Remove:
    name: str


@dataclass(frozen=True, slots=True)
class SyncFolder:
    folder: str


Change = Write | Truncate
Naming = Create | Rename | Remove
Operation = Change | Naming | Sync | SyncFolder


@dataclass(slots=True)
class _Content:
    durable: bytearray = field(default_factory=bytearray)
    waiting: list[Change] = field(default_factory=list)

    def seen(self) -> bytes:
        content = bytearray(self.durable)
        for change in self.waiting:
            _apply(content, change)
        return bytes(content)


@dataclass(slots=True)
class FileTree:
    """Files and their names (paths relative to the disk's root), and what of them is on disk.

    Files are numbered; a file without a name may still be open.
    """

    _files: dict[int, _Content] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)  # on disk
    _waiting: list[Naming] = field(default_factory=list)

    def do(self, operation: Operation) -> None:
        """Raises KeyError for a file that is not there."""
        match operation:
            case Write() | Truncate():
                self._files[operation.file].waiting.append(operation)
            case Sync(file):
                content = self._files[file]
                for change in content.waiting:
                    _apply(content.durable, change)
                content.waiting.clear()
            case SyncFolder(folder):
                self._sync_names(folder)
            case Create(_, file):
                self._files[file] = _Content()
                self._waiting.append(operation)
            case Rename() | Remove():
                self._waiting.append(operation)

    def fail_sync(self, file: int, rng: random.Random) -> None:
        """A sync that came back with an error: some of it may be on disk, the rest will never be, and counts as clean.

        From here on `view` does not show what processes see.
        """
        content = self._files[file]
        _scramble(content.durable, content.waiting, rng)
        content.waiting.clear()

    def fresh_file(self) -> int:
        """A number for a file that is about to be made."""
        return max(self._files, default=0) + 1

    def names(self) -> dict[str, int]:
        """As processes see them."""
        return _renamed(self._names, self._waiting)

    def view(self) -> dict[str, bytes]:
        """Every named file as processes see it. O(bytes)."""
        return {name: self._files[file].seen() for name, file in self.names().items()}

    @property
    def clean(self) -> bool:
        """Whether everything is on disk."""
        return not self._waiting and not any(content.waiting for content in self._files.values())

    def size(self, file: int) -> int:
        """As processes see it."""
        content = self._files[file]
        size = len(content.durable)
        for change in content.waiting:
            size = max(size, change.offset + len(change.data)) if isinstance(change, Write) else change.size
        return size

    def after(self, survival: Survival, rng: random.Random, in_flight: Operation | None = None) -> FileTree:
        """What a crash leaves, as a tree of its own.

        Args:
          in_flight: the operation the crash came in; it may have been done in part.
        """
        if survival is Survival.KILLED:
            left = self.copied()
            left._settle_names()
            return left
        names = self._names
        if survival is not Survival.LOST:
            naming = [*self._waiting, *([in_flight] if isinstance(in_flight, Rename | Remove) else [])]
            kept = len(naming) if survival is Survival.TORN else rng.randint(0, len(naming))
            names = _renamed(names, naming[:kept])
        files: dict[int, _Content] = {}
        for file in sorted(set(names.values())):
            content = self._files[file]
            durable = bytearray(content.durable)
            waiting = content.waiting
            if isinstance(in_flight, Write | Truncate) and in_flight.file == file:
                waiting = [*waiting, in_flight]
            if survival is Survival.TORN:
                _tear_last(durable, waiting, rng)
            elif survival is Survival.REORDERED:
                _scramble(durable, waiting, rng)
            files[file] = _Content(durable)
        return FileTree(files, dict(names))

    def copied(self) -> FileTree:
        files = {
            file: _Content(bytearray(content.durable), list(content.waiting)) for file, content in self._files.items()
        }
        return FileTree(files, dict(self._names), list(self._waiting))

    def only(self, start: str) -> FileTree:
        """The files whose names begin with `start`, and what waits for them."""
        waiting = [
            change
            for change in self._waiting
            if (change.source if isinstance(change, Rename) else change.name).startswith(start)
        ]
        names = {name: file for name, file in self._names.items() if name.startswith(start)}
        return FileTree(self._files, names, waiting).copied()

    def _settle_names(self) -> None:
        # A file system writes its journal every few seconds, whoever asks; what is in files may stay for a minute.
        self._names = self.names()
        self._waiting.clear()

    def _sync_names(self, folder: str) -> None:
        # A journal has one order: what came before the last change in this folder is on disk with it.
        last = max((at for at, change in enumerate(self._waiting) if folder in _folders(change)), default=-1)
        self._names = _renamed(self._names, self._waiting[: last + 1])
        del self._waiting[: last + 1]


def folder_of(name: str) -> str:
    return str(PurePosixPath(name).parent)


def _folders(change: Naming) -> set[str]:
    names = (change.source, change.target) if isinstance(change, Rename) else (change.name,)
    return {folder_of(name) for name in names}


def _renamed(names: dict[str, int], changes: Iterable[Naming]) -> dict[str, int]:
    names = dict(names)
    for change in changes:
        match change:
            case Create(name, file):
                names[name] = file
            case Rename(source, target):
                names[target] = names.pop(source)
            case Remove(name):
                del names[name]
    return names


def _apply(content: bytearray, change: Change) -> None:
    if isinstance(change, Truncate):
        _resize(content, change.size)
    else:
        _resize(content, max(len(content), change.offset))
        content[change.offset : change.offset + len(change.data)] = change.data


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def _tear_last(content: bytearray, waiting: list[Change], rng: random.Random) -> None:
    last = max((at for at, change in enumerate(waiting) if isinstance(change, Write)), default=-1)
    for at, change in enumerate(waiting):
        if at == last and isinstance(change, Write):
            sectors = _sectors(change)
            for part in sectors[: rng.randrange(len(sectors))]:
                _apply(content, part)
        else:
            _apply(content, change)


def _scramble(content: bytearray, waiting: Iterable[Change], rng: random.Random) -> None:
    for change in waiting:
        chance = rng.random()
        if chance < 0.4:
            _apply(content, change)
        elif isinstance(change, Truncate):
            continue
        elif chance < 0.7:
            for part in _sectors(change):
                if rng.random() < 0.5:
                    _apply(content, part)
        elif chance < 0.8 and (grown := change.offset + len(change.data) - len(content)) > 0:
            # The new length got there and the bytes did not: zeros, or what was on the disk before.
            content.extend(rng.randbytes(grown) if rng.random() < 0.5 else bytes(grown))


def _sectors(write: Write) -> list[Write]:
    """The write cut where sectors of the disk begin."""
    parts = []
    at, end = write.offset, write.offset + len(write.data)
    while at < end:
        until = min(end, at - at % SECTOR + SECTOR)
        parts.append(Write(write.file, at, write.data[at - write.offset : until - write.offset]))
        at = until
    return parts
