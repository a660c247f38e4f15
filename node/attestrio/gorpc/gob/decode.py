"""The machine that cuts a gob stream into messages, and makes values of them by the definitions on the stream."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar, cast

from attestrio.gorpc.errors import BadGob, BadGobValue, GobTooLarge
from attestrio.gorpc.gob.numbers import (
    FIRST_ID,
    INT,
    MAX_UINT_BYTES,
    STRING,
    UINT,
    encode_uint,
    int_untrusted,
    length_untrusted,
    text_untrusted,
    uint_untrusted,
)
from attestrio.gorpc.gob.shapes import ByteArray, Int, Shape, Struct, Text, Uint, UintArray, zeros
from attestrio.gorpc.gob.skip import INTERFACE, Unfinished, skip_untrusted
from attestrio.gorpc.gob.types import ArrayType, StructType, WireType, definition_untrusted, refers_to

T = TypeVar("T")

MAX_PIECES: Final = 4  # of one value, each behind a definition inside it

Op = Callable[[bytes, int], tuple[object, int]]
"""Takes one value out of a payload: the value, and where it ends. Raises BadGobValue, IndexError at the end."""


@dataclass(frozen=True, slots=True)
class GobLimits:
    """What one stream may take.

    A task response is 223 bytes, its 8 definitions together about 400, so there is room for another program's ideas.
    """

    max_message_bytes: int = 64_000
    max_definitions: int = 64
    max_definition_bytes: int = 8_192  # all together


DEFAULT_LIMITS: Final = GobLimits()


@dataclass(frozen=True, slots=True)
class Message:
    """One value off the stream: the id of its type, and the message, in which it starts at `at`."""

    type_id: int
    payload: bytes
    at: int


class GobDecoder:
    """One direction of one stream. Holds at most one message and the last piece fed, and `limits` of definitions."""

    def __init__(self, limits: GobLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._types: dict[int, WireType] = {}
        self._definition_bytes = 0
        self._expects_value = False  # a definition has come, so its value has to
        self._interfaces = False  # whether there are types whose values may go on in the next message
        self._held = b""  # a value that does
        self._pieces = 0  # of it
        self._ops: dict[tuple[int, Shape[object]], Op | BadGobValue] = {}

    @property
    def partial(self) -> bool:
        """Whether something has come that is not whole yet."""
        return bool(self._buffer) or bool(self._held) or self._expects_value

    def feed(self, data: bytes | bytearray) -> None:
        """Take the next piece, of any length."""
        self._buffer += data

    def next_message(self) -> Message | None:
        """The next value, or None: feed more. Definitions before it are taken in.

        Raises BadGob, GobTooLarge (before the message is buffered): the stream ends here.
        """
        while (payload := self._next_payload()) is not None:
            if self._held:
                payload = self._join(payload)
            try:
                id, at = int_untrusted(payload, 0)
                if id < 0 and self._define(-id, payload, at) != len(payload):
                    raise BadGob("a type definition with something behind it")
            except (BadGobValue, IndexError) as exc:
                raise BadGob(f"not a message: {exc}") from None
            if id < 0:
                self._expects_value = True
                continue
            message = Message(id, payload, at)
            self._held = payload if self._interfaces and self._goes_on(message) else b""
            if not self._held:
                self._expects_value, self._pieces = False, 0
                return message
        return None

    def value(self, message: Message, shape: Shape[T]) -> T:
        """The message as a value of `shape`. Raises BadGobValue, or GobTooLarge for definitions inside; nothing else.

        Fields are found by name, absent ones are zero, unknown ones are skipped; a struct none of whose fields is
        known is refused. Linear in the length of the message.
        """
        data, at = message.payload, message.at
        try:
            op = self._op_for(message.type_id, shape)
            if not isinstance(shape, Struct):
                at = _alone(data, at)
            value, _ = op(data, at)
        except (IndexError, Unfinished):
            raise BadGobValue("the value is cut short") from None
        return cast("T", value)

    # --- framing and definitions

    def _next_payload(self) -> bytes | None:
        buffer = self._buffer
        if not buffer:
            return None
        size = 0 if buffer[0] < 128 else 256 - buffer[0]
        if size > MAX_UINT_BYTES:
            raise BadGob(f"a message length of {size} bytes, limit {MAX_UINT_BYTES}")
        start = 1 + size
        if len(buffer) < start:
            return None
        length = int.from_bytes(buffer[1:start], "big") if size else buffer[0]
        if length > self._limits.max_message_bytes:
            raise GobTooLarge("message bytes", length, self._limits.max_message_bytes)
        end = start + length
        if len(buffer) < end:
            return None
        payload = bytes(buffer[start:end])
        del buffer[:end]
        return payload

    def _join(self, payload: bytes) -> bytes:
        """The value so far and its next piece, as if it had been one message: with its length, as inside a message."""
        whole = self._held + encode_uint(len(payload)) + payload
        self._pieces += 1
        if len(whole) > self._limits.max_message_bytes:
            raise GobTooLarge("message bytes", len(whole), self._limits.max_message_bytes)
        if self._pieces > MAX_PIECES:
            raise GobTooLarge("pieces of a value", self._pieces, MAX_PIECES)
        return whole

    def _goes_on(self, message: Message) -> bool:
        """Whether the next message is the rest of this one; takes in the definitions inside."""
        try:
            at = message.at
            if not isinstance(self._types.get(message.type_id), StructType):
                at = _alone(message.payload, at)
            self._skip(message.type_id, message.payload, at)
        except Unfinished:
            return True
        except (BadGobValue, IndexError):
            return False  # whoever wants the value finds out
        return False

    def _define_again(self, id: int, data: bytes, at: int) -> int:
        """A definition inside a value, which may be walked through more than once."""
        known = self._types.get(id)
        if known is None:
            return self._define(id, data, at)
        wire, end = definition_untrusted(data, at)
        if wire != known:
            raise BadGobValue(f"type {id} is defined twice")
        return end

    def _define(self, id: int, data: bytes, at: int) -> int:
        if id < FIRST_ID or id in self._types:
            raise BadGobValue(f"type {id} is defined twice")
        if len(self._types) >= self._limits.max_definitions:
            raise GobTooLarge("definitions", len(self._types) + 1, self._limits.max_definitions)
        wire, end = definition_untrusted(data, at)
        self._definition_bytes += end - at
        if self._definition_bytes > self._limits.max_definition_bytes:
            raise GobTooLarge("definition bytes", self._definition_bytes, self._limits.max_definition_bytes)
        self._types[id] = wire
        self._interfaces |= refers_to(wire, INTERFACE)
        # What could not be read before, for want of this type, can be now.
        self._ops = {key: op for key, op in self._ops.items() if not isinstance(op, BadGobValue)}
        return end

    def _skip(self, id: int, data: bytes, at: int) -> int:
        return skip_untrusted(self._types, self._define_again, id, data, at)

    # --- one reader for each pair of their type and our shape

    def _op_for(self, id: int, shape: Shape[object]) -> Op:
        """Remembered, also that there is none, so that a call costs its own length only."""
        key = (id, shape)
        op = self._ops.get(key)
        if op is None:
            try:
                op = self._compile(id, shape, top=True)
            except BadGobValue as exc:
                op = exc
            self._ops[key] = op
        if isinstance(op, BadGobValue):
            raise BadGobValue(str(op))
        return op

    def _compile(self, id: int, shape: Shape[object], *, top: bool = False) -> Op:
        wire = self._types.get(id)
        match shape:
            case Uint(bits) if id == UINT:
                return _uint_op(bits)
            case Int(bits) if id == INT:
                return _int_op(bits)
            case Text() if id == STRING:
                return text_untrusted
            case ByteArray(length) if wire == ArrayType(UINT, length):
                return _bytes_op(length)
            case UintArray(length, bits) if wire == ArrayType(UINT, length):
                return _uints_op(length, bits)
            case Struct() if isinstance(wire, StructType):
                return self._struct_op(wire, shape, top)
            case _:
                raise BadGobValue(f"{_their_name(id, wire)} instead of {_go_name(shape)}")

    def _struct_op(self, wire: StructType, shape: Struct[object], top: bool) -> Op:
        numbers = {field.name: number for number, field in enumerate(shape.fields)}
        steps: list[tuple[int | None, Op]] = []
        skips: dict[int, Op] = {}
        for name, id in wire.fields:
            if not name:
                raise BadGobValue(f"a field of {_go_name(shape)} without a name")
            number = numbers.get(name)
            if number is None:
                op = skips.get(id) or skips.setdefault(id, self._skip_op(id))  # one for all fields of a type
            else:
                op = self._field_op(name, id, shape, number)
            steps.append((number, op))
        if top and shape.fields and steps and all(number is None for number, _ in steps):
            raise BadGobValue(f"no field in common with {_go_name(shape)}")
        make, absent, count = shape.make, tuple(zeros(shape)), len(steps)

        def take(data: bytes, at: int) -> tuple[object, int]:
            values = list(absent)
            field, end = -1, len(data)
            while at < end:  # as for Go, the end of the message is an end too
                step, at = uint_untrusted(data, at)
                if not step:
                    break
                field += step
                if field >= count:
                    raise BadGobValue(f"field {field} of a type that has {count}")
                number, op = steps[field]
                value, at = op(data, at)
                if number is not None:
                    values[number] = value
            return make(*values), at

        return take

    def _field_op(self, name: str, id: int, shape: Struct[object], number: int) -> Op:
        try:
            return self._compile(id, shape.fields[number].shape)
        except BadGobValue as exc:
            raise BadGobValue(f"{_go_name(shape)}.{name}: {exc}") from None

    def _skip_op(self, id: int) -> Op:
        return lambda data, at: (None, self._skip(id, data, at))


def _alone(data: bytes, at: int) -> int:
    if data[at]:
        raise BadGobValue("a value that is no struct, without a zero before it")
    return at + 1


def _their_name(id: int, wire: WireType | None) -> str:
    """Short whatever they sent: it stands in error texts."""
    match wire:
        case None:
            return f"type {id}"
        case ArrayType(elem, length):
            return f"[{length}]type {elem}"
        case _:
            return f"{type(wire).__name__.removesuffix('Type').lower()} {id}"


def _go_name(shape: Shape[object]) -> str:
    match shape:
        case Uint(bits):
            return f"uint{bits}"
        case Int(bits):
            return f"int{bits}"
        case Text():
            return "string"
        case ByteArray(length):
            return f"[{length}]uint8"
        case UintArray(length, bits):
            return f"[{length}]uint{bits}"
        case Struct(name):
            return name or "struct {}"
        case _:
            raise AssertionError(shape)


def _uint_op(bits: int) -> Op:
    above = 1 << bits

    def take(data: bytes, at: int) -> tuple[int, int]:
        number, at = uint_untrusted(data, at)
        if number >= above:
            raise BadGobValue(f"{number} is out of range for uint{bits}")
        return number, at

    return take


def _int_op(bits: int) -> Op:
    above = 1 << bits - 1

    def take(data: bytes, at: int) -> tuple[int, int]:
        number, at = int_untrusted(data, at)
        if not -above <= number < above:
            raise BadGobValue(f"{number} is out of range for int{bits}")
        return number, at

    return take


def _uints_op(length: int, bits: int) -> Op:
    one = _uint_op(bits)

    def take(data: bytes, at: int) -> tuple[tuple[object, ...], int]:
        at = _count(data, at, length)
        numbers = []
        for _ in range(length):
            number, at = one(data, at)
            numbers.append(number)
        return tuple(numbers), at

    return take


ESCAPED: Final = re.compile(rb"\xff(.)", re.DOTALL)


def _bytes_op(length: int) -> Op:
    """Elements of one or two bytes, which is all that anybody sends, are taken at once; others are legal too."""
    usual = re.compile(rb"(?:[\x00-\x7f]|\xff.){%d}" % length, re.DOTALL)
    slow = _uints_op(length, 8)

    def take(data: bytes, at: int) -> tuple[bytes, int]:
        found = usual.match(data, _count(data, at, length))
        if found is not None:
            return ESCAPED.sub(rb"\1", found[0]), found.end()
        numbers, at = slow(data, at)
        return bytes(cast("tuple[int, ...]", numbers)), at

    return take


def _count(data: bytes, at: int, length: int) -> int:
    got, at = length_untrusted(data, at)
    if got != length:
        raise BadGobValue(f"an array of {got} elements, defined with {length}")
    return at
