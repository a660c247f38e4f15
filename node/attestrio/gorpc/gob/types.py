"""Types as the other side defines them.

wireType = struct{ArrayT, SliceT, StructT, MapT, GobEncoderT, BinaryMarshalerT, TextMarshalerT}, one of them set
ArrayT   = struct{CommonType, Elem, Len}      SliceT = struct{CommonType, Elem}      others: struct{CommonType}
StructT  = struct{CommonType, Fields []struct{Name, Id}}      MapT = struct{CommonType, Key, Elem}
CommonType = struct{Name, Id}; ids, Elem, Key and Len are ints
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from attestrio.gorpc.errors import BadGobValue
from attestrio.gorpc.gob.numbers import int_untrusted, length_untrusted, text_untrusted, uint_untrusted


@dataclass(frozen=True, slots=True)
class ArrayType:
    elem: int
    length: int


@dataclass(frozen=True, slots=True)
class SliceType:
    elem: int


@dataclass(frozen=True, slots=True)
class MapType:
    key: int
    elem: int


@dataclass(frozen=True, slots=True)
class StructType:
    fields: tuple[tuple[str, int], ...]
    """Name and type id; the other side numbers them by position."""


@dataclass(frozen=True, slots=True)
class OpaqueType:
    """A type with an encoding of its own: a length and bytes."""


WireType = ArrayType | SliceType | MapType | StructType | OpaqueType
Reader = Callable[[bytes, int], tuple[Any, int]]


def refers_to(wire: WireType, id: int) -> bool:
    """Whether a value of the type holds values of type `id`, one step down."""
    match wire:
        case ArrayType(elem) | SliceType(elem):
            return elem == id
        case MapType(key, elem):
            return id in (key, elem)
        case StructType(fields):
            return any(id == field_id for _, field_id in fields)
        case OpaqueType():
            return False


def definition_untrusted(data: bytes, at: int) -> tuple[WireType, int]:
    """A wireType and where it ends. Its own idea of its id and name does not matter. Raises BadGobValue, IndexError."""
    kinds, at = _read_struct(data, at, _KINDS)
    defined = [kind for kind in kinds if kind is not None]
    if len(defined) != 1:
        raise BadGobValue(f"a definition of {len(defined)} types")
    return defined[0], at


def _read_struct(data: bytes, at: int, readers: Sequence[Reader]) -> tuple[list[Any], int]:
    """The fields, None for those left out. As for Go, the end of the message is an end too."""
    values: list[Any] = [None] * len(readers)
    number = -1
    while at < len(data):
        step, at = uint_untrusted(data, at)
        if not step:
            break
        number += step
        if number >= len(readers):
            raise BadGobValue(f"field {number} of a definition that has {len(readers)}")
        values[number], at = readers[number](data, at)
    return values, at


def _common(data: bytes, at: int) -> tuple[None, int]:
    _, at = _read_struct(data, at, (text_untrusted, int_untrusted))
    return None, at


def _array(data: bytes, at: int) -> tuple[ArrayType, int]:
    (_, elem, length), at = _read_struct(data, at, (_common, int_untrusted, int_untrusted))
    return ArrayType(elem or 0, length or 0), at


def _slice(data: bytes, at: int) -> tuple[SliceType, int]:
    (_, elem), at = _read_struct(data, at, (_common, int_untrusted))
    return SliceType(elem or 0), at


def _map(data: bytes, at: int) -> tuple[MapType, int]:
    (_, key, elem), at = _read_struct(data, at, (_common, int_untrusted, int_untrusted))
    return MapType(key or 0, elem or 0), at


def _opaque(data: bytes, at: int) -> tuple[OpaqueType, int]:
    _, at = _read_struct(data, at, (_common,))
    return OpaqueType(), at


def _struct(data: bytes, at: int) -> tuple[StructType, int]:
    (_, fields), at = _read_struct(data, at, (_common, _fields))
    return StructType(fields or ()), at


def _fields(data: bytes, at: int) -> tuple[tuple[tuple[str, int], ...], int]:
    count, at = length_untrusted(data, at)
    fields = []
    for _ in range(count):
        (name, id), at = _read_struct(data, at, (text_untrusted, int_untrusted))
        fields.append((name or "", id or 0))
    return tuple(fields), at


_KINDS: tuple[Reader, ...] = (_array, _slice, _struct, _map, _opaque, _opaque, _opaque)
