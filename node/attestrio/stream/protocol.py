"""The stream protocol as bytes: what a client asks, what a server answers. Nothing here waits.

    request    u64 command | u64 stream type = 1 | parameters          all integers big endian
    result     FF | u32 length = 9 + text | u32 error | text
    header     01 | u32 38 | u8 version | u64 system | u64 stream type | u64 length in bytes | u64 entries
    entry      02, streamed, or FE, an answer | u32 length = 17 + data | u32 type | u64 number | data

Source: zkevm-data-streamer v0.2.5, streamserver.go; its README has the numbers of Entry and Bookmark wrong.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from attestrio.stream.entries import (
    ENTRY,
    HEADER,
    NOT_FOUND,
    NOT_FOUND_TYPE,
    PAGE,
    SEQUENCER,
    Entry,
    Header,
    Packet,
    header_untrusted,
)
from attestrio.stream.wire_errors import BadStreamPacket, BadStreamRequest

MAX_BOOKMARK_BYTES: Final = 16
MAX_TEXT_BYTES: Final = 256  # of a result; the longest known one has 17

HEAD: Final = struct.Struct(">QQ")
NUMBER: Final = struct.Struct(">Q")
LENGTH: Final = struct.Struct(">I")
RESULT: Final = struct.Struct(">BII")


class Command(IntEnum):
    """What a client can ask for."""

    START = 1
    STOP = 2
    HEADER = 3
    START_BOOKMARK = 4
    ENTRY = 5
    BOOKMARK = 6


class Status(IntEnum):
    """The error numbers of results."""

    OK = 0
    ALREADY_STARTED = 1
    ALREADY_STOPPED = 2
    BAD_FROM_ENTRY = 3
    BAD_FROM_BOOKMARK = 4
    INVALID_COMMAND = 9


TEXTS: Final = {
    Status.OK: b"OK",
    Status.ALREADY_STARTED: b"Already started",
    Status.ALREADY_STOPPED: b"Already stopped",
    Status.BAD_FROM_ENTRY: b"Bad from entry",
    Status.BAD_FROM_BOOKMARK: b"Bad from bookmark",
    Status.INVALID_COMMAND: b"Invalid command",
}
RESULTS: Final = {
    status: RESULT.pack(Packet.RESULT, RESULT.size + len(text), status) + text for status, text in TEXTS.items()
}
"""Every result a server can send."""

WITH_NUMBER: Final = frozenset({Command.START, Command.ENTRY})
WITH_BOOKMARK: Final = frozenset({Command.START_BOOKMARK, Command.BOOKMARK})


@dataclass(frozen=True, slots=True)
class Request:
    """A command with what it takes: `number` for Start and Entry, `bookmark` for the two that name one."""

    command: Command
    number: int = 0
    bookmark: bytes = b""

    def encode(self) -> bytes:
        """As it is sent."""
        head = HEAD.pack(self.command, SEQUENCER)
        if self.command in WITH_NUMBER:
            return head + NUMBER.pack(self.number)
        if self.command in WITH_BOOKMARK:
            return head + LENGTH.pack(len(self.bookmark)) + self.bookmark
        return head


def encode_response(entry: Entry | None) -> bytes:
    """The answer to Entry or Bookmark, behind a result that says OK also when there is no such entry."""
    return NOT_FOUND if entry is None else entry.encode(Packet.RESPONSE)


class RequestReader:
    """A client's bytes, cut into requests. Holds the last piece fed and less than one request before it."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray) -> None:
        """Take the next piece, of any length."""
        self._buffer += data

    def next_request(self, *, started: bool) -> Request | Status | None:
        """The next request, or the error that answers it, or None: feed more.

        Args:
          started: whether entries are being streamed. It decides what follows a command: of one that is refused for
            it, the parameters stay where they are and are read as the next command, as they are by the reference.

        Raises BadStreamRequest: close the connection, without a word.
        """
        while len(self._buffer) >= HEAD.size:
            number, stream_type = HEAD.unpack_from(self._buffer)
            if stream_type != SEQUENCER:
                raise BadStreamRequest(f"stream type {stream_type}, not {SEQUENCER}")
            refused = self._refused(number, started=started)
            if refused is not None:
                del self._buffer[: HEAD.size]
                return refused
            command = Command(number)
            size = self._size(command)
            if size is None or len(self._buffer) < size:
                return None
            raw = bytes(self._buffer[HEAD.size : size])
            del self._buffer[:size]
            if command in WITH_NUMBER:
                return Request(command, NUMBER.unpack(raw)[0])
            if command not in WITH_BOOKMARK:
                return Request(command)
            if bookmark := raw[LENGTH.size :]:
                return Request(command, bookmark=bookmark)
            # an empty bookmark gets no answer, and the connection goes on
        return None

    @staticmethod
    def _refused(number: int, *, started: bool) -> Status | None:
        if not Command.START <= number <= Command.BOOKMARK:
            return Status.INVALID_COMMAND
        if number == Command.STOP:
            return None if started else Status.ALREADY_STOPPED
        return Status.ALREADY_STARTED if started else None

    def _size(self, command: Command) -> int | None:
        """Bytes of the request at the start of the buffer; None while its own length has not come.

        Raises BadStreamRequest. Of a bookmark that is too long the reference would read the bytes as commands.
        """
        if command in WITH_NUMBER:
            return HEAD.size + NUMBER.size
        if command not in WITH_BOOKMARK:
            return HEAD.size
        if len(self._buffer) < HEAD.size + LENGTH.size:
            return None
        (size,) = LENGTH.unpack_from(self._buffer, HEAD.size)
        if size > MAX_BOOKMARK_BYTES or (size == 0 and command == Command.START_BOOKMARK):
            raise BadStreamRequest(f"bookmark of {size} bytes, limit {MAX_BOOKMARK_BYTES}")
        return HEAD.size + LENGTH.size + int(size)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a command. `status` 0 is OK; others need not be among ours."""

    status: int
    text: str

    @property
    def ok(self) -> bool:
        return self.status == Status.OK


@dataclass(frozen=True, slots=True)
class Response:
    """The entry that was asked for; None: there is no such entry."""

    entry: Entry | None


Received = Result | Header | Response | Entry
"""A server's packet, an `Entry` being one that is streamed."""


class PacketReader:
    """A server's bytes, cut into packets. Holds the last piece fed and at most one page before it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0  # what is before it was handed out

    @property
    def partial(self) -> bool:
        """Whether a packet has begun that is not whole."""
        return self._at < len(self._buffer)

    def feed(self, data: bytes | bytearray) -> None:
        """Take the next piece, of any length."""
        del self._buffer[: self._at]
        self._at = 0
        self._buffer += data

    def next_packet(self) -> Received | None:
        """The next whole packet, or None: feed more. Raises PeerError, before a body is waited for."""
        buffer, at = self._buffer, self._at
        here = len(buffer) - at
        if here < 1 + LENGTH.size:
            if here:
                _check_kind(buffer[at])
            return None
        kind = buffer[at]
        (size,) = LENGTH.unpack_from(buffer, at + 1)
        _check_size(kind, size)
        if here < size:
            return None
        self._at = at + size
        if kind == Packet.DATA or kind == Packet.RESPONSE:
            _, _, entry_type, number = ENTRY.unpack_from(buffer, at)
            entry = Entry(number, entry_type, bytes(buffer[at + ENTRY.size : at + size]))
            if kind == Packet.DATA:
                return entry
            return Response(None if entry_type == NOT_FOUND_TYPE else entry)
        if kind == Packet.HEADER:
            return header_untrusted(bytes(buffer[at : at + size]))
        _, _, status = RESULT.unpack_from(buffer, at)
        return Result(status, bytes(buffer[at + RESULT.size : at + size]).decode("ascii", "backslashreplace"))


def _check_kind(kind: int) -> None:
    if kind not in SIZES:
        raise BadStreamPacket(f"packet type {kind:#04x}")


def _check_size(kind: int, size: int) -> None:
    _check_kind(kind)
    least, most = SIZES[kind]
    if not least <= size <= most:
        raise BadStreamPacket(f"packet of type {kind:#04x} with {size} bytes, not {least} to {most}")


SIZES: Final[dict[int, tuple[int, int]]] = {
    Packet.HEADER: (HEADER.size, HEADER.size),
    Packet.DATA: (ENTRY.size, PAGE),
    Packet.RESPONSE: (ENTRY.size, PAGE),
    Packet.RESULT: (RESULT.size, RESULT.size + MAX_TEXT_BYTES),
}
"""Least and most bytes of each packet, all of it counted."""
