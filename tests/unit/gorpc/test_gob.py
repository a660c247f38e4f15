"""What Go sends is read, and what is sent is what Go sends."""

from operator import itemgetter

import pytest
from attestrio.gorpc.errors import BadGob, BadGobValue, GobTooLarge
from attestrio.gorpc.gob import (
    INT64,
    TEXT,
    UINT8,
    UINT64,
    ByteArray,
    Field,
    GobDecoder,
    GobEncoder,
    GobLimits,
    Int,
    Struct,
    UintArray,
)
from attestrio.gorpc.messages import (
    EMPTY,
    REQUEST,
    RESPONSE,
    SIGNED_TASK_RESPONSE,
    Nothing,
    RequestHeader,
    ResponseHeader,
)
from gob_bytes import (
    BOOL,
    BYTES,
    COMPLEX,
    FLOAT,
    GO,
    INT,
    INTERFACE,
    METHOD,
    SAMPLE,
    SPEC,
    SPEC_RESPONSE,
    STRING,
    UINT,
    UNSIGNED,
    array_type,
    decoded,
    int_,
    map_type,
    message,
    opaque_type,
    slice_type,
    struct_type,
    uint,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples


def as_tuple(*values):
    return values


NUMBER = Struct("Number", (Field("N", UINT8, itemgetter(0)), Field("Name", TEXT, itemgetter(1))), as_tuple)

# --- what we send


def test_a_first_call_is_the_bytes_of_the_specification():
    encoder = GobEncoder()

    header = encoder.encode(REQUEST, RequestHeader(METHOD, 0))
    body = encoder.encode(SIGNED_TASK_RESPONSE, SPEC_RESPONSE)

    assert header == SPEC["request"]
    assert body.endswith(SPEC["value"])
    assert len(SPEC["value"]) == 222
    assert encoder.encode(SIGNED_TASK_RESPONSE, SPEC_RESPONSE) == SPEC["value"]


def test_definitions_are_those_of_go_and_are_sent_once():
    encoder = GobEncoder()

    assert encoder.encode(REQUEST, RequestHeader(METHOD, 0)) == GO["request"]
    assert encoder.encode(SIGNED_TASK_RESPONSE, SAMPLE) == GO["sample"]
    assert encoder.encode(SIGNED_TASK_RESPONSE, SAMPLE) == GO["sample again"]
    assert encoder.encode(SIGNED_TASK_RESPONSE, UNSIGNED) == GO["nil signature"]


def test_replies_are_the_bytes_of_the_specification():
    encoder = GobEncoder()
    encoder.encode(RESPONSE, ResponseHeader(METHOD, 0))

    assert encoder.encode(UINT8, 0).hex() == "03060000"
    assert encoder.encode(UINT8, 1).hex() == "03060001"
    assert encoder.encode(INT64, 1).hex() == "03040002"
    assert encoder.encode(EMPTY, Nothing()).hex() == "0aff81030102ff8200000003ff8200"
    assert encoder.encode(EMPTY, Nothing()).hex() == "03ff8200"


@given(
    value=st.tuples(st.integers(0, 255), st.text()),
    seq=st.integers(0, 2**64 - 1),
    number=st.integers(-(2**63), 2**63 - 1),
)
def test_whatever_is_sent_is_read_again(value, seq, number):
    encoder, decoder = GobEncoder(), GobDecoder()

    assert decoded(NUMBER, encoder.encode(NUMBER, value), decoder=decoder) == value
    assert decoded(INT64, encoder.encode(INT64, number), decoder=decoder) == number
    header = RequestHeader(value[1], seq)
    assert decoded(REQUEST, encoder.encode(REQUEST, header), decoder=decoder) == header


@settings(max_examples=examples(30))
@given(raw=st.binary(min_size=32, max_size=32), limbs=st.tuples(*[st.integers(0, 2**64 - 1)] * 4))
def test_arrays_of_any_bytes_are_sent_and_read_again(raw, limbs):
    encoder, decoder = GobEncoder(), GobDecoder()

    assert decoded(ByteArray(32), encoder.encode(ByteArray(32), raw), decoder=decoder) == raw
    assert decoded(UintArray(4, 64), encoder.encode(UintArray(4, 64), limbs), decoder=decoder) == limbs


# --- what Go sends


@pytest.mark.parametrize("size", [1, 7, 10_000], ids=["byte by byte", "in sevens", "at once"])
def test_a_stream_of_go_is_read_however_it_is_cut(size):
    stream = b"".join(GO.values())
    decoder, found = GobDecoder(), []
    shapes = [REQUEST, *[SIGNED_TASK_RESPONSE] * 4, RESPONSE, EMPTY, UINT8, INT64]

    for start in range(0, len(stream), size):
        decoder.feed(stream[start : start + size])
        while (one := decoder.next_message()) is not None:
            found.append(decoder.value(one, shapes[len(found)]))

    assert found[:3] == [RequestHeader(METHOD, 0), SAMPLE, SAMPLE]
    assert found[4:] == [UNSIGNED, ResponseHeader(METHOD, 7, "no"), Nothing(), 255, -300]
    assert not decoder.partial


def test_fields_that_nobody_asked_for_are_skipped_whatever_their_type():
    """Go's own bytes: a map, slices, floats, a time, and types defined inside interfaces, where the message is cut."""
    decoder = GobDecoder()
    decoder.feed(GO["request"] + GO["sample"])
    while decoder.next_message() is not None:
        pass

    value = decoded(SIGNED_TASK_RESPONSE, GO["more fields"], decoder=decoder)

    assert value.operator_id == b"\5" + bytes(31)
    assert value.signature is None
    assert decoded(SIGNED_TASK_RESPONSE, GO["nil signature"], decoder=decoder) == UNSIGNED


# --- what gob allows


@pytest.mark.parametrize("id", [64, 65, 1000, 2**40])
def test_types_have_whatever_ids_the_stream_says(id):
    value = decoded(NUMBER, message(struct_type(id, Name=STRING, N=UINT)), message(int_(id), b"\1\1x\1\7\0"))

    assert value == (7, "x")


def test_a_field_is_found_by_its_name_and_is_zero_where_there_is_none():
    definition = message(struct_type(70, Other=STRING, Name=STRING))

    assert decoded(NUMBER, definition, message(int_(70), b"\2\1x\0")) == (0, "x")
    assert decoded(NUMBER, definition, message(int_(70), b"\1\1x\0")) == (0, "")


def test_a_child_may_be_defined_behind_its_parent():
    parent = Struct("Parent", (Field("Child", NUMBER, itemgetter(0)),), as_tuple)
    parts = [message(struct_type(70, Child=90)), message(struct_type(90, N=UINT)), message(int_(70), b"\1\1\7\0\0")]

    assert decoded(parent, *parts) == ((7, ""),)


def test_integers_may_be_longer_than_they_need_to_be():
    definitions = [message(struct_type(70, N=UINT)), message(array_type(71, UINT, 3))]

    assert decoded(NUMBER, *definitions, message(int_(70), b"\1\xf8" + bytes(7) + b"\7\0")) == (7, "")
    assert decoded(ByteArray(3), *definitions, message(int_(71), b"\0\3\xff\1\xfe\0\2\3")) == b"\1\2\3"


def test_a_struct_may_end_with_its_message():
    assert decoded(NUMBER, message(struct_type(70, N=UINT)), message(int_(70), b"\1\7")) == (7, "")


SKIPPED = {
    "bool": ([], BOOL, b"\1"),
    "int": ([], INT, b"\xff\x80"),
    "float": ([], FLOAT, b"\xfe\xf0\x3f"),
    "bytes": ([], BYTES, b"\3abc"),
    "complex": ([], COMPLEX, b"\0\xfe\xf0\x3f"),
    "array": ([array_type(80, STRING, 2)], 80, b"\2\1a\1b"),
    "slice": ([slice_type(80, 81), slice_type(81, UINT)], 80, b"\2\1\1\2\1\2"),
    "map": ([map_type(80, STRING, 81), struct_type(81, A=INT)], 80, b"\2\1a\1\2\0\1b\0"),
    "its own encoding": ([opaque_type(80)], 80, b"\4time"),
    "binary marshaler": ([opaque_type(80, 6)], 80, b"\4time"),
    "text marshaler": ([opaque_type(80, 7)], 80, b"\4time"),
    "nil interface": ([], INTERFACE, b"\0"),
    "interface": ([], INTERFACE, b"\6string" + int_(STRING) + b"\3\0\1x"),
    "type in an interface": ([], INTERFACE, b"\1T" + struct_type(80, A=INT) + b"\6" + int_(80) + b"\3\1\2\0"),
    "itself": ([struct_type(80, Next=80)], 80, b"\1\1\0\0\0"),
}


@pytest.mark.parametrize(("types", "id", "value"), SKIPPED.values(), ids=list(SKIPPED))
def test_an_unknown_field_is_skipped_by_its_definition(types, id, value):
    stream = [
        *map(message, types),
        message(struct_type(70, Unknown=id, N=UINT)),
        message(int_(70), b"\1", value, b"\1\7\0"),
    ]

    assert decoded(NUMBER, *stream) == (7, "")


def test_a_value_with_a_new_type_inside_goes_on_in_the_next_message():
    decoder = GobDecoder()
    first = message(int_(70), b"\1\1T", struct_type(80, A=INT))
    decoder.feed(message(struct_type(70, Unknown=INTERFACE, N=UINT)) + first)
    assert decoder.next_message() is None
    assert decoder.partial

    value = decoded(NUMBER, message(int_(80), b"\3\1\2\0", b"\1\7\0"), decoder=decoder)

    assert value == (7, "")
    assert decoded(NUMBER, message(int_(70), b"\2\7\0"), decoder=decoder) == (7, "")
    assert not decoder.partial


# --- a value that does not fit: the stream goes on

ARRAY = [message(array_type(70, UINT, 3))]
STRUCT = [message(struct_type(70, N=UINT, Name=STRING))]
UNFIT = {
    "too few elements": (ByteArray(4), ARRAY, message(int_(70), b"\0\3\1\2\3")),
    "another count than defined": (ByteArray(3), ARRAY, message(int_(70), b"\0\4\1\2\3\4")),
    "element above 255": (ByteArray(3), ARRAY, message(int_(70), b"\0\3\1\2", uint(300))),
    "array cut short": (ByteArray(3), ARRAY, message(int_(70), b"\0\3\1\2")),
    "string instead of array": (ByteArray(3), ARRAY, message(int_(STRING), b"\0\3abc")),
    "uint8 above 255": (UINT8, [], message(int_(UINT), b"\0", uint(256))),
    "int8 below -128": (Int(8), [], message(int_(INT), b"\0", int_(-129))),
    "int instead of uint": (UINT64, [], message(int_(INT), b"\0\2")),
    "no zero before a lone value": (UINT64, [], message(int_(UINT), b"\1\2")),
    "lone value cut short": (UINT64, [], message(int_(UINT), b"\0")),
    "no value": (NUMBER, STRUCT, message(int_(71), b"\0")),
    "undefined type": (NUMBER, STRUCT, message(int_(71), b"\1\1\0")),
    "type 0": (NUMBER, STRUCT, message(int_(0), b"\0")),
    "a type of gob's own": (NUMBER, STRUCT, message(int_(20), b"\0")),
    "non-struct": (NUMBER, STRUCT, message(int_(STRING), b"\0\1x")),
    "field out of range": (NUMBER, STRUCT, message(int_(70), b"\3\1\0")),
    "field of another type": (NUMBER, [message(struct_type(70, N=STRING))], message(int_(70), b"\0")),
    "field without a name": (
        NUMBER,
        [message(int_(-70) + b"\3\1\2\xff\x8c\0\1\1\2\4\0\0\0")],
        message(int_(70), b"\0"),
    ),
    "nothing in common": (NUMBER, [message(struct_type(70, Other=UINT))], message(int_(70), b"\1\1\0")),
    "string longer than its message": (NUMBER, STRUCT, message(int_(70), b"\2\x7fabc\0")),
    "integer of 9 bytes": (NUMBER, STRUCT, message(int_(70), b"\1\xf7", bytes(9), b"\0")),
    "integer cut short": (NUMBER, STRUCT, message(int_(70), b"\1\xf8\1")),
    "skipping an undefined type": (NUMBER, [message(struct_type(70, X=99, N=UINT))], message(int_(70), b"\1\1\0")),
    "skipping an array of 2^40": (
        NUMBER,
        [message(struct_type(70, X=71, N=UINT)), message(array_type(71, UINT, 2**40))],
        message(int_(70), b"\1", uint(2**40)),
    ),
    "another definition inside a value": (
        NUMBER,
        [message(struct_type(70, X=INTERFACE, N=UINT))],
        message(int_(70), b"\1\1T", struct_type(70, A=INT), b"\6", int_(70), b"\3\1\2\0\0"),
    ),
}


@pytest.mark.parametrize(("shape", "definitions", "body"), UNFIT.values(), ids=list(UNFIT))
def test_a_value_that_does_not_fit_is_refused_and_the_next_one_is_read(shape, definitions, body):
    decoder = GobDecoder()

    with pytest.raises(BadGobValue):
        decoded(shape, *definitions, body, decoder=decoder)

    assert decoded(TEXT, message(int_(STRING), b"\0\2ok"), decoder=decoder) == "ok"


def test_values_nested_too_deep_are_refused():
    decoder = GobDecoder()
    decoder.feed(message(struct_type(70, X=71, N=UINT)) + message(slice_type(71, 71)))

    with pytest.raises(BadGobValue, match="deep"):
        decoded(NUMBER, message(int_(70), b"\1", b"\1" * 60_000), decoder=decoder)

    assert decoded(NUMBER, message(int_(70), b"\1", b"\1" * 20, b"\0\1\7"), decoder=decoder) == (7, "")


def test_a_type_that_was_missing_is_no_longer_when_it_is_defined():
    decoder = GobDecoder()
    with pytest.raises(BadGobValue):
        decoded(NUMBER, message(int_(70), b"\1\7\0"), decoder=decoder)

    assert decoded(NUMBER, message(struct_type(70, N=UINT)), message(int_(70), b"\1\7\0"), decoder=decoder) == (7, "")


# --- a stream that cannot be followed

BROKEN = {
    "empty message": b"\0",
    "type defined twice": message(struct_type(70)) + message(struct_type(70)),
    "type of gob's own defined": message(struct_type(63)),
    "something behind a definition": message(struct_type(70), b"\0"),
    "definition of nothing": message(int_(-70), b"\0"),
    "definition of two types": message(int_(-70), b"\2\1\2\xff\x8c\0\1\2\0\1\1\2\xff\x8c\0\0\0"),
    "definition cut short": message(struct_type(70, N=UINT)[:-8]),
    "unknown kind of definition": message(int_(-70), b"\x08\0\0"),
    "id cut short": message(b"\xfe\1"),
    "length of 9 bytes": b"\xf7" + bytes(9),
}


@pytest.mark.parametrize("stream", BROKEN.values(), ids=list(BROKEN))
def test_a_broken_stream_ends(stream):
    decoder = GobDecoder()
    decoder.feed(stream)

    with pytest.raises(BadGob):
        decoder.next_message()


@pytest.mark.parametrize("length", [64_001, 2**40, 2**64 - 1])
def test_a_message_above_the_cap_is_refused_before_it_comes(length):
    decoder = GobDecoder()
    decoder.feed(uint(length))

    with pytest.raises(GobTooLarge) as refused:
        decoder.next_message()

    assert (refused.value.got, refused.value.limit) == (length, 64_000)


def test_a_message_at_the_cap_is_read():
    payload = int_(STRING) + b"\0" + uint(63_994) + b"x" * 63_994
    assert len(payload) == 64_000 - 1

    assert len(decoded(TEXT, message(payload))) == 63_994


def test_definitions_are_counted():
    decoder = GobDecoder(GobLimits(max_definitions=3))
    decoder.feed(b"".join(message(slice_type(id, UINT)) for id in range(70, 74)))

    with pytest.raises(GobTooLarge) as refused:
        decoder.next_message()

    assert (refused.value.what, refused.value.got, refused.value.limit) == ("definitions", 4, 3)


def test_definitions_are_weighed():
    decoder = GobDecoder()
    decoder.feed(message(struct_type(70, **{f"F{n}": UINT for n in range(1_200)})))

    with pytest.raises(GobTooLarge, match="definition bytes"):
        decoder.next_message()


def test_a_value_in_pieces_is_bounded_in_number_and_size():
    def pieces(padding):
        yield message(struct_type(70, U=71, N=UINT)) + message(slice_type(71, INTERFACE))
        yield message(
            int_(70),
            b"\1\x7f\1T",
            struct_type(80),
        )
        for id in range(80, 120):
            inner = uint(len(padding) + 1) + b"\0" + padding
            yield message(int_(id), inner, b"\1T", struct_type(id + 1))

    for padding, what in ((b"", "pieces of a value"), (b"x" * 20_000, "message bytes")):
        decoder = GobDecoder()
        decoder.feed(b"".join(pieces(padding)))

        with pytest.raises(GobTooLarge, match=what):
            decoder.next_message()
