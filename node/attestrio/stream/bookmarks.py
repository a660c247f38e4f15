"""Finding entries by bookmark: an index beside the stream file, and both of them as one stream to write to.

The index is derived and may be wrong in both directions after a crash or a truncation: so every answer is compared with
the stream, and everything in it can be rebuilt from there. Keys are the data of bookmark entries, values their numbers.

Source: zkevm-data-streamer v0.2.5, streambookmark. Where we differ: a bookmark whose entry is gone is not found.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import apsw

from attestrio.kit.sqlite import open_database, storage_errors
from attestrio.stream.entries import Entry, EntryType, Header
from attestrio.stream.file import Committed, StreamFile
from attestrio.stream.messages import AnyMessage
from attestrio.stream.reader import StreamReader

APPLICATION_ID: Final = 0x41545342  # "ATSB"
SCHEMA: Final = ("CREATE TABLE bookmarks(key BLOB PRIMARY KEY, number BLOB NOT NULL) STRICT, WITHOUT ROWID",)
PUT_AT_ONCE: Final = 10_000
"""Bookmarks in one transaction of a rebuild."""

Pair = tuple[bytes, int]


class BookmarkIndex(Protocol):
    """Numbers by bookmark. All of it blocks, and is called by one thread at a time; raises StorageUnusable."""

    def get(self, key: bytes) -> int | None:
        """What was put last, right or not."""
        ...

    def put(self, pairs: Iterable[Pair]) -> None:
        """All of them, or after a crash the first of them; the last number of a key counts."""
        ...

    def clear(self) -> None:
        """Forget everything."""
        ...

    def __len__(self) -> int:
        """How many keys there are. May take a walk through all of them."""
        ...

    def close(self) -> None: ...


class MemoryBookmarks:
    """A `BookmarkIndex` that is gone with the process: for a stream that is only read, and for tests."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}

    def get(self, key: bytes) -> int | None:
        return self._numbers.get(key)

    def put(self, pairs: Iterable[Pair]) -> None:
        self._numbers.update(pairs)

    def clear(self) -> None:
        self._numbers.clear()

    def __len__(self) -> int:
        return len(self._numbers)

    def close(self) -> None:
        """Nothing to let go of."""


class SqliteBookmarks:
    """A `BookmarkIndex` in a SQLite file of its own. Raises on opening as `kit.sqlite.open_database`."""

    def __init__(self, path: Path, *, vfs: str | None = None) -> None:
        self._path = str(path)
        self._connection = open_database(path, application_id=APPLICATION_ID, schema=SCHEMA, vfs=vfs)
        # After a power cut the last transactions may be missing, which `DataStream.catch_up` mends.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._lock = threading.Lock()

    def get(self, key: bytes) -> int | None:
        with self._using() as connection:
            found = connection.execute("SELECT number FROM bookmarks WHERE key = ?", (key,)).get
        return None if found is None else int.from_bytes(found, "big")

    def put(self, pairs: Iterable[Pair]) -> None:
        rows = [(key, number.to_bytes(8, "big")) for key, number in pairs]
        if not rows:
            return
        with self._using() as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO bookmarks(key, number) VALUES (?, ?)", rows)

    def clear(self) -> None:
        with self._using() as connection:
            connection.execute("DELETE FROM bookmarks")

    def __len__(self) -> int:
        with self._using() as connection:
            return int(connection.execute("SELECT count(*) FROM bookmarks").get)

    def close(self) -> None:
        with self._using() as connection:
            connection.close()

    @contextmanager
    def _using(self) -> Iterator[apsw.Connection]:
        with self._lock, storage_errors(self._path):
            yield self._connection


def open_index(path: Path) -> BookmarkIndex:
    """The index at `path`: a folder is LevelDB's, as upstream writes it, anything else a SQLite file, made if missing.

    Raises StorageUnusable, and MissingExtra for a folder where LevelDB is not installed.
    """
    if path.is_dir():
        from attestrio.stream.leveldb import LevelBookmarks

        return LevelBookmarks(path)
    return SqliteBookmarks(path)


def find(reader: StreamReader, index: BookmarkIndex, key: bytes) -> int | None:
    """The number of the entry that is this bookmark; None if there is none, or the index is wrong about it."""
    number = index.get(key)
    if number is None:
        return None
    entry = reader.entry(number)
    found = entry is not None and entry.type == EntryType.BOOKMARK and entry.data == key
    return number if found else None


class DataStream:
    """A stream file and its bookmarks, written together. The verbs are those of `StreamFile`, and so are the errors.

    Bookmarks are put right before the commit: if that fails nothing is committed, and a bookmark whose commit never
    came is not found.
    """

    def __init__(self, file: StreamFile, index: BookmarkIndex) -> None:
        self.file = file
        self.index = index
        self._added: list[Pair] = []

    @classmethod
    def open(cls, file: StreamFile, index: BookmarkIndex) -> Self:
        """Takes both over, and lets the index catch up. Closes both when that fails."""
        opened = cls(file, index)
        try:
            opened.catch_up()
        except BaseException:
            opened.close()
            raise
        return opened

    @property
    def header(self) -> Header:
        """What is committed."""
        return self.file.header

    # --- writing

    def begin(self) -> None:
        self.file.begin()
        self._added.clear()

    def add(self, entry_type: int, data: bytes) -> int:
        """Its number."""
        number = self.file.add(entry_type, data)
        if entry_type == EntryType.BOOKMARK:
            self._added.append((data, number))
        return number

    def add_message(self, message: AnyMessage) -> int:
        """Its number."""
        return self.add(message.TYPE, message.encode())

    def commit(self) -> Committed:
        self.index.put(self._added)
        return self.file.commit()

    def rollback(self) -> None:
        self.file.rollback()

    @contextmanager
    def atomic(self) -> Iterator[Self]:
        """All of the entries added inside, or none: committed at the end, rolled back when something is raised."""
        self.begin()
        try:
            yield self
            self.commit()
        finally:
            if self.file.in_operation:
                self.rollback()

    def truncate(self, number: int) -> None:
        """The bookmarks that are gone with it stay in the index and are not found."""
        self.file.truncate(number)

    def update(self, number: int, entry_type: int, data: bytes) -> None:
        self.file.update(number, entry_type, data)
        if entry_type == EntryType.BOOKMARK:
            self.index.put([(data, number)])

    # --- bookmarks

    def find(self, bookmark: bytes) -> int | None:
        """The number of the entry that is this bookmark, or None."""
        return find(self.file, self.index, bookmark)

    def after(self, bookmark: bytes) -> Entry | None:
        """The first entry behind it that is none itself; the last bookmark if none follows. None: not found."""
        number = self.find(bookmark)
        last = None
        for entry in self.file.entries(number) if number is not None else ():
            last = entry
            if entry.type != EntryType.BOOKMARK:
                break
        return last

    def catch_up(self) -> int:
        """Put what the index lacks; how many bookmarks that were.

        What is lost in a crash was put last. So the pages are looked at from the last one back to the first whose
        bookmarks are all known: usually one page.
        """
        missing = 0
        for page in range(self.file.pages - 1, -1, -1):
            pairs = [(one.data, one.number) for one in self.file.page_entries(page) if one.type == EntryType.BOOKMARK]
            wanted = [(key, number) for key, number in pairs if self.index.get(key) != number]
            self.index.put(wanted)
            missing += len(wanted)
            if pairs and not wanted:
                break
        return missing

    def rebuild(self) -> int:
        """Make the index anew from the stream; how many bookmarks it has now. Reads the whole file."""
        self.index.clear()
        pairs = ((one.data, one.number) for one in self.file.entries() if one.type == EntryType.BOOKMARK)
        while some := list(islice(pairs, PUT_AT_ONCE)):
            self.index.put(some)
        return len(self.index)

    # --- life

    def close(self) -> None:
        """An open atomic operation is as good as rolled back."""
        try:
            self.index.close()
        finally:
            self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
