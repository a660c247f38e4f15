"""The only file that touches `zksnake`, the library behind pairings and multiplications (extra `aligned`).

Whoever needs it imports this file inside a function: without the extra the import raises MissingExtra, and everything
else of the package works. What goes in are `G1` and `G2`, valid by construction: the library answers anything else by
printing a trace and raising a BaseException. It holds the GIL while it computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

from attestrio.bls.points import G1, G2, known_g2
from attestrio.errors import MissingExtra

try:
    from zksnake._algebra import ec_bn254 as curve
except ImportError as exc:
    raise MissingExtra("aligned", "BLS signatures", "zksnake") from exc

KEYS_REMEMBERED = 4096  # the keys of operators come again with every batch; the library takes 0.3 ms to read one

Native1: TypeAlias = curve.PointG1
Native2: TypeAlias = curve.PointG2

GENERATOR_1, GENERATOR_2 = curve.g1(), curve.g2()
_ONE = curve.multi_pairing([GENERATOR_1, -GENERATOR_1], [GENERATOR_2, GENERATOR_2])  # there is no constructor for it


def native_g1(point: G1) -> Native1:
    """The library's form of a point that is not at infinity. About 0.1 ms: it checks again."""
    return Native1(point.x, point.y)


@lru_cache(maxsize=KEYS_REMEMBERED)
def native_g2(point: G2) -> Native2:
    """The library's form of a key that is not at infinity. About 0.3 ms at first, then 2 µs."""
    return Native2(*point.x, *point.y)


def plain_g1(point: Native1) -> G1:
    return G1(0, 0) if point.is_zero() else G1(point.x, point.y)


def plain_g2(point: Native2) -> G2:
    if point.is_zero():
        return G2((0, 0), (0, 0))
    (x0, x1), (y0, y1) = point.x, point.y
    return known_g2((x0, x1), (y0, y1))


def signed(hashed: Native1, signature: Native1, key: Native2) -> bool:
    """Whether e(hashed, key) · e(-signature, generator) = 1. About 1.2 ms."""
    return curve.multi_pairing([hashed, -signature], [key, GENERATOR_2]) == _ONE


def weighted(signatures: Sequence[Native1], keys: Sequence[Native2], weights: Sequence[int]) -> tuple[Native1, Native2]:
    """The sums of `weight * signature` and `weight * key`; none of the three is empty. About 50 µs a member."""
    return curve.multiscalar_mul_g1(signatures, weights), curve.multiscalar_mul_g2(keys, weights)
