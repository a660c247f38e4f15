"""The integers of gob."""

from __future__ import annotations

from typing import Final

from attestrio.gorpc.errors import BadGobValue

INT, UINT, STRING = 2, 3, 6  # ids of built-in types
FIRST_ID: Final = 64  # of the types that a stream defines
MAX_UINT_BYTES: Final = 8


def encode_uint(number: int) -> bytes:
    """0 to 2^64 - 1."""
    if number < 128:
        return bytes((number,))
    size = (number.bit_length() + 7) // 8
    return bytes((256 - size,)) + number.to_bytes(size, "big")


def encode_int(number: int) -> bytes:
    """-2^63 to 2^63 - 1."""
    return encode_uint(~number << 1 | 1 if number < 0 else number << 1)


def uint_untrusted(data: bytes, at: int) -> tuple[int, int]:
    """A uint and where it ends; longer forms than needed are legal. Raises BadGobValue, IndexError at the end."""
    first = data[at]
    if first < 128:
        return first, at + 1
    size = 256 - first
    end = at + 1 + size
    if size > MAX_UINT_BYTES:
        raise BadGobValue(f"an integer of {size} bytes, limit {MAX_UINT_BYTES}")
    if end > len(data):
        raise BadGobValue("an integer is cut short")
    return int.from_bytes(data[at + 1 : end], "big"), end


def int_untrusted(data: bytes, at: int) -> tuple[int, int]:
    """An int and where it ends. Raises as `uint_untrusted`."""
    bits, at = uint_untrusted(data, at)
    return (~(bits >> 1) if bits & 1 else bits >> 1), at


def length_untrusted(data: bytes, at: int) -> tuple[int, int]:
    """How many bytes or elements follow, never more than there are bytes. Raises as `uint_untrusted`."""
    length, at = uint_untrusted(data, at)
    if length > len(data) - at:  # every element takes a byte at least
        raise BadGobValue(f"a length of {length} with {len(data) - at} bytes behind it")
    return length, at


def text_untrusted(data: bytes, at: int) -> tuple[str, int]:
    """A string, with U+FFFD for what is no UTF-8, which Go allows. Raises as `uint_untrusted`."""
    length, at = length_untrusted(data, at)
    end = at + length
    return data[at:end].decode("utf-8", "replace"), end
