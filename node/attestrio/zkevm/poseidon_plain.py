"""Poseidon over the Goldilocks field in plain Python: always there, and what the compiled version is compared with.

Twelve elements, 4 + 22 + 4 rounds, x^7. Two things make it three times as fast as the textbook:

- A product of the state with a matrix is twelve multiplications of big integers: a column of the matrix is one integer
  of twelve slots, wide enough that no sum runs over into the next slot. Round constants are added in the same way.
- The 22 partial rounds are folded. Only one element per round goes through x^7, so every later element is a linear
  function of the state before them and of the results so far. All of it lies in the slots of one integer, in the order
  in which it is needed; a round takes the lowest slot off and adds one product.

Source: tables as in go-iden3-crypto v0.0.15 (`poseidon_constants.json`); vectors in tests/golden/datastream.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from importlib.resources import files
from operator import mul
from typing import Final

Words = tuple[int, int, int, int]
"""Four numbers below 2^64, the lowest first: a hash, a key of the tree, a capacity."""

P: Final = 2**64 - 2**32 + 1
FOLD: Final = 2**32 - 1
"""2^64 modulo P."""
ZERO: Final[Words] = (0, 0, 0, 0)

BRANCH: Final = 0
LEAF: Final = 1
VALUE: Final = 2
LEAF_CAPACITY: Final[Words] = (1, 0, 0, 0)

WIDTH: Final = 12
FULL: Final = 4
"""Full rounds before the partial ones, and after them."""
PARTIAL: Final = 22

FOUR: Final = struct.Struct(">4Q")
NARROW: Final = struct.Struct("<QI")
"""A slot of 96 bits: sums of twelve products with the small numbers of the circulant."""
WIDE: Final = struct.Struct("<QQH")
"""A slot of 144 bits: sums of up to 34 products of two elements."""
NARROW_BITS: Final = 8 * NARROW.size
WIDE_BITS: Final = 8 * WIDE.size
WIDE_MASK: Final = (1 << WIDE_BITS) - 1


def words_of(raw: bytes) -> Words:
    """32 bytes, big endian as in headers, as four words."""
    high, upper, lower, low = FOUR.unpack(raw)
    return (low, lower, upper, high)


def bytes_of(words: Words) -> bytes:
    """32 bytes, big endian as in headers."""
    return FOUR.pack(words[3], words[2], words[1], words[0])


def pack(slots: Sequence[int], bits: int) -> int:
    """One integer of the slots, the first one lowest."""
    return sum(value << (bits * at) for at, value in enumerate(slots))


_tables = json.loads(files(__package__).joinpath("poseidon_constants.json").read_text())
ROUND: Final = [int(text, 16) for text in _tables["C"]]
SPARSE: Final = [int(text, 16) for text in _tables["S"]]
MIX: Final = [
    [_tables["circulant"][(at - out) % WIDTH] + (_tables["diagonal"][at] if at == out else 0) for out in range(WIDTH)]
    for at in range(WIDTH)
]
"""MIX[j][i]: how much of element j goes into element i."""
PREPARE: Final = [[int(text, 16) for text in row] for row in _tables["P"]]
"""What takes the place of MIX before the partial rounds."""


def _mixed(matrix: list[list[int]], state: Sequence[int]) -> list[int]:
    return [sum(matrix[at][out] * value for at, value in enumerate(state)) % P for out in range(WIDTH)]


def _row(turn: int) -> list[int]:
    """Of a partial round: 12 numbers that make the new first element, 11 that add the old one to the others."""
    return SPARSE[turn * 23 : turn * 23 + 23]


def _later(turn: int) -> list[int]:
    """What the result of partial round `turn` adds to each slot that is left after it."""
    others = _row(turn)[WIDTH:]
    firsts = [_row(turn)[0]] + [
        sum(have * into for have, into in zip(others, _row(later)[1:WIDTH], strict=True)) % P
        for later in range(turn + 1, PARTIAL)
    ]
    return firsts + others


def _start(state: Sequence[int]) -> list[int]:
    """The slots before the partial rounds for the state that `PREPARE` gave: its first element, all first elements
    that follow as far as they come from this state, the other eleven."""
    firsts = [sum(have * into for have, into in zip(state[1:], _row(turn)[1:WIDTH], strict=True)) % P
              for turn in range(PARTIAL)]  # fmt: skip
    return [state[0], *firsts, *state[1:]]


COLUMNS: Final = [pack(column, NARROW_BITS) for column in MIX]
START_COLUMNS: Final = [pack(_start(column), WIDE_BITS) for column in PREPARE]
LATER: Final = [pack(_later(turn), WIDE_BITS) for turn in range(PARTIAL)]

# A constant is added to what a column is multiplied with, so its product can be added behind as well.
FIRST: Final = ROUND[:WIDTH]
BEFORE: Final = [pack(_mixed(MIX, ROUND[12 * turn : 12 * turn + 12]), NARROW_BITS) for turn in range(1, FULL)]
BETWEEN: Final = pack(_start(_mixed(PREPARE, ROUND[48:60])), WIDE_BITS) + sum(
    ROUND[60 + turn] * column << (WIDE_BITS * (turn + 1)) for turn, column in enumerate(LATER)
)
AFTER: Final = [*(pack(_mixed(MIX, ROUND[82 + 12 * at : 94 + 12 * at]), NARROW_BITS) for at in range(FULL - 1)), 0]


def hash12(inputs: Sequence[int], capacity: Words = ZERO) -> Words:
    """Poseidon of eight elements.

    Args:
      inputs: eight numbers below 2^64; what is not below P counts modulo P.
      capacity: the last four elements of the state.
    """
    state = [
        (cube := (x := a + b) * x * x % P) * cube * x % P for a, b in zip((*inputs, *capacity), FIRST, strict=True)
    ]
    for constant in BEFORE:
        packed = sum(map(mul, state, COLUMNS), constant).to_bytes(WIDTH * NARROW.size, "little")
        state = [
            (cube := (x := low + high * FOLD) * x * x % P) * cube * x % P
            for low, high in NARROW.iter_unpack(packed)
        ]  # fmt: skip
    slots = sum(map(mul, state, START_COLUMNS), BETWEEN)
    for column in LATER:
        first = (slots & WIDE_MASK) % P
        cube = first * first * first % P
        slots = (slots >> WIDE_BITS) + cube * cube * first % P * column
    # 2^128 modulo P is -2^32.
    rest = WIDE.iter_unpack(slots.to_bytes(WIDTH * WIDE.size, "little"))
    state = [low + middle * FOLD - (high << 32) for low, middle, high in rest]
    for constant in AFTER:
        state = [(cube := x * x * x % P) * cube * x % P for x in state]
        packed = sum(map(mul, state, COLUMNS), constant).to_bytes(WIDTH * NARROW.size, "little")
        state = [low + high * FOLD for low, high in NARROW.iter_unpack(packed)]
    return (state[0] % P, state[1] % P, state[2] % P, state[3] % P)


def run(literals: Sequence[bytes], steps: Sequence[int]) -> list[bytes]:
    """The hashes of steps that may use the hashes of earlier ones: see `poseidon.Steps`, which writes the steps."""
    known = [words_of(literal) for literal in literals]
    made: list[Words] = []
    for at in range(0, len(steps), 3):
        kind, left, right = steps[at : at + 3]
        first = known[left] if left >= 0 else made[~left]
        if kind == VALUE:
            inputs: tuple[int, ...] = tuple(half for word in first for half in (word & 0xFFFFFFFF, word >> 32))
        else:
            inputs = first + (known[right] if right >= 0 else made[~right])
        made.append(hash12(inputs, LEAF_CAPACITY if kind == LEAF else ZERO))
    return [bytes_of(words) for words in made]
