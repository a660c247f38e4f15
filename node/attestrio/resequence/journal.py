"""What a rebuild takes out of the stream, kept beside it, and how far the rebuild has got.

    STREAM.removed       the entries from the bookmark of the first removed batch on, as they stand in the stream file
    STREAM.resequence    a JSON record: what was removed, by what it is rebuilt, and the phase

Both files are whole or not there after a crash, and the copy is on disk before the record, the record before the cut.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attestrio.kit.disk import Disk, RealDisk, write_whole
from attestrio.kit.files import open_regular
from attestrio.resequence.errors import JournalUnusable
from attestrio.resequence.record import Record
from attestrio.stream.entries import PAGE, Entry, entries_untrusted
from attestrio.stream.errors import BadEntry
from attestrio.stream.reader import StreamReader

MAX_RECORD_BYTES: Final = 1 << 16
CHUNK_ENTRIES: Final = 10_000


class Journal:
    """The two files beside the stream at `path`. One process at a time; it blocks. Raises JournalUnusable."""

    def __init__(self, path: Path, *, disk: Disk | None = None) -> None:
        real = Path(os.path.realpath(path))  # beside the file itself, by whatever link the stream is opened
        self.removed_path = real.with_name(f"{real.name}.removed")
        self.record_path = real.with_name(f"{real.name}.resequence")
        self._disk = disk or RealDisk()

    # --- the record

    def record(self) -> Record | None:
        """What is under way, or was last; None if there never was anything."""
        try:
            raw = self._disk.read(self.record_path, MAX_RECORD_BYTES)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise JournalUnusable(self.record_path, exc.strerror or str(exc)) from exc
        try:
            return Record.from_json(raw)
        except ValueError as exc:
            raise JournalUnusable(self.record_path, "it is not the record of a rebuild") from exc

    def unfinished(self) -> Record | None:
        """The rebuild that was interrupted. While there is one, nobody else may write to the stream."""
        record = self.record()
        return record if record is not None and record.unfinished else None

    def put(self, record: Record) -> Record:
        """On disk when this returns."""
        with self._writing(self.record_path):
            write_whole(self._disk, self.record_path, record.to_json().encode())
        return record

    # --- the copy

    def copy(self, entries: Iterator[Entry]) -> tuple[int, int, str]:
        """Keep them; how many they are, bytes, and SHA-256 in hex. On disk, in place of a former copy, on return."""
        draft, digest, count, size = (
            self.removed_path.with_name(f".{self.removed_path.name}.draft"),
            hashlib.sha256(),
            0,
            0,
        )
        with self._writing(self.removed_path):
            file = self._disk.open(draft)
            try:
                file.truncate(0)  # what an earlier crash has left
                for chunk in _chunks(entries):
                    raw = b"".join(entry.encode() for entry in chunk)
                    file.append(raw)
                    digest.update(raw)
                    count, size = count + len(chunk), size + len(raw)
                file.sync()
            finally:
                file.close()
            self._disk.rename(draft, self.removed_path)
            self._disk.sync_folder(self.removed_path.parent)
        return count, size, digest.hexdigest()

    def check(self, record: Record) -> None:
        """Raise JournalUnusable unless the copy is the one of the record. Reads all of it."""
        digest, size = hashlib.sha256(), 0
        for raw in self._raw():
            digest.update(raw)
            size += len(raw)
        if (size, digest.hexdigest()) != (record.size, record.sha256):
            raise JournalUnusable(self.removed_path, f"it is not the copy that was made: {size} B of {record.size}")

    def removed(self, record: Record, *, whole: bool = False) -> Iterator[Entry]:
        """The entries that were removed, or those that belong to something `whole`. Memory: some MiB."""
        number, end = record.first_entry, record.first_entry + (record.whole if whole else record.entries)
        rest = b""
        for raw in self._raw():
            data = rest + raw
            try:
                entries, used = entries_untrusted(data, number)
            except BadEntry as exc:
                raise JournalUnusable(self.removed_path, str(exc)) from exc
            yield from entries[: max(0, end - number)]
            number, rest = number + len(entries), data[used:]
        if rest or number != record.first_entry + record.entries:
            raise JournalUnusable(self.removed_path, f"it ends before entry {record.first_entry + record.entries}")

    def forget(self) -> None:
        """Remove both files, the record first. Only when nothing is under way."""
        if self.unfinished() is not None:
            raise RuntimeError("a rebuild is under way")
        for path in (self.record_path, self.removed_path):
            with self._writing(path):
                try:
                    self._disk.remove(path)
                except FileNotFoundError:
                    continue
                self._disk.sync_folder(path.parent)

    # --- within

    def _raw(self) -> Iterator[bytes]:
        try:
            with open_regular(self.removed_path) as file:
                while raw := file.read(PAGE):
                    yield raw
        except OSError as exc:
            raise JournalUnusable(self.removed_path, exc.strerror or str(exc)) from exc

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise JournalUnusable(path, exc.strerror or str(exc)) from exc


def prefix_digest(reader: StreamReader, number: int) -> str:
    """SHA-256 in hex of all that stands before entry `number` in the file. Raises as `StreamReader.entries`."""
    digest = hashlib.sha256()
    end = reader.locate(number)
    position = reader.locate(0) if number else end
    while position < end:
        cut = reader.read_bytes(position, min(PAGE, end - position))
        begun = cut.next - len(cut.data)  # behind `position` where a pad was jumped over: maybe at the end, or near it
        digest.update(cut.data[: max(0, end - begun)])
        position = cut.next
    return digest.hexdigest()


def _chunks(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    chunk: list[Entry] = []
    size = 0
    for entry in entries:
        chunk.append(entry)
        size += len(entry.data)
        if size >= PAGE or len(chunk) >= CHUNK_ENTRIES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
