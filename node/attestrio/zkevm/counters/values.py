"""The eight counters of a batch, how much of each a fork allows, and sums of them as one number.

| letter | field | what the prover has so much of |
|---|---|---|
| S | steps | rows of its main machine |
| A | arith | rows of the arithmetic machine |
| B | binary | of the binary machine |
| M | mem_align | of the machine that aligns memory |
| K | keccak | keccak-f permutations |
| D | padding | rows that pad what Poseidon hashes |
| P | poseidon | Poseidon permutations |
| SHA | sha256 | SHA-256 blocks |

A sum that grows with each opcode is kept packed: one int with a lane of 96 bits for each counter, S lowest, so that one
addition adds all eight. Lanes are signed; what is added to one never comes near 2^95, as an operand is below 2^64 and
no factor above 2^10 stands before it.

Source: cdk-erigon 2723db784b, core/vm/zk_counters_limits.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

from attestrio.zkevm.errors import UnknownCounter

LETTERS: Final = ("S", "A", "B", "M", "K", "D", "P", "SHA")
LANE: Final = 96
LANES: Final = tuple(LANE * at for at in range(len(LETTERS)))
LANE_MASK: Final = (1 << LANE) - 1
TOP: Final = 1 << (LANE - 1)
TOPS: Final = sum(TOP << at for at in LANES)


@dataclass(frozen=True, slots=True)
class Counters:
    """So much of each. A sum can be negative in `arith` alone: modexp gives some back."""

    steps: int = 0
    arith: int = 0
    binary: int = 0
    mem_align: int = 0
    keccak: int = 0
    padding: int = 0
    poseidon: int = 0
    sha256: int = 0

    def __add__(self, other: Counters) -> Counters:
        return unpacked(self.packed() + other.packed())

    def packed(self) -> int:
        """All eight in one number: packed sums can be added, subtracted and multiplied."""
        return sum(getattr(self, field.name) << at for field, at in zip(fields(self), LANES, strict=True))

    def as_map(self) -> dict[str, int]:
        """By letter, in the order S A B M K D P SHA."""
        return {letter: getattr(self, field.name) for letter, field in zip(LETTERS, fields(self), strict=True)}

    @classmethod
    def from_map(cls, amounts: Mapping[str, int]) -> Counters:
        """By letter; those that are missing are 0. Raises UnknownCounter."""
        return cls().lowered(amounts)

    def lowered(self, amounts: Mapping[str, int]) -> Counters:
        """As limits, with some of them replaced: {"A": 1160}. Raises UnknownCounter."""
        names = {letter: field.name for letter, field in zip(LETTERS, fields(self), strict=True)}
        if unknown := sorted(set(amounts) - set(names)):
            raise UnknownCounter(unknown[0], LETTERS)
        return replace(self, **{names[letter]: amount for letter, amount in amounts.items()})

    def over(self, limits: Counters) -> tuple[str, ...]:
        """The letters of those that are above their limits; as much as the limit is not."""
        mine, most = self.as_map(), limits.as_map()
        return tuple(letter for letter in LETTERS if mine[letter] > most[letter])


def unpacked(packed: int) -> Counters:
    amounts = []
    for _ in LANES:
        amount = ((packed + TOP) & LANE_MASK) - TOP
        amounts.append(amount)
        packed = (packed - amount) >> LANE
    return Counters(*amounts)


def room_of(limits: Counters) -> int:
    """What `is_over` takes: the limits packed, and above each a bit that a sum too large takes away."""
    return limits.packed() + TOPS


def is_over(room: int, packed: int) -> bool:
    """Whether any counter of a packed sum is above its limit."""
    return (room - packed) & TOPS != TOPS


BEFORE_10: Final = Counters(7_969_178, 249_037, 498_074, 249_037, 2_258, 142_307, 265_639, 1_769)
LIMITS: Final = {
    10: Counters(16_357_591, 511_174, 1_022_349, 511_174, 4_634, 292_100, 545_253, 3_631),
    11: Counters(33_134_805, 1_035_462, 2_070_925, 1_035_462, 9_386, 591_693, 1_104_494, 7_362),
}
FROM_12: Final = Counters(31_876_521, 996_141, 1_992_283, 996_141, 9_029, 569_223, 1_062_551, 7_083)
UNLIMITED: Final = Counters(*[(1 << 31) - 1] * len(LETTERS))
"""For a chain whose batches are not counted; upstream then takes other levels, too, which decide nothing."""


def limits_of(fork: int) -> Counters:
    """How much a batch of this fork may use."""
    return BEFORE_10 if fork < 10 else LIMITS.get(fork, FROM_12)
