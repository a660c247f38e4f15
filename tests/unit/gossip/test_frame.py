"""Proto frames come out as they went in, however they are cut, and a long one is refused by its length alone."""

import tracemalloc

import pytest
from attestrio.errors import PeerError
from attestrio.gossip.errors import FrameTooLarge
from attestrio.gossip.frame import FrameDecoder, encode_frame
from attestrio.gossip.handshake import MAX_HANDSHAKE
from attestrio.gossip.preface import MAX_PREFACE
from hypothesis import given, settings
from hypothesis import strategies as st
from noise_kit import pieces


def bodies_of(decoder):
    found = []
    while (body := decoder.next_frame()) is not None:
        found.append(body)
    return found


def test_a_frame_is_its_length_and_its_body():
    assert encode_frame(b"").hex() == "00000000"
    assert encode_frame(b"\x0a\x00").hex() == "020000000a00"
    assert encode_frame(bytes(0x1234))[:4].hex() == "34120000"


@settings(deadline=None)
@given(st.data())
def test_frames_come_out_whole_however_they_are_cut(data):
    bodies = data.draw(st.lists(st.binary(max_size=40), max_size=6))
    raw = b"".join(map(encode_frame, bodies))
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=8))
    decoder = FrameDecoder(40)

    found = []
    for piece in pieces(raw, cuts):
        decoder.feed(piece)
        found += bodies_of(decoder)

    assert found == bodies
    assert decoder.rest() == b""


def test_what_follows_a_frame_is_left_for_the_next_layer():
    decoder = FrameDecoder(10)
    decoder.feed(encode_frame(b"abc") + b"next layer")

    assert decoder.next_frame() == b"abc"
    assert decoder.rest() == b"next layer"
    assert decoder.rest() == b""


@pytest.mark.parametrize("limit", [MAX_PREFACE, MAX_HANDSHAKE])
def test_a_frame_of_exactly_the_limit_passes_and_one_byte_more_does_not(limit):
    fits, too_long = FrameDecoder(limit), FrameDecoder(limit)

    fits.feed(encode_frame(bytes(limit)))
    too_long.feed(encode_frame(bytes(limit + 1)))

    assert limit == 10240
    assert fits.next_frame() == bytes(limit)
    with pytest.raises(FrameTooLarge) as refused:
        too_long.next_frame()
    assert (refused.value.size, refused.value.limit) == (limit + 1, limit)


@pytest.mark.parametrize("size", [10241, 2**31, 2**32 - 1])
def test_a_long_frame_is_refused_before_its_body_is_there(size):
    decoder = FrameDecoder(10240)
    decoder.feed(size.to_bytes(4, "little"))

    with pytest.raises(FrameTooLarge):
        decoder.next_frame()


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, 200))
def test_random_bytes_end_in_bodies_within_the_limit_or_in_a_peer_error(raw, limit):
    decoder = FrameDecoder(limit)
    decoder.feed(raw)

    try:
        found = bodies_of(decoder)
    except PeerError:
        return
    assert all(len(body) <= limit for body in found)


def test_an_endless_stream_of_frames_takes_the_room_of_one():
    decoder = FrameDecoder(10240)
    frame = encode_frame(bytes(10240))
    tracemalloc.start()

    for _ in range(200):
        decoder.feed(frame[:5000])
        assert decoder.next_frame() is None
        decoder.feed(frame[5000:])
        assert len(decoder.next_frame()) == 10240
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 8 * len(frame)
