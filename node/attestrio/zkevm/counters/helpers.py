"""What the steps cost that opcodes, transactions and blocks are made of.

Upstream adds "k times something" in a loop, which stops once its collector is above its limits; what is added without
a loop is added all the same. A Cost keeps the two apart, so that a collector above its limits goes on as upstream's.
There is one difference: upstream looks at every thousandth turn, here the whole loop is either in or out. Below the
limits, and in whether they are kept, that is the same.

Source: cdk-erigon 2723db784b, core/vm/virtual_counters_util.go and zk_counters.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from attestrio.zkevm.counters.values import Counters


@dataclass(frozen=True, slots=True)
class Cost:
    """Packed sums: see `values`."""

    once: int = 0
    looped: int = 0
    """What is not added by a collector that is above its limits."""

    @property
    def whole(self) -> int:
        return self.once + self.looped

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.once + other.once, self.looped + other.looped)

    def __rmul__(self, times: int) -> Cost:
        """So many times, in a loop."""
        return Cost(0, times * (self.once + self.looped))

    def unrolled(self, times: int) -> Cost:
        """So many times, in a loop that never stops."""
        return Cost(times * self.once, times * self.looped)


def cost(S: int = 0, A: int = 0, B: int = 0, M: int = 0, K: int = 0, D: int = 0, P: int = 0, SHA: int = 0) -> Cost:
    """By the letters of the counters."""
    return Cost(Counters(S, A, B, M, K, D, P, SHA).packed())


def ceil_div(amount: int, unit: int) -> int:
    return -(-amount // unit)


def byte_length(number: int) -> int:
    """How many bytes a number needs; 0 needs one."""
    return max(1, (number.bit_length() + 7) // 8)


KECCAK_BYTES, POSEIDON_BYTES, SHA_BYTES, WORD = 136, 56, 64, 32
MAX_LEVELS: Final = 23
"""Levels of a state tree, where upstream does not ask how many there are."""

NOTHING: Final = Cost()
DIV: Final = cost(S=40, A=1, B=3)
MUL: Final = cost(S=40, A=1, B=1)
ADD = SUB = OFFSET = cost(S=10, B=1)
SHR: Final = cost(S=40, A=1, B=2) + DIV
SHL: Final = cost(S=40, A=2, B=2)
SHR_BIT: Final = cost(S=30, B=2) + DIV
SHL_BIT: Final = cost(S=50, A=2, B=2)
ABS: Final = cost(S=10, B=2)
LOAD_X: Final = cost(S=30, B=2, M=1) + OFFSET + SHR + SHL
LOAD_32: Final = cost(S=40, B=2, M=1) + OFFSET + SHR + SHL
STORE_X = STORE_32 = cost(S=80, B=1, M=1) + OFFSET + 2 * SHR + 2 * SHL
READ_DATA: Final = cost(S=25) + LOAD_X
"""A word of the call data."""
MASK_ADDRESS: Final = cost(S=6, B=1)
STARTS_EF: Final = cost(S=20) + LOAD_X + SHR
CALL_SETUP: Final = cost(S=25 + 6 + 4 + 2, B=2)
CONSOLIDATE: Final = cost(S=20, B=2, P=2 * MAX_LEVELS)
COLD_SLOT: Final = cost(S=20, B=1, P=2 * MAX_LEVELS)
SAVE_NOTHING: Final = cost(S=12, B=1)
SAVE_MEMORY: Final = cost(S=50, B=5) + MUL + DIV
SIGNATURE_BAD: Final = cost(S=45, A=2, B=8)
SIGNATURE_GOOD: Final = cost(S=6294, A=528, B=523, K=1)
LOW_64: Final = (1 << 64) - 1


def save_memory(size: int) -> Cost:
    return SAVE_MEMORY if size else SAVE_NOTHING


def length_bytes(length: int) -> Cost:
    """The length in bytes of something that has so many."""
    return cost(S=7 * length + 12, B=length) + length * SHR


def exponent_bits(length: int) -> Cost:
    """An exponentiation with an exponent of so many bits."""
    bits = cost(S=12) + (cost(S=9, B=1) + DIV).unrolled(length)
    return cost(S=30, B=2) + bits + (cost(S=12, B=2) + DIV + 2 * MUL).unrolled(length)


def linear_hash(size: int) -> Cost:
    """The linear Poseidon hash of so many bytes of memory."""
    blocks = ceil_div(size + 1, POSEIDON_BYTES)
    return cost(S=50, B=2, P=blocks, D=blocks) + DIV + (size // WORD) * (cost(S=8) + LOAD_32) + LOAD_X + SHR


def signature(v: int, r: int, s: int, r_most: int, s_most: int) -> Cost:
    """Recovering who signed. v is good as 27 and 28; upstream tests only the low 64 bits of r and s for zero."""
    good = v in (27, 28) and r & LOW_64 and s & LOW_64 and r <= r_most and s <= s_most
    return SIGNATURE_GOOD if good else SIGNATURE_BAD


class Tree:
    """What depends on the levels of the state tree, and on the fork."""

    def __init__(self, fork: int, levels: int) -> None:
        self.fork, self.levels = fork, levels
        self.cold_address = cost(S=100, B=4 if fork >= 13 else 3, P=2 * MAX_LEVELS)
        """Also where the address is warm."""
        self.empty_account = cost(S=30, B=3, P=3 * levels)
        self.move_balance = cost(S=25, B=5, P=4 * levels)
        """Also where there is none to move."""
        self.call_begins = cost(S=40, B=5, P=1 + 2 * levels, D=1) + self.move_balance
        self.code_begins = cost(S=15, B=2, P=2 * levels) + STARTS_EF

    def contract_call(self, code_size: int) -> Cost:
        blocks = ceil_div(code_size + 1, POSEIDON_BYTES)
        return self.call_begins + cost(P=blocks, D=blocks) + (DIV if code_size >= POSEIDON_BYTES else NOTHING)

    def contract_made(self, size: int) -> Cost:
        """By a transaction, of that much code; and what each of the opcodes below has in it, of its init code."""
        return self.call_begins + self.code_begins + linear_hash(size)

    def contract_created(self, size: int) -> Cost:
        """By CREATE."""
        return self.contract_made(size) + cost(S=40, K=1) + MASK_ADDRESS

    def contract_created2(self, size: int) -> Cost:
        """By CREATE2."""
        hashed = cost(S=40, K=ceil_div(size + 1, KECCAK_BYTES) + 2) + DIV + (size // WORD) * LOAD_32 + LOAD_X + SHR
        return self.contract_made(size) + hashed + MASK_ADDRESS


@lru_cache(64)
def tree_costs(fork: int, levels: int) -> Tree:
    return Tree(fork, levels)
