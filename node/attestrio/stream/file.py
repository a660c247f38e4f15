"""Writing a stream file: atomic operations, truncation, update, growth.

The 38 bytes of the header are the only commit mark, and they are within one sector of the disk. Everything they count
is on disk before they are written, and they are on disk before anything they no longer count is overwritten; so a
crash at any moment leaves a state that was committed, or the one that was being committed.

Source: zkevm-data-streamer v0.2.5, streamserver and streamfile. Where we differ: it syncs nothing on commit, drops
errors of writes, and writes entries that are longer than a page.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from attestrio.stream import redo
from attestrio.stream.disk import REAL_DISK, PagedFile, StreamDisk
from attestrio.stream.entries import HEADER_AT, HEADER_PAGE, PAD, PAGE, Entry, Header
from attestrio.stream.errors import StreamChangeRefused, StreamInUse, StreamUnwritable
from attestrio.stream.reader import StreamReader

FIRST_PAGES: Final = 100
MORE_PAGES: Final = 10
"""How many data pages a new file has, and by how many a full one grows; upstream's numbers."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What one atomic operation has added: `entries` entries from number `first` on, in the file up to `end`."""

    first: int
    entries: int
    start: int
    """Where the first of them may begin: there may be the pad of a full page before it."""
    end: int


class StreamFile(StreamReader):
    """A stream file of which this process is the only writer. One thread writes at a time, any thread reads.

    A truncation and everything in an atomic operation that fails half-way leaves the file as it was. After a write or
    sync that failed where nobody knows what is on disk, nothing is written any more: open the file again.
    """

    def __init__(self, path: Path, file: PagedFile, header: Header) -> None:
        super().__init__(path, file, header)
        self._disk: StreamDisk = REAL_DISK
        self._pages_more = MORE_PAGES
        self._draft: Header | None = None  # of the atomic operation that is open
        self._spoiled: StreamUnwritable | None = None  # why that one cannot be committed
        self._failed: StreamUnwritable | None = None  # why nothing can be written

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        version: int = 2,
        system_id: int = 1,
        pages: int = FIRST_PAGES,
        disk: StreamDisk = REAL_DISK,
        more_pages: int = MORE_PAGES,
    ) -> Self:
        """A new, empty stream, which is whole or not there after a crash. The file is sparse.

        Raises StreamChangeRefused where a file is already, StreamUnwritable.
        """
        if path.exists():
            raise StreamChangeRefused(f"{path} exists already")
        draft = path.with_name(f".{path.name}.draft")
        with _unwritable(path):
            begun = disk.open(draft)
            try:
                begun.truncate(0)  # what an earlier crash has left
                begun.append(Header(version=version, system_id=system_id).page())
            finally:
                begun.close()
            file = disk.open_paged(draft, writable=True)
            try:
                file.resize(HEADER_PAGE + pages * PAGE)
                file.sync()
            finally:
                file.close()
            disk.rename(draft, path)
            disk.sync_folder(path.parent)
        return cls.open(path, disk=disk, more_pages=more_pages)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        disk: StreamDisk = REAL_DISK,
        check_tail: bool = True,
        more_pages: int = MORE_PAGES,
    ) -> Self:
        """An existing stream, for writing. What was never committed is garbage, and overwritten by what comes next.

        Raises StreamInUse, and as `StreamReader.open`.
        """
        try:
            opened = cls._opened(path, disk, writable=True, check_tail=False)
        except BlockingIOError as exc:
            raise StreamInUse(path) from exc
        try:
            with _unwritable(path):
                redo.finish(disk, path, opened._file, opened._header)
            if check_tail:
                opened.check_tail()
        except BaseException:
            opened.close()
            raise
        opened._disk, opened._pages_more = disk, more_pages
        return opened

    # --- atomic operations

    @property
    def next_number(self) -> int:
        """Of the next entry that is added, those of the open atomic operation counted."""
        return (self._draft or self._header).total_entries

    @property
    def in_operation(self) -> bool:
        """Whether an atomic operation is open."""
        return self._draft is not None

    def begin(self) -> None:
        """Open an atomic operation. Raises RuntimeError when one is open, StreamUnwritable."""
        if self._draft is not None:
            raise RuntimeError("an atomic operation is open already")
        self._check_usable()
        self._draft = self._header

    def add(self, entry_type: int, data: bytes) -> int:
        """Write an entry behind the last; its number. Nobody sees it before `commit`.

        Raises EntryTooLong, with which nothing has happened, and StreamUnwritable, after which the operation can only
        be rolled back; RuntimeError without an open operation.
        """
        draft = self._operation()
        raw = Entry(draft.total_entries, entry_type, data).encode()
        try:
            with _unwritable(self.path):
                position = self._room_for(len(raw), draft.total_length)
                self._file.write(position, raw)
        except StreamUnwritable as exc:
            self._spoiled = exc
            raise
        self._draft = replace(draft, total_length=position + len(raw), total_entries=draft.total_entries + 1)
        return draft.total_entries

    def commit(self) -> Committed:
        """Make what was added part of the stream, on disk when this returns. Nothing at all added is fine.

        Raises StreamUnwritable: then the operation is over, and only opening the file again tells how it ended, unless
        an `add` had failed, with which nothing has been committed. RuntimeError without an open operation.
        """
        draft, before = self._operation(), self._header
        self._draft = None
        if draft != before:
            with self._fatally():
                self._file.sync()
            self._write_header(draft)
        return Committed(
            before.total_entries,
            draft.total_entries - before.total_entries,
            before.total_length,
            draft.total_length,
        )

    def rollback(self) -> None:
        """Forget what was added. Its bytes stay behind the end, as garbage. RuntimeError without an open operation."""
        if self._draft is None:
            raise RuntimeError("no atomic operation is open")
        self._draft = self._spoiled = None

    @contextmanager
    def atomic(self) -> Iterator[Self]:
        """All of the entries added inside, or none: committed at the end, rolled back when something is raised."""
        self.begin()
        try:
            yield self
            self.commit()
        finally:
            if self._draft is not None:
                self.rollback()

    # --- changes to what is committed

    def truncate(self, number: int) -> None:
        """Remove the entries from `number` on; on disk when this returns. The file stays as long as it was.

        Every reader that is under way gets StreamRewritten. Raises StreamChangeRefused when there is no such entry,
        StreamUnwritable, RuntimeError in an atomic operation, and as `locate`.
        """
        self._check_change(number)
        header = replace(self._header, total_length=self.locate(number), total_entries=number)
        self._write_header(header)
        self._rewritten()

    def update(self, number: int, entry_type: int, data: bytes) -> None:
        """Put other data of the same length into a committed entry; old or new after a crash, never a part of each.

        Raises StreamChangeRefused for an entry that is not there or has another type or length, and as `truncate`.
        """
        self._check_change(number)
        present = self.entry(number)
        if present is None or present.type != entry_type or len(present.data) != len(data):
            raise StreamChangeRefused(f"entry {number} of {self.path} has another type or length")
        position, entry = self.locate(number), Entry(number, entry_type, data)
        with self._fatally():
            self._rewritten()
            redo.write(self._disk, self.path, self._file, position, entry.encode())
            self._rewritten()

    # --- within

    def _operation(self) -> Header:
        """The header of the open operation, which can still be committed."""
        if self._draft is None:
            raise RuntimeError("no atomic operation is open")
        if self._spoiled is not None:
            raise StreamUnwritable(self.path, "an entry before could not be written") from self._spoiled
        self._check_usable()
        return self._draft

    def _room_for(self, size: int, end: int) -> int:
        """Where an entry of `size` bytes goes: at the end, or on the next page, with the file grown for it."""
        used = (end - HEADER_PAGE) % PAGE
        if used and size > PAGE - used:
            self._file.write(end, PAD)  # one byte; what is behind it stays, and nobody looks there
            end += PAGE - used
        if (length := self._file.size()) <= end:
            with self._fatally():
                # On disk before anything is written there: else a crash can leave a part of a page at the end.
                self._file.resize(length + self._pages_more * PAGE)
                self._file.sync()
        return end

    def _write_header(self, header: Header) -> None:
        with self._fatally():
            self._file.write(HEADER_AT, header.encode())
            self._file.sync()
        self._header = header

    def _check_change(self, number: int) -> None:
        if self._draft is not None:
            raise RuntimeError("an atomic operation is open")
        self._check_usable()
        if not 0 <= number < self._header.total_entries:
            raise StreamChangeRefused(f"{self.path} has no entry {number}, only {self._header.total_entries}")

    def _check_usable(self) -> None:
        if self._failed is not None:
            raise StreamUnwritable(self.path, "an earlier write failed") from self._failed

    @contextmanager
    def _fatally(self) -> Iterator[None]:
        """After an OSError inside nobody knows what is on disk, so nothing more is written."""
        try:
            with _unwritable(self.path):
                yield
        except StreamUnwritable as exc:
            self._failed = exc
            raise


@contextmanager
def _unwritable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StreamUnwritable(path, exc.strerror or str(exc)) from exc


def recover(path: Path, *, disk: StreamDisk = REAL_DISK) -> tuple[Header, Header]:
    """Let the header count only what is there: the header before and after, which are the same for a sound file.

    The longest run of whole entries from the beginning is kept. It may end inside a batch, which every reader can deal
    with; nothing is invented. Reads the whole file. Raises as `StreamFile.open`.
    """
    with StreamFile.open(path, disk=disk, check_tail=False) as file:
        before = file.header
        length, number = file.sound_part()
        after = replace(before, total_length=length, total_entries=number)
        if after != before:
            file._write_header(after)
            file._rewritten()
    return before, after
