"""Both nodes prove their key for this very channel, or the connection ends before anything else is said."""

import hashlib

import pytest
from attestrio.errors import PeerError
from attestrio.gossip.errors import BadHandshakeSignature, GenesisMismatch, PeerMismatch, SessionIdMismatch
from attestrio.gossip.frame import FrameDecoder
from attestrio.gossip.handshake import (
    MAX_HANDSHAKE,
    SMALL_ORDER_Y,
    Handshake,
    handshake_untrusted,
    hello,
    inbound_untrusted,
    is_small_order,
    outbound_untrusted,
)
from attestrio.gossip.noise import NNHandshake
from attestrio.roles import GenesisHash, NodePublicKey, NodeSecretKey, NodeSignature, SignedSessionId
from attestrio.roles.errors import BadKey, DecodeFailed, Malformed, MissingField, WrongLength
from attestrio.roles.node_keys import FIELD, D, session_hash
from attestrio.schema import gossip_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from noise_kit import UNDECODABLE, channel

SECRET, OTHER = NodeSecretKey(bytes(range(32))), NodeSecretKey(bytes(range(1, 33)))
GENESIS, FOREIGN = GenesisHash(b"\x11" * 32), GenesisHash(b"\x12" * 32)
SESSION = bytes.fromhex("601f35852e4e23ecf12f48240fdef0a859e37fd3e5c5799bfe97511764ee05ea")
ORDER = 2**252 + 27742317777372353535851937790883648493


def inbound(body, session=SESSION, genesis=GENESIS):
    """The acceptor takes `body`; whoever it is."""
    return inbound_untrusted(body, session, genesis)


def outbound(body, session=SESSION, genesis=GENESIS, expected=None):
    """The dialler, who expects SECRET's node, takes `body`."""
    expected = expected or SECRET.public()
    outbound_untrusted(body, session, genesis, expected)
    return expected


both_roles = pytest.mark.parametrize("check", [inbound, outbound])


def unframed(frame):
    decoder = FrameDecoder(MAX_HANDSHAKE)
    decoder.feed(frame)
    return decoder.next_frame()


def body(secret=SECRET, session=SESSION, genesis=GENESIS, is_static=False):
    return unframed(hello(secret, session, genesis, is_static))


def signed_as(key, signature, session=SESSION):
    """A handshake with any 32 bytes that are a point for a key, and any signature."""
    signed = SignedSessionId(session, NodePublicKey(key), NodeSignature(signature))
    return Handshake(signed, GENESIS, True).encode()


def changed(change):
    """A good handshake after `change(message)`."""
    message = gossip_pb2.Handshake.FromString(body())
    change(message)
    return message.SerializeToString()


def field(number, value):
    return bytes([number << 3 | 2, *varint(len(value))]) + value


def varint(number):
    return [number & 0x7F | 0x80, *varint(number >> 7)] if number > 0x7F else [number]


# What a good handshake is.


def test_a_handshake_has_the_bytes_of_the_specification():
    public = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
    signature = (
        "7936d59d54bc417d9e47cbdb41f2659cbc230821f07f72edccb5852eba78860e"
        "b58b638c922650c793fbcbbb6ff0306d34d2f054e099409043cbdd7817babe04"
    )
    session_id = f"0a220a20{SESSION.hex()}12220a20{public}1a420a40{signature}"

    frame = hello(SECRET, SESSION, GENESIS, is_static=False)

    assert SECRET.public().to_bytes().hex() == public
    assert frame.hex() == f"b5000000 0a8c01{session_id} 1000 1a220a20{'11' * 32}".replace(" ", "")
    assert len(frame) == 4 + 181


@both_roles
@pytest.mark.parametrize("is_static", [False, True])
def test_two_nodes_of_one_genesis_on_one_channel_know_each_other(check, is_static):
    _, _, (ours, theirs) = channel(NNHandshake(True), NNHandshake(False))

    told = body(session=ours, is_static=is_static)

    assert check(told, session=theirs) == SECRET.public()
    assert handshake_untrusted(told).is_static is is_static


@settings(max_examples=40, deadline=None)
@given(
    seed=st.binary(min_size=32, max_size=32),
    session=st.binary(max_size=40),
    genesis=st.binary(min_size=32, max_size=32),
    is_static=st.booleans(),
)
def test_a_handshake_says_what_was_put_into_it(seed, session, genesis, is_static):
    secret = NodeSecretKey(seed)

    told = handshake_untrusted(body(secret, session, GenesisHash(genesis), is_static))

    assert told == Handshake(secret.sign_session(session), GenesisHash(genesis), is_static)
    told.session.verify()


# What is accepted although we would not write it.


def in_parts():
    """The three fields of a good handshake, as bytes."""
    message = gossip_pb2.Handshake.FromString(body())
    return field(1, message.session_id.SerializeToString()), b"\x10\x00", field(3, message.genesis.SerializeToString())


def unknown_fields_everywhere():
    signed = gossip_pb2.Handshake.FromString(body()).session_id
    more = b"\x78\x07"
    msg = field(1, more + field(1, SESSION) + more)
    session_id = more + msg + field(2, signed.key.SerializeToString() + more) + field(3, signed.sig.SerializeToString())
    return more + field(1, session_id) + b"\x10\x00" + field(3, field(1, GENESIS.raw) + more) + field(9, b"news")


def rows_of_accepted():
    session, static, genesis = in_parts()
    return {
        "reordered fields": genesis + static + session,
        "unknown fields, also inside the message": unknown_fields_everywhere(),
        "is_static twice": session + b"\x10\x01" + static + genesis,
        "is_static 2": session + b"\x10\x02" + genesis,
        "is_static beyond 32 bits": session + b"\x10\x80\x80\x80\x80\x80\x01" + genesis,
        "long varint": session + b"\x10\x80\x80\x00" + genesis,
        "long tag": session + b"\x90\x00\x01" + genesis,
        "long length": session + static + b"\x1a\xa2\x80\x00" + genesis[2:],
        "genesis twice, the last one counts": session + static + field(3, field(1, FOREIGN.raw)) + genesis,
        "session id twice, merged": field(1, b"") + session + static + genesis,
    }


@both_roles
@pytest.mark.parametrize("row", rows_of_accepted())
def test_other_spellings_of_a_good_handshake_are_accepted(check, row):
    assert check(rows_of_accepted()[row]) == SECRET.public()


# What is refused: H1 to H6 of the specification.


def without(path):
    def change(message):
        *parents, last = path.split(".")
        for name in parents:
            message = getattr(message, name)
        message.ClearField(last)

    return change


REQUIRED = [
    "session_id", "is_static", "genesis", "genesis.keccak256",
    "session_id.msg", "session_id.key", "session_id.sig",
    "session_id.msg.session_id", "session_id.key.ed25519", "session_id.sig.ed25519",
]  # fmt: skip


@both_roles
@pytest.mark.parametrize("path", REQUIRED)
def test_a_handshake_without_a_field_is_refused(check, path):
    with pytest.raises(MissingField) as refused:
        check(changed(without(path)))

    assert refused.value.field.endswith("." + path.split(".")[-1])


@both_roles
def test_an_empty_handshake_is_refused(check):
    with pytest.raises(MissingField):
        check(b"")


def with_bytes(path, value):
    def change(message):
        *parents, last = path.split(".")
        for name in parents:
            message = getattr(message, name)
        setattr(message, last, value)

    return change


@both_roles
@pytest.mark.parametrize(
    ("path", "size"), [("session_id.key.ed25519", 32), ("session_id.sig.ed25519", 64), ("genesis.keccak256", 32)]
)
def test_a_key_signature_or_genesis_of_another_length_is_refused(check, path, size):
    for wrong in (0, size - 1, size + 1, 2 * size):
        with pytest.raises(WrongLength) as refused:
            check(changed(with_bytes(path, bytes(wrong))))
        assert (refused.value.got, refused.value.want) == (wrong, size)


@both_roles
def test_a_key_that_is_no_point_is_refused(check):
    with pytest.raises(BadKey):
        check(changed(with_bytes("session_id.key.ed25519", (2).to_bytes(32, "little"))))


@both_roles
@pytest.mark.parametrize("raw", UNDECODABLE.values(), ids=UNDECODABLE)
def test_what_is_not_protobuf_is_refused(check, raw):
    with pytest.raises(Malformed):
        check(body() + bytes.fromhex(raw))


@both_roles
@pytest.mark.parametrize(
    "session", [b"", SESSION[:-1], SESSION + b"\0", bytes(32)], ids=["empty", "short", "long", "another"]
)
def test_a_proof_of_another_session_is_refused(check, session):
    with pytest.raises(SessionIdMismatch):
        check(body(session=session))


def test_a_relay_between_two_channels_is_noticed():
    """Somebody in the middle holds one channel to each side and passes the handshake on."""
    _, _, (dialled, _) = channel(NNHandshake(True), NNHandshake(False))
    _, _, (_, accepted) = channel(NNHandshake(True), NNHandshake(False))

    with pytest.raises(SessionIdMismatch):
        inbound(body(session=dialled), session=accepted)
    with pytest.raises(SessionIdMismatch):
        outbound(body(session=accepted), session=dialled)


@both_roles
def test_a_peer_of_another_genesis_is_refused(check):
    with pytest.raises(GenesisMismatch) as refused:
        check(body(genesis=FOREIGN))

    assert (refused.value.got, refused.value.want) == (FOREIGN, GENESIS)


def test_an_answer_of_somebody_else_is_refused_although_it_is_signed_well():
    with pytest.raises(PeerMismatch) as refused:
        outbound(body(OTHER))

    assert (refused.value.got, refused.value.want) == (OTHER.public(), SECRET.public())
    assert inbound(body(OTHER)) == OTHER.public()


@both_roles
def test_a_signature_made_by_another_key_is_refused(check):
    other = OTHER.sign_session(SESSION).signature

    with pytest.raises(BadHandshakeSignature) as refused:
        check(signed_as(SECRET.public().raw, other.raw))

    assert refused.value.key == SECRET.public()


@both_roles
def test_a_signature_of_something_else_is_refused(check):
    for message in (SESSION, session_hash(bytes(32)), hashlib.sha3_256(b"\x0a\x20" + SESSION).digest()):
        with pytest.raises(BadHandshakeSignature):
            check(signed_as(SECRET.public().raw, SECRET.sign(message).raw))


@both_roles
@settings(deadline=None)
@given(at=st.integers(0, 63), bit=st.integers(0, 7))
def test_a_flipped_bit_of_a_signature_is_noticed(check, at, bit):
    signature = bytearray(SECRET.sign_session(SESSION).signature.raw)
    signature[at] ^= 1 << bit

    with pytest.raises(BadHandshakeSignature):
        check(signed_as(SECRET.public().raw, bytes(signature)))


FAULTS_IN_ORDER = {
    inbound: [DecodeFailed, SessionIdMismatch, GenesisMismatch, BadHandshakeSignature],
    outbound: [DecodeFailed, GenesisMismatch, SessionIdMismatch, PeerMismatch, BadHandshakeSignature],
}


@both_roles
def test_the_first_fault_in_the_order_of_the_role_is_the_one_that_is_named(check):
    """Everything is wrong at first; the fault that was named is mended, and the next one shows."""
    mend = {"static": False, "session": bytes(32), "genesis": FOREIGN, "key": OTHER.public(), "by": OTHER}
    cures = {
        DecodeFailed: ("static", True),
        SessionIdMismatch: ("session", SESSION),
        GenesisMismatch: ("genesis", GENESIS),
        PeerMismatch: ("key", SECRET.public()),
        BadHandshakeSignature: ("by", SECRET),
    }
    if check is inbound:
        mend["key"] = SECRET.public()

    named = []
    for kind in FAULTS_IN_ORDER[check]:
        signature = mend["by"].sign(session_hash(b"something else" if mend["by"] is OTHER else mend["session"]))
        signed = SignedSessionId(mend["session"], mend["key"], signature)
        message = gossip_pb2.Handshake.FromString(Handshake(signed, mend["genesis"], False).encode())
        if not mend["static"]:
            message.ClearField("is_static")
        with pytest.raises(kind):
            check(message.SerializeToString())
        named.append(kind)
        name, value = cures[kind]
        mend[name] = value

    signed = mend["by"].sign_session(mend["session"])
    assert named == FAULTS_IN_ORDER[check]
    assert check(Handshake(signed, mend["genesis"], True).encode()) == SECRET.public()


# Strict ed25519: what OpenSSL alone would let pass.


def scalar(secret):
    """The number behind a seed, by RFC 8032."""
    head = bytearray(hashlib.sha512(secret.to_bytes()).digest()[:32])
    head[0] &= 248
    head[31] = head[31] & 127 | 64
    return int.from_bytes(head, "little")


def challenge(commitment, key, message):
    return int.from_bytes(hashlib.sha512(commitment + key + message).digest(), "little") % ORDER


def add(one, other):
    """The sum of two points of the curve, affine."""
    (x1, y1), (x2, y2) = one, other
    mixed = D * x1 * x2 * y1 * y2 % FIELD
    return (
        (x1 * y2 + x2 * y1) * pow(1 + mixed, -1, FIELD) % FIELD,
        (y1 * y2 + x1 * x2) * pow(1 - mixed, -1, FIELD) % FIELD,
    )


def point(y):
    """A point with this y."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, FIELD) % FIELD
    root = pow(square, (FIELD + 3) // 8, FIELD)
    if root * root % FIELD != square:
        root = root * pow(2, (FIELD - 1) // 4, FIELD) % FIELD
    assert root * root % FIELD == square
    return root, y


def eightfold(one):
    for _ in range(3):
        one = add(one, one)
    return one


def spellings():
    """Every 32 bytes that decode to a point of small order."""
    ys = [y + extra for y in sorted(SMALL_ORDER_Y) for extra in (0, FIELD) if y + extra < 2**255]
    return [(y | sign << 255).to_bytes(32, "little") for y in ys for sign in (0, 1)]


def test_the_points_of_small_order_are_those_that_vanish_eightfold():
    assert len(SMALL_ORDER_Y) == 5  # 8 points: two of them alone, three pairs of x and -x
    assert {eightfold(point(y)) for y in SMALL_ORDER_Y} == {(0, 1)}
    assert eightfold(point(int.from_bytes(SECRET.public().raw, "little") & (2**255 - 1))) != (0, 1)
    assert len(spellings()) == 14
    assert all(is_small_order(raw) for raw in spellings())
    assert not is_small_order(SECRET.public().raw)


@both_roles
def test_a_key_of_small_order_proves_nothing(check):
    """With such a key, R = s B is a signature of anything by anybody."""
    commitment = OTHER.public().raw
    signature = commitment + (scalar(OTHER) % ORDER).to_bytes(32, "little")
    identity = (1).to_bytes(32, "little")
    NodePublicKey(identity).verify(session_hash(SESSION), NodeSignature(signature))  # what plain ed25519 says

    for key in spellings():
        args = {"expected": NodePublicKey(key)} if check is outbound else {}
        with pytest.raises(BadHandshakeSignature):
            check(signed_as(key, signature), **args)


@both_roles
def test_a_signature_whose_commitment_is_of_small_order_is_refused(check):
    key, commitment = SECRET.public(), (1).to_bytes(32, "little")
    answer = challenge(commitment, key.raw, session_hash(SESSION)) * scalar(SECRET) % ORDER
    signature = commitment + answer.to_bytes(32, "little")
    key.verify(session_hash(SESSION), NodeSignature(signature))  # what plain ed25519 says

    with pytest.raises(BadHandshakeSignature):
        check(signed_as(key.raw, signature))


@both_roles
@pytest.mark.parametrize("times", [1, 2, 15])
def test_a_signature_with_s_beyond_the_order_is_refused(check, times):
    raw = SECRET.sign_session(SESSION).signature.raw
    beyond = int.from_bytes(raw[32:], "little") + times * ORDER

    with pytest.raises(BadHandshakeSignature):
        check(signed_as(SECRET.public().raw, raw[:32] + beyond.to_bytes(32, "little")))


@both_roles
def test_a_signature_whose_commitment_is_no_point_is_refused(check):
    raw = SECRET.sign_session(SESSION).signature.raw

    with pytest.raises(BadHandshakeSignature):
        check(signed_as(SECRET.public().raw, (2).to_bytes(32, "little") + raw[32:]))


# Anything at all.


@both_roles
@settings(max_examples=100, deadline=None)
@given(raw=st.binary(max_size=300))
def test_random_bytes_end_in_a_peer_error(check, raw):
    with pytest.raises(PeerError):
        check(raw)


@both_roles
@settings(deadline=None)
@given(size=st.integers(0, 180))
def test_a_handshake_cut_off_is_refused(check, size):
    with pytest.raises(PeerError):
        check(body()[:size])


@both_roles
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_mutated_handshake_proves_the_same_key_or_nothing(check, data):
    raw = bytearray(body())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))

    try:
        proved = check(bytes(raw))
    except PeerError:
        return
    assert proved == SECRET.public()


@both_roles
def test_a_handshake_as_large_as_can_be_is_still_one_handshake(check):
    padding = MAX_HANDSHAKE - len(body()) - 3

    padded = body() + field(9, bytes(padding))

    assert len(padded) == MAX_HANDSHAKE
    assert check(padded) == SECRET.public()
