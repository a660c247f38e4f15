"""Reading a stream file: in order, by number, as slices for the wire. Nothing behind the committed header is seen.

All of it blocks, and may be called from any thread while one thread writes (`file.StreamFile`). Buffered reads and no
mmap: a file that another process cuts would end this one with SIGBUS.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from attestrio.stream.disk import REAL_DISK, PagedFile, StreamDisk
from attestrio.stream.entries import (
    ENTRY,
    HEADER,
    HEADER_AT,
    HEADER_PAGE,
    PAD,
    PAGE,
    Entry,
    Header,
    Packet,
    entries_untrusted,
    header_page_untrusted,
    header_untrusted,
    page_of,
    page_start,
)
from attestrio.stream.errors import (
    BadEntry,
    BadStreamHeader,
    HeaderAhead,
    NotAStream,
    StreamCorrupt,
    StreamRewritten,
    StreamUnreadable,
)

CHUNK: Final = 1 << 17
"""Bytes read at once: stays in the processor's cache, which is worth a tenth of the time."""
SAME_TWICE: Final = 10
"""Attempts to read a header that another process may be writing."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A slice of a stream file: whole entries or parts of them, never a pad."""

    data: bytes
    """Empty at the end of what is committed, and only there."""
    next: int
    """The position to go on at."""


class StreamReader:
    """An open stream file. `header` is what was committed when it was opened, `refresh`ed, or last written by us."""

    def __init__(self, path: Path, file: PagedFile, header: Header) -> None:
        self.path = path
        self._file = file
        self._header = header
        self._rewrites = 0  # counts truncations and updates, each of which makes bytes of older reads worthless
        self._page_ends: dict[int, int] = {}

    @classmethod
    def open(cls, path: Path, *, disk: StreamDisk = REAL_DISK, check_tail: bool = True) -> Self:
        """For reading only; another process may go on writing, see `refresh`.

        Args:
          check_tail: see `check_tail`; without it every fault is found where it is read.

        Raises StreamUnreadable, NotAStream, HeaderAhead, StreamCorrupt.
        """
        return cls._opened(path, disk, writable=False, check_tail=check_tail)

    @classmethod
    def _opened(cls, path: Path, disk: StreamDisk, *, writable: bool, check_tail: bool) -> Self:
        with unreadable(path):
            file = disk.open_paged(path, writable=writable)
        try:
            with unreadable(path):
                if writable:
                    # What a process that was killed has written is seen, and not yet on disk. Whoever is told of an
                    # entry now would otherwise see it taken back by a power cut.
                    file.sync()
                header = _read_header(file, path)
            opened = cls(path, file, header)
            if check_tail:
                opened.check_tail()
        except BaseException:
            file.close()
            raise
        return opened

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # --- what is there

    @property
    def header(self) -> Header:
        """What is committed."""
        return self._header

    @property
    def rewrites(self) -> int:
        """How often the stream was truncated or updated since it was opened."""
        return self._rewrites

    def size(self) -> int:
        """Bytes of the file, pages that are not in use included."""
        with unreadable(self.path):
            return self._file.size()

    def refresh(self) -> Header:
        """Look again for what another process has committed. Raises StreamUnreadable, NotAStream.

        A truncation is noticed as long as the stream is shorter than before it.
        """
        with unreadable(self.path):
            header = _read_header(self._file, self.path)
        if header.total_length < self._header.total_length:
            self._rewritten()
        self._header = header
        return header

    def check_tail(self) -> None:
        """Raise HeaderAhead unless the last page ends with the last entry, where the header says. At most 1 MiB read.

        A power cut can leave a header and not the entries it counts, where nobody syncs them before it: upstream.
        """
        header = self._header
        size = self.size()
        if header.total_length > size:
            raise HeaderAhead(self.path, size, f"the file ends, its header counts {header.total_length} B")
        if header.total_length < HEADER_PAGE or (header.total_entries == 0) != (header.total_length == HEADER_PAGE):
            raise StreamCorrupt(
                self.path, HEADER_AT, f"{header.total_entries} entries in {header.total_length} B cannot be"
            )
        if header.total_entries == 0:
            return
        last = page_of(header.total_length - 1)
        try:
            end, number = self._walk(last, None)
        except StreamCorrupt as exc:
            raise HeaderAhead(self.path, exc.position, exc.why) from exc
        full = header.total_length == page_start(last + 1)
        if number != header.total_entries or (end != header.total_length and not full):
            raise HeaderAhead(
                self.path,
                end,
                f"{number} entries end here, the header counts {header.total_entries} up to {header.total_length}",
            )

    @property
    def pages(self) -> int:
        """How many data pages are in use, the last one at least in part."""
        return page_of(self._header.total_length - 1) + 1

    # --- reading

    def entry(self, number: int) -> Entry | None:
        """The entry, None if there is none with this number. Reads at most two pages. Raises as `entries`."""
        return next(self.entries(number, number + 1), None)

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """The entries from number `start` on, up to `stop` (not included) or to what is committed now.

        Memory: 128 KiB, or one entry. Raises StreamCorrupt, HeaderAhead and StreamUnreadable, and StreamRewritten when
        the stream is truncated or updated meanwhile.
        """
        return chain.from_iterable(self._lists(start, stop))  # a generator would cost a tenth more

    def _lists(self, start: int, stop: int | None) -> Iterator[list[Entry]]:
        rewrites, total = self._rewrites, self._header.total_entries
        stop = total if stop is None else min(stop, total)
        if not 0 <= start < stop:
            return
        position, number = self.locate(start), start
        while number < stop:
            entries, position = self._some(position, number, rewrites)
            number += len(entries)
            yield entries if number <= stop else entries[: stop - number]

    def page_entries(self, page: int) -> list[Entry]:
        """Those of one page in use, counted from 0. Raises as `entries`."""
        last = page == self.pages - 1
        return list(self.entries(self._first_of(page), None if last else self._first_of(page + 1)))

    def locate(self, number: int) -> int:
        """Where in the file an entry begins; for the number of the next entry, the end.

        Binary search over the pages in use, by the number each begins with, then a walk over headers. Raises
        StreamRewritten for a number that is not there (any more), StreamCorrupt, StreamUnreadable.
        """
        header = self._header
        if not 0 <= number <= header.total_entries:
            raise StreamRewritten(f"{self.path} has {header.total_entries} entries, none or no more of number {number}")
        if number == header.total_entries:
            return header.total_length
        if number == 0:
            return HEADER_PAGE  # whatever the header counts: a check of a damaged file begins here
        low, high = 0, page_of(header.total_length - 1)
        while low < high:
            middle = (low + high + 1) // 2
            if self._first_of(middle) <= number:
                low = middle
            else:
                high = middle - 1
        if number == self._first_of(low):
            return page_start(low)
        position, found = self._walk(low, number)
        if found != number:
            raise StreamCorrupt(self.path, position, f"entry {found} where entry {number} was looked for")
        return position

    def read_bytes(self, position: int, max_bytes: int) -> Cut:
        """A slice for the wire, from the beginning of an entry or from where the last slice went on.

        At most `max_bytes` > 0, and no more than a page. Entries stand in the file as they go over the wire, so this
        costs no decoding; the end of each full page is looked for once. Raises as `entries`; StreamRewritten also for
        a position that is behind the end by now.
        """
        rewrites, header = self._rewrites, self._header
        if not HEADER_PAGE <= position <= header.total_length:
            raise StreamRewritten(f"{self.path} has {header.total_length} B, not {position}")
        while position < header.total_length:
            end = self._page_end(page_of(position), header)
            if position < end:
                data = self._read(position, min(max_bytes, end - position), rewrites)
                return Cut(data, position + len(data))
            position = page_start(page_of(position) + 1)
        return Cut(b"", position)

    def sound_part(self) -> tuple[int, int]:
        """How far whole entries go from the beginning on: the position behind them, and their number.

        The length and number of the header, if that is right. Reads everything. Raises StreamUnreadable.
        """
        rewrites, total, position, number = self._rewrites, self._header.total_entries, HEADER_PAGE, 0
        while number < total:
            try:
                entries, position = self._some(position, number, rewrites)
            except StreamCorrupt:
                break
            position -= sum(ENTRY.size + len(entry.data) for entry in entries[total - number :])
            number = min(number + len(entries), total)
        # Behind the last entry of a page there may be a pad, which counts once an entry followed and was truncated.
        length = self._header.total_length
        padded = length == page_start(page_of(position - 1) + 1)
        return (length if number == total and padded else position), number

    # --- within

    def _some(self, position: int, number: int, rewrites: int) -> tuple[list[Entry], int]:
        """At least one entry, and the position behind."""
        length = self._header.total_length
        while position < length:
            end = min(page_start(page_of(position) + 1), length)
            raw = self._read(position, min(CHUNK, end - position), rewrites)
            entries, used = self._cut(raw, position, number)
            if not entries and raw[:1] != PAD and len(raw) < end - position:
                raw = self._read(position, end - position, rewrites)  # an entry that is longer than a chunk
                entries, used = self._cut(raw, position, number)
            if entries:
                return entries, position + used
            if raw[:1] != PAD:
                raise StreamCorrupt(self.path, position, f"entry {number} goes beyond its page or the end")
            if position == page_start(page_of(position)):
                raise StreamCorrupt(self.path, position, "a data page that does not begin with an entry")
            position = page_start(page_of(position) + 1)
        self._check_rewritten(rewrites)
        raise HeaderAhead(self.path, position, f"the entries end before entry {number}")

    def _cut(self, raw: bytes, position: int, number: int) -> tuple[list[Entry], int]:
        try:
            return entries_untrusted(raw, number)
        except BadEntry as exc:
            raise StreamCorrupt(self.path, position, str(exc)) from exc

    def _read(self, position: int, size: int, rewrites: int) -> bytes:
        """All of it, as it was when `rewrites` was looked at, or an error."""
        with unreadable(self.path):
            raw = self._file.read(position, size)
        self._check_rewritten(rewrites)
        if len(raw) < size:
            raise HeaderAhead(self.path, position + len(raw), "the file ends before its entries do")
        return raw

    def _check_rewritten(self, rewrites: int) -> None:
        if self._rewrites != rewrites:
            raise StreamRewritten(f"{self.path} was truncated or updated during a read")

    def _first_of(self, page: int) -> int:
        """The number of the entry that a page in use begins with."""
        raw = self._read(page_start(page), ENTRY.size, self._rewrites)
        packet, _, _, number = ENTRY.unpack(raw)
        if packet != Packet.DATA:
            raise StreamCorrupt(self.path, page_start(page), "a data page that does not begin with an entry")
        return int(number)

    def _walk(self, page: int, until: int | None) -> tuple[int, int]:
        """Hop over the headers of a page in use, up to entry `until` or the end of its entries: where, and the number
        of the entry that is or would come there."""
        start, rewrites = page_start(page), self._rewrites
        stop = min(start + PAGE, self._header.total_length)
        raw = self._read(start, stop - start, rewrites)
        number = self._first_of(page)
        position, size = 0, len(raw)
        while position < size and raw[position] != Packet.PAD and number != until:
            if position + ENTRY.size > size:
                raise StreamCorrupt(self.path, start + position, f"entry {number} goes beyond its page or the end")
            packet, length, _, found = ENTRY.unpack_from(raw, position)
            if packet != Packet.DATA or found != number or not ENTRY.size <= length <= size - position:
                raise StreamCorrupt(self.path, start + position, f"no entry {number}")
            position, number = position + length, number + 1
        return start + position, number

    def _page_end(self, page: int, header: Header) -> int:
        """Where the entries of a page in use end."""
        if header.total_length < page_start(page + 1):
            return header.total_length
        end = self._page_ends.get(page)
        if end is None:
            rewrites = self._rewrites
            end, _ = self._walk(page, None)
            if rewrites == self._rewrites:
                self._page_ends[page] = end
        return end

    def _rewritten(self) -> None:
        """What was read before is not to be relied on. Before, and not after, anything is overwritten."""
        self._rewrites += 1
        self._page_ends.clear()


def _read_header(file: PagedFile, path: Path) -> Header:
    size = file.size()
    raw = file.read(0, HEADER_AT + HEADER.size)
    for _ in range(SAME_TWICE):
        again = file.read(0, HEADER_AT + HEADER.size)
        if again == raw:
            break
        raw = again
    try:
        header_page_untrusted(raw, size)
        return header_untrusted(raw[HEADER_AT:])
    except BadStreamHeader as exc:
        raise NotAStream(path, str(exc)) from exc


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Raise StreamUnreadable for the OSErrors inside; BlockingIOError, which is a lock, passes."""
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as exc:
        raise StreamUnreadable(path, exc.strerror or str(exc)) from exc
