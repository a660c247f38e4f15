"""The root of a batch: vectors made by another program, and the rules one by one."""

import json
from pathlib import Path

import pytest
from attestrio.operator.batch import Entry, ProvingSystem, batch_untrusted
from attestrio.operator.merkle import auxiliary, batch_root, leaf, root
from attestrio.roles.keccak import keccak256
from hypothesis import given
from hypothesis import strategies as st

GOLDEN_FOLDER = Path(__file__).parents[2] / "golden"
GOLDEN = json.loads((GOLDEN_FOLDER / "aligned_merkle.json").read_text())


def entry(**changes):
    values = {
        "system": ProvingSystem.SP1, "proof": b"proof", "public_input": b"in", "verification_key": None,
        "program": b"code", "generator": bytes(20),
    }  # fmt: skip
    return Entry(**(values | changes))


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda vector: vector["name"])
def test_roots_are_those_of_the_other_program(vector):
    entries = batch_untrusted(bytes.fromhex(vector["cbor"]))

    assert [leaf(one).hex() for one in entries] == vector["leaves"]
    assert batch_root(entries).hex() == vector["root"]


def test_absent_and_empty_hash_to_different_things():
    assert auxiliary(entry(program=None)) == bytes(32)
    assert auxiliary(entry(program=b"")) == keccak256(b"\x03")
    assert auxiliary(entry(program=None, verification_key=b"key")) == keccak256(b"key\x03")
    assert auxiliary(entry(verification_key=b"key")) == keccak256(b"code\x03")
    assert leaf(entry(public_input=None)) != leaf(entry(public_input=b""))


def test_one_leaf_is_its_own_root_and_none_has_none():
    assert root([b"a" * 32]) == b"a" * 32
    with pytest.raises(ValueError, match="empty batch"):
        root([])


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40))
def test_repeating_the_last_leaf_up_to_a_power_of_two_changes_nothing(leaves):
    size = 1 << (len(leaves) - 1).bit_length()
    padded = leaves + leaves[-1:] * (size - len(leaves))

    def by_halves(part):
        if len(part) == 1:
            return part[0]
        middle = len(part) // 2
        return keccak256(by_halves(part[:middle]) + by_halves(part[middle:]))

    assert root(leaves) == root(padded) == by_halves(padded)


def test_the_leaves_of_upstreams_batch_have_upstreams_root():
    leaves = [bytes.fromhex(one) for one in json.loads((GOLDEN_FOLDER / "aligned_leaves.json").read_text())]

    assert len(leaves) == 35
    assert leaves[0].hex() == "0b248794bdfcf2afd92f0a8f2d0604787c2ed8d59b68d6b62a1b9fe47dfe5640"
    assert root(leaves).hex() == "d8f7329e4f522a871373c6251aa3c39be8b89766e54174c9e6457fcd491cd86d"
