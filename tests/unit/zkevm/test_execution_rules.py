"""What contracts can and cannot do under the rules of a zkEVM."""

from __future__ import annotations

import sys
import threading

import pytest
from attestrio.zkevm.genesis import Account
from attestrio.zkevm.header import Log
from attestrio.zkevm.rlp import encode
from attestrio.zkevm.state import NONCE
from eth_utils import keccak
from execution_kit import (
    ALICE,
    BOB,
    CHAIN_ID,
    COINBASE,
    COUNT,
    ETHER,
    GWEI,
    LOGGED,
    REVERT,
    SETS,
    Chain,
    asm,
    call,
    contract,
    push,
    store,
)


def test_opcodes_see_the_block_as_the_system_contract_has_it():
    chain = Chain()
    chain.begin()
    first = chain.finish()
    code = asm(
        0x43, store(1), 0x42, store(2), 0x41, store(3), 0x44, store(4), 0x45, store(5), 0x46, store(6), 0x3A, store(7),
        (1,), 0x40, store(8), (2,), 0x40, store(9), (3,), 0x40, store(10),
    )  # fmt: skip

    outcome = chain.call(code, gas_price=1000, percentage=127)

    at = [chain.state.storage(contract(1), slot) for slot in range(1, 11)]
    assert outcome.status == 1
    assert at[:3] == [2, 1_010, int.from_bytes(COINBASE, "big")]
    assert at[3:7] == [0, 2**50, CHAIN_ID, 500]
    assert at[7:] == [int.from_bytes(first.state_root, "big"), 0, 0]


def test_a_contract_is_made_and_called():
    code = COUNT
    init = push(code) + asm(0x5F, 0x52, (len(code),), (32 - len(code),), 0xF3)
    chain = Chain()

    made = chain.send(ALICE, None, data=init)
    called = chain.send(BOB, made.created)

    assert (made.status, made.returned, called.status) == (1, code, 1)
    assert chain.state.code(made.created) == code
    assert chain.state.nonce(made.created) == 1
    assert chain.state.storage(made.created, 1) == 1


def test_logs_are_in_the_receipt_in_their_order_and_not_those_of_calls_that_failed():
    inner, failing = contract(2), contract(3)
    chain = Chain({inner: Account(code=LOGGED), failing: Account(code=LOGGED + REVERT)})

    outcome = chain.call(asm(call(inner), call(failing), LOGGED))
    built = chain.finish()

    topic, data = (77).to_bytes(32, "big"), (5).to_bytes(32, "big")
    assert outcome.logs == (Log(inner, (topic,), data), Log(contract(1), (topic,), data))
    assert built.header.bloom != bytes(256)


@pytest.mark.parametrize(
    ("ending", "error", "returned", "all_gas"),
    [
        (REVERT, "Revert", b"", False),
        (asm(0xFE), "InvalidInstruction", b"", True),
        (asm(0x01), "InsufficientStack", b"", True),
    ],
    ids=["revert", "invalid", "stack"],
)
def test_a_transaction_that_fails_inside_is_paid_for_and_changes_nothing_else(ending, error, returned, all_gas):
    chain = Chain()

    outcome = chain.call(SETS + LOGGED + ending, value=5, gas=100_000)

    assert (outcome.status, outcome.error, outcome.returned, outcome.logs) == (0, error, returned, ())
    assert (outcome.gas_used == 100_000) == all_gas
    assert chain.state.storage(contract(1), 1) == 0
    assert chain.state.balance(contract(1)) == 0
    assert chain.state.nonce(ALICE) == 1
    assert chain.state.balance(COINBASE) == outcome.gas_used * GWEI


def test_what_is_reverted_with_is_returned():
    chain = Chain()

    outcome = chain.call(asm((0xABCD,), 0x5F, 0x52, (2,), (30,), 0xFD))

    assert outcome.returned == b"\xab\xcd"


def test_selfdestruct_sends_the_balance_and_destroys_nothing():
    here = contract(1)
    chain = Chain({here: Account(balance=5, code=asm((BOB,), 0xFF), storage={1: 1})})

    outcome = chain.send(ALICE, here)

    assert outcome.gas_used == 21_000 + 3 + 5_000 + 2_600
    assert chain.state.balance(BOB) == 100 * ETHER + 5
    assert (chain.state.balance(here), chain.state.storage(here, 1), len(chain.state.code(here))) == (0, 1, 22)


def test_selfdestruct_in_favour_of_itself_keeps_the_balance():
    here = contract(1)
    chain = Chain({here: Account(balance=5, code=asm(0x30, 0xFF))})

    outcome = chain.send(ALICE, here)

    assert outcome.gas_used == 21_000 + 2 + 5_000
    assert chain.state.balance(here) == 5


@pytest.mark.parametrize(("to", "extra"), [(b"\x99" * 20, 25_000), (contract(2), 0)])
def test_selfdestruct_pays_for_an_account_that_is_not_there(to, extra):
    chain = Chain({contract(1): Account(balance=5, code=asm((to,), 0xFF)), contract(2): Account(nonce=1)})

    assert chain.send(ALICE, contract(1)).gas_used == 21_000 + 3 + 5_000 + 2_600 + extra


def test_the_code_hash_of_an_account_without_code_is_zero():
    chain = Chain({contract(2): Account(code=b"\0")})

    outcome = chain.call(asm((BOB,), 0x3F, store(1), (contract(2),), 0x3F, store(2), (contract(9),), 0x3F, store(3)))

    at = [chain.state.storage(contract(1), slot) for slot in (1, 2, 3)]
    assert outcome.status == 1
    assert at == [0, 0xBC36789E7A1E281436464229828F817D6612F7B477D66591FF96A9E064BCC98A, 0]


def test_base_fee_is_undefined_before_london():
    assert Chain().call(asm(0x48)).error == "InvalidInstruction"


def test_code_that_begins_with_ef_is_not_stored():
    init = asm((0xEF,), 0x5F, 0x53, (1,), 0x5F, 0xF3)
    chain = Chain()

    outcome = chain.send(ALICE, None, data=init, gas=100_000)

    assert (outcome.status, outcome.error, outcome.gas_used, outcome.returned) == (0, "ReservedCode", 100_000, b"\xef")
    assert chain.state.code(outcome.created) == b""
    assert chain.state.nonce(ALICE) == 1


@pytest.mark.parametrize(("fork", "status"), [(9, 0), (10, 1)])
def test_code_that_ends_with_a_push_is_not_called_before_fork_10(fork, status):
    chain = Chain(fork=fork)

    outcome = chain.call(asm(SETS, 0x00, 0x60))

    assert outcome.status == status
    assert chain.state.storage(contract(1), 1) == 9 * status
    assert status or outcome.gas_used == 21_000


@pytest.mark.parametrize(("fork", "gas"), [(11, 2_600), (12, 100)])
def test_the_address_of_a_creation_that_failed_stays_warm_from_fork_12_on(fork, gas):
    chain, address = Chain(fork=fork), keccak(encode([contract(1), b""]))[12:]
    # Init code fe fails. Then the gas of looking at the balance is measured.
    code = asm(
        (0xFE,), 0x5F, 0x53, (1,), 0x5F, 0x5F, 0xF0, 0x50, 0x5A, (address,), 0x31, 0x50, 0x5A, 0x90, 0x03, store(1)
    )

    outcome = chain.call(code, gas=10**7)

    assert outcome.status == 1
    assert chain.state.storage(contract(1), 1) == gas + 3 + 2 + 2


def test_a_thousand_calls_deep_is_as_deep_as_it_gets():
    code = asm(0x5F, 0x5F, 0x5F, 0x5F, 0x5F, 0x30, 0x5A, 0xF1, 0x50, COUNT)
    before, found = sys.getrecursionlimit(), []

    def deep():
        chain = Chain()
        found.append((chain.call(code, gas=2**45, gas_price=0).status, chain.state.storage(contract(1), 1)))

    deep()
    thread = threading.Thread(target=deep)
    thread.start()
    thread.join()

    assert found == [(1, 1025), (1, 1025)]
    assert sys.getrecursionlimit() == before


def test_creations_nest_as_deep_as_calls():
    init = asm(0x38, 0x5F, 0x5F, 0x39, 0x38, 0x5F, 0x5F, 0xF0)
    chain = Chain()

    outcome = chain.send(ALICE, None, data=init, gas=2**49, gas_price=0)

    made = [key for key in chain.state.changes() if key[1] == NONCE and key[0] != ALICE]
    assert outcome.status == 1
    assert len(made) == 1025
