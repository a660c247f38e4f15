"""Quorum is what the contract says it is, and nobody from outside counts."""

from fractions import Fraction

import pytest
from attestrio.aggregator.tally import Snapshot, tally
from hypothesis import given
from hypothesis import strategies as st

A, B, C, OUTSIDER = (bytes([one]) * 32 for one in (0x0A, 0x0B, 0x0C, 0xFF))


@pytest.mark.parametrize(
    ("stakes", "signed", "reached"),
    [
        ({A: 67, B: 33}, {A}, True),
        ({A: 66, B: 34}, {A}, False),
        ({A: 1, B: 1, C: 1}, {A, B}, False),
        ({A: 1, B: 1, C: 1}, {A, B, C}, True),
        ({A: 2**96 - 1, B: 2**96 - 1}, {A, B}, True),
        ({A: 100, B: 0}, {A}, True),
        ({A: 0, B: 0}, {A, B}, False),
        ({}, {A}, False),
    ],
)
def test_two_thirds_are_not_enough_and_67_percent_are(stakes, signed, reached):
    assert tally(Snapshot.of(5, stakes), signed).reached is reached


def test_an_operator_from_outside_the_snapshot_never_counts():
    count = tally(Snapshot.of(5, {A: 60, B: 40}), {A, OUTSIDER})

    assert (count.signers, count.missing, count.signed, count.reached) == ((A,), (B,), 60, False)


def test_an_operator_without_stake_is_among_the_missing():
    count = tally(Snapshot.of(5, {A: 100, B: 0}), {A})

    assert (count.reached, count.complete, count.missing) == (True, False, (B,))


IDS = st.binary(min_size=32, max_size=32)


@given(st.dictionaries(IDS, st.integers(0, 2**96 - 1), max_size=8), st.data())
def test_the_tally_splits_the_snapshot_and_agrees_with_exact_fractions(stakes, data):
    inside = data.draw(st.sets(st.sampled_from(sorted(stakes)))) if stakes else set()
    signed = inside | data.draw(st.sets(IDS, max_size=3))

    count = tally(Snapshot.of(5, stakes), signed)

    share = Fraction(sum(stakes[one] for one in stakes if one in signed), max(sum(stakes.values()), 1))
    assert sorted([*count.signers, *count.missing]) == sorted(stakes)
    assert set(count.signers) <= signed
    assert not signed & set(count.missing)
    assert count.missing == tuple(sorted(count.missing, key=lambda one: int.from_bytes(one, "big")))
    assert count.reached is (share >= Fraction(67, 100))
    assert count.complete is (set(stakes) <= signed)
