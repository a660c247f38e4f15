"""The encrypted channel: the bytes of the network's own library, and nothing gets through that its key did not make."""

import hashlib
import json
import tracemalloc
from itertools import accumulate
from pathlib import Path

import pytest
from attestrio.errors import PeerError
from attestrio.gossip.errors import BadNoise, PeerClosed
from attestrio.gossip.noise import (
    FIRST,
    MAX_PLAINTEXT,
    SECOND,
    CipherState,
    HandshakeDecoder,
    NNHandshake,
    NoiseReceiver,
    NoiseSender,
    frame_handshake,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from noise_kit import INITIATOR_SECRET, RESPONDER_SECRET, channel, ends, pieces

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "noise.json").read_text("utf-8"))
ROLES = ["initiator", "responder"]
both_roles = pytest.mark.parametrize("sender", ROLES)


def everything(receiver):
    """All plaintext up to the end of what was fed, and the error that came then, if any."""
    read = b""
    try:
        while plain := receiver.read():
            read += plain
    except PeerError as end:
        return read, end
    return read, None


# The handshake.


@pytest.mark.parametrize("case", GOLDEN, ids=range(len(GOLDEN)))
def test_both_roles_write_the_bytes_of_the_reference(case):
    secrets = [bytes.fromhex(case[f"{role}_ephemeral_secret"]) for role in ROLES]
    initiator, responder = NNHandshake(True, secrets[0]), NNHandshake(False, ephemeral=secrets[1])

    first = initiator.write_e()
    responder.read_e(first)
    second, responder_ciphers = responder.write_e_ee()
    ciphers = {"initiator": initiator.read_e_ee(second), "responder": responder_ciphers}

    assert first.hex() == case["message_1"]
    assert second.hex() == case["message_2"]
    assert initiator.h.hex() == responder.h.hex() == case["handshake_hash"]
    for message in case["transport"]:
        other = ROLES[message["from"] == "initiator"]
        sealed = ciphers[message["from"]][0].encrypt(bytes.fromhex(message["plaintext"]))
        assert sealed.hex() == message["ciphertext"]
        assert ciphers[other][1].decrypt(sealed).hex() == message["plaintext"]


def test_the_channel_of_the_specification_has_its_bytes():
    initiator, responder = NNHandshake(True, INITIATOR_SECRET), NNHandshake(False, RESPONDER_SECRET)
    assert initiator.ck.hex() == "7a6b73796e632d626674" + "00" * 22

    first = initiator.write_e()
    responder.read_e(first)
    second, (back, _) = responder.write_e_ee()
    forth, _ = initiator.read_e_ee(second)

    assert first.hex() == "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f"
    assert second[:32].hex() == "358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254"
    assert second[32:].hex() == "fb6f15695691ca901a329437009e3f40"
    assert initiator.h == responder.h
    assert initiator.h.hex() == "601f35852e4e23ecf12f48240fdef0a859e37fd3e5c5799bfe97511764ee05ea"
    words = [b"hello", b"world", b""]
    assert [forth.encrypt(word).hex() for word in words] == [
        "06f9c6d21f6243942ed9c33a90f3580c9a2fa2e21f",
        "5c6884d8440a1e24a033d61a55194d46636f9fda39",
        "cbc322ff2b41a6640a9b80a38a758f6a",
    ]
    assert [back.encrypt(word).hex() for word in words] == [
        "217d18dfc38f95818b5e130873080d49bd5795f0f0",
        "e31eb21228de10b4a2a0a92a47232cabbe08b79c18",
        "57d0902f0308394ec265245564e0eb35",
    ]


def test_two_channels_never_share_a_session():
    sessions = [channel(NNHandshake(True), NNHandshake(False))[2] for _ in range(2)]

    assert all(ours == theirs for ours, theirs in sessions)
    assert sessions[0] != sessions[1]


@pytest.mark.parametrize("size", [0, 1, 31, 33, 48, 96])
def test_a_first_message_of_another_length_is_refused(size):
    with pytest.raises(BadNoise, match=f"first handshake message of {size} B"):
        NNHandshake(False).read_e(bytes(size))


@pytest.mark.parametrize("size", [0, 32, 47, 49, 64])
def test_a_second_message_of_another_length_is_refused(size):
    initiator = NNHandshake(True)
    initiator.write_e()

    with pytest.raises(BadNoise, match=f"second handshake message of {size} B"):
        initiator.read_e_ee(bytes(size))


def other_name(initiator, name):
    """A peer that calls the protocol something else."""
    peer = NNHandshake(initiator)
    start = name.ljust(32, b"\0") if len(name) <= 32 else hashlib.sha256(name).digest()
    peer.ck, peer.h = start, hashlib.sha256(start).digest()
    return peer


def other_prologue(initiator):
    peer = NNHandshake(initiator)
    peer.h = hashlib.sha256(peer.ck + b"prologue").digest()
    return peer


STRANGERS = {
    "the usual name": lambda initiator: other_name(initiator, b"Noise_NN_25519_ChaChaPoly_SHA256"),
    "another name": lambda initiator: other_name(initiator, b"zksync-bfT"),
    "a long name": lambda initiator: other_name(initiator, b"Noise_NN_25519_ChaChaPoly_SHA256+more"),
    "a prologue": other_prologue,
}


@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("ours", ROLES)
def test_a_peer_of_another_protocol_shows_at_the_second_message(stranger, ours):
    """Whichever side is the stranger, the dialler notices: only the second message proves anything."""
    sides = (NNHandshake(True), stranger(False)) if ours == "initiator" else (stranger(True), NNHandshake(False))

    with pytest.raises(BadNoise, match="key did not make"):
        channel(*sides)


@pytest.mark.parametrize("point", ["00" * 32, "01" + "00" * 31, "ecff" + "ff" * 29 + "7f"])
def test_an_ephemeral_key_that_gives_no_secret_is_refused_by_both_roles(point):
    responder = NNHandshake(False)
    responder.read_e(bytes.fromhex(point))
    with pytest.raises(BadNoise, match="no secret"):
        responder.write_e_ee()

    initiator = NNHandshake(True)
    initiator.write_e()
    with pytest.raises(BadNoise, match="no secret"):
        initiator.read_e_ee(bytes.fromhex(point) + bytes(16))


@settings(max_examples=100, deadline=None)
@given(message=st.binary(min_size=SECOND, max_size=SECOND) | st.binary(max_size=100))
def test_a_random_answer_never_opens_a_channel(message):
    initiator, responder = NNHandshake(True, INITIATOR_SECRET), NNHandshake(False, RESPONDER_SECRET)
    initiator.write_e()

    with pytest.raises(BadNoise):
        initiator.read_e_ee(message)
    if len(message) != FIRST:
        with pytest.raises(BadNoise):
            responder.read_e(message)


@settings(deadline=None)
@given(at=st.integers(0, SECOND - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_of_the_answer_is_noticed(at, bit):
    initiator, responder = NNHandshake(True, INITIATOR_SECRET), NNHandshake(False, RESPONDER_SECRET)
    responder.read_e(initiator.write_e())
    second = bytearray(responder.write_e_ee()[0])
    second[at] ^= 1 << bit

    with pytest.raises(BadNoise):  # the highest bit of the key too: X25519 ignores it, the hash does not
        initiator.read_e_ee(bytes(second))


def test_handshake_messages_carry_their_length():
    assert frame_handshake(bytes(FIRST)).hex() == "2000" + "00" * 32
    assert frame_handshake(bytes(SECOND)).hex() == "3000" + "00" * 48


@pytest.mark.parametrize("size", [FIRST, SECOND])
@settings(deadline=None)
@given(data=st.data())
def test_a_handshake_message_is_cut_off_its_stream(size, data):
    message, behind = data.draw(st.binary(min_size=size, max_size=size)), data.draw(st.binary(max_size=50))
    raw = frame_handshake(message) + behind
    decoder = HandshakeDecoder(size)

    found = []
    for piece in pieces(raw, data.draw(st.lists(st.integers(0, len(raw)), max_size=4))):
        decoder.feed(piece)
        if not found and (whole := decoder.next_message()) is not None:
            found.append(whole)

    assert found == [message]
    assert decoder.rest() == behind


@pytest.mark.parametrize("size", [FIRST, SECOND])
@pytest.mark.parametrize("announced", [0, 16, 31, 33, 47, 49, 65535])
def test_a_handshake_message_of_another_length_is_refused_before_it_is_there(size, announced):
    decoder = HandshakeDecoder(size)
    decoder.feed(announced.to_bytes(2, "little"))

    with pytest.raises(BadNoise, match=f"of {announced} B, it has {size} B"):
        decoder.next_message()


# The transport.


@both_roles
def test_words_written_in_any_grouping_arrive_in_order(sender):
    send, receive = ends(sender)

    for group in (1, 3, 2, 4):
        receive.feed(send.seal([b"hello"] * group))

    assert receive.read() == b"hello" * 10
    assert receive.read() == b""


@pytest.mark.parametrize(
    ("size", "frames"),
    [(1, [1]), (MAX_PLAINTEXT, [65519]), (MAX_PLAINTEXT + 1, [65519, 1]), (200_000, [65519, 65519, 65519, 3443])],
)
@both_roles
def test_frames_are_as_full_as_can_be(sender, size, frames):
    send, receive = ends(sender)
    plain = bytes(range(256)) * (size // 256 + 1)

    sealed = send.seal(plain[:size])

    found, at = [], 0
    while at < len(sealed):
        length = int.from_bytes(sealed[at : at + 2], "little")
        found.append(length - 16)
        at += 2 + length
    assert found == frames
    receive.feed(sealed)
    assert receive.read() == plain[:size]


@pytest.mark.parametrize("nothing", [b"", [], [b"", b""]])
def test_nothing_is_no_frame(nothing):
    send, _ = ends("initiator")

    assert send.seal(nothing) == b""


@both_roles
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_stream_comes_out_whole_however_it_is_cut(sender, data):
    send, receive = ends(sender)
    words = data.draw(st.lists(st.binary(max_size=60), max_size=8))
    raw = b"".join(send.seal(word) for word in words)

    read = b""
    for piece in pieces(raw, data.draw(st.lists(st.integers(0, len(raw)), max_size=12))):
        receive.feed(piece)
        read += receive.read()

    assert read == b"".join(words)


@both_roles
def test_a_long_stream_survives_pieces_that_straddle_its_frames(sender):
    send, receive = ends(sender)
    plain = bytes(range(251)) * 2000
    raw = bytes(send.seal(plain))

    read = b""
    for start in range(0, len(raw), 7777):
        receive.feed(raw[start : start + 7777])
        read += receive.read()

    assert read == plain


@both_roles
@pytest.mark.parametrize("size", [0, 1, 15])
def test_a_frame_too_short_for_a_tag_is_refused_by_its_length_alone(sender, size):
    _, receive = ends(sender)

    receive.feed(bytes([size]))
    assert receive.read() == b""
    receive.feed(b"\0")

    with pytest.raises(BadNoise, match=f"transport frame of {size} B"):
        receive.read()


@both_roles
def test_a_changed_frame_is_refused_wherever_it_was_changed(sender):
    for at in range(2, 2 + 5 + 16):
        send, receive = ends(sender)
        frame = send.seal(b"hello")
        frame[at] ^= 0x80
        receive.feed(frame)

        with pytest.raises(BadNoise, match="key did not make"):
            receive.read()


@both_roles
@pytest.mark.parametrize(
    "order", [(0, 0), (1, 0), (0, 2), (2, 1, 0)], ids=["replayed", "reordered", "lost", "reversed"]
)
def test_a_replayed_reordered_or_lost_frame_ends_the_stream(sender, order):
    send, receive = ends(sender)
    frames = [send.seal(word) for word in (b"one", b"two", b"three")]

    receive.feed(b"".join(frames[at] for at in order))

    read, end = everything(receive)
    assert read == (b"one" if order[0] == 0 else b"")
    assert isinstance(end, BadNoise)


@both_roles
def test_a_frame_of_the_other_direction_is_refused(sender):
    send, _ = ends(sender)
    _, receive = ends(ROLES[sender == "initiator"])

    receive.feed(send.seal(b"hello"))

    with pytest.raises(BadNoise):
        receive.read()


@both_roles
def test_an_empty_frame_is_the_end(sender):
    (our_send, our_receive), (their_send, their_receive), _ = channel()
    cipher, opposite = (our_send, their_receive) if sender == "initiator" else (their_send, our_receive)
    send, receive = NoiseSender(cipher), NoiseReceiver(opposite)

    receive.feed(send.seal(b"last words"))
    receive.feed(b"\x10\x00" + cipher.encrypt(b""))
    receive.feed(send.seal(b"too late"))

    read, end = everything(receive)
    assert read == b"last words"
    assert isinstance(end, PeerClosed)


def test_an_end_stays_an_end():
    send, receive = ends("initiator")
    receive.feed(b"\x00\x00")

    for _ in range(3):
        with pytest.raises(BadNoise):
            receive.read()
        receive.feed(send.seal(b"hello"))


@both_roles
def test_a_frame_cut_short_gives_nothing(sender):
    send, receive = ends(sender)

    receive.feed(send.seal(b"first"))
    receive.feed(send.seal(b"hello")[:-1])

    assert receive.read() == b"first"
    assert receive.read() == b""


@both_roles
@settings(max_examples=100, deadline=None)
@given(raw=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=4))
def test_random_bytes_give_no_plaintext_and_no_other_error(sender, raw, cuts):
    _, receive = ends(sender)

    for piece in pieces(raw, [min(cut, len(raw)) for cut in cuts]):
        receive.feed(piece)

    assert everything(receive)[0] == b""


@both_roles
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_mutated_stream_gives_its_beginning_and_nothing_else(sender, data):
    send, receive = ends(sender)
    words = data.draw(st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=6))
    raw = bytearray(b"".join(send.seal(word) for word in words))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))

    receive.feed(raw)

    ends_at = accumulate(2 + len(word) + 16 for word in words)
    untouched = [word for word, end in zip(words, ends_at, strict=True) if end <= at]
    assert everything(receive)[0] == b"".join(untouched)


def test_a_peer_that_never_finishes_a_frame_costs_one_frame():
    _, receive = ends("initiator")
    tracemalloc.start()

    receive.feed(b"\xff\xff")
    for _ in range(65534 // 31):
        receive.feed(b"x" * 31)
    _, partial = tracemalloc.get_traced_memory()
    receive.feed(b"x")  # whole, and not made by the key
    for _ in range(100):
        receive.feed(bytes(65536))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert partial < 150_000
    assert peak < 400_000
    with pytest.raises(BadNoise):
        receive.read()


def test_a_used_up_counter_is_never_used_again():
    cipher = CipherState(bytes(32))
    cipher.n = 2**64 - 2
    sealed = cipher.encrypt(b"the last one")

    with pytest.raises(BadNoise, match="used up"):
        cipher.encrypt(b"one more")
    with pytest.raises(BadNoise, match="used up"):
        cipher.encrypt_into(b"", memoryview(bytearray(16)))
    with pytest.raises(BadNoise, match="used up"):
        cipher.decrypt(sealed)


@pytest.mark.parametrize("size", [0, 1, 15, 16])
def test_a_cipher_refuses_what_is_shorter_than_a_tag(size):
    cipher = CipherState(bytes(32))

    with pytest.raises(BadNoise):
        cipher.decrypt(bytes(size))
    assert cipher.n == 0


def test_a_cipher_goes_on_after_a_message_it_refused():
    send, receive = CipherState(bytes(32)), CipherState(bytes(32))
    sealed = send.encrypt(b"hello", b"context")

    with pytest.raises(BadNoise):
        receive.decrypt(sealed, b"another context")
    assert receive.decrypt(sealed, b"context") == b"hello"
