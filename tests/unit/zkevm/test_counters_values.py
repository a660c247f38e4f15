"""Eight counters, their limits, and sums of them in one number."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from attestrio.zkevm.counters import LETTERS, UNLIMITED, Counters, levels_at, limits_of
from attestrio.zkevm.counters.values import is_over, room_of, unpacked
from attestrio.zkevm.errors import UnknownCounter
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples
from zkevm_kit import golden

GOLDEN = golden("counters")
EIGHT = st.lists(st.integers(-(2**80), 2**80), min_size=8, max_size=8).map(lambda numbers: Counters(*numbers))


@pytest.mark.parametrize("fork", range(4, 14))
def test_each_fork_has_the_limits_upstream_prints(fork):
    assert limits_of(fork).as_map() == {letter: GOLDEN["limits"][str(fork)][letter] for letter in LETTERS}


def test_limits_follow_from_the_steps_of_the_prover():
    steps = {9: 2**23, 10: 2**24 - 200, 11: 2**25 - 200, 12: 2**25 - 200, 13: 2**25 - 200}
    kept_back = {10: Fraction(25, 1000), 11: Fraction(125, 10_000)}
    for fork, t in steps.items():
        whole = (t, t >> 5, t >> 4, t >> 5, t // 155_286 * 44, t // 56, t // 30, (t - 1) // 31_488 * 7)
        part = 1 - kept_back.get(fork, Fraction(5, 100))

        assert limits_of(fork) == Counters(*(ceil(number * part) for number in whole))


def test_a_fork_that_is_not_known_yet_has_the_newest_limits():
    assert limits_of(100) == limits_of(13)


def test_levels_grow_with_the_tree_and_have_a_least():
    for depth, expected in GOLDEN["smt_levels_depth_to_[batch_0.6,tx_0.6,batch_1.0,tx_1.0]"].items():
        found = [levels_at(int(depth), factor, least=least) for factor in (0.6, 1.0) for least in (0, 32)]

        assert found == expected
    assert [levels_at(depth, 0.6) for depth in (13, 14, 17, 33, 60, 255, 300)] == [9, 10, 10, 20, 36, 153, 153]


def test_as_much_as_the_limit_is_not_above_it():
    limits = Counters(1, 2, 3, 4, 5, 6, 7, 8)

    assert limits.over(limits) == ()
    assert (limits + Counters(arith=1, sha256=1)).over(limits) == ("A", "SHA")
    assert not is_over(room_of(limits), limits.packed())
    assert is_over(room_of(limits), (limits + Counters(steps=1)).packed())


def test_limits_can_be_lowered_by_letter():
    limits = limits_of(9).lowered({"A": 1160, "SHA": 0})

    assert limits.as_map() == limits_of(9).as_map() | {"A": 1160, "SHA": 0}
    assert Counters.from_map({"K": 2}) == Counters(keccak=2)


def test_a_letter_that_no_counter_has_is_named():
    with pytest.raises(UnknownCounter, match="'H'") as caught:
        limits_of(9).lowered({"A": 1, "H": 2})

    assert caught.value.name == "H"


@settings(max_examples=examples(200))
@given(EIGHT, EIGHT, st.integers(-5, 5))
def test_packed_sums_are_the_sums(one, other, times):
    total = one.packed() + times * other.packed()

    assert unpacked(one.packed()) == one
    assert unpacked(total).as_map() == {
        letter: amount + times * other.as_map()[letter] for letter, amount in one.as_map().items()
    }
    assert unpacked((one + other).packed()) == one + other


@settings(max_examples=examples(200))
@given(EIGHT, EIGHT)
def test_what_is_over_packed_is_over_one_by_one(used, limits):
    assert is_over(room_of(limits), used.packed()) == bool(used.over(limits))


def test_without_limits_there_is_room_for_a_batch_of_anything():
    assert limits_of(11).over(UNLIMITED) == ()
