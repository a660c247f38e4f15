"""Points as others write them: bytes, words of the contract, limbs of Go."""

from __future__ import annotations

import pytest
from attestrio.bls import (
    BadPoint,
    CoordinateOutOfRange,
    LimbOutOfRange,
    NotInSubgroup,
    NotOnCurve,
    PointAtInfinity,
    SecretKey,
    WrongPointLength,
    encode_g1,
    encode_g2,
    from_limbs_untrusted,
    g1_from_bytes_untrusted,
    g1_from_words_untrusted,
    g2_from_bytes_untrusted,
    g2_from_words_untrusted,
    g2_words,
    operator_id,
    to_limbs,
)
from attestrio.bls.field import P, R
from bls_values import KEY_G1, KEY_G2, LIMBS_X, LIMBS_Y, OPERATOR_ID, SIGNATURE, on_the_twist
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples

limb = st.one_of(st.integers(0, 3), st.integers((1 << 64) - 3, (1 << 64) + 3), st.integers(-3, 1 << 64))
FULL = (1 << 64) - 1


def limbs_of(value):
    return tuple(value >> shift & FULL for shift in (0, 64, 128, 192))


def test_limbs_are_those_that_go_writes():
    assert to_limbs(SIGNATURE) == (LIMBS_X, LIMBS_Y)
    assert from_limbs_untrusted(LIMBS_X, LIMBS_Y) == SIGNATURE


def test_the_id_of_an_operator_is_that_of_the_registry():
    assert operator_id(KEY_G1) == OPERATOR_ID


@given(st.integers(1, R - 1))
@settings(max_examples=examples(10))
def test_what_is_written_is_read_back(scalar):
    secret = SecretKey(scalar)
    one, two = secret.public_g1(), secret.public_g2()

    assert from_limbs_untrusted(*to_limbs(one)) == one
    assert g1_from_bytes_untrusted(encode_g1(one)) == one
    assert g1_from_words_untrusted(one.x, one.y) == one
    assert g2_from_bytes_untrusted(encode_g2(two)) == two
    assert g2_from_words_untrusted(*g2_words(two)) == two


def test_bytes_have_the_real_part_first_and_words_of_the_contract_last():
    raw = encode_g2(KEY_G2)

    assert len(encode_g1(KEY_G1)) == 64
    assert [int.from_bytes(raw[at : at + 32], "big") for at in (0, 32, 64, 96)] == [*KEY_G2.x, *KEY_G2.y]
    assert g2_words(KEY_G2) == ((KEY_G2.x[1], KEY_G2.x[0]), (KEY_G2.y[1], KEY_G2.y[0]))


@given(st.lists(limb, min_size=4, max_size=4), st.lists(limb, min_size=4, max_size=4))
@settings(max_examples=examples(100))
def test_random_limbs_are_refused(x, y):
    with pytest.raises(BadPoint):
        from_limbs_untrusted(x, y)


def test_zero_limbs_are_refused():
    with pytest.raises(PointAtInfinity):
        from_limbs_untrusted((0, 0, 0, 0), (0, 0, 0, 0))


def test_limbs_that_go_would_reduce_are_refused():
    value = sum(one << 64 * i for i, one in enumerate(LIMBS_X))

    with pytest.raises(CoordinateOutOfRange):
        from_limbs_untrusted(limbs_of(value + P), LIMBS_Y)
    with pytest.raises(CoordinateOutOfRange):
        from_limbs_untrusted(LIMBS_X, limbs_of(P))


@pytest.mark.parametrize("bad", [-1, 1 << 64, 1 << 400])
def test_a_limb_that_does_not_fit_is_refused(bad):
    with pytest.raises(LimbOutOfRange):
        from_limbs_untrusted((bad, *LIMBS_X[1:]), LIMBS_Y)


@pytest.mark.parametrize("count", [0, 3, 5])
def test_another_number_of_limbs_is_refused(count):
    with pytest.raises(WrongPointLength) as caught:
        from_limbs_untrusted((1,) * count, LIMBS_Y)

    assert (caught.value.got, caught.value.want) == (count, 4)


def test_a_flipped_bit_of_a_limb_is_off_the_curve():
    with pytest.raises(NotOnCurve):
        from_limbs_untrusted((LIMBS_X[0] ^ 1, *LIMBS_X[1:]), LIMBS_Y)


@given(st.binary(max_size=130))
@settings(max_examples=examples(100))
def test_random_bytes_are_refused(raw):
    for read in (g1_from_bytes_untrusted, g2_from_bytes_untrusted):
        with pytest.raises(BadPoint):
            read(raw)


@given(st.binary(min_size=128, max_size=128))
@settings(max_examples=examples(50))
def test_random_bytes_of_the_right_length_are_refused(raw):
    refusals = (CoordinateOutOfRange, NotOnCurve, PointAtInfinity)

    with pytest.raises(refusals):
        g1_from_bytes_untrusted(raw[:64])
    with pytest.raises(refusals):
        g2_from_bytes_untrusted(raw)


def test_infinity_is_refused_however_it_is_written():
    with pytest.raises(PointAtInfinity):
        g1_from_bytes_untrusted(bytes(64))
    with pytest.raises(PointAtInfinity):
        g1_from_words_untrusted(0, 0)
    with pytest.raises(PointAtInfinity):
        g2_from_bytes_untrusted(bytes(128))
    with pytest.raises(PointAtInfinity):
        g2_from_words_untrusted((0, 0), (0, 0))


def test_a_registered_key_outside_the_group_is_refused():
    (x0, x1), (y0, y1) = on_the_twist((5, 7))

    with pytest.raises(NotInSubgroup):
        g2_from_words_untrusted((x1, x0), (y1, y0))


def test_words_of_another_shape_are_refused():
    with pytest.raises(WrongPointLength):
        g2_from_words_untrusted((1,), (2, 3))
