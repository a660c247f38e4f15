"""RLP: byte strings and lists of them, each in its one encoding.

    one byte below 80 | 80+n bytes | b7+k, n in k bytes, bytes | c0+n items | f7+k, n in k bytes, items

Source: the Yellow Paper, appendix B.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from attestrio.zkevm.errors import BadRlp

Item: TypeAlias = "bytes | list[Item]"
Encodable: TypeAlias = "bytes | Sequence[Encodable]"

MAX_DEPTH: Final = 16
"""Of nested lists; a transaction has three."""
SHORT: Final = 55
STRING, LIST = 0x80, 0xC0


def encode(item: Encodable) -> bytes:
    """The one encoding of a byte string or a (nested) list of them."""
    if isinstance(item, (bytes, bytearray)):
        if len(item) == 1 and item[0] < STRING:
            return bytes(item)
        return _length(len(item), STRING) + item
    body = b"".join(map(encode, item))
    return _length(len(body), LIST) + body


def encode_int(number: int) -> bytes:
    """The byte string of a number >= 0, to be put into a list: big endian without leading zeros."""
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def decode_untrusted(raw: bytes) -> Item:
    """Read one item that fills `raw`. Raises only BadRlp, also for a second encoding and for deep nesting."""
    item, end = _item(raw, 0, len(raw), 0)
    if end != len(raw):
        raise BadRlp(f"{len(raw) - end} B behind the item")
    return item


def int_untrusted(raw: Item, max_bytes: int) -> int:
    """Read a number of at most `max_bytes`. Raises BadRlp."""
    if not isinstance(raw, bytes) or len(raw) > max_bytes or raw[:1] == b"\0":
        raise BadRlp(f"not a number of at most {max_bytes} B without leading zeros")
    return int.from_bytes(raw, "big")


def _length(size: int, base: int) -> bytes:
    if size <= SHORT:
        return bytes([base + size])
    digits = encode_int(size)
    return bytes([base + SHORT + len(digits)]) + digits


def _item(raw: bytes, at: int, end: int, depth: int) -> tuple[Item, int]:
    if at >= end:
        raise BadRlp("an item is missing")
    if depth > MAX_DEPTH:
        raise BadRlp(f"lists nested more than {MAX_DEPTH} deep")
    first = raw[at]
    if first < STRING:
        return raw[at : at + 1], at + 1
    base = STRING if first < LIST else LIST
    start, stop = _span(raw, at, end, base)
    if base == STRING:
        if stop - start == 1 and raw[start] < STRING:
            raise BadRlp("a single byte below 80 has no length before it")
        return raw[start:stop], stop
    items: list[Item] = []
    while start < stop:
        item, start = _item(raw, start, stop, depth + 1)
        items.append(item)
    return items, stop


def _span(raw: bytes, at: int, end: int, base: int) -> tuple[int, int]:
    """Where the body of the string or list at `at` begins and ends."""
    size, start = raw[at] - base, at + 1
    if size > SHORT:
        digits = raw[start : start + size - SHORT]
        start += size - SHORT
        size = int.from_bytes(digits, "big")
        if start > end or digits[:1] == b"\0" or size <= SHORT:
            raise BadRlp("a length is cut off or not in its shortest form")
    if start + size > end:
        raise BadRlp(f"{size} B announced, {end - start} B there")
    return start, start + size
