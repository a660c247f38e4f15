"""Signing and checking: the vectors of the specification, py_ecc as a second opinion, and groups."""

from __future__ import annotations

import copy
import pickle

import pytest
from attestrio.bls import (
    G1,
    BadScalar,
    SecretKey,
    add_g1,
    aggregate_verify,
    map_to_curve,
    pairing,
    sub_g1,
    sum_g1,
    verify,
    verify_group,
)
from attestrio.bls.field import P, R
from bls_values import HASHED, HASHED_ONES, KEY_G1, KEY_G2, MESSAGE, SCALAR, SIGNATURE, ZERO_G1, ZERO_G2
from hypothesis import given, settings
from hypothesis import strategies as st
from py_ecc import optimized_bn128 as oracle
from suite import examples

messages = st.binary(min_size=32, max_size=32)
scalars = st.integers(1, R - 1)
OTHER = bytes(32)


def members(size, message=MESSAGE):
    secrets = [SecretKey(7919 * (i + 1)) for i in range(size)]
    return [(secret.sign(message), secret.public_g2()) for secret in secrets]


def counting(monkeypatch):
    """How many products of pairings are computed from now on."""
    asked = []
    real = pairing.signed

    def signed(*points):
        asked.append(points)
        return real(*points)

    monkeypatch.setattr(pairing, "signed", signed)
    return asked


def test_vectors_of_the_specification():
    secret = SecretKey(SCALAR)

    assert map_to_curve(MESSAGE) == HASHED
    assert map_to_curve(b"\xff" * 32) == HASHED_ONES
    assert secret.sign(MESSAGE) == SIGNATURE
    assert secret.public_g1() == KEY_G1
    assert secret.public_g2() == KEY_G2
    assert verify(MESSAGE, SIGNATURE, KEY_G2)


@pytest.mark.slow
@given(messages, scalars)
@settings(max_examples=examples(20))
def test_a_signature_belongs_to_one_message_and_one_key(message, scalar):
    secret = SecretKey(scalar)
    signature = secret.sign(message)

    assert verify(message, signature, secret.public_g2())
    assert not verify(message, -signature, secret.public_g2())
    assert not verify(bytes([message[0] ^ 1]) + message[1:], signature, secret.public_g2())
    assert not verify(message, signature, SecretKey(scalar % (R - 1) + 1).public_g2())


def test_infinity_signs_nothing():
    assert not verify(MESSAGE, ZERO_G1, ZERO_G2)
    assert not verify(MESSAGE, SIGNATURE, ZERO_G2)
    assert not verify(MESSAGE, ZERO_G1, KEY_G2)
    assert verify_group(MESSAGE, [(ZERO_G1, ZERO_G2), (SIGNATURE, KEY_G2), (ZERO_G1, KEY_G2)]) == [False, True, False]
    assert not aggregate_verify(MESSAGE, SIGNATURE, [])


@pytest.mark.parametrize("size", [0, 31, 33])
def test_only_hashes_are_signed(size):
    with pytest.raises(ValueError, match="32 are signed"):
        SecretKey(1).sign(bytes(size))


def test_a_message_without_a_point_of_its_own_goes_to_the_next():
    """0 + 3 is no square; 1 + 3 is, and the root taken is the one that is a square itself."""
    assert map_to_curve(bytes(32)) in (G1(1, 2), -G1(1, 2))
    assert pow(map_to_curve(bytes(32)).y, (P - 1) // 2, P) == 1
    assert map_to_curve(P.to_bytes(32, "big")) == map_to_curve(bytes(32)), "reduced first"


@pytest.mark.slow
@given(messages, scalars)
@settings(max_examples=examples(3))
def test_py_ecc_makes_the_same_points(message, scalar):
    secret = SecretKey(scalar)
    hashed = map_to_curve(message)

    signed = oracle.normalize(oracle.multiply((oracle.FQ(hashed.x), oracle.FQ(hashed.y), oracle.FQ.one()), scalar))
    public = oracle.normalize(oracle.multiply(oracle.G2, scalar))

    assert secret.sign(message) == G1(*(int(part) for part in signed))
    key = secret.public_g2()
    assert [[int(part) for part in half.coeffs] for half in public] == [list(key.x), list(key.y)]


@pytest.mark.slow
@pytest.mark.parametrize("good", [True, False])
def test_py_ecc_comes_to_the_same_verdict(good):
    message = MESSAGE if good else OTHER
    hashed = map_to_curve(message)
    key = (oracle.FQ2(KEY_G2.x), oracle.FQ2(KEY_G2.y), oracle.FQ2.one())

    def point(one):
        return (oracle.FQ(one.x), oracle.FQ(one.y), oracle.FQ.one())

    product = oracle.pairing(key, point(hashed), final_exponentiate=False) * oracle.pairing(
        oracle.G2, point(-SIGNATURE), final_exponentiate=False
    )

    assert (oracle.final_exponentiate(product) == oracle.FQ12.one()) is good
    assert verify(message, SIGNATURE, KEY_G2) is good


def test_a_sum_of_signatures_is_checked_with_the_sum_of_keys():
    group = members(5)
    total = sum_g1(signature for signature, _ in group)

    assert aggregate_verify(MESSAGE, total, [key for _, key in group])
    assert not aggregate_verify(MESSAGE, total, [key for _, key in group[:4]])
    assert not aggregate_verify(OTHER, total, [key for _, key in group])


def test_two_signatures_that_only_hold_together_are_both_refused():
    group = members(6)
    shift = SecretKey(99).sign(OTHER)
    group[1] = (add_g1(group[1][0], shift), group[1][1])
    group[4] = (sub_g1(group[4][0], shift), group[4][1])

    assert aggregate_verify(MESSAGE, sum_g1(signature for signature, _ in group), [key for _, key in group])
    assert verify_group(MESSAGE, group) == [True, False, True, True, False, True]


@given(st.lists(st.booleans(), max_size=9), messages)
@settings(max_examples=examples(15))
def test_a_group_says_of_each_member_what_a_single_check_says(good, message):
    group = [
        (signature if honest else -signature, key)
        for honest, (signature, key) in zip(good, members(len(good), message), strict=True)
    ]

    assert verify_group(message, group) == good
    assert [verify(message, signature, key) for signature, key in group] == good


def test_members_with_each_other_s_signature_are_refused():
    (one, key_one), (two, key_two), third = members(3)

    assert verify_group(MESSAGE, [(one, key_two), third, (two, key_one)]) == [False, True, False]


def test_the_same_member_twice_counts_twice():
    assert verify_group(MESSAGE, [(SIGNATURE, KEY_G2)] * 3) == [True] * 3


def test_opposite_keys_do_not_hide_a_member():
    """The weighted sum of keys and of signatures may be anything but what they hide behind."""
    minus = SecretKey(R - SCALAR)

    group = [(SIGNATURE, KEY_G2), (minus.sign(MESSAGE), minus.public_g2())]

    assert verify_group(MESSAGE, group) == [True, True]
    assert verify_group(OTHER, group) == [False, False]
    assert verify_group(MESSAGE, group, randomness=bytes) == [True, True], "equal weights: both sums are infinity"


def test_a_good_group_costs_one_product(monkeypatch):
    group = members(20)
    asked = counting(monkeypatch)

    assert all(verify_group(MESSAGE, group))
    assert len(asked) == 1


def test_one_bad_member_costs_two_products_a_halving(monkeypatch):
    group = members(16)
    group[11] = (SIGNATURE, group[11][1])
    asked = counting(monkeypatch)

    assert verify_group(MESSAGE, group).index(False) == 11
    assert len(asked) <= 1 + 2 * 4


def test_a_group_of_junk_costs_at_most_two_products_a_member(monkeypatch):
    group = [(SIGNATURE, key) for _, key in members(16)]
    asked = counting(monkeypatch)

    assert verify_group(MESSAGE, group) == [False] * 16
    assert 16 <= len(asked) < 2 * 16


def test_weights_are_never_zero_and_always_new():
    drawn = []

    def randomness(size):
        drawn.append(size)
        return bytes(size)

    assert verify_group(MESSAGE, members(4), randomness=randomness) == [True] * 4
    assert drawn == [16] * 4


def test_a_secret_shows_nowhere():
    secret = SecretKey(SCALAR)

    assert str(secret) == repr(secret) == "<BLS secret key>"
    assert not hasattr(secret, "__dict__")
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        hash(secret)


def test_secrets_are_compared_by_value():
    assert SecretKey(SCALAR) == SecretKey.from_bytes(SCALAR.to_bytes(32, "big")) == copy.deepcopy(SecretKey(SCALAR))
    assert SecretKey(SCALAR) != SecretKey(SCALAR + 1)


def test_two_generated_keys_differ_and_the_randomness_decides():
    assert SecretKey.generate() != SecretKey.generate()
    assert SecretKey.generate(bytes) == SecretKey(1)
    assert SecretKey.generate(lambda size: b"\xff" * size).to_bytes() != bytes(32)


@pytest.mark.parametrize("scalar", [0, -1, R, R + 1, 1 << 256])
def test_numbers_that_are_no_secret_are_refused(scalar):
    with pytest.raises(BadScalar) as caught:
        SecretKey(scalar)

    assert str(scalar) not in str(caught.value)


@pytest.mark.parametrize("raw", [bytes(32), R.to_bytes(32, "big"), b"", b"\x01" * 31, b"\x01" * 33])
def test_bytes_that_are_no_secret_are_refused(raw):
    with pytest.raises(BadScalar):
        SecretKey.from_bytes(raw)
