"""Copies of a stream and its bookmarks that fit together, taken while a server goes on writing, and put back.

A backup is a folder: `stream.bin`, `bookmarks.sqlite`, and last `manifest.json` with their hashes. All of it blocks.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from attestrio.kit.files import open_regular, read_bounded, sync_folder, write_new
from attestrio.stream import redo
from attestrio.stream.bookmarks import DataStream, SqliteBookmarks, open_index
from attestrio.stream.entries import HEADER_PAGE, PAGE, Header
from attestrio.stream.errors import StreamChangeRefused, StreamRewritten, StreamUnwritable
from attestrio.stream.file import StreamFile
from attestrio.stream.reader import StreamReader, unreadable
from attestrio.stream.wire_errors import BackupUnusable

FORMAT: Final = "attestrio stream backup 1"
STREAM: Final = "stream.bin"
BOOKMARKS: Final = "bookmarks.sqlite"
MANIFEST: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 1 << 16
ATTEMPTS: Final = 5
"""How often a stream may be rewritten during a copy before that is given up."""

Tell = Callable[[int, int], None]
"""Is told bytes done and of all, now and then."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds: the stream as of `header`, and the SHA-256 (hex) and bytes of each file."""

    header: Header
    bookmarks: int
    files: dict[str, tuple[int, str]]

    def to_json(self) -> dict[str, Any]:
        """As it is in the file."""
        files = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in self.files.items()}
        return {"format": FORMAT, "header": asdict(self.header), "bookmarks": self.bookmarks, "files": files}


def backup(source: Path, folder: Path, tell: Tell) -> Manifest:
    """Copy the stream at `source` into `folder`, which is made and must not exist. The stream may be written meanwhile.

    What was committed when it began is read twice: a truncation or an update between the two shows, and it begins
    again. Bookmarks come out of the copy, because no other process may look into the index of one that runs; so they
    fit, and those that truncations have left are not among them. Without a manifest a folder is no backup.

    Raises as `StreamReader.open`, StreamRewritten, StreamUnwritable, StreamChangeRefused.
    """
    copy = folder / STREAM
    with StreamReader.open(source) as reader:  # first: a wrong name leaves no folder behind
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            raise StreamChangeRefused(f"{folder} exists already: a backup is made in a new folder") from None
        except OSError as exc:
            raise StreamUnwritable(folder, exc.strerror or str(exc)) from exc
        header = _copy(reader, copy, tell)
    index = SqliteBookmarks(folder / BOOKMARKS)
    with DataStream(StreamFile.open(copy), index) as stream:
        for _ in stream.file.entries():
            pass  # raises where the numbers do not count on
        bookmarks = stream.rebuild()
    files = {name: _hashed(folder / name) for name in (STREAM, BOOKMARKS)}
    manifest = Manifest(header, bookmarks, files)
    write_new(folder / MANIFEST, json.dumps(manifest.to_json(), indent=2) + "\n")
    return manifest


def _copy(reader: StreamReader, target: Path, tell: Tell) -> Header:
    for _ in range(ATTEMPTS):
        header = reader.refresh()
        total = 2 * header.total_length
        with unwritable(target), target.open("wb") as out:
            out.write(header.page())
            first = hashlib.sha256()
            for position, data in _bytes(reader, header):
                first.update(data)
                out.seek(position)
                out.write(data)
                tell(position + len(data), total)
            pages = -(-(header.total_length - HEADER_PAGE) // PAGE)
            out.truncate(HEADER_PAGE + pages * PAGE)
            out.flush()
            os.fsync(out.fileno())
        second = hashlib.sha256()
        for position, data in _bytes(reader, header):
            second.update(data)
            tell(header.total_length + position + len(data), total)
        if first.digest() == second.digest() and reader.refresh().total_length >= header.total_length:
            return header
    raise StreamRewritten(f"{reader.path} was truncated or updated during each of {ATTEMPTS} attempts to copy it")


def _bytes(reader: StreamReader, header: Header) -> Iterator[tuple[int, bytes]]:
    """The data pages up to the end of what `header` counts, pads as they are."""
    with unreadable(reader.path), open_regular(reader.path) as file:
        file.seek(HEADER_PAGE)
        position = HEADER_PAGE
        while position < header.total_length and (data := file.read(min(PAGE, header.total_length - position))):
            yield position, data
            position += len(data)


def read_backup(folder: Path, tell: Tell) -> Manifest:
    """The manifest of a backup whose files are as it says. Raises BackupUnusable."""
    try:
        document = json.loads(read_bounded(folder / MANIFEST, MAX_MANIFEST_BYTES))
        if document["format"] != FORMAT:
            raise BackupUnusable(folder, f"format {document['format']!r}")
        files = {name: (int(one["bytes"]), str(one["sha256"])) for name, one in document["files"].items()}
        manifest = Manifest(Header(**document["header"]), int(document["bookmarks"]), files)
    except OSError as exc:
        raise BackupUnusable(folder, f"{MANIFEST}: {exc.strerror}") from exc
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:  # the last: [[[[...
        raise BackupUnusable(folder, f"{MANIFEST} is not one of ours") from exc
    if files.keys() != {STREAM, BOOKMARKS}:
        raise BackupUnusable(folder, f"{MANIFEST} lists other files")
    total, done = sum(size for size, _ in files.values()), 0
    for name, (size, digest) in files.items():
        try:
            found = _hashed(folder / name)
        except OSError as exc:
            raise BackupUnusable(folder, f"{name}: {exc.strerror}") from exc
        if found != (size, digest):
            raise BackupUnusable(folder, f"{name} is not the file that was written: {found[0]} B, sha256 {found[1]}")
        tell(done := done + size, total)
    return manifest


def restore(folder: Path, target: Path, bookmarks: Path, tell: Tell, *, replace: bool = False) -> Manifest:
    """Put a backup back as `target` with its index at `bookmarks`, a LevelDB folder if that is one already.

    A process that is killed half-way leaves the former stream or this one, and an index that is right for neither at
    worst, which is noticed and mended when the stream is opened. Nobody may be writing the former one.

    Raises BackupUnusable, StreamInUse, StreamUnwritable, and StreamChangeRefused where a file is and `replace` is not.
    """
    manifest = read_backup(folder, tell)
    target = Path(os.path.realpath(target))  # a link stays one, and what it leads to is replaced
    if not target.exists():
        with unwritable(target):
            redo.side_file(target).unlink(missing_ok=True)  # of a stream that was here before
        _put(folder / STREAM, target)
    elif not replace:
        raise StreamChangeRefused(f"{target} exists already: say --replace to have it replaced")
    else:
        with StreamFile.open(target, check_tail=False):  # which keeps everybody else from writing it
            _put(folder / STREAM, target)
    with DataStream(StreamFile.open(target), open_index(bookmarks)) as stream:
        stream.rebuild()
    return manifest


def _put(source: Path, target: Path) -> None:
    draft = target.with_name(f".{target.name}.restored")
    with unwritable(target):
        with open_regular(source) as file, draft.open("wb") as out:
            while data := file.read(PAGE):
                out.write(data)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(target)
        sync_folder(target.parent)


def _hashed(path: Path) -> tuple[int, str]:
    """Bytes and SHA-256 of a file. Raises OSError."""
    digest, size = hashlib.sha256(), 0
    with open_regular(path) as file:
        while data := file.read(PAGE):
            digest.update(data)
            size += len(data)
    return size, digest.hexdigest()


@contextmanager
def unwritable(path: Path) -> Iterator[None]:
    """Raise StreamUnwritable for the OSErrors inside."""
    try:
        yield
    except OSError as exc:
        raise StreamUnwritable(path, exc.strerror or str(exc)) from exc
