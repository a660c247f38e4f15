"""Points of the two groups of BN254 as plain numbers. A point that exists is a valid one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from attestrio.bls.errors import CoordinateOutOfRange, NotInSubgroup, NotOnCurve
from attestrio.bls.field import Affine, Fp2, P, add, in_g2, on_g1, on_twist


@dataclass(frozen=True, slots=True)
class G1:
    """A point of G1, where signatures are. (0, 0) is the point at infinity, as in EIP-196; sums may give it.

    Raises CoordinateOutOfRange, NotOnCurve. Every point of this curve is in the group.
    """

    x: int
    y: int

    def __post_init__(self) -> None:
        if not (0 <= self.x < P and 0 <= self.y < P):
            raise CoordinateOutOfRange("G1")
        if not (self.is_zero or on_g1(self.x, self.y)):
            raise NotOnCurve("G1")

    @property
    def is_zero(self) -> bool:
        """Whether this is the point at infinity: no key and no signature."""
        return self.x == self.y == 0

    def __neg__(self) -> G1:
        return G1(self.x, -self.y % P)


@dataclass(frozen=True, slots=True)
class G2:
    """A point of G2, where public keys are. Coordinates are pairs (a0, a1), the real part first; zeros are infinity.

    Raises CoordinateOutOfRange, NotOnCurve, NotInSubgroup. About 5 ms for the last of them.
    """

    x: Fp2
    y: Fp2

    def __post_init__(self) -> None:
        if not all(0 <= part < P for part in (*self.x, *self.y)):
            raise CoordinateOutOfRange("G2")
        if self.is_zero:
            return
        if not on_twist(self.x, self.y):
            raise NotOnCurve("G2")
        if not in_g2(self.x, self.y):
            raise NotInSubgroup("G2")

    @property
    def is_zero(self) -> bool:
        """Whether this is the point at infinity: no key."""
        return not any((*self.x, *self.y))


def sum_g1(points: Iterable[G1]) -> G1:
    """All points added up, G1(0, 0) for none. About 25 µs a point."""
    total: Affine = None
    for point in points:
        total = add(total, None if point.is_zero else ((point.x, 0), (point.y, 0)))
    return G1(0, 0) if total is None else G1(total[0][0], total[1][0])


def sum_g2(points: Iterable[G2]) -> G2:
    """All points added up, zeros for none. About 25 µs a point."""
    total: Affine = None
    for point in points:
        total = add(total, None if point.is_zero else (point.x, point.y))
    return known_g2(*(total or ((0, 0), (0, 0))))


def known_g2(x: Fp2, y: Fp2) -> G2:
    """A point computed from points of the group, which is in the group: the check of 5 ms is left out."""
    point = object.__new__(G2)
    object.__setattr__(point, "x", x)
    object.__setattr__(point, "y", y)
    return point


def add_g1(a: G1, b: G1) -> G1:
    return sum_g1((a, b))


def sub_g1(a: G1, b: G1) -> G1:
    """a - b: takes a non-signer's key out of the sum of all keys."""
    return sum_g1((a, -b))


def add_g2(a: G2, b: G2) -> G2:
    return sum_g2((a, b))
