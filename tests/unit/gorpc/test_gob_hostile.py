"""Whatever a stranger sends, the decoder ends in a PeerError or waits for more, soon and without much memory."""

import time
import tracemalloc

import pytest
from attestrio.errors import PeerError
from attestrio.gorpc.gob import INT64, GobDecoder
from attestrio.gorpc.messages import EMPTY, REQUEST, SIGNED_TASK_RESPONSE
from gob_bytes import (
    GO,
    INTERFACE,
    UINT,
    array_type,
    int_,
    map_type,
    message,
    slice_type,
    struct_type,
    uint,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples

STREAM = b"".join(GO.values())
CHANGES = st.tuples(st.integers(0, len(STREAM) - 1), st.sampled_from([0, 1, 2, 0x7F, 0xF8, 0xFF]) | st.integers(0, 255))
SHAPES = (REQUEST, SIGNED_TASK_RESPONSE, EMPTY, INT64)


def drain(decoder):
    """Every message as every shape; how many there were. What is no PeerError goes through, and fails the test."""
    count = 0
    try:
        while (one := decoder.next_message()) is not None:
            count += 1
            for shape in SHAPES:
                try:
                    decoder.value(one, shape)
                except PeerError:
                    continue
    except PeerError:
        return count
    return count


@settings(max_examples=examples(50))
@given(raw=st.binary(max_size=300))
def test_random_bytes(raw):
    decoder = GobDecoder()

    decoder.feed(raw)

    drain(decoder)


@settings(max_examples=examples(50))
@given(raw=st.binary(max_size=200), id=st.sampled_from([64, 65, 70]))
def test_random_definitions_and_values_in_sound_frames(raw, id):
    decoder = GobDecoder()
    half = len(raw) // 2

    decoder.feed(message(int_(-id), raw[:half]) + message(int_(id), raw[half:]))

    drain(decoder)


@settings(max_examples=examples(50))
@given(data=st.data())
def test_gos_own_stream_with_some_bytes_changed(data):
    raw = bytearray(STREAM)
    for at, byte in data.draw(st.lists(CHANGES, min_size=1, max_size=6)):
        raw[at] = byte
    decoder = GobDecoder()

    decoder.feed(raw)

    drain(decoder)


@settings(max_examples=examples(30))
@given(end=st.integers(0, len(STREAM)))
def test_gos_own_stream_cut_anywhere_only_waits_for_more(end):
    whole, cut = GobDecoder(), GobDecoder()
    whole.feed(STREAM)
    cut.feed(STREAM[:end])

    first = drain(cut)
    cut.feed(STREAM[end:])

    assert first + drain(cut) == drain(whole) == len(GO)


@settings(max_examples=examples(50))
@given(values=st.lists(st.binary(max_size=40), max_size=20), data=st.data())
def test_values_of_any_type_by_any_definitions(values, data):
    """Types that refer to each other in any way, undefined ones and themselves included."""
    ids = st.sampled_from([1, 2, 3, 5, 6, 7, INTERFACE, 70, 71, 72, 73, 99])
    kinds = {
        "array": lambda id: array_type(id, data.draw(ids), data.draw(st.sampled_from([0, 1, 2, 2**62]))),
        "slice": lambda id: slice_type(id, data.draw(ids)),
        "map": lambda id: map_type(id, data.draw(ids), data.draw(ids)),
        "struct": lambda id: struct_type(id, Seq=data.draw(ids), Other=data.draw(ids), Error=data.draw(ids)),
    }
    decoder = GobDecoder()
    for id in range(70, 74):
        decoder.feed(message(kinds[data.draw(st.sampled_from(sorted(kinds)))](id)))

    for value in values:
        decoder.feed(message(int_(data.draw(ids)), value))

    drain(decoder)


# --- bombs: small on the wire, or at the cap, and meant to be large or slow

ZEROS = bytes(60_000)
NESTED = b"".join(message(slice_type(70 + n, 71 + n)) for n in range(40))
WIDE = message(struct_type(70, **{f"F{n}": UINT for n in range(800)}))
PIECES = b"".join(message(int_(id), b"\1\0", b"\1T", struct_type(id + 1)) for id in range(80, 1_000))


def field_of(definition, *value):
    """A struct with a field of type 71 that nobody asked for, and one value of it."""
    return message(struct_type(70, X=71, Seq=UINT)) + message(definition) + message(int_(70), b"\1", *value)


BOMBS = {
    "array of 2^62 empty structs": message(struct_type(72)) + field_of(array_type(71, 72, 2**62), uint(2**62), ZEROS),
    "array of 2^62 numbers": field_of(array_type(71, UINT, 2**62), uint(2**62), ZEROS),
    "slice of 2^64 - 1": field_of(slice_type(71, UINT), uint(2**64 - 1), ZEROS),
    "map of 2^64 - 1": field_of(map_type(71, UINT, UINT), uint(2**64 - 1), ZEROS),
    "string of 2^63": message(int_(6), b"\0", uint(2**63), ZEROS),
    "message of 2^63": uint(2**63) + ZEROS,
    "types forty deep": NESTED + message(int_(70), b"\0", b"\1" * 60_000),
    "a type in itself": message(struct_type(70, X=70, Seq=UINT)) + message(int_(70), b"\1" * 60_000),
    "a thousand fields": WIDE + message(int_(70), b"\1\1" * 30_000),
    "a value in endless pieces": field_of(slice_type(71, INTERFACE), uint(2**62), b"\1T", struct_type(80)) + PIECES,
    "many empty values": message(struct_type(70, Seq=UINT)) + message(int_(70), b"\0") * 15_000,
}


def bomb(raw):
    decoder = GobDecoder()
    decoder.feed(raw)
    drain(decoder)


@pytest.mark.parametrize("raw", BOMBS.values(), ids=list(BOMBS))
def test_a_bomb_is_over_soon(raw):
    started = time.process_time()

    bomb(raw)

    assert time.process_time() - started < 1.0  # ten times what it takes


@pytest.mark.slow
@pytest.mark.parametrize("raw", BOMBS.values(), ids=list(BOMBS))
def test_a_bomb_takes_little_memory(raw):
    tracemalloc.start()

    bomb(raw)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_what_is_fed_is_not_kept():
    decoder = GobDecoder()
    decoder.feed(GO["request"] + GO["sample"])
    drain(decoder)
    tracemalloc.start()

    for _ in range(2_000):
        decoder.feed(GO["sample again"])
        while decoder.next_message() is not None:
            pass

    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 10_000
