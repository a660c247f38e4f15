"""One message of a call, put together from the pieces its stream brings: `u32 little-endian length | body`."""

from __future__ import annotations

from typing import Final

from attestrio.gossip.errors import FrameTooLarge
from attestrio.gossip.frame import LENGTH

SMALL: Final = 4096  # bytes; smaller pieces are copied together, so that memory stays near what was received


class Message:
    """Exactly one message of at most `limit` bytes. What comes behind it is nobody's.

    Unlike `FrameDecoder`, which reads many messages, it copies a large body only once.
    """

    __slots__ = ("_head", "_left", "_limit", "_pieces")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._head = b""  # of the length, while less than 4 bytes are here
        self._left: int | None = None  # bytes of the body still to come; None: the length is not known
        self._pieces: list[bytes | bytearray | memoryview] = []

    def feed(self, data: bytes) -> bytes | None:
        """Take a piece; the whole body, or None: feed more. Raises FrameTooLarge before keeping any of the body."""
        left = self._left
        if left is None:
            if self._head:
                data = self._head + data
            if len(data) < LENGTH.size:
                self._head = data
                return None
            (left,) = LENGTH.unpack_from(data)
            if left > self._limit:
                raise FrameTooLarge(left, self._limit)
            data = data[LENGTH.size :]
            if len(data) >= left:
                return data[:left]
        if len(data) >= left:
            self._pieces.append(memoryview(data)[:left])
            return b"".join(self._pieces)
        self._left = left - len(data)
        self._keep(data)
        return None

    def _keep(self, data: bytes) -> None:
        if len(data) >= SMALL:
            self._pieces.append(data)
        elif self._pieces and isinstance(last := self._pieces[-1], bytearray):
            last += data
        else:
            self._pieces.append(bytearray(data))
