from __future__ import annotations

import contextlib

import pytest
from attestrio.gossip.errors import BadMux, FrameTooLarge
from attestrio.gossip.mux.handshake import MAX_HANDSHAKE, encode_hello, hello_untrusted, stream_ids
from attestrio.gossip.mux.machine import Mux
from attestrio.schema import mux_pb2
from hypothesis import given
from hypothesis import strategies as st
from mux_kit import halves

FULL = {1: 1, 2: 1, 3: 1, 4: 5, 5: 1, 6: 5, 7: 1}
OFFERS = st.dictionaries(st.integers(0, 2**64 - 1), st.integers(0, 200), max_size=10)
# appendix C of the wire's description
FULL_HELLO = bytes.fromhex(
    "54000000"
    "2a0408011001 2a0408021001 2a0408031001 2a0408041005 2a0408051001 2a0408061005 2a0408071001"
    "320408011001 320408021001 320408031001 320408041005 320408051001 320408061005 320408071001"
)


def test_the_full_set_is_84_bytes():
    hello = encode_hello(FULL, FULL)

    assert hello == FULL_HELLO
    assert len(hello) == 4 + 84


@given(OFFERS, OFFERS)
def test_a_hello_is_read_back(accept, connect):
    assert hello_untrusted(encode_hello(accept, connect)[4:]) == (accept, connect)


def test_capabilities_take_their_ids_in_ascending_order():
    assert stream_ids(FULL, FULL) == [1, 2, 3, 4, 4, 4, 4, 4, 5, 6, 6, 6, 6, 6, 7]


def test_ids_move_up_when_the_peer_has_no_ping():
    without_ping = {id_: count for id_, count in FULL.items() if id_ != 2}

    assert stream_ids(FULL, without_ping) == [1, 3, 4, 4, 4, 4, 4, 5, 6, 6, 6, 6, 6, 7]


def test_the_smaller_of_both_numbers_of_streams_counts():
    assert stream_ids({4: 5, 6: 2}, {4: 2, 6: 2**32 - 1, 9: 1}) == [4, 4, 6, 6]


def test_an_empty_handshake_is_legal_and_agrees_on_nothing():
    mux = Mux(halves(FULL), halves(FULL), 0.0)
    mux.take_output()

    mux.feed(b"\x00\x00\x00\x00", 0.0)

    assert mux.is_up
    assert mux.take_output() == b""


def test_more_streams_than_anybody_has_are_fine():
    mux = Mux(halves({1: 2}), {}, 0.0)
    mux.take_output()

    mux.feed(bytes.fromhex("0a000000 3208 0801 10ffffffff0f"), 0.0)

    assert mux.take_output().hex() == "0080" + "0180"


def test_a_count_beyond_32_bits_is_cut_to_them():
    assert hello_untrusted(bytes.fromhex("3208 0801 108380808010")) == ({}, {1: 3})


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("2a0408011001 2a0408011001", id="M1 twice in accept"),
        pytest.param("320408011001 320408011002", id="M1 twice in connect"),
        pytest.param("2a021001", id="M2 without id"),
        pytest.param("2a020801", id="M2 without max_streams"),
        pytest.param("2a00", id="M2 with neither"),
        pytest.param("2a0408011001 00", id="trailing garbage"),
        pytest.param("2a0508011001", id="cut off"),
    ],
)
def test_a_handshake_against_the_rules_ends_the_connection(body):
    raw = bytes.fromhex(body)
    mux = Mux(halves(FULL), halves(FULL), 0.0)

    with pytest.raises(BadMux):
        mux.feed(len(raw).to_bytes(4, "little") + raw, 0.0)


def test_one_id_may_stand_in_both_lists():
    assert hello_untrusted(bytes.fromhex("2a0408011001 320408011001")) == ({1: 1}, {1: 1})


def test_a_handshake_over_10_kb_is_refused_before_its_body():
    mux = Mux({}, {}, 0.0)

    with pytest.raises(FrameTooLarge):
        mux.feed((MAX_HANDSHAKE + 1).to_bytes(4, "little"), 0.0)


def test_a_handshake_of_10_kb_is_taken():
    entry = bytes.fromhex("2a0408011001")
    size = MAX_HANDSHAKE - len(entry) - 3
    body = entry + b"\x7a" + bytes([size & 0x7F | 0x80, size >> 7]) + bytes(size)  # a field nobody knows
    mux = Mux({}, halves({1: 1}), 0.0)

    mux.feed(MAX_HANDSHAKE.to_bytes(4, "little") + body, 0.0)

    assert len(body) == MAX_HANDSHAKE
    assert mux.is_up


@pytest.mark.parametrize(("accept", "connect"), [({1: 8000, 2: 193}, {}), ({}, {1: 8193}), ({1: 2**32 - 1}, {1: 1})])
def test_a_node_does_not_start_with_more_than_8192_streams_at_one_end(accept, connect):
    with pytest.raises(ValueError, match="limit 8192"):
        Mux(halves(accept), halves(connect), 0.0)


def test_8192_streams_at_each_end_are_allowed():
    mux = Mux(halves({1: 8192}), halves({1: 8192}), 0.0)
    hello = mux.take_output()

    mux.feed(hello, 0.0)

    assert len(mux.take_output()) == 2 * 2 * 8192  # one CLOSE for each


@given(st.binary(max_size=200))
def test_any_bytes_are_a_handshake_or_bad_mux(body):
    with contextlib.suppress(BadMux):
        accept, connect = hello_untrusted(body)

        assert hello_untrusted(encode_hello_unbounded(accept, connect)) == (accept, connect)


def encode_hello_unbounded(accept, connect):
    """What a peer may say, which is more than we may."""
    message = mux_pb2.Handshake()
    for field, offer in ((message.accept, accept), (message.connect, connect)):
        for id_, count in offer.items():
            field.add(id=id_, max_streams=count)
    return message.SerializeToString()
