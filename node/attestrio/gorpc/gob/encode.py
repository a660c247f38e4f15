"""Values into the bytes that Go's encoder makes of them."""

from __future__ import annotations

import re
from typing import Final, TypeVar

from attestrio.gorpc.gob.numbers import FIRST_ID, INT, STRING, UINT, encode_int, encode_uint
from attestrio.gorpc.gob.shapes import ByteArray, Field, Int, Shape, Struct, Text, Uint, UintArray

T = TypeVar("T")

HIGH: Final = re.compile(rb"([\x80-\xff])")


class GobEncoder:
    """One direction of one stream: it remembers which types the other side has been told.

    The bytes of one `encode` have to be sent before those of the next. Types get the ids from 64 on in the order in
    which Go gives them, a struct before its fields, so that a fresh stream is byte for byte what a Go program that
    knows no other types would send.
    """

    def __init__(self) -> None:
        self._ids: dict[Shape[object], int] = {}

    def encode(self, shape: Shape[T], value: T) -> bytes:
        """Definitions that are still missing, and the message with the value. Never raises for a value of the shape."""
        out = bytearray()
        id = self._id(shape, out)
        alone = b"" if isinstance(shape, Struct) else b"\0"
        out += _message(encode_int(id) + alone + _value(shape, value))
        return bytes(out)

    def _id(self, shape: Shape[object], out: bytearray) -> int:
        """The id of a type; `out` gets its definition and those of its parts, if they are new."""
        if isinstance(shape, Uint):
            return UINT
        if isinstance(shape, Int):
            return INT
        if isinstance(shape, Text):
            return STRING
        known = self._ids.get(shape)
        if known is not None:
            return known
        id = self._ids[shape] = FIRST_ID + len(self._ids)
        parts = bytearray()  # the parent comes first, and has to know their ids
        if isinstance(shape, Struct):
            ids = [self._id(field.shape, parts) for field in shape.fields]
            body = _struct_type(shape, id, ids)
        else:
            assert isinstance(shape, ByteArray | UintArray)
            body = _array_type(shape, id)
        out += _message(encode_int(-id) + body) + parts
        return id


def _message(payload: bytes) -> bytes:
    return encode_uint(len(payload)) + payload


def _text(text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    return encode_uint(len(raw)) + raw


def _named(name: str, id: int) -> bytes:
    """struct{Name, Id}: a CommonType, or one of the fields of a struct."""
    return (b"\1" + _text(name) + b"\1" if name else b"\2") + encode_int(id) + b"\0"


def _struct_type(shape: Struct[object], id: int, ids: list[int]) -> bytes:
    fields = [_named(field.name, type_id) for field, type_id in zip(shape.fields, ids, strict=True)]
    listed = b"\1" + encode_uint(len(fields)) + b"".join(fields) if fields else b""
    return b"\3\1" + _named(shape.name, id) + listed + b"\0\0"


def _array_type(shape: ByteArray | UintArray, id: int) -> bytes:
    bits = 8 if isinstance(shape, ByteArray) else shape.bits
    name = shape.name or f"[{shape.length}]uint{bits}"
    return b"\1\1" + _named(name, id) + b"\1" + encode_int(UINT) + b"\1" + encode_int(shape.length) + b"\0\0"


def _value(shape: Shape[object], value: object) -> bytes:
    match shape:
        case Uint(bits):
            assert isinstance(value, int)
            assert 0 <= value < 1 << bits
            return encode_uint(value)
        case Int(bits):
            assert isinstance(value, int)
            assert -1 << bits - 1 <= value < 1 << bits - 1
            return encode_int(value)
        case Text():
            assert isinstance(value, str)
            return _text(value)
        case ByteArray(length):
            assert isinstance(value, bytes)
            assert len(value) == length
            return encode_uint(length) + HIGH.sub(b"\xff\\1", value)
        case UintArray(length, bits):
            assert isinstance(value, tuple)
            assert len(value) == length
            return encode_uint(length) + b"".join(_value(Uint(bits), one) for one in value)
        case Struct():
            return _fields(shape.fields, value)
        case _:
            raise AssertionError(shape)


def _fields(fields: tuple[Field, ...], value: object) -> bytes:
    out = bytearray()
    last = -1
    for number, field in enumerate(fields):
        part = field.get(value)
        nil = field.pointer and part is None
        if nil or (not part and isinstance(field.shape, Uint | Int | Text)):  # arrays and structs are sent even if zero
            continue
        out += encode_uint(number - last) + _value(field.shape, part)
        last = number
    return bytes(out + b"\0")
