"""Leaves of the L1 info tree, and which of them a new block takes over."""

from __future__ import annotations

import pytest
from attestrio.sequencer import Leaf, MemoryLeaves, next_index
from eth_utils import keccak


def leaves(*times):
    return MemoryLeaves(Leaf(index, b"\1" * 32, b"\2" * 32, time) for index, time in enumerate(times, 1))


@pytest.mark.parametrize(
    ("progress", "timestamp", "index"),
    [
        (0, 9, 0),  # nothing has happened on L1 yet
        (0, 10, 1),
        (0, 25, 2),  # the first time the newest one, whatever was skipped
        (0, 99, 4),
        (1, 19, 0),  # the next one is too late for this block
        (1, 20, 2),
        (1, 99, 2),  # then one after the other
        (4, 99, 0),
    ],
)
def test_a_block_takes_over_the_newest_leaf_first_and_then_one_after_the_other(progress, timestamp, index):
    assert next_index(leaves(10, 20, 30, 30), progress, timestamp) == index


def test_leaves_that_go_back_are_refused():
    known = leaves(10, 20)

    known.add(Leaf(2, b"\1" * 32, b"\2" * 32, 20))  # known already

    for bad in (Leaf(2, b"\3" * 32, b"\2" * 32, 20), Leaf(3, b"\1" * 32, b"\2" * 32, 19), Leaf(0, b"", b"", 99)):
        with pytest.raises(ValueError, match="leaf"):
            known.add(bad)
    assert known.leaf(3) is None


@pytest.mark.parametrize("large", [Leaf(1 << 32, bytes(32), bytes(32), 20), Leaf(3, bytes(32), bytes(32), 1 << 63)])
def test_a_leaf_whose_numbers_no_stream_or_database_can_hold_is_refused(large):
    known = leaves(10, 20)

    with pytest.raises(ValueError, match="too large"):
        known.add(large)


def test_the_hash_of_a_leaf_is_that_of_its_root_its_block_and_its_time():
    leaf = Leaf(7, b"\1" * 32, b"\2" * 32, 0x1234)

    assert leaf.hash() == keccak(b"\1" * 32 + b"\2" * 32 + bytes(6) + b"\x12\x34")
