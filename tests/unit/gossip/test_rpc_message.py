from __future__ import annotations

import pytest
from attestrio.gossip.errors import FrameTooLarge
from attestrio.gossip.rpc.message import SMALL, Message
from hypothesis import given
from hypothesis import strategies as st


@given(st.binary(max_size=3 * SMALL), st.binary(max_size=9), st.lists(st.integers(1, 2 * SMALL), max_size=40))
def test_a_message_is_whole_however_it_is_cut(body, behind, sizes):
    message = Message(3 * SMALL)
    wire = len(body).to_bytes(4, "little") + body + behind
    cuts = [0]
    for size in sizes:
        cuts.append(cuts[-1] + size)
    pieces = [wire[start:stop] for start, stop in zip(cuts, [*cuts[1:], len(wire)], strict=True) if wire[start:stop]]

    got = [message.feed(piece) for piece in pieces[: next_whole(pieces, 4 + len(body))]]

    assert got[:-1] == [None] * (len(got) - 1)
    assert got[-1] == body


def next_whole(pieces, size):
    """How many pieces it takes until `size` bytes are there."""
    have = 0
    for number, piece in enumerate(pieces, start=1):
        have += len(piece)
        if have >= size:
            return number
    raise AssertionError("never")


def test_a_message_that_comes_byte_by_byte_is_kept_in_one_piece():
    message = Message(1 << 20)
    message.feed((1 << 20).to_bytes(4, "little"))

    for _ in range(5000):
        message.feed(b"x")

    assert len(message._pieces) == 1


def test_a_length_over_the_limit_is_refused_as_soon_as_it_is_read():
    message = Message(10)
    message.feed(b"\x0b\x00\x00")

    with pytest.raises(FrameTooLarge) as refused:
        message.feed(b"\x00")

    assert (refused.value.size, refused.value.limit) == (11, 10)
