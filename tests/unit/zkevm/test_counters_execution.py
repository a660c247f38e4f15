"""Counters of transactions that are executed: small programs whose prices are added up by hand, opcode by opcode."""

from __future__ import annotations

import pytest
from attestrio.zkevm.counters import BatchCounters, Counters, TxCounters, limits_of
from attestrio.zkevm.counters.precompiles import P256VERIFY
from attestrio.zkevm.genesis import Account
from counters_kit import amounts
from execution_kit import ALICE, BOB, Chain, asm, call, contract, store

LEVELS = 19
PUSH1, ZERO, STOP = "S26", "S16", "S32"
"""In a usual frame."""


def total(*prices):
    """Of prices such as "S22 B1"."""
    return sum((Counters.from_map(amounts(price)) for price in prices), Counters()).as_map()


def counting(fork=9):
    return TxCounters(fork, LEVELS, limits_of(fork))


def executed(code, accounts=(), fork=9, **fields):
    """What Alice's call of this code has used, and how it ended."""
    hook = counting(fork)
    outcome = Chain(accounts, fork=fork, hook=hook).call(code, **fields)
    return hook.used.as_map(), outcome


def test_a_transfer_executes_nothing():
    hook = counting()
    Chain(hook=hook).send(ALICE, BOB, value=5)

    assert hook.used == Counters()


def test_a_program_costs_the_sum_of_its_opcodes():
    used, outcome = executed(asm((1,), (2,), 0x01, store(3)))

    assert outcome.status == 1
    assert used == total(PUSH1, PUSH1, "S22 B1", PUSH1, "S102 B9 P103", STOP)


def test_a_reverted_program_has_cost_as_much():
    used, outcome = executed(asm((1,), store(3), 0x5F, 0x5F, 0xFD))

    # A REVERT of nothing: its row, an empty save of memory, a load and a store.
    revert = ("S58 B1", "S12 B1", "S160 A4 B10 M1", "S330 A8 B16 M1")
    assert outcome.error == "Revert"
    assert used == total(PUSH1, PUSH1, "S102 B9 P103", ZERO, ZERO, *revert)


def test_an_opcode_without_gas_costs_nothing_and_one_that_fails_costs_all():
    # The jump is paid for and leads nowhere.
    assert executed(asm((9,), 0x56))[0] == total(PUSH1, "S27 B1")
    # A word of memory, far out.
    assert executed(asm((2**40,), 0x51))[0] == total("S42")


def test_a_loop_costs_as_often_as_it_turns():
    loop = asm((5,), 0x5B, (1,), 0x90, 0x03, 0x80, (2,), 0x57)
    used, outcome = executed(loop)

    turn = total("S14", PUSH1, "S19", "S22 B1", "S18", PUSH1, "S32 B2")
    rest = total(PUSH1, STOP)
    assert outcome.status == 1
    assert used == {letter: 5 * turn[letter] + rest[letter] for letter in turn}


def test_a_call_pays_for_the_code_it_finds_and_the_code_for_itself():
    code = asm((1,), (2,), 0x01)
    to = contract(2)
    called, _ = executed(asm(call(to)), {to: Account(code=code)})
    empty, _ = executed(asm(call(to)))

    # Both: the code is short of one block of Poseidon, so only what it runs is more.
    assert {letter: called[letter] - empty[letter] for letter in called} == total(PUSH1, PUSH1, "S22 B1", STOP)


def test_a_call_of_a_precompile_pays_for_both():
    used, _ = executed(asm(call((2).to_bytes(20, "big"))))
    plain, _ = executed(asm(call(BOB)))

    assert {letter: used[letter] - plain[letter] for letter in used} == amounts("S1105 A24 B54 M3 SHA1")


def test_a_precompile_that_is_off_or_without_gas_costs_its_call_alone():
    plain, _ = executed(asm(call(BOB, gas=5_999)))

    assert executed(asm(call((5).to_bytes(20, "big"), gas=5_999)))[0] == plain
    assert executed(asm(call((7).to_bytes(20, "big"), gas=5_999)))[0] == plain
    assert executed(asm(call((7).to_bytes(20, "big"), gas=6_000)))[0]["S"] == plain["S"] + 177_255


@pytest.mark.parametrize("fork", [12, 13])
def test_precompiles_that_came_later_cost_from_their_fork_on(fork):
    tx = {"data": bytes(160), "gas": 100_000}
    hook = counting(fork)
    Chain(fork=fork, hook=hook).send(ALICE, P256VERIFY.to_bytes(20, "big"), **tx)

    assert bool(hook.used.steps) == (fork == 13)


def test_what_a_call_has_room_for_is_paid_by_identity():
    to = (4).to_bytes(20, "big")
    with_room, without = (executed(asm(call(to, out=out)))[0] for out in (64, 0))

    # Two words handed back, and room of any size is one save of memory that is not empty.
    assert with_room["S"] - without["S"] == 2 * (12 + 170 + 330) + 130 - 12


def test_a_deployment_pays_more_for_each_opcode():
    made = asm((0,), 0x5F, 0xF3)
    hook = counting()
    outcome = Chain(hook=hook).send(ALICE, None, data=made)

    base = "S252 A6 B15 M1"
    pushes = (base, "S22", "S160 A4 B10 M1", "S80 A2 B5", base, "S4")
    # RETURN of nothing from init code: row, save, its own part, the first byte, the hash of no code.
    returned = (base, "S30 B1", "S12 B1", "S25 B2 P38", "S260 A6 B15 M1", "S330 A7 B20 M1 D1 P1")
    assert outcome.status == 1
    assert hook.used.as_map() == total(*pushes, *returned)


def test_from_fork_13_on_the_same_program_costs_more_binary():
    accounts = {contract(2): Account(code=asm((1,), (2,), 0x01))}
    before, _ = executed(asm(call(contract(2))), accounts, fork=12)
    after, _ = executed(asm(call(contract(2))), accounts, fork=13)

    assert after == before | {"B": before["B"] + 1}


def test_a_contract_call_is_counted_in_its_batch_and_taken_back_when_it_is_too_much():
    code = asm((1,), store(3))
    chain = Chain({contract(1): Account(code=code)})
    tx = chain.tx(ALICE, contract(1), gas=100_000)
    limits = limits_of(9)
    counters = BatchCounters(9, chain.smt.depth, limits)
    chain.begin()
    counters.begin_block(l1_info=False)
    before = counters.used

    chain.executor.hook = counters.begin_tx(tx, 255, chain.smt.depth)
    fitted = counters.end_tx(chain.executor.apply(tx, 255), len(code))
    needed = counters.used
    chain.executor.take_back_tx()
    counters.take_back_tx()
    tight = BatchCounters(9, chain.smt.depth, needed.lowered({"P": needed.poseidon - 1}))
    tight.begin_block(l1_info=False)
    chain.executor.hook = tight.begin_tx(tx, 255, chain.smt.depth)
    refused = tight.end_tx(chain.executor.apply(tx, 255), len(code))

    assert fitted is None
    assert refused == "P"
    assert counters.used == tight.used == before
    assert needed.steps - before.steps > 9_000
