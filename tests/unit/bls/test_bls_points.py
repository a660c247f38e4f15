"""A point that exists is valid: everything else is refused by name, before the library sees it."""

from __future__ import annotations

import pytest
from attestrio.bls import (
    G1,
    G2,
    BadPoint,
    CoordinateOutOfRange,
    NotInSubgroup,
    NotOnCurve,
    SecretKey,
    add_g1,
    add_g2,
    sub_g1,
    sum_g1,
    sum_g2,
)
from attestrio.bls.field import FROBENIUS, P, R, in_g2, times
from bls_values import KEY_G1, KEY_G2, SIGNATURE, ZERO_G1, ZERO_G2, on_the_twist
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples

numbers = st.integers(0, P - 1)
any_number = st.one_of(st.integers(-5, 5), st.integers(P - 5, P + 5), st.integers(0, 1 << 256))
scalars = st.integers(1, R - 1)


def test_the_field_is_the_one_of_ethereum():
    assert P == 21888242871839275222246405745257275088696311157297823662689037894645226208583
    assert R == 21888242871839275222246405745257275088548364400416034343698204186575808495617
    assert (FROBENIUS - P) % R == 0


@pytest.mark.slow
@given(any_number, any_number)
@settings(max_examples=examples(100))
def test_random_numbers_are_a_point_of_g1_or_refused(x, y):
    on_curve = (y * y - x**3 - 3) % P == 0 or (x, y) == (0, 0)

    if 0 <= x < P and 0 <= y < P and on_curve:
        assert (G1(x, y).x, G1(x, y).y) == (x, y)
    else:
        with pytest.raises(BadPoint):
            G1(x, y)


@given(st.tuples(numbers, numbers).filter(any), st.tuples(numbers, numbers))
@settings(max_examples=examples(20))
def test_random_numbers_are_no_point_of_g2(x, y):
    with pytest.raises(NotOnCurve):
        G2(x, y)


@given(st.tuples(numbers, numbers))
@settings(max_examples=examples(5))
def test_a_point_of_the_twist_outside_the_group_is_refused(seed):
    x, y = on_the_twist(seed)

    assert times((x, y), R) is not None
    with pytest.raises(NotInSubgroup):
        G2(x, y)


def test_a_point_of_small_order_is_refused():
    """The twist has 2p - R times as many points as the group, and 10069 divides that."""
    cofactor = 2 * P - R
    assert cofactor % 10069 == 0
    small = next(
        point for seed in range(100) if (point := times(on_the_twist((seed, 1)), R * (cofactor // 10069))) is not None
    )

    assert times(small, 10069) is None
    with pytest.raises(NotInSubgroup):
        G2(*small)


@pytest.mark.slow
@given(scalars)
@settings(max_examples=examples(5))
def test_the_short_check_of_the_group_agrees_with_the_definition(scalar):
    key = SecretKey(scalar).public_g2()

    assert in_g2(key.x, key.y)
    assert times((key.x, key.y), R) is None


@pytest.mark.parametrize("shift", [P, -P])
def test_the_same_point_with_another_encoding_is_refused(shift):
    with pytest.raises(CoordinateOutOfRange):
        G1(SIGNATURE.x + shift, SIGNATURE.y)
    with pytest.raises(CoordinateOutOfRange):
        G1(SIGNATURE.x, SIGNATURE.y + shift)
    with pytest.raises(CoordinateOutOfRange):
        G2((KEY_G2.x[0] + shift, KEY_G2.x[1]), KEY_G2.y)
    with pytest.raises(CoordinateOutOfRange):
        G2(KEY_G2.x, (KEY_G2.y[0], KEY_G2.y[1] + shift))


def test_a_key_with_its_parts_in_the_order_of_the_contract_is_refused():
    with pytest.raises(NotOnCurve):
        G2((KEY_G2.x[1], KEY_G2.x[0]), (KEY_G2.y[1], KEY_G2.y[0]))


def test_what_is_wrong_is_said_without_the_numbers():
    with pytest.raises(NotOnCurve) as caught:
        G1(123456789, 987654321)

    assert str(caught.value) == "G1 point: not on the curve"
    assert caught.value.group == "G1"


@given(scalars, scalars)
@settings(max_examples=examples(20))
def test_sums_of_points_are_the_points_of_sums(a, b):
    one, two = SecretKey(a), SecretKey(b)
    both = (a + b) % R

    assert add_g1(one.public_g1(), two.public_g1()) == (SecretKey(both).public_g1() if both else ZERO_G1)
    assert add_g2(one.public_g2(), two.public_g2()) == (SecretKey(both).public_g2() if both else ZERO_G2)
    assert sub_g1(add_g1(one.public_g1(), two.public_g1()), two.public_g1()) == one.public_g1()


def test_a_point_added_to_itself_is_doubled():
    assert add_g1(KEY_G1, KEY_G1) == SecretKey(24690).public_g1()
    assert add_g2(KEY_G2, KEY_G2) == SecretKey(24690).public_g2()
    assert sum_g2([KEY_G2] * 5) == SecretKey(61725).public_g2()


def test_infinity_changes_no_sum_and_opposites_give_it():
    opposite = SecretKey(R - 12345)

    assert add_g1(KEY_G1, ZERO_G1) == add_g1(ZERO_G1, KEY_G1) == KEY_G1
    assert add_g2(KEY_G2, ZERO_G2) == add_g2(ZERO_G2, KEY_G2) == KEY_G2
    assert sub_g1(KEY_G1, KEY_G1) == add_g1(KEY_G1, opposite.public_g1()) == sum_g1([]) == ZERO_G1
    assert add_g2(KEY_G2, opposite.public_g2()) == sum_g2([]) == ZERO_G2
    assert -ZERO_G1 == ZERO_G1


def test_a_computed_key_is_equal_to_the_same_key_read():
    total = sum_g2([KEY_G2, KEY_G2])

    assert total == G2(total.x, total.y)
    assert hash(total) == hash(G2(total.x, total.y))
