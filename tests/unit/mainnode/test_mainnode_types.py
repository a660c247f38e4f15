"""What the main node's methods say, read from JSON and written to it."""

import base64

import msgspec
import pytest
from attestrio.mainnode.types import (
    BatchJson,
    FirstShape,
    StatusJson,
    batch_json,
    batch_untrusted,
    bytes_untrusted,
    number_untrusted,
    status_json,
    status_untrusted,
)
from attestrio.roles import Batch, BatchHash, BatchNumber, GenesisHash
from attestrio.status import AttestationStatus

GENESIS = GenesisHash(b"\xfb\xff" * 16)  # its base64 has both characters that differ between the alphabets
B64 = base64.b64encode(b"\xfb\xff" * 16).decode()


def status(told):
    return status_untrusted(msgspec.json.decode(msgspec.json.encode(told), type=StatusJson))


@pytest.mark.parametrize(
    "told",
    [
        {"genesis": {"keccak256": B64}, "nextBatchToAttest": "7"},
        {"genesis": {"keccak256": B64}, "nextBatchToAttest": 7},
        {"genesis": {"keccak256": B64}, "next_batch_to_attest": "7"},
        {"genesis": {"keccak256": B64}, "next_batch_to_attest": 7},
        {"genesis": {"keccak256": B64, "more": 1}, "nextBatchToAttest": "7", "registry": []},
        {"genesis": {"keccak256": B64.rstrip("=")}, "nextBatchToAttest": "7"},
        {"genesis": {"keccak256": B64.replace("+", "-").replace("/", "_")}, "nextBatchToAttest": "7"},
    ],
)
def test_the_second_shape_has_its_genesis(told):
    assert status(told) == AttestationStatus(GENESIS, BatchNumber(7))


def test_the_first_shape_is_a_number_alone():
    assert status({"next_batch_to_attest": 7}) == FirstShape(BatchNumber(7))
    assert status({"next_batch_to_attest": 2**64 - 1, "more": 1}) == FirstShape(BatchNumber(2**64 - 1))


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"genesis": {"keccak256": B64}},
        {"nextBatchToAttest": "7"},
        {"nextBatchToAttest": 7},
        {"next_batch_to_attest": "7"},
        {"next_batch_to_attest": -1},
        {"next_batch_to_attest": 2**64},
        {"genesis": {"keccak256": B64}, "nextBatchToAttest": "7", "next_batch_to_attest": 7},
        {"genesis": {"keccak256": B64}, "nextBatchToAttest": str(2**64)},
        {"genesis": {"keccak256": B64}, "nextBatchToAttest": ""},
        {"genesis": {"keccak256": B64}, "nextBatchToAttest": "-1"},
        {"genesis": {"keccak256": B64}, "nextBatchToAttest": "+1"},
        {"genesis": {"keccak256": B64}, "nextBatchToAttest": " 1"},
        {"genesis": {"keccak256": B64}, "nextBatchToAttest": "1_0"},
        {"genesis": {"keccak256": B64}, "nextBatchToAttest": "0x7"},
        {"genesis": {"keccak256": B64}, "nextBatchToAttest": "٧"},
        {"genesis": {"keccak256": B64}, "nextBatchToAttest": "9" * 5000},
        {"genesis": {"keccak256": ""}, "nextBatchToAttest": "7"},
        {"genesis": {"keccak256": B64[:40]}, "nextBatchToAttest": "7"},
        {"genesis": {"keccak256": "A" + B64}, "nextBatchToAttest": "7"},
        {"genesis": {"keccak256": B64 * 1000}, "nextBatchToAttest": "7"},
        {"genesis": {"keccak256": "é" + B64[1:]}, "nextBatchToAttest": "7"},
        {"genesis": {"keccak256": "!" + B64[1:]}, "nextBatchToAttest": "7"},
    ],
)
def test_no_other_status_is_taken_for_one(told):
    with pytest.raises(ValueError, match=r"[a-zA-Z]"):
        status(told)


def test_numbers_go_to_the_end_of_their_64_bits():
    assert number_untrusted(str(2**64 - 1)) == number_untrusted(2**64 - 1) == BatchNumber(2**64 - 1)
    assert isinstance(number_untrusted("0"), BatchNumber)


def test_bytes_have_the_length_of_their_field():
    assert bytes_untrusted("AAEC", 3, "x") == b"\0\1\2"
    with pytest.raises(ValueError, match="x: 3 bytes, want 4"):
        bytes_untrusted("AAEC", 4, "x")


def test_what_is_written_is_read_back():
    told = AttestationStatus(GENESIS, BatchNumber(2**64 - 1))
    batch = Batch(BatchNumber(7), BatchHash(b"\x01" * 32), GENESIS)

    assert status(status_json(told)) == told
    assert batch_untrusted(msgspec.convert(batch_json(batch), BatchJson)) == batch


def test_json_has_the_fields_of_the_protocol():
    zero = base64.b64encode(bytes(32)).decode()

    assert status_json(AttestationStatus(GENESIS, BatchNumber(7))) == {
        "genesis": {"keccak256": B64},
        "nextBatchToAttest": "7",
    }
    assert status_json(AttestationStatus(GENESIS, None)) is None
    assert batch_json(Batch(BatchNumber(7), BatchHash(bytes(32)), GENESIS)) == {
        "number": "7",
        "hash": {"keccak256": zero},
        "genesis": {"keccak256": B64},
    }
