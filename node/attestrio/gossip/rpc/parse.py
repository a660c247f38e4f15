"""Reading the messages of calls: what a stranger sends is a message, or one PeerError."""

from __future__ import annotations

from typing import Final, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from attestrio.roles.conv import required
from attestrio.roles.errors import Malformed, WrongLength
from attestrio.schema import std_pb2

M = TypeVar("M", bound=Message)

MAX_UNKNOWN: Final = 16 * 1024  # bytes of fields nobody knows in one message: looking at them takes 0.4 ms a kB

VOID: Final = b""
"""The response of a method that has nothing to say."""


def parse_untrusted(kind: type[M], body: bytes, *fields: str) -> M:
    """The message in `body`, `fields` present. Raises Malformed, MissingField. Linear in the bytes."""
    try:
        message = kind.FromString(body)
    except DecodeError:
        raise Malformed(kind.DESCRIPTOR.name, "not protobuf") from None
    check_unknown(message)
    _check_wire_types(message)
    required(message, *fields)
    return message


def check_unknown(message: Message) -> None:
    """Raise Malformed for more than MAX_UNKNOWN bytes of fields nobody knows, wherever in `message` they are.

    The network takes any number of them. To look at those of a 10 MB answer takes this library 4 s, in which nobody
    else is heard; and a peer that sends many has nothing to tell. Costs a copy of a large message.
    """
    size = message.ByteSize()
    if size <= MAX_UNKNOWN:
        return
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    if size - known.ByteSize() > MAX_UNKNOWN:
        raise Malformed(message.DESCRIPTOR.name, "too many fields that nobody knows")


def void_untrusted(body: bytes) -> None:
    """The response without content; fields nobody knows do no harm. Raises Malformed."""
    if body:
        parse_untrusted(std_pb2.Void, body)


def check_length(what: str, raw: bytes, want: int) -> bytes:
    """`raw`, if it has `want` bytes. Raises WrongLength."""
    if len(raw) != want:
        raise WrongLength(what, len(raw), want)
    return raw


def _check_wire_types(message: Message) -> None:
    """Raise Malformed for a known field of another wire type, which the library files among the unknown ones.

    The network refuses it. Recursion ends with the schema, which is not deep.
    """
    known = message.DESCRIPTOR.fields_by_number
    unknown = UnknownFieldSet(message)
    for at in range(len(unknown)):
        if (field := known.get(unknown[at].field_number)) is not None:
            raise Malformed(field.full_name, "another wire type")
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in value if field.is_repeated else (value,):
                _check_wire_types(inner)
