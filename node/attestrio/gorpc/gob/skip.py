"""Past a value that nobody wants, by its definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from attestrio.gorpc.errors import BadGobValue
from attestrio.gorpc.gob.numbers import int_untrusted, length_untrusted, uint_untrusted
from attestrio.gorpc.gob.types import ArrayType, MapType, OpaqueType, SliceType, StructType, WireType

MAX_DEPTH: Final = 32  # of values in values

BOOL, INT, UINT, FLOAT, BYTES, STRING, COMPLEX, INTERFACE = range(1, 9)


class Unfinished(Exception):
    """The value goes on in the next message, where it stops here: behind a definition inside it."""


Define = Callable[[int, bytes, int], int]
"""Takes in the definition of a type that starts there; where it ends."""


def skip_untrusted(types: Mapping[int, WireType], define: Define, id: int, data: bytes, at: int, depth: int = 0) -> int:
    """Where a value of type `id` ends that starts at `at`. Raises BadGobValue, Unfinished, IndexError at the end.

    Every value inside another takes at least a byte, so that this is linear in the message, whatever counts are
    claimed; a count is not held against the bytes that are there, as the rest may be in the next message.
    """
    if depth > MAX_DEPTH:
        raise BadGobValue(f"values nested {depth} deep, limit {MAX_DEPTH}")

    def inner(id: int, at: int) -> int:
        if at >= len(data):  # a struct would be content with nothing, as often as is claimed
            raise IndexError
        return skip_untrusted(types, define, id, data, at, depth + 1)

    if id in (BOOL, INT, UINT, FLOAT):
        return uint_untrusted(data, at)[1]
    if id == COMPLEX:
        return uint_untrusted(data, uint_untrusted(data, at)[1])[1]
    if id in (BYTES, STRING):
        return _skip_bytes(data, at)
    if id == INTERFACE:
        return _skip_interface(define, data, at)
    match types.get(id):
        case OpaqueType():
            return _skip_bytes(data, at)
        case ArrayType(elem) | SliceType(elem):
            count, at = uint_untrusted(data, at)
            for _ in range(count):
                at = inner(elem, at)
            return at
        case MapType(key, elem):
            count, at = uint_untrusted(data, at)
            for _ in range(count):
                at = inner(elem, inner(key, at))
            return at
        case StructType(fields):
            return _skip_struct(fields, inner, data, at)
        case None:
            raise BadGobValue(f"type {id} is not defined")


def _skip_bytes(data: bytes, at: int) -> int:
    length, at = length_untrusted(data, at)
    return at + length


def _skip_struct(fields: tuple[tuple[str, int], ...], inner: Callable[[int, int], int], data: bytes, at: int) -> int:
    number = -1
    while at < len(data):
        step, at = uint_untrusted(data, at)
        if not step:
            break
        number += step
        if number >= len(fields):
            raise BadGobValue(f"field {number} of a type that has {len(fields)}")
        at = inner(fields[number][1], at)
    return at


def _skip_interface(define: Define, data: bytes, at: int) -> int:
    """string name | (int -id | wireType | uint length)* | int id | uint length | that many bytes; nil is an empty name.

    The length behind a definition is that of what follows, and of no use: where the interface is not itself inside
    another, Go ends the message behind the definition, and it is that of the next one. Raises Unfinished there.
    """
    length, at = length_untrusted(data, at)
    if not length:
        return at
    id, at = int_untrusted(data, at + length)
    while id < 0:
        at = define(-id, data, at)
        if at == len(data):
            raise Unfinished
        _, at = uint_untrusted(data, at)
        id, at = int_untrusted(data, at)
    return _skip_bytes(data, at)
