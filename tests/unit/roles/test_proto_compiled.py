"""The committed schema is what `proto/` compiles to, and has one encoding per value."""

import importlib.util
from pathlib import Path

import pytest
from attestrio.roles.wire import CODECS
from attestrio.schema import attester_keys_pb2, attester_pb2, genesis_pb2
from attestrio.schema.canonical import NotCanonical, canonical, check_schema
from google.protobuf import descriptor_pb2, struct_pb2, wrappers_pb2

ROOT = Path(__file__).parents[3]


def test_the_committed_schema_is_what_the_proto_files_compile_to(tmp_path):
    spec = importlib.util.spec_from_file_location("proto_compile", ROOT / "proto" / "compile.py")
    compiler = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compiler)

    fresh = {path.name: path.read_text() for path in compiler.compile_all(tmp_path)}

    committed = {path.name: path.read_text() for path in (ROOT / "node/attestrio/schema").glob("*_pb2.py*")}
    ours = {name: text for name, text in committed.items() if name in fresh}
    assert ours == fresh
    assert set(committed) == set(fresh)


@pytest.mark.parametrize("kind", CODECS, ids=lambda kind: kind.__name__)
def test_every_message_of_roles_has_one_encoding(kind):
    check_schema(CODECS[kind].message.DESCRIPTOR)

    assert CODECS[kind].message.DESCRIPTOR.full_name.startswith("zksync.roles.")


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (struct_pb2.Struct, "is a map"),
        (wrappers_pb2.UInt64Value, "has no presence"),
        (descriptor_pb2.FileDescriptorProto, "is a repeated number"),
    ],
)
def test_a_schema_with_more_than_one_encoding_is_not_hashed(schema, why):
    with pytest.raises(NotCanonical, match=why):
        canonical(schema())


def test_a_present_default_is_written_and_an_absent_field_is_not():
    assert canonical(attester_pb2.SyncBatch(number=0)).hex() == "0800"
    assert canonical(attester_pb2.SyncBatch(proof=b"")).hex() == "1a00"
    assert canonical(attester_pb2.Signed(key=attester_keys_pb2.PublicKey())).hex() == "1200"
    assert canonical(genesis_pb2.Genesis()).hex() == ""


def test_unknown_fields_are_left_out_at_every_depth_and_stay_in_the_original():
    raw = bytes.fromhex("120208027801")  # a key with an unknown field inside, and one beside it
    told = attester_pb2.Signed.FromString(raw)

    assert canonical(told).hex() == "1200"
    assert told.SerializeToString() == raw


def test_the_schema_carries_the_numbers_of_the_wire():
    numbers = {
        message.DESCRIPTOR.full_name: {field.name: field.number for field in message.DESCRIPTOR.fields}
        for message in (attester_pb2.Batch, attester_pb2.BatchQC, attester_pb2.Msg, genesis_pb2.Genesis)
    }

    assert numbers == {
        "zksync.roles.attester.Batch": {"number": 1, "hash": 2, "genesis": 3},
        "zksync.roles.attester.BatchQC": {"msg": 1, "signatures": 4},
        "zksync.roles.attester.Msg": {"batch": 4},
        "zksync.roles.validator.Genesis": {
            "validators_v1": 3,
            "leader_selection": 4,
            "chain_id": 5,
            "fork_number": 6,
            "first_block": 7,
            "protocol_version": 8,
            "attesters": 9,
        },
    }
