"""What counting costs: executed opcodes with and without the counters of a batch, and transfers put into one.

The same programs run in turn with no hook, with one that counts nothing, and with the counters, in the thread's own
time; figures are medians. "Counting" is what is left of the counters' time without the hook that does nothing. Exit 1
if a target is missed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from statistics import median

from _floor import Figure, arguments, cpu, report
from attestrio.zkevm.counters import BatchCounters, TxCounters, limits_of
from attestrio.zkevm.executor import Outcome
from attestrio.zkevm.hook import Frame, OpcodeHook
from attestrio.zkevm.loading import load_vm
from attestrio.zkevm.state import MemoryStore, State
from attestrio.zkevm.transactions import sign_legacy, unsigned_legacy

FORK, LEVELS, DEPTH = 9, 19, 25
SENDER, CONTRACT = b"\1" * 20, b"\2" * 20
GAS_OF_FEW, GAS_OF_MANY = 100_000, 1_000_000

PROGRAMS = {
    # JUMPDEST PUSH0 PUSH1 PUSH1 ADD DUP1 SWAP1 POP POP POP PUSH0 JUMP: all prices are fixed
    "plain": bytes.fromhex("5b 5f 6001 6002 01 80 90 50 50 50 5f 56"),
    # JUMPDEST PUSH1 PUSH0 KECCAK256 POP PUSH0 PUSH0 MSTORE PUSH1 PUSH0 LOG0 PUSH0 JUMP: two have rules
    "with rules": bytes.fromhex("5b 6040 5f 20 50 5f 5f 52 6020 5f a0 5f 56"),
}


class Blank:
    """A hook that only counts how often it is called."""

    def __init__(self) -> None:
        self.seen = 0

    def opcode(self, frame: Frame, opcode: int) -> None:
        self.seen += 1

    def take_back(self) -> None:
        self.seen -= 1

    def precompile(self, frame: Frame, number: int) -> None: ...


def endless(code: bytes, gas: int, hook: OpcodeHook | None) -> Callable[[], object]:
    """Code that jumps to its beginning until its gas is spent."""
    vm, state = load_vm(), State(MemoryStore())
    state.set_code(CONTRACT, code)
    state.begin_tx()
    world = vm.World(FORK, 1000, 1, bytes(20), 1 << 50)
    return lambda: vm.run(state, world, vm.Call(SENDER, CONTRACT, 0, b"", gas, 1, 0), hook)


def programs(rounds: int, gas: int) -> list[Figure]:
    figures = []
    for name, code in PROGRAMS.items():
        seconds: dict[str, list[float]] = {"none": [], "blank": [], "counters": []}
        blank = Blank()
        for _ in range(rounds):
            blank = Blank()
            seconds["none"].append(cpu(endless(code, gas, None)))
            seconds["blank"].append(cpu(endless(code, gas, blank)))
            seconds["counters"].append(cpu(endless(code, gas, TxCounters(FORK, LEVELS, limits_of(FORK)))))
        each = {kind: median(values) / blank.seen * 1e6 for kind, values in seconds.items()}
        figures += [
            Figure(f"{name}: an opcode, not counted", each["none"], "µs"),
            Figure(f"{name}: an opcode, counted", each["counters"], "µs"),
            Figure(f"{name}: counting alone", each["counters"] - each["blank"], "µs", 2.0, at_least=False),
            Figure(f"{name}: counted against not", each["counters"] / each["none"], "x", 3.0, at_least=False),
        ]
    return figures


def transfers(count: int) -> float:
    """Microseconds to count a transfer before and after it is executed."""
    unsigned = unsigned_legacy(chain_id=1000, nonce=0, gas_price=1, gas=21_000, to=CONTRACT)
    signed = sign_legacy(unsigned, b"\1" * 32)
    counters = BatchCounters(FORK, DEPTH, limits_of(12))
    counters.begin_block(l1_info=False)
    txs = [replace(signed, nonce=nonce) for nonce in range(count)]

    def work() -> None:
        for tx in txs:
            counters.begin_tx(tx, 255, DEPTH)
            assert counters.end_tx(Outcome(tx, SENDER, 255, 1, 1, 21_000, 0, (), b"", None, None), 0) is None

    return cpu(work) / count * 1e6


def main() -> int:
    asked = arguments(__doc__ or "")
    figures = programs(asked.rounds, GAS_OF_FEW if asked.quick else GAS_OF_MANY)
    figures.append(Figure("a transfer in a batch", transfers(100 if asked.quick else 1_500), "µs"))
    return report("counters", figures, as_json=asked.json)


if __name__ == "__main__":
    sys.exit(main())
