"""How values become bytes and JSON, and come back. `conv.py` says which message belongs to which value."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import msgspec
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from attestrio.roles.errors import Malformed
from attestrio.schema.canonical import canonical

T = TypeVar("T")
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Codec(Generic[T, M]):
    """The message of one value type and the way there and back. `read` raises DecodeFailed."""

    message: type[M]
    build: Callable[[T], M]
    read: Callable[[M], T]


BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")  # both alphabets, as proto3 JSON has it
CODECS: dict[type, Codec[Any, Any]] = {}  # filled by conv.py when `attestrio.roles` is imported, never later


class Wire:
    """A value with a protobuf form."""

    __slots__ = ()

    def encode(self) -> bytes:
        """The canonical protobuf encoding."""
        return canonical(CODECS[type(self)].build(self))

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Read protobuf, canonical or not; unknown fields are dropped. Raises DecodeFailed, whatever `raw` holds."""
        codec = CODECS[cls]
        try:
            message = codec.message.FromString(raw)
        except DecodeError:
            raise Malformed(cls.__name__, "not protobuf") from None
        value: Self = codec.read(message)
        return value


class JsonWire(Wire):
    """A value with a proto3 JSON form too: camelCase, 64-bit numbers as strings, bytes as base64."""

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        """The proto3 JSON object. Present fields are written even when they hold their default."""
        return json_format.MessageToDict(CODECS[type(self)].build(self))

    @classmethod
    def from_json(cls, json: str | bytes | Mapping[str, Any], *, lenient: bool = False) -> Self:
        """Read proto3 JSON, as text or already parsed; camelCase and proto names both do.

        An unknown field is refused unless `lenient`. Raises DecodeFailed, whatever is inside.
        """
        codec = CODECS[cls]
        told = _parse(cls.__name__, json) if isinstance(json, str | bytes) else json
        if not isinstance(told, Mapping):
            raise Malformed(cls.__name__, "not a JSON object")
        message = codec.message()
        _check_shape(cls.__name__, told, message.DESCRIPTOR, lenient)
        try:
            json_format.ParseDict(dict(told), message, ignore_unknown_fields=lenient)
        except (json_format.ParseError, ValueError, TypeError) as exc:
            # the library's text would repeat what was read: only the names of fields are taken out of it
            path = ".".join(re.findall(r"Failed to parse (\w+) field", str(exc)))
            raise Malformed(cls.__name__, f"cannot read {path or 'a value'}") from None
        value: Self = codec.read(message)
        return value


def _parse(what: str, text: str | bytes) -> object:
    """Any JSON value. One name twice in an object is refused: readers differ in which of the two counts, and everybody
    has to see the same genesis."""
    try:
        parsed: object = msgspec.json.decode(text)
        json.loads(text, object_pairs_hook=_each_once)  # once more: msgspec, which is the stricter one, takes the last
    except _TwiceError as exc:
        raise Malformed(what, f"{exc!s:.40} twice") from None
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise Malformed(what, "not JSON") from None
    return parsed


class _TwiceError(Exception):
    """A name that stands twice in one object."""


def _each_once(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise _TwiceError(name)
        seen.add(name)


def _check_shape(path: str, told: Mapping[str, Any], schema: Descriptor, lenient: bool) -> None:
    """Raise Malformed for an unknown field, or for anything but an object where the schema has a message.

    The library takes an empty list or text for an empty message, and skips what is not base64. Recursion ends with
    the schema, which is not deep.
    """
    for name, value in told.items():
        field = schema.fields_by_camelcase_name.get(name) or schema.fields_by_name.get(name)
        if field is None:
            if not lenient:
                raise Malformed(path, f"unknown field {name!s:.40}")
        elif field.type == field.TYPE_BYTES and isinstance(value, str):
            if not BASE64.fullmatch(value):
                raise Malformed(f"{path}.{name}", "not base64")
        elif field.message_type is not None and value is not None:
            inner = f"{path}.{name}"
            for item in value if field.is_repeated and isinstance(value, list) else [value]:
                if not isinstance(item, Mapping):
                    raise Malformed(inner, "not a JSON object")
                _check_shape(inner, item, field.message_type, lenient)
