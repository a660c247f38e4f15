"""What a transaction costs besides its opcodes, and the collector of those.

A transaction has three parts: reading it (before it is executed), its opcodes, and processing (after it has ended).

Source: cdk-erigon 2723db784b, core/vm/zk_transaction_counters.go.
"""

from __future__ import annotations

from typing import Final

from attestrio.zkevm.counters.helpers import (
    ADD,
    DIV,
    KECCAK_BYTES,
    LOW_64,
    MAX_LEVELS,
    MUL,
    POSEIDON_BYTES,
    SHL,
    SHR,
    SUB,
    WORD,
    Cost,
    byte_length,
    ceil_div,
    cost,
    length_bytes,
    signature,
    tree_costs,
)
from attestrio.zkevm.counters.opcodes import (
    CALL,
    CALLCODE,
    STATICCALL,
    Kind,
    OpcodeCosts,
    opcode_costs,
)
from attestrio.zkevm.counters.precompiles import precompile_cost
from attestrio.zkevm.counters.values import Counters, is_over, room_of, unpacked
from attestrio.zkevm.hook import Frame, Stopped
from attestrio.zkevm.transactions import CURVE_ORDER, Tx

LONG_DATA: Final = 56
"""Call data of so many bytes has a length field in RLP."""
OUT_AT: Final = {CALL: 6, CALLCODE: 6, STATICCALL: 5}
"""Where the size of the room for what a call returns stands on the stack."""
FIRST_FORK_WITH_STATIC_OUT: Final = 5
JUMPDEST: Final = 0x5B


def reading_cost(tx: Tx, size: int) -> Cost:
    """Of a legacy transaction that takes `size` bytes in the data of the batch, its percentage included."""
    data = len(tx.data)
    blocks = ceil_div(size + 1, POSEIDON_BYTES) + 3
    numbers = (tx.gas_price, tx.gas, tx.value, tx.chain_id, tx.nonce)
    lengths = sum((length_bytes(byte_length(number)) for number in numbers), length_bytes(3))
    if data >= LONG_DATA:
        lengths += length_bytes(data)  # upstream takes the length itself for the length of the length
    words = data // WORD
    fields = 21 * cost(S=10) + cost(S=42) + DIV + (9 + words) * cost(S=10) + (8 + words) * cost(S=10)
    by_byte = data * (cost(S=35, B=1) + SHR)
    signed = signature(27 + tx.parity, tx.r, tx.s, CURVE_ORDER - 1, CURVE_ORDER // 2)
    begins = cost(S=250, B=2, K=ceil_div(size + 1, KECCAK_BYTES), P=blocks, D=blocks)
    return begins + lengths + fields + by_byte + SHL + signed


def processing_cost(fork: int, levels: int, code_length: int, *, deploy: bool) -> Cost:
    """Of a transaction that has ended.

    Args:
      code_length: bytes; of the recipient's code afterwards. When a contract was to be made, of what was returned,
        whether it has become the code of one or not.
    """
    tree = tree_costs(fork, levels)
    begins = cost(S=300, A=2, B=19 if fork >= 13 else 18, K=1, D=5, P=14 * levels)
    arithmetic = 3 * ADD + SUB + DIV + 4 * MUL
    called = tree.contract_made(code_length) if deploy else tree.contract_call(code_length)
    return begins + 2 * tree.cold_address + arithmetic + cost(S=20, P=3 * MAX_LEVELS) + called


class TxCounters:
    """Collects what the opcodes of one transaction cost: the hook of the executor while it is applied.

    Args:
      stops: raise Stopped, at the next JUMPDEST or with the next frame, once its opcodes alone are above the limits:
        it fits into no batch. Without it the transaction runs to its end, and then does not fit.
    """

    __slots__ = ("_before", "_costs", "_fork", "_frame", "_levels", "_limits", "_out", "_room", "_stops", "_used")

    def __init__(self, fork: int, levels: int, limits: Counters, *, stops: bool = False) -> None:
        self._fork, self._levels, self._stops = fork, levels, stops
        self._limits, self._room = limits, room_of(limits)
        self._used = self._before = 0
        self._out = 0
        self._frame: Frame | None = None
        self._costs = OpcodeCosts((), {})

    @property
    def packed(self) -> int:
        return self._used

    @property
    def used(self) -> Counters:
        """By opcodes and precompiles so far."""
        return unpacked(self._used)

    def opcode(self, frame: Frame, opcode: int) -> None:
        """Some 0.3 µs, and about 1 µs for an opcode with a rule of its own. Raises Stopped."""
        if frame is not self._frame:
            self._look()
            self._enter(frame)
        elif opcode == JUMPDEST:
            self._look()  # code that does not jump back ends soon by itself
        found = self._costs.fixed[opcode]
        if found is None:
            found = self._costs.rules[opcode](frame)
            self._note_out(frame, opcode)
        self._add(found)

    def take_back(self) -> None:
        self._used = self._before

    def precompile(self, frame: Frame, number: int) -> None:
        out = self._out if frame.depth else 0
        self._add(precompile_cost(number, frame.input, out, self._fork))

    def _look(self) -> None:
        if self._stops and is_over(self._room, self._used):
            raise Stopped(self.used.over(self._limits)[0])

    def _enter(self, frame: Frame) -> None:
        kind = Kind(frame.is_create, frame.is_create2, frame.is_deploy)
        self._frame, self._costs = frame, opcode_costs(self._fork, self._levels, kind)

    def _note_out(self, frame: Frame, opcode: int) -> None:
        """A precompile follows at once or not at all."""
        at = OUT_AT.get(opcode)
        forgotten = opcode == STATICCALL and self._fork < FIRST_FORK_WITH_STATIC_OUT
        self._out = 0 if at is None or forgotten else frame.operand(at) & LOW_64

    def _add(self, found: Cost) -> None:
        self._before = self._used
        self._used += found.once
        if found.looped and not is_over(self._room, self._used):
            self._used += found.looped


def counted_whole(found: Cost, limits: Counters) -> int:
    """Packed: what a collector has that got this cost and no other."""
    return found.once if is_over(room_of(limits), found.once) else found.whole
