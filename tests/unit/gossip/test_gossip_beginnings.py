"""How a connection may not begin: rows P, N and H of the network's must-reject tables, as acceptor and as dialler.

Each test is named after its row. `role` is what our node does; the other end is a raw peer.
"""

import logging
from functools import partial

import pytest
import trio
import trio.testing
from attestrio.errors import PeerError
from attestrio.gossip.errors import (
    BadHandshakeSignature,
    BadNoise,
    BadPreface,
    FrameTooLarge,
    GenesisMismatch,
    HandshakeTimeout,
    PeerClosed,
    PeerMismatch,
    SessionIdMismatch,
)
from attestrio.gossip.frame import encode_frame
from attestrio.gossip.handshake import hello
from attestrio.gossip.io import ConsensusNotServed, Identity, Session, accept, dial
from attestrio.gossip.noise import NNHandshake, frame_handshake
from attestrio.gossip.preface import ENCRYPTION_NOISE_NN, ENDPOINT_GOSSIP
from attestrio.gossip.wire import Wire
from attestrio.roles import GenesisHash
from attestrio.roles.errors import DecodeFailed, Malformed, MissingField, WrongLength
from attestrio.schema import gossip_pb2
from memory_world import GENESIS, ROLES, both_roles, in_memory
from net_world import node_key
from noise_kit import UNDECODABLE
from raw_peer import ACCEPTOR, DIALLER, RawPeer

ME = Identity(node_key(1), GENESIS.hash())
PEER = node_key(9)
ENDPOINT_CONSENSUS = bytes.fromhex("020000000a00")
FOREIGN = GenesisHash(b"\x12" * 32)
OVER = (10 * 1024 + 1).to_bytes(4, "little")  # the announcement of a frame that is a byte too long


async def end_of(role, script):
    """What our end comes to against a raw peer of `role` that plays `script` and then stays: a session or an error."""
    ours, theirs = trio.testing.memory_stream_pair()
    peer = RawPeer(theirs, role, PEER, GENESIS.hash())
    greet = accept(Wire(ours, "peer"), ME) if role is DIALLER else dial(Wire(ours, "peer"), ME, PEER.public())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_play, script, peer)
        try:
            return await greet
        except PeerError as exc:
            return exc
        finally:
            nursery.cancel_scope.cancel()


async def _play(script, peer):
    await script(peer)
    await trio.sleep_forever()


# --- scripts


async def say(peer, *, clear=b"", leave=False):
    """Raw bytes from the first moment on."""
    await peer.send_raw(clear)
    if leave:
        await peer.stream.aclose()


async def say_inside(peer, plaintext, *, leave=False):
    """Into the channel, as its first words."""
    await peer.open_channel()
    if plaintext:
        await peer.send(plaintext)
    if leave:
        await peer.stream.aclose()


async def say_sealed(peer, spoil):
    """Into the channel, its first words; `spoil` changes the ciphertext of a good beginning."""
    await peer.open_channel()
    good = (ENDPOINT_GOSSIP if peer.role is DIALLER else b"") + peer.hello()
    for raw in spoil(peer._sender.seal(good), peer._sender.seal(b"more")):
        await peer.send_raw(raw)


async def shake(peer, make):
    """A proper channel, then the body that `make(peer)` gives for a handshake."""
    await peer.open_channel()
    await peer.send((ENDPOINT_GOSSIP if peer.role is DIALLER else b"") + encode_frame(make(peer)))


def good_body(peer, secret=PEER, session=None, genesis=None):
    return hello(secret, session or peer.session_id, genesis or peer.genesis, False)[4:]


def changed_body(change, peer):
    message = gossip_pb2.Handshake.FromString(good_body(peer))
    change(message)
    return message.SerializeToString()


def field_set(path, value):
    """A change of one field; None clears it."""

    def change(message):
        *outer, last = path.split(".")
        for name in outer:
            message = getattr(message, name)
        message.ClearField(last) if value is None else setattr(message, last, value)

    return partial(changed_body, change)


# --- all is well


@both_roles
async def test_a_peer_that_begins_properly_gets_a_session(role):
    session = await end_of(role, RawPeer.greet)

    assert isinstance(session, Session)
    assert session.key == PEER.public()


@pytest.mark.parametrize("size", [1, 7])
@both_roles
async def test_a_beginning_that_comes_in_small_pieces_is_the_same_beginning(role, size):
    async def piecemeal(peer):
        whole = peer.stream.send_all

        async def send_all(data):
            for at in range(0, len(data), size):
                await whole(data[at : at + size])
                await trio.testing.wait_all_tasks_blocked()

        peer.stream.send_all = send_all
        await peer.greet()

    assert isinstance(await end_of(role, piecemeal), Session)


async def test_what_a_dialler_sends_ahead_is_not_lost():
    """Endpoint, handshake and the first words on the mux in one write."""

    async def pipelined(peer):
        await peer.open_channel()
        await peer.send(ENDPOINT_GOSSIP + peer.hello() + b"\0\0\0\0")

    session = await end_of(DIALLER, pipelined)

    assert session.rest == b"\0\0\0\0"


# --- preface


@pytest.mark.parametrize(
    ("role", "script"),
    [
        pytest.param(DIALLER, partial(say, clear=OVER), id="encryption"),
        pytest.param(DIALLER, partial(say_inside, plaintext=OVER), id="endpoint"),
        pytest.param(DIALLER, partial(say_inside, plaintext=ENDPOINT_GOSSIP + OVER), id="handshake to the acceptor"),
        pytest.param(ACCEPTOR, partial(say_inside, plaintext=OVER), id="handshake to the dialler"),
    ],
)
async def test_p1_a_frame_over_10_kb_is_refused_before_its_body(role, script):
    error = await end_of(role, script)

    assert isinstance(error, FrameTooLarge)
    assert (error.size, error.limit) == (10241, 10240)


@pytest.mark.parametrize("body", [b"", b"\x1a\x00", b"\x12\x00"], ids=["empty", "field 3", "field 2"])
async def test_p2_an_encryption_nobody_knows_is_refused(body):
    assert isinstance(await end_of(DIALLER, partial(say, clear=encode_frame(body))), BadPreface)


@pytest.mark.parametrize("body", [b"", b"\x1a\x00"], ids=["empty", "field 3"])
async def test_p3_an_endpoint_nobody_knows_is_refused(body):
    assert isinstance(await end_of(DIALLER, partial(say_inside, plaintext=encode_frame(body))), BadPreface)


async def test_p4_who_looks_for_the_consensus_network_is_left_without_a_word(caplog):
    assert isinstance(await end_of(DIALLER, partial(say_inside, plaintext=ENDPOINT_CONSENSUS)), ConsensusNotServed)

    caplog.set_level(logging.DEBUG, "attestrio.gossip")
    async with in_memory(dials=()) as world:
        peer = await world.meet()
        await peer.open_channel()
        await peer.send(ENDPOINT_CONSENSUS + peer.hello())
        got = await peer.wait_end()

    assert got == b""
    assert caplog.records == []


# What the peer says of a preface before it falls silent.
UNFINISHED_PREFACE = {
    DIALLER: {
        "nothing": say,
        "half a length": partial(say, clear=b"\x02\x00"),
        "no Noise": partial(say, clear=ENCRYPTION_NOISE_NN),
        "half a Noise message": partial(say, clear=ENCRYPTION_NOISE_NN + b"\x20\x00" + bytes(31)),
        "no endpoint": partial(say_inside, plaintext=b""),
        "half an endpoint": partial(say_inside, plaintext=ENDPOINT_GOSSIP[:5]),
    },
    ACCEPTOR: {
        "nothing": say,
        "half a Noise message": partial(say, clear=b"\x30\x00" + bytes(47)),
    },
}


@pytest.mark.parametrize(
    ("role", "script"),
    [
        pytest.param(role, script, id=f"{role}-{said}")
        for role, rows in UNFINISHED_PREFACE.items()
        for said, script in rows.items()
    ],
)
async def test_p5_a_preface_is_given_5_seconds(autojump_clock, role, script):
    error = await end_of(role, script)

    assert isinstance(error, HandshakeTimeout)
    assert error.phase == "preface"
    assert trio.current_time() == pytest.approx(5.0)


@both_roles
async def test_p5_drop_by_drop_is_not_in_time_either(autojump_clock, role):
    async def trickle(peer):
        first = ENCRYPTION_NOISE_NN + b"\x20\x00" if role is DIALLER else b"\x30\x00"
        for byte in first + bytes(32):
            await peer.send_raw(bytes([byte]))
            await trio.sleep(0.9)

    assert isinstance(await end_of(role, trickle), HandshakeTimeout)
    assert trio.current_time() == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("role", "raw"),
    [
        pytest.param(DIALLER, ENCRYPTION_NOISE_NN + frame_handshake(bytes(size)), id=f"first of {size}")
        for size in (0, 31, 33, 48)
    ]
    + [pytest.param(ACCEPTOR, frame_handshake(bytes(size)), id=f"second of {size}") for size in (0, 32, 47, 49)],
)
async def test_p6_a_noise_message_of_another_length_is_refused(role, raw):
    assert isinstance(await end_of(role, partial(say, clear=raw)), BadNoise)


@pytest.mark.parametrize("changed", ["name", "prologue"])
@both_roles
async def test_p7_a_peer_of_another_noise_protocol_gets_nowhere(role, changed):
    class Other(NNHandshake):
        def __init__(self, initiator):
            super().__init__(initiator)
            if changed == "name":
                self.h = self.ck = b"Noise_NN_25519_ChaChaPoly_SHA256"
            self._mix(b"prologue" if changed == "prologue" else b"")

    async def script(peer):
        noise = Other(role is DIALLER)
        if role is DIALLER:
            await peer.send_raw(ENCRYPTION_NOISE_NN + frame_handshake(noise.write_e()))
            answer = await peer.receive_raw()
            with pytest.raises(BadNoise):  # it notices as well
                noise.read_e_ee(answer[2:])
            await peer.send_raw(b"\x16\x00" + bytes(22))
        else:
            asked = await peer.receive_raw()
            noise.read_e(asked[-32:])
            message, _ = noise.write_e_ee()
            await peer.send_raw(frame_handshake(message))

    assert isinstance(await end_of(role, script), BadNoise)


# --- Noise


@pytest.mark.parametrize("size", [0, 1, 15])
@both_roles
async def test_n1_a_frame_too_short_for_a_tag_ends_the_beginning(role, size):
    def spoil(_good, _more):
        return [size.to_bytes(2, "little") + bytes(size)]

    assert isinstance(await end_of(role, partial(say_sealed, spoil=spoil)), BadNoise)


SPOILED = {
    "flipped": lambda good, more: [good[:-1] + bytes([good[-1] ^ 1])],
    "reordered": lambda good, more: [more, good],
    "lost": lambda good, more: [more],
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
@both_roles
async def test_n2_a_changed_reordered_or_lost_frame_ends_the_beginning(role, spoil):
    assert isinstance(await end_of(role, partial(say_sealed, spoil=spoil)), BadNoise)


@both_roles
async def test_n3_an_empty_frame_is_the_end(role):
    async def script(peer):
        await peer.open_channel()
        sealed = peer._sender._cipher.encrypt(b"")
        await peer.send_raw(len(sealed).to_bytes(2, "little") + sealed)

    assert isinstance(await end_of(role, script), PeerClosed)


CUT_SHORT = {
    DIALLER: {
        "at once": partial(say, leave=True),
        "in the encryption": partial(say, clear=ENCRYPTION_NOISE_NN[:5], leave=True),
        "in a Noise message": partial(say, clear=ENCRYPTION_NOISE_NN + b"\x20\x00\1", leave=True),
        "in the endpoint": partial(say_inside, plaintext=ENDPOINT_GOSSIP[:5], leave=True),
        "before the handshake": partial(say_inside, plaintext=ENDPOINT_GOSSIP, leave=True),
        "in the handshake": partial(say_inside, plaintext=ENDPOINT_GOSSIP + b"\xb5\0\0\0\x0a", leave=True),
    },
    ACCEPTOR: {
        "at once": partial(say, leave=True),
        "in a Noise message": partial(say, clear=b"\x30\x00\1", leave=True),
        "before the handshake": partial(say_inside, plaintext=b"", leave=True),
        "in the handshake": partial(say_inside, plaintext=b"\xb5\0\0\0\x0a", leave=True),
    },
}


@pytest.mark.parametrize(
    ("role", "script"),
    [
        pytest.param(role, script, id=f"{role}-{where}")
        for role, rows in CUT_SHORT.items()
        for where, script in rows.items()
    ],
)
async def test_n4_a_peer_that_leaves_in_the_middle_is_gone(role, script):
    assert isinstance(await end_of(role, script), PeerClosed)


@both_roles
async def test_n4_a_peer_that_leaves_inside_a_noise_frame_is_gone(role):
    async def script(peer):
        await say_sealed(peer, lambda good, _more: [good[:-5]])
        await peer.stream.aclose()

    assert isinstance(await end_of(role, script), PeerClosed)


@pytest.mark.parametrize("raw", UNDECODABLE.values(), ids=UNDECODABLE)
async def test_n5_an_undecodable_preface_is_refused(raw):
    bad = encode_frame(bytes.fromhex(raw))

    assert isinstance(await end_of(DIALLER, partial(say, clear=bad)), BadPreface)
    assert isinstance(await end_of(DIALLER, partial(say_inside, plaintext=bad)), BadPreface)


@pytest.mark.parametrize("raw", UNDECODABLE.values(), ids=UNDECODABLE)
@both_roles
async def test_n5_an_undecodable_handshake_is_refused(role, raw):
    error = await end_of(role, partial(shake, make=lambda peer: good_body(peer) + bytes.fromhex(raw)))

    assert isinstance(error, Malformed)


# --- handshake

REQUIRED = ["session_id", "is_static", "genesis", "session_id.msg", "session_id.key", "session_id.sig"]


@pytest.mark.parametrize("path", REQUIRED)
@both_roles
async def test_h1_a_handshake_without_a_field_is_refused(role, path):
    assert isinstance(await end_of(role, partial(shake, make=field_set(path, None))), MissingField)


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        pytest.param("session_id.key.ed25519", bytes(31), WrongLength, id="key"),
        pytest.param("session_id.key.ed25519", (2).to_bytes(32, "little"), DecodeFailed, id="no point"),
        pytest.param("session_id.sig.ed25519", bytes(63), WrongLength, id="signature"),
        pytest.param("genesis.keccak256", bytes(33), WrongLength, id="genesis"),
    ],
)
@both_roles
async def test_h2_a_key_signature_or_genesis_that_is_none_is_refused(role, path, value, why):
    assert isinstance(await end_of(role, partial(shake, make=field_set(path, value))), why)


@both_roles
async def test_h3_a_proof_of_another_channel_is_refused(role):
    make = partial(good_body, session=bytes(32))

    assert isinstance(await end_of(role, partial(shake, make=make)), SessionIdMismatch)


async def test_h3_a_relay_between_two_channels_is_noticed():
    """Somebody in the middle opens a channel to each side and carries the handshakes over: both sides turn away."""
    middle_there, ours = trio.testing.memory_stream_pair()
    middle_here, theirs = trio.testing.memory_stream_pair()
    ends = {}

    async def end(name, greeting):
        try:
            await greeting
        except PeerError as exc:
            ends[name] = type(exc)

    async def relay():
        there = RawPeer(middle_there, DIALLER, node_key(66), GENESIS.hash())
        here = RawPeer(middle_here, ACCEPTOR, node_key(66), GENESIS.hash())
        await there.open_channel()
        await here.open_channel()
        await there.send(encode_frame(await here.frame()) + encode_frame(await here.frame()))
        assert await there.wait_end() == b""
        await middle_here.aclose()

    async def accepted():
        wire = Wire(ours, "middle")
        await end("acceptor", accept(wire, ME))
        await wire.aclose()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay)
            nursery.start_soon(accepted)
            them = Identity(PEER, GENESIS.hash())
            nursery.start_soon(end, "dialler", dial(Wire(theirs, "middle"), them, node_key(1).public()))

    assert ends == {"acceptor": SessionIdMismatch, "dialler": PeerClosed}


@both_roles
async def test_h4_a_peer_of_another_genesis_is_refused(role):
    make = partial(good_body, genesis=FOREIGN)

    assert isinstance(await end_of(role, partial(shake, make=make)), GenesisMismatch)


async def test_h5_somebody_else_than_was_dialled_is_refused():
    make = partial(good_body, secret=node_key(10))

    assert isinstance(await end_of(ACCEPTOR, partial(shake, make=make)), PeerMismatch)


@both_roles
async def test_h6_a_signature_of_another_key_is_refused(role):
    def make(peer):
        other = gossip_pb2.Handshake.FromString(good_body(peer, secret=node_key(10)))
        return changed_body(lambda message: message.session_id.sig.CopyFrom(other.session_id.sig), peer)

    assert isinstance(await end_of(role, partial(shake, make=make)), BadHandshakeSignature)


@pytest.mark.parametrize("said", [b"", b"\xb5\0\0\0\x0a"], ids=["nothing", "a piece"])
@both_roles
async def test_h7_a_handshake_is_given_5_seconds_of_its_own(autojump_clock, role, said):
    async def script(peer):
        await trio.sleep(3)  # of the 5 s of the preface
        await say_inside(peer, (ENDPOINT_GOSSIP if role is DIALLER else b"") + said)

    error = await end_of(role, script)

    assert isinstance(error, HandshakeTimeout)
    assert error.phase == "handshake"
    assert trio.current_time() == pytest.approx(8.0)


@pytest.mark.parametrize(("index", "limit"), [(9, 2), (10, 1)], ids=["duplicate", "limit"])
async def test_h8_who_is_not_let_in_sees_the_answer_and_then_the_end(autojump_clock, index, limit):
    async with in_memory(dials=(), dynamic_inbound_limit=limit) as world, world.talk(index=9) as first:
        again = await world.meet(index=index)

        answer = await again.greet()
        rest = await again.wait_end()

        assert gossip_pb2.Handshake.FromString(answer).session_id.key.ed25519 == node_key(1).public().raw
        assert rest == b""
        assert not first.closed.is_set()
        assert [info.key for info in world.node.peers] == [node_key(9).public()]


def field(number, value):
    return (
        bytes([number << 3 | 2, *([len(value)] if len(value) < 128 else [len(value) & 127 | 128, len(value) >> 7])])
        + value
    )


def odd_spellings(peer):
    message = gossip_pb2.Handshake.FromString(good_body(peer))
    session, genesis = field(1, message.session_id.SerializeToString()), field(3, message.genesis.SerializeToString())
    return {
        "reordered fields": genesis + b"\x10\x00" + session,
        "unknown fields": b"\x78\x07" + session + b"\x10\x00" + genesis + field(9, b"news"),
        "is_static twice": session + b"\x10\x01\x10\x00" + genesis,
        "is_static 2": session + b"\x10\x02" + genesis,
        "long varint": session + b"\x10\x80\x80\x00" + genesis,
    }


@pytest.mark.parametrize("row", ["reordered fields", "unknown fields", "is_static twice", "is_static 2", "long varint"])
@both_roles
async def test_h_tolerated_other_spellings_of_a_good_handshake_are_taken(role, row):
    session = await end_of(role, partial(shake, make=lambda peer: odd_spellings(peer)[row]))

    assert isinstance(session, Session)


# --- what the node makes of it


async def test_a_beginning_that_fails_costs_an_acceptor_that_connection_and_nothing_else():
    async with in_memory(dials=()) as world, world.talk(index=10) as friend:
        peer = await world.meet()
        await peer.send_raw(OVER)

        assert await peer.wait_end() == b""
        assert not friend.closed.is_set()
        assert world.node.connected.value == 1
        assert world.score() == 100  # it has not proved a key: nobody to blame


async def test_a_beginning_that_fails_is_tried_again_by_the_dialler_after_its_pause(autojump_clock):
    async with in_memory(dials=(9,), redial_s=20.0) as world:
        peer = await world.meet(ACCEPTOR)
        await peer.send_raw(frame_handshake(bytes(32)))
        await peer.wait_end()
        began = trio.current_time()

        async with world.talk(ACCEPTOR):
            assert 18 <= trio.current_time() - began <= 22
            assert world.node.connected.value == 1


def test_both_roles_are_what_they_say():
    assert set(ROLES.values()) == {DIALLER, ACCEPTOR}
