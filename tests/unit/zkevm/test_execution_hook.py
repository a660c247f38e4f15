"""What a hook is shown: every opcode that runs, before it does, and nothing that never ran."""

from __future__ import annotations

from attestrio.zkevm.genesis import Account
from execution_kit import ALICE, BOB, COUNT, SETS, Chain, Seen, asm, call, contract, push


class Operands(Seen):
    """Writes down the operands of calls, and the size of the code they find."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def opcode(self, frame, opcode):
        super().opcode(frame, opcode)
        if opcode in (0xF1, 0xFA):
            to = frame.operand(1).to_bytes(32, "big")[12:]
            self.calls.append((frame.operand(0), to, frame.code_size(to), frame.nonce(frame.caller)))


def seen(code, accounts=(), hook=None, **fields):
    hook = hook or Seen()
    chain = Chain(accounts, hook=hook)
    outcome = chain.call(code, **fields)
    return hook, outcome


def test_every_opcode_is_shown_and_the_stop_behind_the_code_too():
    hook, _ = seen(asm((1,), (2,), 0x01, 0x50))

    assert hook.opcodes == [0x60, 0x60, 0x01, 0x50, 0x00]


def test_an_opcode_whose_operands_are_not_there_is_not_shown():
    hook, outcome = seen(asm((1,), 0x01))

    assert outcome.error == "InsufficientStack"
    assert hook.opcodes == [0x60]


def test_an_undefined_opcode_is_not_shown_and_invalid_is():
    assert seen(asm(0x5F, 0x0C))[0].opcodes == [0x5F]
    assert seen(asm(0x5F, 0x48))[0].opcodes == [0x5F]
    assert seen(asm(0x5F, 0xFE))[0].opcodes == [0x5F, 0xFE]


def test_an_opcode_that_cannot_be_paid_has_not_run():
    # A word of memory far out, then a constant price, then room on the stack.
    far, constant, full = asm((2**40,), 0x51), asm(0x5F, 0x5F, 0x01), asm(bytes([0x5F]) * 1025)

    assert seen(far)[0].opcodes == [0x65]
    assert seen(constant, gas=21_000 + 5)[0].opcodes == [0x5F, 0x5F]
    shown, outcome = seen(full)
    assert outcome.error == "FullStack"
    assert shown.opcodes.count(0x5F) == 1024


def test_an_opcode_that_fails_in_its_own_work_has_been_shown():
    jump, static = asm((3,), 0x56), asm(call(contract(2), opcode=0xFA))

    assert seen(jump)[0].opcodes == [0x60, 0x56]
    hook, _ = seen(static, {contract(2): Account(code=asm((1,), (1,), 0x55))})
    assert hook.opcodes[6:] == [0xFA, 0x60, 0x60, 0x55, 0x00]


def test_operands_are_read_before_a_call_takes_them():
    hook, _ = seen(asm(call(contract(2), gas=77_000)), {contract(2): Account(code=b"\0" * 9)}, Operands())

    assert hook.calls == [(77_000, contract(2), 9, 1)]


def test_frames_tell_what_they_are():
    creating = asm((0x00,), 0x5F, 0x53, (1,), 0x5F, 0x5F, 0xF0)
    salted = asm((0x00,), 0x5F, 0x53, (7,), (1,), 0x5F, 0x5F, 0xF5)

    for code, expected in ((creating, (1, True, False, False)), (salted, (1, False, True, False))):
        hook, outcome = seen(code)
        assert outcome.status == 1
        assert hook.frames[0] == hook.frames[-1] == (0, False, False, False)
        assert [frame for frame in hook.frames if frame[0] == 1] == [expected]


def test_in_a_transaction_that_makes_a_contract_all_frames_know_it():
    hook = Seen()
    chain = Chain({contract(2): Account(code=SETS)}, hook=hook)

    chain.send(ALICE, None, data=asm(call(contract(2))))

    assert set(hook.frames) == {(0, True, False, True), (1, False, False, True)}


def test_a_call_from_init_code_is_no_init_code():
    hook = Seen()
    chain = Chain({contract(2): Account(code=SETS)}, hook=hook)
    init = asm(0x5F, 0x5F, 0x5F, 0x5F, (contract(2),), 0x5A, 0xF4)
    code = push(init.rjust(32, b"\x5b")) + asm(0x5F, 0x52, (32,), 0x5F, 0x5F, 0xF0)

    chain.call(code)

    assert {frame[:3] for frame in hook.frames} == {(0, False, False), (1, True, False), (2, False, False)}


def test_a_precompile_is_shown_when_it_is_on_and_paid():
    two, three = (2).to_bytes(20, "big"), (3).to_bytes(20, "big")
    code = asm(call(two, size=5), call(two, gas=10), call(three))

    hook, outcome = seen(code)

    assert outcome.status == 1
    assert hook.precompiles == [(2, 1, bytes(5))]


def test_a_precompile_with_bad_input_has_been_paid():
    hook, _ = seen(asm((1,), 0x5F, 0x52, call((6).to_bytes(20, "big"), size=64)))

    assert [number for number, _, _ in hook.precompiles] == [6]


def test_a_transaction_to_a_precompile_or_to_nobody_shows_no_opcode():
    hook = Seen()
    chain = Chain(hook=hook)

    chain.send(ALICE, (4).to_bytes(20, "big"), data=b"abc")
    chain.send(ALICE, BOB, data=b"abc")

    assert hook.precompiles == [(4, 0, b"abc")]
    assert hook.opcodes == []


def test_a_hook_changes_nothing():
    plain, watched = Chain(), Chain(hook=Seen())

    for chain in (plain, watched):
        chain.call(COUNT + SETS)

    assert plain.finish().hash == watched.finish().hash
