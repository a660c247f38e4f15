"""What comes before the gob stream, and headers with their bodies."""

from contextlib import suppress

import pytest
from attestrio.gorpc.errors import BadConnect, BadGob
from attestrio.gorpc.exchange import (
    CONNECT,
    CONNECTED,
    MAX_HEAD_BYTES,
    HeadReader,
    PairReader,
    refusal_of,
    status_untrusted,
)
from attestrio.gorpc.gob import UINT8, GobEncoder, GobLimits
from attestrio.gorpc.messages import REQUEST, RESPONSE, RequestHeader, ResponseHeader
from gob_bytes import GO, INT, METHOD, int_, message
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples


def head_of(raw, size):
    reader = HeadReader()
    for start in range(0, len(raw), size):
        reader.feed(raw[start : start + size])
        if (line := reader.first_line()) is not None:
            return line, reader.rest() + raw[start + size :]
    return None, reader.rest()


def test_both_ends_say_what_go_says():
    assert CONNECT == b"CONNECT /_goRPC_ HTTP/1.0\n\n"
    assert CONNECTED == b"HTTP/1.0 200 Connected to Go RPC\n\n"


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT /_goRPC_ HTTP/1.0\n\n",
        b"CONNECT /_goRPC_ HTTP/1.0\r\n\r\n",
        b"CONNECT /_goRPC_ HTTP/1.1\r\nHost: aggregator:8090\r\nUser-Agent: Go\r\n\r\n",
        b"CONNECT /_goRPC_ HTTP/1.1\nHost: x\n\n",
    ],
)
@pytest.mark.parametrize("size", [1, 1_000], ids=["byte by byte", "at once"])
def test_a_connect_of_either_version_with_headers_or_without_is_accepted(head, size):
    line, rest = head_of(head + b"\0gob\n\n", size)

    assert refusal_of(line) is None
    assert rest == b"\0gob\n\n"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /_goRPC_ HTTP/1.1", b"HTTP/1.0 405 "),
        ("CONNECT / HTTP/1.0", b"HTTP/1.0 404 "),
        ("CONNECT /_goRPC_ HTTP/2.0", b"HTTP/1.0 404 "),
        ("\ufffd", b"HTTP/1.0 404 "),
        ("", b"HTTP/1.0 404 "),
    ],
)
def test_another_request_gets_an_answer_that_a_browser_understands(line, status):
    assert refusal_of(line).startswith(status)


def test_a_head_without_end_is_refused():
    reader = HeadReader()
    reader.feed(b"x" * MAX_HEAD_BYTES)

    with pytest.raises(BadConnect):
        reader.first_line()


@settings(max_examples=examples(100))
@given(raw=st.binary(max_size=200))
def test_any_bytes_are_a_head_or_the_beginning_of_one(raw):
    reader = HeadReader()
    reader.feed(raw)

    line = reader.first_line()

    if line is not None:
        refusal_of(line)
        with suppress(BadConnect):
            status_untrusted(line)


def test_a_status_of_another_server_is_refused():
    status_untrusted("HTTP/1.0 200 Connected to Go RPC")

    with pytest.raises(BadConnect, match="400 Bad Request"):
        status_untrusted("HTTP/1.1 400 Bad Request")


def test_headers_come_with_their_bodies():
    encoder = GobEncoder()
    reader = PairReader(RESPONSE, GobLimits())
    for seq in range(3):
        reader.feed(encoder.encode(RESPONSE, ResponseHeader("A.B", seq)) + encoder.encode(UINT8, seq))

    pairs = [reader.next_pair() for _ in range(4)]

    assert [(pair.header.seq, reader.gob.value(pair.body, UINT8)) for pair in pairs[:3]] == [(0, 0), (1, 1), (2, 2)]
    assert pairs[3] is None
    assert not reader.partial


def test_a_header_without_its_body_is_half_a_message():
    reader = PairReader(REQUEST, GobLimits())
    reader.feed(GO["request"])

    assert reader.next_pair() is None
    assert reader.partial

    reader.feed(GO["sample"])
    assert reader.next_pair().header == RequestHeader(METHOD, 0)
    assert not reader.partial


@pytest.mark.parametrize(
    "header", [message(int_(99), b"\0"), message(int_(INT), b"\0\2")], ids=["undefined", "no struct"]
)
def test_a_header_that_does_not_decode_ends_the_connection(header):
    reader = PairReader(REQUEST, GobLimits())
    reader.feed(header)

    with pytest.raises(BadGob, match="header"):
        reader.next_pair()
