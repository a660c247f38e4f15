"""Mux headers: 16 bits, little-endian.

15-14 kind: 00 OPEN, 01 DATA, 10 CLOSE, 11 nothing | 13 the sender's end: 0 ACCEPT, 1 CONNECT | 12-0 stream id
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

from attestrio.gossip.errors import BadMux

KIND_MASK: Final = 0xC000
END_MASK: Final = 0x2000
ID_MASK: Final = 0x1FFF
MAX_STREAMS: Final = ID_MASK + 1
HEADER: Final = struct.Struct("<H")


class Kind(IntEnum):
    """What a frame says."""

    OPEN = 0x0000
    DATA = 0x4000
    CLOSE = 0x8000


class End(IntEnum):
    """Which end of a stream somebody is. The client of an RPC is its ACCEPT end, the server its CONNECT end."""

    ACCEPT = 0x0000
    CONNECT = 0x2000

    @property
    def other(self) -> End:
        return End.CONNECT if self is End.ACCEPT else End.ACCEPT


class Header(NamedTuple):
    """One header: `end` is the end of whoever sent it."""

    kind: Kind
    end: End
    stream: int

    def encode(self) -> bytes:
        return HEADER.pack(self.kind | self.end | self.stream)


def header_untrusted(raw: bytes) -> Header:
    """Read 2 bytes off the wire. Raises only BadMux, whatever the peer sent."""
    try:
        (bits,) = HEADER.unpack(raw)
        return Header(Kind(bits & KIND_MASK), End(bits & END_MASK), bits & ID_MASK)
    except (struct.error, ValueError):
        raise BadMux(f"no mux header: {raw[:2].hex()}") from None
