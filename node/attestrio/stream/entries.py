"""Header, pages and entries of a data stream, as they stand in the file and go over the wire. Big endian everywhere.

    header page, 4096 bytes            data pages, 2^20 bytes each
    magic 16 | header 38 | zeros       entry entry ... entry [one 0x00, then whatever was there]   entry entry ...

    header   u8 1 | u32 38 | u8 version | u64 system id | u64 stream type | u64 total length | u64 total entries
    entry    u8 2 | u32 length, these 17 bytes included | u32 type | u64 number | data

Every data page begins with an entry and none crosses a page's end. What stands behind the total length is not part of
the stream, whatever it looks like.

Source: zkevm-data-streamer v0.2.5; vectors in tests/golden/datastream. Where we differ: an entry that is longer than a
page is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from itertools import count
from typing import Final

import msgspec

from attestrio.stream.errors import BadEntry, BadStreamHeader, EntryTooLong

MAGIC: Final = b"polygonDATSTREAM"
HEADER_PAGE: Final = 4096
"""Bytes before the first data page."""
PAGE: Final = 1 << 20
"""Bytes of a data page, and so of the longest entry."""
SEQUENCER: Final = 1
"""The one stream type there is."""

HEADER: Final = struct.Struct(">BIBQQQQ")
HEADER_AT: Final = len(MAGIC)
ENTRY: Final = struct.Struct(">BIIQ")
MAX_DATA: Final = PAGE - ENTRY.size
PAD: Final = b"\0"

NOT_FOUND_TYPE: Final = 0xFFFFFFFF


class Packet(IntEnum):
    """The first byte of everything in the file and on the wire."""

    PAD = 0
    HEADER = 1
    DATA = 2
    RESPONSE = 0xFE
    RESULT = 0xFF


class EntryType(IntEnum):
    """What the data of an entry is; see `messages`."""

    BATCH_START = 1
    L2_BLOCK = 2
    TRANSACTION = 3
    BATCH_END = 4
    UPDATE_GER = 5
    L2_BLOCK_END = 6
    BOOKMARK = 176


@dataclass(frozen=True, slots=True)
class Header:
    """How much of a stream counts. Version and system id are only carried along, as upstream does."""

    total_length: int = HEADER_PAGE
    """Bytes in use, header page included."""
    total_entries: int = 0
    """Also the number of the next entry."""
    version: int = 2
    system_id: int = 1

    def encode(self) -> bytes:
        """38 bytes. Raises ValueError for a number that does not fit."""
        try:
            return HEADER.pack(
                Packet.HEADER,
                HEADER.size,
                self.version,
                self.system_id,
                SEQUENCER,
                self.total_length,
                self.total_entries,
            )
        except struct.error as exc:
            raise ValueError(f"not a header: {self}") from exc

    def page(self) -> bytes:
        """The whole header page."""
        return (MAGIC + self.encode()).ljust(HEADER_PAGE, b"\0")


def header_untrusted(raw: bytes) -> Header:
    """Read the 38 bytes of a header. Raises only BadStreamHeader."""
    if len(raw) != HEADER.size:
        raise BadStreamHeader(f"header of {len(raw)} B instead of {HEADER.size}")
    packet, length, version, system_id, stream_type, total_length, total_entries = HEADER.unpack(raw)
    if packet != Packet.HEADER:
        raise BadStreamHeader(f"packet type {packet} where a header has {Packet.HEADER:d}")
    if length != HEADER.size:
        raise BadStreamHeader(f"header length {length} instead of {HEADER.size}")
    if stream_type != SEQUENCER:
        raise BadStreamHeader(f"stream type {stream_type}, only {SEQUENCER} is known")
    return Header(total_length, total_entries, version, system_id)


def header_page_untrusted(raw: bytes, size: int) -> Header:
    """Read the first bytes of a file of `size` bytes: 54 are enough. Raises only BadStreamHeader.

    In the order of upstream, so that the same complaint comes first. The total length is not compared with `size`.
    """
    if raw[:HEADER_AT] != MAGIC:
        raise BadStreamHeader("it does not begin as one")
    if size < HEADER_PAGE:
        raise BadStreamHeader(f"{size} B are no header page")
    if (size - HEADER_PAGE) % PAGE:
        raise BadStreamHeader(f"{size} B: the last data page is cut")
    return header_untrusted(raw[HEADER_AT : HEADER_AT + HEADER.size])


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One entry. A struct, and not a dataclass, because a stream has hundreds of thousands of them."""

    number: int
    type: int
    """One of `EntryType`, or what a later release calls otherwise."""
    data: bytes

    def encode(self, packet: Packet = Packet.DATA) -> bytes:
        """As in the file; on the wire an answer to a query has packet type RESPONSE.

        Raises EntryTooLong, and ValueError for a number or type that does not fit.
        """
        if len(self.data) > MAX_DATA:
            raise EntryTooLong(ENTRY.size + len(self.data), PAGE)
        try:
            return ENTRY.pack(packet, ENTRY.size + len(self.data), self.type, self.number) + self.data
        except struct.error as exc:
            raise ValueError(f"not an entry: number {self.number}, type {self.type}") from exc


NOT_FOUND: Final = ENTRY.pack(Packet.RESPONSE, ENTRY.size, NOT_FOUND_TYPE, 0)
"""The answer to a query that found nothing."""


def page_start(page: int) -> int:
    """Where data page `page`, counted from 0, begins in the file."""
    return HEADER_PAGE + page * PAGE


def page_of(position: int) -> int:
    """The data page a position of the file is in. Positions on a boundary belong to the page that begins there."""
    return (position - HEADER_PAGE) // PAGE


def length_untrusted(head: bytes) -> int:
    """The length of the entry that begins with these bytes, at least 5. Raises only BadEntry.

    For whoever cuts entries off a connection: no more than `PAGE` bytes are ever needed for one.
    """
    if len(head) < 5:
        raise BadEntry(f"{len(head)} B are not the beginning of an entry")
    if head[0] not in (Packet.DATA, Packet.RESPONSE):
        raise BadEntry(f"packet type {head[0]} where an entry was due")
    length = int.from_bytes(head[1:5], "big")
    if not ENTRY.size <= length <= PAGE:
        raise BadEntry(f"entry of {length} B, allowed are {ENTRY.size} to {PAGE}")
    return length


def entry_untrusted(raw: bytes) -> Entry | None:
    """Read one whole entry, from a file or an answer; None is the answer that there is none. Raises only BadEntry."""
    length = length_untrusted(raw)
    if length != len(raw):
        raise BadEntry(f"{len(raw)} B for an entry of {length} B")
    _, _, kind, number = ENTRY.unpack_from(raw)
    if kind == NOT_FOUND_TYPE:
        return None
    return Entry(number, kind, raw[ENTRY.size :])


_CUTTERS: Final[dict[int, Callable[[bytes, int], tuple[bytes, int, int, int, int]]]] = {}
"""By the length of an entry: what cuts its data and the head of the next entry off a page, in one call."""
MAX_CUTTERS: Final = 4_096


def entries_untrusted(raw: bytes, first: int) -> tuple[list[Entry], int]:
    """The whole entries at the beginning of `raw`, numbered from `first` on, and the position behind the last of them.

    Ends at a pad byte, at the end, or before an entry that is cut: the caller knows which of them may be there.
    Raises BadEntry for anything else. Linear in `raw`; the loop is what reading a stream costs, see bench/stream.py:
    with a call for each head and a slice for each data it takes a fifth longer.
    """
    entries: list[Entry] = []
    number, data_at = first, ENTRY.size
    cutters, make = _CUTTERS, Entry  # locals: a lookup less for each entry
    if len(raw) >= ENTRY.size:
        packet, length, kind, found = ENTRY.unpack_from(raw)
        cutting = True
        while cutting:
            try:
                for number in count(number):  # noqa: B020  # it goes on where it was interrupted
                    if packet != 2 or found != number:
                        break
                    step, this = length, kind
                    data, packet, length, kind, found = cutters[step](raw, data_at)
                    entries.append(make(number, this, data))
                    data_at += step
                cutting = False
            except KeyError:  # a length that is seen for the first time
                cutting = _add_cutter(length)
            except struct.error:  # behind this entry is no head, or it is cut itself
                if (end := data_at + length - ENTRY.size) <= len(raw):
                    entries.append(Entry(number, kind, raw[data_at:end]))
                    number, data_at = number + 1, end + ENTRY.size
                cutting = False
    position = data_at - ENTRY.size
    _check_rest(raw, position, number)
    return entries, position


def _add_cutter(length: int) -> bool:
    """False for a length that no entry has. As many are kept as a stream has lengths that come often, and more."""
    if not ENTRY.size <= length <= PAGE:
        return False
    if len(_CUTTERS) >= MAX_CUTTERS:
        _CUTTERS.clear()
    _CUTTERS[length] = struct.Struct(f">{length - ENTRY.size}s{ENTRY.format[1:]}").unpack_from
    return True


def _check_rest(raw: bytes, position: int, number: int) -> None:
    """Raise BadEntry unless an entry that is cut, a pad byte or nothing stands at `position`."""
    head = raw[position : position + ENTRY.size]
    if not head or head[:1] == PAD:
        return
    if head[0] != Packet.DATA:
        raise BadEntry(f"packet type {head[0]} where entry {number} was due")
    if len(head) >= 5:
        length_untrusted(head)
    if len(head) == ENTRY.size and (found := ENTRY.unpack(head)[3]) != number:
        raise BadEntry(f"entry {found} where entry {number} was due")
