"""Values survive bytes, text, protobuf and JSON; protobuf in any field order means the same."""

import copy
import json
import pickle

import pytest
from attestrio import roles
from attestrio.roles.batch import varint
from attestrio.roles.wire import CODECS
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.internal.decoder import _DecodeVarint
from google.protobuf.internal.encoder import _VarintBytes
from hypothesis import given, settings
from hypothesis import strategies as st
from roles_values import IN_JSON, IN_TEXT, KEY_1, SECRET_1, U64, VALUES, VALUES_IN_TEXT, batch, certificate, genesis
from suite import examples

named = {"ids": lambda kind: kind.__name__}
ten = settings(max_examples=examples(10), deadline=None)


def test_every_value_with_a_protobuf_form_is_tried_here():
    assert set(VALUES) == set(CODECS)
    assert (len(IN_TEXT), len(IN_JSON)) == (11, 3)


@pytest.mark.parametrize("kind", VALUES, **named)
@ten
@given(data=st.data())
def test_a_value_survives_protobuf_in_any_field_order(kind, data):
    value = data.draw(VALUES[kind])
    raw = value.encode()

    shuffled = shuffle(raw, CODECS[kind].message.DESCRIPTOR, data.draw(st.randoms(use_true_random=False)))

    assert kind.decode(raw) == value
    assert kind.decode(shuffled) == value
    assert kind.decode(shuffled).encode() == raw


@pytest.mark.parametrize("kind", VALUES, **named)
@ten
@given(data=st.data())
def test_fields_nobody_knows_are_dropped(kind, data):
    value = data.draw(VALUES[kind])

    read = kind.decode(value.encode() + b"\xf8\x07\x01" + b"\xfa\x07\x02ab")  # field 127, a number and bytes

    assert read.encode() == value.encode()


@pytest.mark.parametrize("kind", IN_TEXT, **named)
@ten
@given(data=st.data())
def test_a_value_survives_bytes_and_text(kind, data):
    value = data.draw(VALUES_IN_TEXT[kind])

    assert kind.from_bytes(value.to_bytes()) == value
    assert kind.from_text(value.to_text()) == value
    assert kind.from_text(kind.PREFIX + value.to_bytes().hex().upper()) == value
    assert value.to_text() == kind.PREFIX + value.to_bytes().hex()


@pytest.mark.parametrize("kind", IN_TEXT, **named)
@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda text: "x" + text, roles.WrongPrefix),
        (lambda text: text.rsplit(":", 1)[1], roles.WrongPrefix),
        (lambda text: "", roles.WrongPrefix),
        (lambda text: text + " ", roles.NotHex),
        (lambda text: text + "0", roles.NotHex),
        (lambda text: text.replace(":", ":0x")[-70:], roles.WrongPrefix),
        (lambda text: text[:-2] + "é0", roles.NotHex),
        (lambda text: text + "00", (roles.WrongLength, roles.BadKey)),
        (lambda text: text[:-2], (roles.WrongLength, roles.BadKey)),
        (lambda text: text.rsplit(":", 1)[0] + ":", (roles.WrongLength, roles.BadKey)),
    ],
    ids=["prefix", "bare", "nothing", "blank", "odd", "0x", "letter", "long", "short", "empty"],
)
@settings(max_examples=1, deadline=None)
@given(data=st.data())
def test_a_spoiled_text_is_refused_by_the_rule_it_breaks(kind, spoil, error, data):
    value = data.draw(VALUES_IN_TEXT[kind])

    with pytest.raises(error):
        kind.from_text(spoil(value.to_text()))


@pytest.mark.parametrize("kind", IN_JSON, **named)
@ten
@given(data=st.data())
def test_a_value_survives_json(kind, data):
    value = data.draw(VALUES[kind])

    assert kind.from_json(value.to_json()) == value
    assert kind.from_json(json.dumps(value.to_json())) == value


@pytest.mark.parametrize("kind", VALUES, **named)
@ten
@given(data=st.data())
def test_a_value_can_be_copied_pickled_and_used_as_a_key(kind, data):
    value = data.draw(VALUES[kind])

    assert {value: 1}[pickle.loads(pickle.dumps(value))] == 1
    assert copy.copy(value) == value
    assert copy.deepcopy(value) == value


def test_json_writes_64_bit_numbers_as_strings_and_32_bit_ones_as_numbers():
    told = genesis(leader=roles.RoundRobin(), fork_number=0).to_json()

    assert told["chainId"] == "1337"
    assert told["forkNumber"] == "0"  # present fields are written even when they hold their default
    assert told["protocolVersion"] == 1
    assert told["leaderSelection"] == {"roundRobin": {}}


def test_json_of_a_certificate_has_the_networks_shape():
    told = certificate(batch(), SECRET_1).to_json()

    assert list(told) == ["msg", "signatures"]
    assert told["msg"]["number"] == "7"
    assert list(told["msg"]["hash"]) == ["keccak256"]
    assert list(told["signatures"][0]) == ["key", "sig"]


def test_json_of_a_vote_has_the_networks_shape():
    told = SECRET_1.sign_batch(batch()).to_json()

    assert list(told) == ["msg", "key", "sig"]
    assert told["msg"] == {"batch": certificate(batch()).to_json()["msg"]}
    assert told["key"] == {"secp256k1": "A4snYq04KzUJC7QpkqP2RC1jhCXqVSjoAP/lqffUGFWJ"}


def test_json_is_read_with_proto_names_and_plain_numbers_too():
    told = {"chain_id": 1337, "fork_number": "3", "firstBlock": 300, "protocol_version": 1}
    full = genesis().to_json()

    mixed = {**{key: full[key] for key in ("validatorsV1", "attesters", "leaderSelection")}, **told}

    assert roles.Genesis.from_json(mixed) == genesis()


def test_an_unknown_json_field_is_refused_unless_told_otherwise():
    told = {**genesis().to_json(), "colour": "blue"}

    with pytest.raises(roles.Malformed, match="colour"):
        roles.Genesis.from_json(told)
    assert roles.Genesis.from_json(told, lenient=True) == genesis()


@pytest.mark.parametrize("odd", ["", [], "abc", 7, [1], True], ids=repr)
@pytest.mark.parametrize("lenient", [False, True])
def test_only_an_object_is_read_as_a_message(odd, lenient):
    told = {**genesis().to_json(), "leaderSelection": {"roundRobin": odd}}

    with pytest.raises(roles.Malformed, match=r"leaderSelection\.roundRobin: not a JSON object"):
        roles.Genesis.from_json(told, lenient=lenient)


@pytest.mark.parametrize("junk", ["!", " ", "\n", "\0", "é"], ids=repr)
def test_base64_with_anything_else_in_it_is_refused(junk):
    told = certificate(batch(), SECRET_1).to_json()
    told["msg"]["hash"]["keccak256"] = junk + told["msg"]["hash"]["keccak256"]

    with pytest.raises(roles.Malformed, match="not base64"):
        roles.BatchQC.from_json(told)


@pytest.mark.parametrize("field", ["chainId", "forkNumber", "firstBlock", "protocolVersion", "leaderSelection"])
def test_a_genesis_without_a_required_field_is_refused(field):
    told = genesis().to_json()
    del told[field]

    with pytest.raises(roles.MissingField):
        roles.Genesis.from_json(told)


def test_a_genesis_without_validators_is_refused_and_one_without_attesters_is_not():
    told = genesis(leader=roles.RoundRobin()).to_json()

    with pytest.raises(roles.EmptyCommittee):
        roles.Genesis.from_json({key: value for key, value in told.items() if key != "validatorsV1"})
    assert roles.Genesis.from_json({**told, "attesters": []}).attesters is None


@pytest.mark.parametrize("leader", [roles.Sticky, lambda key: roles.Rota((key,)), lambda key: roles.Rota(())])
def test_a_leader_who_is_no_validator_is_refused(leader):
    stranger = roles.ValidatorPublicKey(b"\x01" * 96)
    told = genesis(leader=leader(stranger))

    with pytest.raises(roles.LeaderNotValidator):
        told.verify()
    with pytest.raises(roles.LeaderNotValidator):
        roles.Genesis.decode(told.encode())


def test_of_two_signatures_by_one_key_the_last_one_stays():
    one, two = certificate(batch(7), SECRET_1), certificate(batch(8), SECRET_1)
    entry = two.encode()[len(batch(8).encode()) + 2 :]

    read = roles.BatchQC.decode(one.encode() + entry)

    assert read.signatures[KEY_1] == two.signatures[KEY_1]
    assert len(read.signatures) == 1


@given(number=st.integers(0, U64))
def test_a_varint_is_the_one_of_protobuf(number):
    assert varint(number) == _VarintBytes(number)


@settings(max_examples=examples(20), deadline=None)
@given(vote=VALUES[roles.SignedBatch])
def test_the_fast_way_to_read_a_vote_and_the_general_one_agree(vote):
    raw = vote.encode()

    general = CODECS[roles.SignedBatch].read(CODECS[roles.SignedBatch].message.FromString(raw))

    assert roles.SignedBatch.decode(raw) == general == vote
    assert CODECS[roles.SignedBatch].build(vote).SerializeToString(deterministic=True) == raw


def test_a_vote_whose_number_is_written_the_long_way_is_read_the_general_way():
    raw = SECRET_1.sign_batch(batch(7)).encode()
    message = bytes.fromhex("224b088700") + raw[2 + 4 : 2 + 76]  # 7 as 87 00

    read = roles.SignedBatch.decode(b"\x0a" + bytes([len(message)]) + message + raw[2 + 76 :])

    assert read.batch.number == 7
    assert read.encode() == raw


@pytest.mark.parametrize("number", [-1, 2**64])
def test_a_batch_number_stays_within_64_bits(number):
    with pytest.raises(roles.NumberOutOfRange):
        roles.BatchNumber(number)


def test_batch_numbers_count_and_stop():
    assert roles.BatchNumber(7).next() == 8
    assert type(roles.BatchNumber(7) + 1) is roles.BatchNumber
    assert roles.BatchNumber(1).prev() == 0
    assert roles.BatchNumber(0).prev() is None
    with pytest.raises(roles.NumberOutOfRange):
        roles.BatchNumber(U64).next()


def test_batches_are_ordered_by_number_then_hash_then_genesis():
    low, high = roles.BatchHash(b"\x00" * 32), roles.BatchHash(b"\xff" * 32)
    here, there = roles.GenesisHash(b"\x00" * 32), roles.GenesisHash(b"\x01" * 32)

    ordered = [
        roles.Batch(roles.BatchNumber(1), high, there),
        roles.Batch(roles.BatchNumber(2), low, here),
        roles.Batch(roles.BatchNumber(2), low, there),
        roles.Batch(roles.BatchNumber(2), high, here),
    ]

    backwards = ordered[::-1]
    assert sorted(backwards) == ordered
    assert len(set(ordered)) == 4


def test_hashes_of_different_kinds_are_never_equal():
    raw = b"\x01" * 32

    assert len({roles.BatchHash(raw), roles.GenesisHash(raw), roles.MsgHash(raw)}) == 3


def shuffle(raw, schema, randoms):
    """The same message with its fields in another order, inside nested messages too; one field's values keep theirs."""
    fields = [
        (number, head + varint(len(inner)) + inner if inner is not None else head)
        for number, head, inner in (
            (number, head, shuffle_inner(number, inner, schema, randoms)) for number, head, inner in split(raw)
        )
    ]
    order = [number for number, _ in fields]
    randoms.shuffle(order)
    waiting = {number: iter([raw for its, raw in fields if its == number]) for number in set(order)}
    return b"".join(next(waiting[number]) for number in order)


def shuffle_inner(number, inner, schema, randoms):
    field = schema.fields_by_number[number]
    if inner is None or field.type != FieldDescriptor.TYPE_MESSAGE:
        return inner
    return shuffle(inner, field.message_type, randoms)


def split(raw):
    """(number, tag and varint, None) or (number, tag, bytes) for each field; our schemas have no other wire types."""
    at = 0
    while at < len(raw):
        start = at
        tag, at = _DecodeVarint(raw, at)
        value, end = _DecodeVarint(raw, at)
        if tag & 7 == 0:
            yield tag >> 3, raw[start:end], None
            at = end
        else:
            yield tag >> 3, raw[start:at], raw[end : end + value]
            at = end + value
