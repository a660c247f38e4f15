"""Gob bytes made by hand, independent of our encoder, and the values of the golden file."""

import json
from pathlib import Path

from attestrio.gorpc.gob import GobDecoder
from attestrio.gorpc.messages import Point, SignedTaskResponse

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "gorpc.json").read_text("utf-8"))
SPEC = {name: bytes.fromhex(text) for name, text in GOLDEN["spec"].items() if isinstance(text, str)}
GO = {name: bytes.fromhex(text) for name, text in GOLDEN["go"].items()}
METHOD = "Aggregator.ProcessOperatorSignedTaskResponseV2"

SPEC_RESPONSE = SignedTaskResponse(
    b"\x11" * 32,
    b"\x22" * 20,
    bytes(range(32)),
    Point(*(tuple(int(limb, 16) for limb in GOLDEN["spec"][f"sigma_{axis}_limbs"]) for axis in "xy")),
    SPEC["operator_id"],
)
SAMPLE = SignedTaskResponse(
    bytes(i * 9 & 0xFF for i in range(32)),
    bytes(range(0x70, 0x84)),
    bytes(255 - i for i in range(32)),
    Point((1, 1 << 63, 0, 7), (127, 128, 255, (1 << 64) - 1)),
    bytes(i * 31 & 0xFF for i in range(32)),
)
UNSIGNED = SignedTaskResponse(bytes(32), bytes(20), bytes(32), None, bytes(32))

BOOL, INT, UINT, FLOAT, BYTES, STRING, COMPLEX, INTERFACE = range(1, 9)


def uint(number):
    if number < 128:
        return bytes([number])
    size = (number.bit_length() + 7) // 8
    return bytes([256 - size]) + number.to_bytes(size, "big")


def int_(number):
    return uint(number << 1 if number >= 0 else (~number << 1) | 1)


def text(value):
    return uint(len(value)) + value.encode()


def message(*parts):
    payload = b"".join(parts)
    return uint(len(payload)) + payload


def common(id):
    return b"\2" + int_(id) + b"\0"


def array_type(id, elem, length):
    return int_(-id) + b"\1\1" + common(id) + b"\1" + int_(elem) + b"\1" + int_(length) + b"\0\0"


def slice_type(id, elem):
    return int_(-id) + b"\2\1" + common(id) + b"\1" + int_(elem) + b"\0\0"


def struct_type(id, **fields):
    listed = b"".join(b"\1" + text(name) + b"\1" + int_(type_id) + b"\0" for name, type_id in fields.items())
    return int_(-id) + b"\3\1" + common(id) + (b"\1" + uint(len(fields)) + listed if fields else b"") + b"\0\0"


def map_type(id, key, elem):
    return int_(-id) + b"\4\1" + common(id) + b"\1" + int_(key) + b"\1" + int_(elem) + b"\0\0"


def opaque_type(id, kind=5):
    return int_(-id) + uint(kind) + b"\1" + common(id) + b"\0\0"


def decoded(shape, *messages, decoder=None):
    """The value of the last message, and that there are no others."""
    decoder = decoder or GobDecoder()
    decoder.feed(b"".join(messages))
    found = decoder.next_message()
    assert found is not None
    assert decoder.next_message() is None
    return decoder.value(found, shape)
