"""Looking at a whole stream file: header, pages, order, encodings, bookmarks. Needs no index, and takes one if given.

Everything is read once, forward, in memory that does not grow with the stream: that no bookmark comes twice follows
from the order, in which batches and blocks only count on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from attestrio.errors import NodeError
from attestrio.stream.bookmarks import BookmarkIndex
from attestrio.stream.disk import REAL_DISK, StreamDisk
from attestrio.stream.entries import HEADER_PAGE, PAGE, Entry, EntryType, Header
from attestrio.stream.errors import BadMessage, NotAStream, OrderBroken, StreamCorrupt
from attestrio.stream.messages import BatchEnd, BatchStart, L2Block, message_untrusted
from attestrio.stream.order import Counts, OrderChecker
from attestrio.stream.reader import StreamReader

MAX_FINDINGS: Final = 100
"""Kept in a report; the rest is only counted."""
TELL_EVERY: Final = 4_096
"""Entries between two words on progress."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    code: str
    """Of the error class that stands for it, `not_canonical`, or `bookmark_unresolved`."""
    text: str
    number: int | None = None
    """Of the entry, if it is about one."""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What is told of a stream without walking through it."""

    path: Path
    size: int
    """Bytes of the file."""
    header: Header
    pages: int
    """Data pages of the file."""
    pages_used: int
    last_batch: int | None
    """None where the last pages begin none: an empty stream."""
    last_block: int | None
    open_batch: bool
    """The last batch has no end yet."""


@dataclass(slots=True)
class StreamReport:
    """What a walk through a stream has shown."""

    path: Path
    size: int = 0
    header: Header | None = None
    """None: there is none that can be read."""
    pages: int = 0
    """Data pages in use."""
    counts: Counts = field(default_factory=Counts)
    bookmarks_checked: bool = False
    """Whether an index was looked at."""
    bookmarks_stale: int = 0
    """Keys of the index that lead to no bookmark of the stream: harmless, left by truncations and crashes."""
    findings: list[Finding] = field(default_factory=list)
    findings_total: int = 0

    @property
    def ok(self) -> bool:
        return self.findings_total == 0

    def note(self, error: NodeError | Finding, number: int | None = None) -> None:
        """One more finding."""
        self.findings_total += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(error if isinstance(error, Finding) else Finding(error.code, str(error), number))


def info(path: Path, *, disk: StreamDisk = REAL_DISK) -> StreamInfo:
    """Header, sizes and the tip. Reads the last pages, back to the last block. Raises as `StreamReader.open`."""
    with StreamReader.open(path, disk=disk) as reader:
        size = reader.size()
        batch, block, ended = _tip(reader)
        return StreamInfo(
            path,
            size,
            reader.header,
            (size - HEADER_PAGE) // PAGE,
            reader.pages,
            batch,
            block,
            batch is not None and not ended,
        )


def _tip(reader: StreamReader) -> tuple[int | None, int | None, bool]:
    """The last batch begun, the last block, and whether that batch has ended."""
    batch: int | None = None
    block: int | None = None
    ended = False
    for entry in _backwards(reader):
        if entry.type not in (EntryType.BATCH_START, EntryType.L2_BLOCK, EntryType.BATCH_END):
            continue
        message = message_untrusted(entry.type, entry.data)
        if isinstance(message, BatchEnd):
            ended = ended or batch is None
        elif isinstance(message, BatchStart):
            batch = message.number if batch is None else batch
        elif isinstance(message, L2Block) and block is None:
            block = message.number
        if batch is not None and block is not None:
            break
    return batch, block, ended


def _backwards(reader: StreamReader) -> Iterator[Entry]:
    for page in range(reader.pages - 1, -1, -1):
        yield from reversed(reader.page_entries(page))


def verify(
    path: Path,
    index: BookmarkIndex | None = None,
    *,
    disk: StreamDisk = REAL_DISK,
    on_progress: Callable[[int, int], None] | None = None,
) -> StreamReport:
    """Walk through the stream and tell what is wrong with it. Stops at the first bytes that are no entry.

    Args:
      index: every bookmark is looked up in it as well.
      on_progress: called now and then with the number of entries seen and of all entries.

    Raises StreamUnreadable, what the index raises, and StreamRewritten when a server truncates the file meanwhile.
    """
    report = StreamReport(path)
    try:
        reader = StreamReader.open(path, disk=disk, check_tail=False)
    except NotAStream as exc:
        report.note(exc)
        return report
    with reader:
        report.size, report.header, report.pages = reader.size(), reader.header, reader.pages
        try:
            reader.check_tail()
        except StreamCorrupt as exc:
            report.note(exc)
        _walk(reader, index, report, on_progress or _quiet)
    if index is not None:
        report.bookmarks_checked = True
    return report


def _walk(
    reader: StreamReader,
    index: BookmarkIndex | None,
    report: StreamReport,
    on_progress: Callable[[int, int], None],
) -> None:
    checker = OrderChecker(counts=report.counts)
    resolved = 0
    try:
        for entry in reader.entries():
            try:
                if checker.feed(entry).encode() != entry.data:
                    report.note(Finding("not_canonical", "another encoding than the canonical one", entry.number))
            except (OrderBroken, BadMessage) as exc:
                report.note(exc, entry.number)
            if index is not None and entry.type == EntryType.BOOKMARK:
                if (found := index.get(entry.data)) == entry.number:
                    resolved += 1
                else:
                    report.note(_unresolved(entry, found))
            if entry.number % TELL_EVERY == 0:
                on_progress(entry.number, reader.header.total_entries)
    except StreamCorrupt as exc:
        if exc.code not in {one.code for one in report.findings}:
            report.note(exc)
    else:
        on_progress(reader.header.total_entries, reader.header.total_entries)
        if index is not None:
            report.bookmarks_stale = len(index) - resolved


def _unresolved(entry: Entry, found: int | None) -> Finding:
    where = "nothing" if found is None else f"entry {found}"
    return Finding("bookmark_unresolved", f"bookmark {entry.data.hex()} leads to {where}", entry.number)


def _quiet(done: int, total: int) -> None:
    """For who does not ask for progress."""
