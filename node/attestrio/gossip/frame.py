"""Proto frames: `u32 little-endian length | body`. The length does not count itself; zero is legal."""

from __future__ import annotations

import struct

from attestrio.gossip.errors import FrameTooLarge

LENGTH = struct.Struct("<I")


def encode_frame(body: bytes) -> bytes:
    """The frame around one message."""
    return LENGTH.pack(len(body)) + body


class FrameDecoder:
    """Cuts a byte stream into the bodies of frames of at most `limit` bytes.

    Holds what was fed since the last frame: ask `next_frame` after every piece, and it is at most one frame and a
    piece. A frame beyond the limit is refused when its length is there, before anything of it is asked for.
    """

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> None:
        """Take the next piece, of any length."""
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """The next whole body, or None: feed more. Raises FrameTooLarge before buffering the body."""
        if len(self._buffer) < LENGTH.size:
            return None
        (size,) = LENGTH.unpack_from(self._buffer)
        if size > self._limit:
            raise FrameTooLarge(size, self._limit)
        end = LENGTH.size + size
        if len(self._buffer) < end:
            return None
        body = bytes(memoryview(self._buffer)[LENGTH.size : end])
        del self._buffer[:end]
        return body

    def rest(self) -> bytes:
        """What came behind the last frame, taken out: it belongs to the next layer."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest
