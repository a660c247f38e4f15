"""What both ends of a connection have in common: the CONNECT before the gob stream, and headers with their bodies.

    client: CONNECT /_goRPC_ HTTP/1.0 LF LF            server: HTTP/1.0 200 Connected to Go RPC LF LF

Header lines and CR LF are legal on both sides. Behind it each direction is a gob stream of header, body, header, body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from attestrio.gorpc.errors import BadConnect, BadGob, BadGobValue
from attestrio.gorpc.gob import GobDecoder, GobLimits, Message, Shape

H = TypeVar("H")

PATH: Final = "/_goRPC_"
CONNECT: Final = f"CONNECT {PATH} HTTP/1.0\n\n".encode()
CONNECTED: Final = b"HTTP/1.0 200 Connected to Go RPC\n\n"
NOT_CONNECT: Final = b"HTTP/1.0 405 Method Not Allowed\r\nContent-Type: text/plain\r\n\r\n405 must CONNECT\n"
NOT_FOUND: Final = b"HTTP/1.0 404 Not Found\r\nContent-Type: text/plain\r\n\r\n404 page not found\n"
MAX_HEAD_BYTES: Final = 4_096

REQUEST_LINE: Final = re.compile(r"([A-Z]+) (\S+) HTTP/1\.[01]")
STATUS_LINE: Final = re.compile(r"HTTP/1\.[01] (200 Connected to Go RPC)")
BLANK: Final = re.compile(rb"\r?\n\r?\n")


class HeadReader:
    """Collects the lines before the gob stream. Holds `MAX_HEAD_BYTES` and the last piece fed."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray) -> None:
        """Take the next piece, of any length."""
        self._buffer += data

    def first_line(self) -> str | None:
        """The first line once all are here, or None: feed more. Raises BadConnect for more than the limit."""
        found = BLANK.search(self._buffer, 0, MAX_HEAD_BYTES)
        if found is None:
            if len(self._buffer) >= MAX_HEAD_BYTES:
                raise BadConnect(f"no empty line in {MAX_HEAD_BYTES} bytes")
            return None
        head = bytes(self._buffer[: found.start()])
        del self._buffer[: found.end()]
        return head.split(b"\n")[0].rstrip(b"\r").decode("ascii", "replace")

    def rest(self) -> bytes:
        """What came behind the lines, taken out."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest


def refusal_of(line: str) -> bytes | None:
    """What a server answers to a request line that is not Go RPC's CONNECT; None: it is."""
    found = REQUEST_LINE.fullmatch(line)
    if found is None or found[2] != PATH:
        return NOT_FOUND
    return None if found[1] == "CONNECT" else NOT_CONNECT


def status_untrusted(line: str) -> None:
    """A server's status line. Raises BadConnect unless it is Go RPC's."""
    if STATUS_LINE.fullmatch(line) is None:
        raise BadConnect(f"unexpected HTTP response: {line[:100]!r}")


@dataclass(frozen=True, slots=True)
class Pair(Generic[H]):
    """A header and the message behind it, which is not decoded yet."""

    header: H
    body: Message


class PairReader(Generic[H]):
    """One direction of a connection: bytes in, headers with their bodies out."""

    def __init__(self, shape: Shape[H], limits: GobLimits) -> None:
        self._shape = shape
        self._header: list[H] = []  # the one whose body is awaited
        self.gob = GobDecoder(limits)

    @property
    def partial(self) -> bool:
        """Whether something has come that is not whole yet."""
        return bool(self._header) or self.gob.partial

    def feed(self, data: bytes | bytearray) -> None:
        """Take the next piece, of any length."""
        self.gob.feed(data)

    def next_pair(self) -> Pair[H] | None:
        """The next header with its body, or None: feed more.

        Raises BadGob, GobTooLarge: the connection ends here.
        """
        while (message := self.gob.next_message()) is not None:
            if self._header:
                return Pair(self._header.pop(), message)
            try:
                self._header.append(self.gob.value(message, self._shape))
            except BadGobValue as exc:
                raise BadGob(f"header: {exc}") from None
        return None
