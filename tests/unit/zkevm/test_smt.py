"""The state tree: roots are those of the vectors and of a tree built from nothing but the rules."""

from __future__ import annotations

import pytest
from attestrio.errors import StorageUnusable
from attestrio.zkevm import EMPTY, MemoryNodes, Smt, hash_bytes
from attestrio.zkevm.keys import (
    STORAGE,
    key_account,
    key_balance,
    key_code_hash,
    key_code_length,
    key_nonce,
    key_storage,
)
from attestrio.zkevm.poseidon import bytes_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from suite import examples
from zkevm_kit import golden, raw, root_of, words

# Keys that have much in common: paths part late, and leaves move when one of two goes.
WORDS = st.sampled_from([0, 1, 2, 3, 1 << 20, 1 << 63, (1 << 63) | 1])
KEYS = st.tuples(WORDS, WORDS, WORDS, WORDS)
VALUES = st.one_of(st.integers(0, 3), st.integers(0, 2**256 - 1))
TREES = st.dictionaries(KEYS, VALUES, max_size=6)
DEEP = {(0, 0, 0, 0): 1, (0, 0, 0, 1 << 63): 2}


def tree(*changes):
    made = Smt(MemoryNodes())
    for one in changes:
        made.apply(one)
    return made


def changes_of(step):
    """Leaves of a step of the vectors."""
    leaves = {}
    for address, (balance, nonce) in step.get("accounts", {}).items():
        leaves |= {key_balance(raw(address)): int(balance), key_nonce(raw(address)): int(nonce)}
    for address, code in step.get("code", {}).items():
        leaves[key_code_hash(raw(address))] = int.from_bytes(hash_bytes(raw(code)), "big")
        leaves[key_code_length(raw(address))] = len(raw(code))
    for address, slots in step.get("storage", {}).items():
        leaves |= {key_storage(raw(address), int(slot, 16)): int(value, 16) for slot, value in slots.items()}
    return leaves


def test_keys_are_those_of_the_vectors():
    vectors = golden("smt_vectors")["keys"]

    got = [
        key_storage(raw(one["address"]), int(one["slot"], 16))
        if one["type"] == STORAGE
        else key_account(raw(one["address"]), one["type"])
        for one in vectors
    ]

    assert got == [words(one["key"]) for one in vectors]


def test_roots_follow_the_vectors_step_by_step():
    steps = golden("smt_vectors")["smt_steps"]
    made = Smt(MemoryNodes())

    got = [made.apply(changes_of(step["set"])) for step in steps]

    assert got == [raw(step["root"]) for step in steps]


@settings(max_examples=examples(12))
@given(TREES)
@example(DEEP)
def test_the_root_is_the_one_the_rules_give(values):
    made = tree(values)

    assert made.root == root_of(values)
    assert made.root_bytes == bytes_of(root_of(values))


@settings(max_examples=examples(15))
@given(st.lists(TREES, max_size=4))
@example([DEEP, {(0, 0, 0, 1 << 63): 0}])
def test_changes_made_one_after_the_other_end_where_one_would(several):
    together = {}
    for one in several:
        together |= one

    made = tree(*several)

    assert made.root == root_of(together)
    assert {key: made.get(key) for key in together} == together


@given(TREES, st.randoms())
def test_the_order_of_changes_does_not_matter(values, random):
    shuffled = list(values.items())
    random.shuffle(shuffled)

    one_by_one = tree(*({key: value} for key, value in shuffled))

    assert one_by_one.root_bytes == tree(values, dict(shuffled)).root_bytes


@given(TREES, TREES)
def test_what_was_deleted_was_never_there(kept, gone):
    gone = {key: value for key, value in gone.items() if key not in kept}

    made = tree(gone, kept, dict.fromkeys(gone, 0))

    assert made.root_bytes == tree(kept).root_bytes
    assert all(made.get(key) == 0 for key in gone)


@given(TREES, TREES)
def test_an_old_root_still_has_its_values(before, after):
    made = tree(before)
    old = Smt(made.nodes, made.root_bytes)

    made.apply(after)

    assert {key: old.get(key) for key in before} == before
    old.apply(after)
    assert old.root_bytes == made.root_bytes


def test_nothing_is_an_empty_tree():
    made = tree({}, {(1, 2, 3, 4): 0})

    assert made.root_bytes == EMPTY == bytes(32)
    assert made.root == (0, 0, 0, 0)
    assert made.get((1, 2, 3, 4)) == 0


class Counting(MemoryNodes):
    """How many nodes were put."""

    def __init__(self):
        super().__init__()
        self.made = 0

    def put(self, nodes):
        super().put(nodes)
        self.made += len(nodes)


def test_what_is_already_so_makes_no_nodes():
    nodes = Counting()
    made = Smt(nodes)
    made.apply({(at, 0, 0, 0): at for at in range(20)})
    before, root = nodes.made, made.root_bytes

    made.apply({(at, 0, 0, 0): at for at in range(20)} | {(99, 0, 0, 0): 0})

    assert nodes.made == before
    assert made.root_bytes == root


def test_many_changes_at_once_share_the_way_to_them():
    nodes = Counting()
    made = Smt(nodes)
    made.apply({(at, at, at, at): 1 for at in range(64)})
    before = nodes.made

    made.apply({(at, at, at, at): 2 for at in range(64)})

    # 64 leaves and no branch twice; the words are equal, so paths part at every fourth bit.
    assert nodes.made - before <= 64 + 63 * 4


@pytest.mark.parametrize(
    ("changes", "depth"),
    [([{}], 0), ([{(0, 0, 0, 0): 1}], 0), ([{(0, 0, 0, 0): 1, (1, 0, 0, 0): 1}], 1),
     ([{(0, 0, 0, 0): 1, (0, 0, 1, 0): 1}], 3), ([DEEP], 255), ([DEEP, {(0, 0, 0, 0): 0}], 255)],
)  # fmt: skip
def test_depth_is_that_of_the_deepest_leaf_there_ever_was(changes, depth):
    assert tree(*changes).depth == min(depth, 255)


def test_a_tree_goes_on_from_a_root_and_a_depth():
    first = tree(DEEP)

    second = Smt(first.nodes, first.root_bytes, first.depth)
    second.apply({(0, 0, 0, 0): 0})

    assert second.root == root_of({(0, 0, 0, 1 << 63): 2})
    assert second.depth == first.depth


def test_a_missing_node_is_named_and_the_tree_is_what_it_was():
    made = Smt(MemoryNodes(), b"\x07" * 32)

    with pytest.raises(StorageUnusable, match="07" * 32):
        made.apply({(1, 2, 3, 4): 5})
    with pytest.raises(StorageUnusable, match="07" * 32):
        made.get((1, 2, 3, 4))
    assert made.root_bytes == b"\x07" * 32
