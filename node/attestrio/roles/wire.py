"""How values become bytes and JSON, and come back. `conv.py` says which message belongs to which value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import msgspec
from google.protobuf import json_format
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
        try:
            json_format.ParseDict(dict(told), message, ignore_unknown_fields=lenient)
        except (json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError) as exc:
            # the library answers odd shapes (a list for a message, a number for bytes) with whatever it stumbles over
            raise Malformed(cls.__name__, f"not its proto3 JSON: {_short(exc)}") from None
        value: Self = codec.read(message)
        return value


def _parse(what: str, text: str | bytes) -> object:
    try:
        parsed: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Malformed(what, "not JSON") from None
    return parsed


def _short(exc: Exception, limit: int = 160) -> str:
    text = " ".join(str(exc).split())
    return text if len(text) <= limit else text[:limit] + "…"
