"""Votes on the wire: which bytes they are, what is refused, and what a peer is sent."""

import contextlib
import itertools
from functools import cache

import pytest
from attestrio.errors import PeerError
from attestrio.gossip.outbox import Outbox
from attestrio.gossip.votes_wire import MAX_ENTRY, MAX_PUSH, Remembered, VoteCodec, VoteUndecodable
from attestrio.quorum import VoteRegister
from attestrio.roles import (
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    Committee,
    DecodeFailed,
    GenesisHash,
    MissingField,
    ScalarOutOfRange,
    Signature,
    SignedBatch,
    WeightedAttester,
    WrongLength,
)
from attestrio.schema import attester_pb2, rpc_pb2
from hypothesis import example, given, settings
from hypothesis import strategies as st

GENESIS = GenesisHash(b"\x11" * 32)
SECRETS = [AttesterSecretKey.from_bytes(i.to_bytes(32, "big")) for i in range(1, 21)]
STRANGER = AttesterSecretKey.from_bytes(b"\x63" * 32)
COMMITTEE = Committee([WeightedAttester(secret.public(), 1) for secret in SECRETS])
U64 = 2**64 - 1
NUMBERS = [0, 1, 127, 128, 70_000, 2**32, U64]


def batch(number, fill=0xAB):
    return Batch(BatchNumber(number), BatchHash(bytes([fill]) * 32), GENESIS)


@cache
def vote(secret=SECRETS[0], number=2, fill=0xAB):
    return secret.sign_batch(batch(number, fill))


VOTES = [vote(secret) for secret in SECRETS]
VOTE = VOTES[0]


def clone_of(one):
    """Another valid-looking vote of the key for the same batch: made by a signer with other nonces."""
    other = vote(SECRETS[0], 900).signature
    return SignedBatch(one.batch, one.key, other)


def message(votes):
    """The request as the schema has it."""
    signed = [attester_pb2.Signed.FromString(one.encode()) for one in votes]
    return rpc_pb2.PushBatchVotes(votes=signed)


def wrapped(raw):
    """Any bytes as an entry of a push."""
    return rpc_pb2.PushBatchVotes(votes=[]).SerializeToString() + b"\x0a" + varint(len(raw)) + raw


def varint(number, width=1):
    out = bytearray()
    while number > 0x7F or len(out) < width - 1:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes((number,))


def damaged(field, value):
    """A vote as protobuf with one field of it changed; None takes the field out."""
    signed = attester_pb2.Signed.FromString(VOTE.encode())
    *path, last = field.split(".")
    inner = signed
    for name in path:
        inner = getattr(inner, name)
    inner.ClearField(last) if value is None else setattr(inner, last, value)
    return signed.SerializeToString(deterministic=True)


# Bytes


@pytest.mark.parametrize("number", NUMBERS)
def test_a_push_is_the_canonical_protobuf_of_its_votes(number):
    votes = [vote(secret, number) for secret in SECRETS[:3]]

    body = VoteCodec().encode(votes)

    assert body == message(votes).SerializeToString(deterministic=True)
    assert VoteCodec().decode_untrusted(body) == votes


def test_a_vote_for_a_small_number_takes_187_bytes_and_none_more_than_the_limit_says():
    codec = VoteCodec()

    assert len(codec.entry(vote(number=2))) == 187
    assert len(codec.entry(vote(number=2**32))) == 191
    assert len(codec.entry(vote(number=U64))) == MAX_ENTRY


def test_an_empty_push_holds_no_votes():
    assert VoteCodec().decode_untrusted(b"") == []
    assert VoteCodec().encode([]) == b""


def test_known_bytes_give_the_vote_that_was_read_before():
    codec = VoteCodec()
    body = codec.encode(VOTES[:2])

    first, second = codec.decode_untrusted(body), codec.decode_untrusted(bytes(bytearray(body)))

    assert [a is b for a, b in zip(first, second, strict=True)] == [True, True]


def test_a_vote_that_was_sent_is_known_when_it_comes_back():
    codec = VoteCodec()
    echo = bytes(bytearray(codec.entry(VOTE)))

    assert codec.decode_untrusted(echo)[0] is VOTE


def test_a_vote_is_encoded_once_for_all_peers():
    codec = VoteCodec()
    (same,) = VoteCodec().decode_untrusted(codec.entry(VOTE))

    assert codec.entry(VOTE) is codec.entry(VOTE)
    assert codec.entry(same) is codec.entry(VOTE)


def test_a_stolen_signature_does_not_change_the_bytes_of_the_vote_it_was_stolen_from():
    codec = VoteCodec()
    thief = SignedBatch(batch(77), STRANGER.public(), VOTE.signature)

    stolen, real = codec.entry(thief), codec.entry(VOTE)

    assert real == VoteCodec().entry(VOTE)
    assert codec.decode_untrusted(stolen + real) == [thief, VOTE]


def test_what_is_remembered_is_bounded():
    codec = VoteCodec(remembered=3)

    for number in range(50):
        codec.decode_untrusted(VoteCodec().entry(vote(number=number)))
        codec.entry(vote(number=number))

    assert len(codec._known) <= 6
    assert len(codec._entries) <= 6


@settings(deadline=None)
@given(limit=st.integers(1, 4), keys=st.lists(st.integers(0, 9), max_size=60))
def test_the_newest_that_were_asked_for_are_remembered(limit, keys):
    memory = Remembered(limit)

    for at, key in enumerate(keys):
        if memory.get(key) is None:
            memory.put(key, key)
        newest = list(dict.fromkeys(reversed(keys[: at + 1])))[:limit]
        assert len(memory) <= 2 * limit
        assert set(newest) <= memory._young.keys() | memory._old.keys()


def test_what_is_asked_for_outlives_what_is_newer():
    memory = Remembered(2)

    for new in range(10):
        memory.put(new, new)
        if new == 0:
            memory.put("asked for", "kept")
        assert memory.get("asked for") == "kept"

    assert memory.get(0) is None


# Other shapes


def test_protobuf_of_any_shape_is_read():
    fields = [VOTE.encode()[at:to] for at, to in ((0, 78), (78, 115), (115, 184))]
    shuffled = b"".join(reversed(fields))
    uncompressed = damaged("key.secp256k1", b"\x04" + VOTE.key.xy)
    unknown = VOTE.encode() + b"\x98\x06\x07"
    body = (
        b"\x18\x05"  # an unknown number
        + wrapped(shuffled)
        + b"\x0a" + varint(184, width=4) + VOTE.encode()  # a longer length than needed
        + b"\x8a\x00" + varint(184) + VOTE.encode()  # a longer tag
        + wrapped(uncompressed)
        + wrapped(unknown)
        + b"\x12\x02hi"  # unknown bytes
        + wrapped(VOTE.encode())
    )  # fmt: skip

    assert VoteCodec().decode_untrusted(body) == [VOTE] * 6
    assert VoteCodec().decode_untrusted(wrapped(VOTES[1].encode()) + body) == [VOTES[1], *[VOTE] * 6]


@pytest.mark.parametrize("v", [0, 1, 28, 36, 255])
def test_every_spelling_of_the_recovery_id_is_read_and_sent_on_as_one(v):
    raw = VOTE.encode()[:-1] + bytes((v,))
    codec = VoteCodec()

    (got,) = codec.decode_untrusted(wrapped(raw))

    assert got.signature == Signature(raw[-65:])
    assert codec.entry(got)[-1] in (27, 28)


# What is refused


def test_a_push_of_little_but_what_nobody_knows_is_not_looked_at():
    """100 kB of it took 40 ms, twice a second and peer."""
    body = wrapped(VOTE.encode()) + b"\x10\x00" * (8 * 1024)

    assert VoteCodec().decode_untrusted(body) == [VOTE]
    with pytest.raises(VoteUndecodable, match="too many fields that nobody knows"):
        VoteCodec().decode_untrusted(body + b"\x10\x00")


UNDECODABLE = {
    "not protobuf": b"\xff" * 184,
    "empty": b"",
    "no message": damaged("msg", None),
    "no batch": damaged("msg.batch", None),
    "no number": damaged("msg.batch.number", None),
    "no hash": damaged("msg.batch.hash", None),
    "no genesis": damaged("msg.batch.genesis", None),
    "no key": damaged("key", None),
    "no signature": damaged("sig", None),
    "hash of 31 B": damaged("msg.batch.hash.keccak256", b"\1" * 31),
    "genesis of 33 B": damaged("msg.batch.genesis.keccak256", b"\1" * 33),
    "key not on the curve": damaged("key.secp256k1", b"\x02" + b"\xff" * 32),
    "key of 32 B": damaged("key.secp256k1", b"\x02" * 32),
    "signature of 64 B": damaged("sig.secp256k1", b"\1" * 64),
    "r is zero": damaged("sig.secp256k1", bytes(32) + b"\1" * 33),
    "s is zero": damaged("sig.secp256k1", b"\1" * 32 + bytes(33)),
    "r overflows": damaged("sig.secp256k1", b"\xff" * 32 + b"\1" * 33),
}


@pytest.mark.parametrize("raw", UNDECODABLE.values(), ids=UNDECODABLE.keys())
def test_one_undecodable_vote_loses_the_whole_request_and_is_named(raw):
    good = VoteCodec().encode(VOTES[:3])
    codec = VoteCodec()

    for body in (good + wrapped(raw) + good, good + wrapped(raw)):
        with pytest.raises(VoteUndecodable, match="entry 3") as caught:
            codec.decode_untrusted(body)
        assert caught.value.index == 3


def test_the_refusal_says_what_is_wrong_with_the_vote():
    for name, kind in {"no key": MissingField, "hash of 31 B": WrongLength, "s is zero": ScalarOutOfRange}.items():
        with pytest.raises(DecodeFailed) as caught:
            VoteCodec().decode_untrusted(wrapped(UNDECODABLE[name]))
        assert isinstance(caught.value.cause, kind)


def test_a_vote_behind_an_odd_entry_is_named_too():
    body = b"\x18\x05" + VoteCodec().encode(VOTES[:2]) + wrapped(UNDECODABLE["no key"])

    with pytest.raises(VoteUndecodable) as caught:
        VoteCodec().decode_untrusted(body)

    assert caught.value.index == 2


@pytest.mark.parametrize("tail", [b"\x0a", b"\x0a\xb8", b"\x0a\xb8\x01", b"\x0a\xb8\x01\x0a", b"\xff", b"\x08\x05"])
def test_a_broken_frame_or_a_number_for_a_vote_loses_the_whole_request(tail):
    with pytest.raises(VoteUndecodable) as caught:
        VoteCodec().decode_untrusted(VoteCodec().encode(VOTES[:2]) + tail)

    assert caught.value.index == 2


def test_a_whole_vote_in_an_entry_that_announces_more_is_refused():
    body = VoteCodec().entry(VOTE)
    longer = body[:1] + bytes((body[1] + 1,)) + body[2:]

    with pytest.raises(VoteUndecodable):
        VoteCodec().decode_untrusted(longer)


def test_bytes_that_were_refused_are_refused_again():
    codec = VoteCodec()

    for _ in range(2):
        with pytest.raises(VoteUndecodable):
            codec.decode_untrusted(wrapped(UNDECODABLE["r overflows"]))


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_end_in_votes_or_a_peer_error(body):
    with contextlib.suppress(PeerError):
        assert all(isinstance(one, SignedBatch) for one in VoteCodec().decode_untrusted(body))


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(VOTES), max_size=4),
    st.lists(st.tuples(st.integers(0, 800), st.binary(max_size=4)), max_size=4),
    st.integers(0, 800),
)
@example(VOTES[:1], [(1, b"\xb7")], 187)
@example(VOTES[:1], [(1, b"\xb9")], 187)
def test_damaged_pushes_are_read_as_protobuf_would_or_refused(votes, damage, cut):
    """What is sliced is what the general decoder reads, entry by entry."""
    body = bytearray(VoteCodec().encode(votes))
    for at, instead in damage:
        body[at : at + len(instead)] = instead
    raw = bytes(body[:cut])

    try:
        got = VoteCodec().decode_untrusted(raw)
    except VoteUndecodable:
        got = None

    if got is not None:
        told = rpc_pb2.PushBatchVotes.FromString(raw)
        assert got == [SignedBatch.decode(one.SerializeToString()) for one in told.votes]
        codec = VoteCodec()
        assert codec.decode_untrusted(codec.encode(got)) == got


# Pushes of a size


@settings(deadline=None)
@given(st.lists(st.sampled_from(VOTES), max_size=20), st.integers(MAX_ENTRY, 1_000))
def test_a_split_push_loses_nothing_and_keeps_the_order(votes, max_bytes):
    codec = VoteCodec()

    bodies = codec.split_push(votes, max_bytes)

    assert all(0 < len(body) <= max_bytes for body in bodies)
    assert [one for body in bodies for one in codec.decode_untrusted(body)] == votes
    for before, after in itertools.pairwise(bodies):
        assert len(before) + len(codec.entry(codec.decode_untrusted(after)[0])) > max_bytes


def test_a_request_holds_547_votes_for_a_small_number():
    (first, second) = VoteCodec().split_push([VOTE] * 548)

    assert (len(first), len(second)) == (547 * 187, 187)
    assert len(first) <= MAX_PUSH < 548 * 187


def test_a_push_too_small_for_a_vote_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="must hold a vote"):
        VoteCodec().split_push([VOTE], MAX_ENTRY - 1)
    with pytest.raises(ValueError, match="must hold a vote"):
        Outbox(VoteRegister(), VoteCodec(), COMMITTEE, max_bytes=MAX_ENTRY - 1)


# What one peer is sent


class Peer:
    """A register, one connection of it, and what went over it."""

    def __init__(self, *votes, max_bytes=MAX_PUSH):
        self.register = VoteRegister()
        self.codec = VoteCodec()
        self.add(*votes)
        self.outbox = Outbox(self.register, self.codec, COMMITTEE, max_bytes=max_bytes)

    def add(self, *votes):
        self.register.update(COMMITTEE, GENESIS, votes)

    def sends(self, *votes):
        self.outbox.heard(votes)
        self.add(*votes)

    def gets(self):
        """The votes of the next push."""
        body = self.outbox.next_push()
        return body if body is None else self.codec.decode_untrusted(body)

    def gets_all(self):
        pushes = []
        while (votes := self.gets()) is not None:
            pushes.append(votes)
        return pushes


def test_a_new_connection_gets_everything_and_then_only_what_is_new():
    peer = Peer(*VOTES[:3])

    first, nothing = peer.gets(), peer.gets()
    peer.add(VOTES[3])
    peer.add(VOTES[4])

    assert (first, nothing) == (VOTES[:3], None)
    assert peer.gets_all() == [VOTES[3:5]]


def test_a_peer_is_not_sent_what_it_sent():
    peer = Peer()

    peer.sends(VOTES[0], VOTES[1])
    peer.add(VOTES[2])

    assert peer.gets_all() == [[VOTES[2]]]


def test_the_spelling_a_peer_used_does_not_matter():
    (spelt,) = VoteCodec().decode_untrusted(wrapped(VOTE.encode()[:-1] + bytes((VOTE.encode()[-1] - 27,))))
    peer = Peer()

    peer.sends(spelt)

    assert peer.gets_all() == []


def test_a_clone_of_the_signer_is_told_apart():
    peer = Peer(VOTE)

    peer.outbox.heard([clone_of(VOTE)])

    assert peer.gets_all() == [[VOTE]]


def test_a_vote_that_waits_is_left_out_when_the_peer_sends_it_meanwhile():
    peer = Peer(*VOTES[:4], max_bytes=400)

    first = peer.gets()
    peer.outbox.heard([VOTES[0]])

    assert first == VOTES[2:4]
    assert peer.gets_all() == [[VOTES[1]]]


def test_the_next_vote_of_a_member_goes_out_although_the_peer_sent_the_last():
    peer = Peer()

    peer.sends(vote(number=5))
    peer.add(vote(number=6))

    assert peer.gets_all() == [[vote(number=6)]]


def test_a_vote_that_was_superseded_while_it_waited_is_not_sent():
    peer = Peer(*VOTES[:6], max_bytes=400)

    peer.gets()
    peer.add(vote(SECRETS[0], 9))

    assert peer.gets_all() == [[VOTES[3], vote(SECRETS[0], 9)], VOTES[1:3]]


def test_a_new_vote_does_not_queue_behind_a_backlog():
    peer = Peer(*VOTES[:10], max_bytes=400)

    peer.gets()
    peer.add(VOTES[15])

    assert VOTES[15] in peer.gets()


def test_a_backlog_is_cut_into_pushes_and_nothing_is_lost():
    peer = Peer(*VOTES, max_bytes=600)

    pushes = peer.gets_all()

    assert [len(push) for push in pushes] == [3] * 6 + [2]
    assert {one for push in pushes for one in push} == set(VOTES)


def test_votes_that_fell_below_the_floor_are_left_out():
    peer = Peer(*VOTES[:4], max_bytes=400)
    peer.gets()

    peer.register.set_min_batch_number(3)

    assert peer.gets_all() == []


def test_a_peer_keeps_one_entry_a_member_however_much_it_sends():
    peer = Peer()

    for number in range(40):
        peer.outbox.heard([vote(SECRETS[0], number), vote(STRANGER, number)])

    assert len(peer.outbox._heard) == 1


class Log:
    """A register that says how many votes were asked of it."""

    def __init__(self, register):
        self.register, self.given = register, []
        self.min_batch_number = register.min_batch_number

    def newer_than(self, mark):
        votes, newest = self.register.newer_than(mark)
        self.given.append(len(votes))
        return votes, newest


def test_a_new_vote_costs_the_same_in_a_small_and_in_a_full_register():
    register = VoteRegister()
    register.update(COMMITTEE, GENESIS, VOTES[:-1])
    log = Log(register)
    outbox = Outbox(log, VoteCodec(), COMMITTEE)
    outbox.next_push()

    register.update(COMMITTEE, GENESIS, VOTES[-1:])
    outbox.next_push()
    outbox.next_push()

    assert log.given == [19, 1, 0]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["add", "sends", "gets"]), st.integers(0, 4), st.integers(1, 4)), max_size=30)
)
def test_in_the_end_a_peer_has_every_vote_and_got_none_back_that_it_sent(steps):
    peer = Peer(max_bytes=400)
    has, sent, got = {}, set(), []

    def take():
        for one in peer.gets() or []:
            got.append(one)
            has[one.key] = max(one.batch, has.get(one.key, one.batch))

    for what, who, number in steps:
        one = vote(SECRETS[who], number)
        if what == "gets":
            take()
        elif what == "add":
            peer.add(one)
        elif one.key not in has or has[one.key] < one.batch:
            sent.add(one)
            has[one.key] = max(one.batch, has.get(one.key, one.batch))
            peer.sends(one)
    for _ in range(10):
        take()

    newest = {one.key: one for one in peer.register.votes.values()}
    assert {key: has[key] for key in newest} == {key: one.batch for key, one in newest.items()}
    assert len(got) == len(set(got))
    assert sent.isdisjoint(got)
