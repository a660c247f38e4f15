"""What a hook is shown of opcodes that fail: those whose gas was there, as upstream asks for gas first."""

from __future__ import annotations

import pytest
from attestrio.zkevm.genesis import Account
from execution_kit import BOB, Chain, Seen, asm, call, contract

ENOUGH = 100_000
STATICCALL = 0xFA
LOG2 = asm((1,), (2,), (64,), (0,), 0xA2)


def shown_within(code, gas):
    """What a hook sees of code that is called and may change nothing, with this much gas."""
    hook = Seen()
    chain = Chain({contract(2): Account(balance=5, code=code)}, hook=hook)
    outcome = chain.call(asm(call(contract(2), opcode=STATICCALL, gas=gas)))
    assert outcome.status == 1
    start = hook.opcodes.index(STATICCALL) + 1
    return hook.opcodes[start:-1]


CASES = {
    # Name: code, the opcode that is refused, and the gas of that opcode alone.
    "sstore anew": (asm((1,), (9,), 0x55), 20_000 + 2_100),
    "sstore the same": (asm((0,), (9,), 0x55), 2_301),
    "log": (LOG2, 3 * 375 + 8 * 64 + 6),
    "create": (asm((64,), (0,), (0,), 0xF0), 32_000 + 6),
    "create2": (asm((7,), (64,), (0,), (0,), 0xF5), 32_000 + 6 + 2 * 6),
    "selfdestruct to somebody new": (asm((contract(9),), 0xFF), 5_000 + 2_600 + 25_000),
    "selfdestruct to somebody": (asm((BOB,), 0xFF), 5_000 + 2_600),
    "call with a value": (asm((32,), (0,), (0,), (0,), (1,), (BOB,), (0,), 0xF1), 9_000 + 2_600 + 3),
    "call of somebody new": (asm((0,), (0,), (0,), (0,), (1,), (contract(9),), (0,), 0xF1), 9_000 + 2_600 + 25_000),
}


@pytest.mark.parametrize(("code", "gas"), CASES.values(), ids=CASES)
def test_a_write_that_is_forbidden_is_shown_when_its_gas_was_there(code, gas):
    pushed = len([opcode for opcode in shown_within(code, ENOUGH) if opcode != code[-1]])

    assert shown_within(code, 3 * pushed + gas)[-1] == code[-1]
    assert shown_within(code, 3 * pushed + gas - 1)[-1] != code[-1]


@pytest.mark.parametrize(("gas", "times"), [(2_301, 2), (2_300, 1)])
def test_to_overwrite_what_this_transaction_has_written_takes_little(gas, times):
    begins = 2 + 3 + 10 + 1 + 3 + 3  # the way to the second SSTORE
    writes = asm((1,), (9,), 0x55, call(contract(1), opcode=STATICCALL, size=1, gas=begins + gas), 0x00)
    code = asm(0x36, (4 + len(writes),), 0x57, writes, 0x5B, (2,), (9,), 0x55)
    hook = Seen()

    Chain(hook=hook).call(code)

    assert hook.opcodes.count(0x55) == times


def test_a_call_without_a_value_is_not_forbidden():
    code = asm((0,), (0,), (0,), (0,), (0,), (BOB,), (0,), 0xF1)

    assert shown_within(code, ENOUGH)[-2:] == [0xF1, 0x00]


def test_a_copy_of_what_was_never_returned_is_shown_when_its_gas_was_there():
    code = asm((64,), (0,), (0,), 0x3E)
    gas = 21_000 + 3 * 3 + 3 * (1 + 2) + 6

    for given, expected in ((gas, [0x3E]), (gas - 1, [])):
        hook = Seen()
        outcome = Chain(hook=hook).call(code, gas=given)

        assert outcome.status == 0
        assert hook.opcodes == [0x60, 0x60, 0x60, *expected]


def test_a_copy_of_what_was_returned_is_shown_and_runs():
    returns = Account(code=asm((64,), 0x5F, 0xF3))
    hook = Seen()
    outcome = Chain({contract(2): returns}, hook=hook).call(asm(call(contract(2)), (64,), (0,), (0,), 0x3E))

    assert outcome.status == 1
    assert hook.opcodes[-2:] == [0x3E, 0x00]


def test_a_size_beyond_all_memory_is_not_shown():
    for code in (asm((2**60,), (0,), (0,), 0x3E), asm((2**255,), (0,), (0,), 0x3E)):
        hook = Seen()
        Chain(hook=hook).call(code, gas=10_000_000)

        assert 0x3E not in hook.opcodes
    assert shown_within(asm((2**60,), (0,), 0xA0), ENOUGH) == [0x67, 0x60]
