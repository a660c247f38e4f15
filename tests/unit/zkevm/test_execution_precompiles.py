"""Precompiles of each fork: those that answer, and those that are switched off."""

from __future__ import annotations

import hashlib

import pytest
from attestrio.zkevm.genesis import Account
from coincurve import PrivateKey
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from execution_kit import ALICE, BOB, SECRETS, Chain, asm, call, contract, store

ON = {8: {1, 2, 4, 6, 7, 8}, 12: {1, 2, 4, 6, 7, 8}, 13: {1, 2, 4, 5, 6, 7, 8, 0x100}}
EVERY = [1, 2, 3, 4, 5, 6, 7, 8, 9, 0x100]
DIGEST = hashlib.sha256(b"message").digest()


def number(at):
    return at.to_bytes(20, "big")


def answer(chain, at, data):
    """What a contract gets that hands its call data to a precompile: status, output."""
    forward = asm(0x36, 0x5F, 0x5F, 0x37, 0x5F, 0x5F, 0x36, 0x5F, 0x5F, (number(at),), 0x5A, 0xF1, store(1))
    returns = asm(0x3D, 0x5F, 0x5F, 0x3E, 0x3D, 0x5F, 0xF3)
    outcome = chain.call(forward + returns, data=data)
    assert outcome.status == 1
    return chain.state.storage(contract(1), 1), outcome.returned


@pytest.mark.parametrize(("fork", "at"), [(fork, at) for fork in ON for at in EVERY if at != 0x100 or fork >= 13])
def test_a_precompile_that_is_off_fails_and_gives_the_gas_back(fork, at):
    chain = Chain(fork=fork)
    # The gas that is left behind the call is kept in slot 2.
    code = asm(call(number(at), gas=500_000), store(1), 0x5A, store(2))

    outcome = chain.call(code, gas=1_000_000)

    succeeded, left = chain.state.storage(contract(1), 1), chain.state.storage(contract(1), 2)
    assert outcome.status == 1
    # blake2f asks for 213 bytes, all others take none: on, it would fail with all of its gas.
    assert succeeded == (at in ON[fork])
    assert left > 800_000


def test_a_precompile_is_warm_and_one_that_is_off_is_too():
    chain = Chain()

    outcome = chain.call(asm((number(2),), 0x31, (number(5),), 0x31))

    assert outcome.gas_used == 21_000 + 2 * (3 + 100)


def test_a_transaction_to_a_precompile_that_is_off_fails_and_keeps_its_value():
    chain = Chain()

    outcome = chain.send(ALICE, number(3), value=5)

    assert (outcome.status, outcome.error, outcome.gas_used) == (0, "SwitchedOff", 21_000)
    assert chain.state.balance(number(3)) == 0


def test_ecrecover_finds_the_signer():
    signature = PrivateKey(SECRETS[1]).sign_recoverable(DIGEST, hasher=None)
    data = DIGEST + bytes(31) + bytes([27 + signature[64]]) + signature[:64]

    assert answer(Chain(), 1, data) == (1, BOB.rjust(32, b"\0"))


def test_ecrecover_knows_the_one_signature_of_nobody():
    data = (
        (1).to_bytes(32, "big") + (27).to_bytes(32, "big")
        + bytes.fromhex("c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5")
        + bytes.fromhex("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a1")
    )  # fmt: skip

    assert answer(Chain(), 1, data)[1].hex() == "00" * 12 + "3f17f1962b36e491b30a40b2405849e597ba5fb5"
    assert answer(Chain(), 1, data[:-1] + b"\0")[1].hex() != "00" * 12 + "3f17f1962b36e491b30a40b2405849e597ba5fb5"


def test_sha256_and_identity_answer():
    assert answer(Chain(), 2, b"message") == (1, DIGEST)
    assert answer(Chain(), 4, b"message") == (1, b"message")


def test_modular_powers_are_back_in_fork_13():
    data = (1).to_bytes(32, "big") * 3 + bytes([3, 5, 7])

    assert answer(Chain(fork=13), 5, data) == (1, bytes([3**5 % 7]))
    assert answer(Chain(fork=12), 5, data) == (0, b"")


def p256(digest=DIGEST):
    key = ec.derive_private_key(12345, ec.SECP256R1())
    r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
    point = key.public_key().public_numbers()
    return digest + b"".join(part.to_bytes(32, "big") for part in (r, s, point.x, point.y))


def test_a_signature_over_secp256r1_is_right_or_gets_no_answer():
    good = p256()
    bad = [good[:-1], good + b"\0", bytes(32) + good[32:], good[:96] + bytes(64), good[:32] + bytes(64) + good[96:]]

    assert answer(Chain(fork=13), 0x100, good) == (1, (1).to_bytes(32, "big"))
    assert [answer(Chain(fork=13), 0x100, data) for data in bad] == [(1, b"")] * len(bad)


def test_the_price_of_a_signature_over_secp256r1_is_fixed():
    chain = Chain({contract(2): Account(code=call(number(0x100), gas=3_449))}, fork=13)

    assert chain.send(ALICE, contract(2)).gas_used == 21_000 + 7 * 3 + 100 + 3_449
