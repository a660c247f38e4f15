"""What tests of the tree and its roots share: the vectors, and the same hashes the long way."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from attestrio.zkevm.poseidon_plain import MIX, PREPARE, ROUND, SPARSE, ZERO, P

GOLDEN = Path(__file__).parents[2] / "golden" / "datastream"


@cache
def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


def raw(text):
    """The bytes of a hex string, with or without 0x."""
    return bytes.fromhex(text.removeprefix("0x"))


def words(texts):
    return tuple(int(text, 16) for text in texts)


def poseidon(inputs, capacity=ZERO):
    """Poseidon round by round, as section 5.4 of the specification puts it."""
    x = [(value + constant) % P for value, constant in zip((*inputs, *capacity), ROUND[:12], strict=True)]

    def mixed(matrix):
        return [sum(matrix[j][i] * x[j] for j in range(12)) % P for i in range(12)]

    for turn in range(1, 5):
        x = [pow(value, 7, P) + ROUND[12 * turn + i] for i, value in enumerate(x)]
        x = mixed(PREPARE if turn == 4 else MIX)
    for turn in range(22):
        row = SPARSE[23 * turn : 23 * turn + 23]
        x[0] = pow(x[0], 7, P) + ROUND[60 + turn]
        first = sum(factor * value for factor, value in zip(row, x, strict=False))
        x = [first % P] + [(x[i] + row[11 + i] * x[0]) % P for i in range(1, 12)]
    for turn in range(4):
        x = [pow(value, 7, P) + (ROUND[82 + 12 * turn + i] if turn < 3 else 0) for i, value in enumerate(x)]
        x = mixed(MIX)
    return tuple(x[:4])


def root_of(values, depth=0):
    """Four words: the root of a tree with these leaves (key to value), from nothing but the rules."""
    values = {key: value for key, value in values.items() if value}
    if not values:
        return ZERO
    if len(values) == 1:
        ((key, value),) = values.items()
        rest = [word >> ((depth + 3 - at) // 4) for at, word in enumerate(key)]
        limbs = [(value >> (32 * at)) & 0xFFFFFFFF for at in range(8)]
        return poseidon((*rest, *poseidon(limbs)), (1, 0, 0, 0))
    sides = ({}, {})
    for key, value in values.items():
        sides[(key[depth % 4] >> (depth // 4)) & 1][key] = value
    return poseidon((*root_of(sides[0], depth + 1), *root_of(sides[1], depth + 1)))
