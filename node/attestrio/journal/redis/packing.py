"""Arguments as the script reads them: MessagePack from before it had a type for bytes, which is what Redis' Lua knows.

Every value has the widest form of its kind, so that there are four: text and bytes as `raw 32` (DB, u32 length), whole
numbers as `int 64` (D3), lists as `array 32` (DD, u32 count), tables by name as `map 32` (DF, u32 count). Big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

_HEAD = struct.Struct(">BI")
_INT = struct.Struct(">Bq")

Packable = str | bytes | int | list["Packable"] | tuple["Packable", ...]


def pack(arguments: Mapping[str, Packable | None]) -> bytes:
    """A table of what is not None: the script sees nil for the rest. O(bytes)."""
    given = {name: value for name, value in arguments.items() if value is not None}
    parts = [_HEAD.pack(0xDF, len(given))]
    for name, value in given.items():
        _add(parts, name)
        _add(parts, value)
    return b"".join(parts)


def _add(parts: list[bytes], value: Packable) -> None:
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        parts.append(_HEAD.pack(0xDB, len(value)))
        parts.append(value)
    elif isinstance(value, int):
        parts.append(_INT.pack(0xD3, value))
    else:
        parts.append(_HEAD.pack(0xDD, len(value)))
        for each in value:
            _add(parts, each)
