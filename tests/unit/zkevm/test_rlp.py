"""RLP has one encoding of everything, and no other is read."""

from __future__ import annotations

import pytest
import rlp
from attestrio.zkevm.errors import BadRlp
from attestrio.zkevm.rlp import MAX_DEPTH, decode_untrusted, encode, encode_int, int_untrusted
from hypothesis import given
from hypothesis import strategies as st

ITEMS = st.recursive(st.binary(max_size=80), lambda inner: st.lists(inner, max_size=6), max_leaves=20)


@given(ITEMS)
def test_what_is_written_is_read_back_and_is_what_others_write(item):
    raw = encode(item)

    assert decode_untrusted(raw) == item
    assert raw == rlp.encode(item)


@given(st.binary(max_size=60))
def test_bytes_of_strangers_are_read_in_their_one_encoding_or_refused(raw):
    try:
        item = decode_untrusted(raw)
    except BadRlp:
        return

    assert encode(item) == raw


@pytest.mark.parametrize(
    "raw",
    ["", "8100", "817f", "b800", "b83701", "b90038", "c1", "c28080" + "80", "bfffffffffffffffff", "f800", "81", "c0c0"],
)
def test_a_second_encoding_or_a_cut_one_is_refused(raw):
    with pytest.raises(BadRlp):
        decode_untrusted(bytes.fromhex(raw))


def test_lists_in_lists_are_refused_before_they_exhaust_the_stack():
    raw = b"\xc0"
    for _ in range(MAX_DEPTH):
        raw = encode([decode_untrusted(raw)])

    with pytest.raises(BadRlp):
        decode_untrusted(bytes([0xC1 + MAX_DEPTH]) + raw)


@pytest.mark.parametrize("raw", [b"\0", b"\0\1", b"\1" * 9, [b"\1"]])
def test_a_number_has_no_leading_zeros_and_fits(raw):
    with pytest.raises(BadRlp):
        int_untrusted(raw, 8)


@given(st.integers(0, 2**64 - 1))
def test_a_number_is_read_back(number):
    assert int_untrusted(encode_int(number), 8) == number
