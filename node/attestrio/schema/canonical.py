"""The one encoding of a message that may be hashed.

Fields ascend, a present field is written even when it holds its default, nothing unknown is written. The protobuf
runtime does all of that when it is asked to be deterministic, except for repeated numbers (it packs a single one;
the network does not) and it is silent about maps and fields without presence. Such schemas are refused here, once
per message type, so that the difference cannot creep in with a new field.

Source: era-consensus d1d3b51e, libs/protobuf `canonical`; vectors in tests/golden/attestation.json.
"""

from __future__ import annotations

from functools import cache
from typing import TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

NESTED = FieldDescriptor.TYPE_MESSAGE
BYTES_LIKE = (NESTED, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_STRING)


class NotCanonical(TypeError):
    """A schema that has no canonical encoding was about to be hashed: a bug of ours, never of a peer."""


def canonical(message: Message) -> bytes:
    """The canonical bytes of `message`; unknown fields are left out, `message` stays as it is.

    Raises NotCanonical when the type has a repeated number, a map or a field without presence. Linear in the size.
    """
    check_schema(message.DESCRIPTOR)
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return known.SerializeToString(deterministic=True)


@cache
def check_schema(schema: Descriptor) -> None:
    """Raise NotCanonical unless `schema` and everything inside it has exactly one encoding per value."""
    checked: set[str] = set()
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        if one.full_name in checked:
            continue
        checked.add(one.full_name)
        for field in one.fields:
            if field.is_repeated and field.type not in BYTES_LIKE:
                raise NotCanonical(f"{field.full_name} is a repeated number")
            if not field.is_repeated and not field.has_presence:
                raise NotCanonical(f"{field.full_name} has no presence")
            if field.type == NESTED and field.message_type is not None:
                if field.message_type.GetOptions().map_entry:
                    raise NotCanonical(f"{field.full_name} is a map")
                waiting.append(field.message_type)
