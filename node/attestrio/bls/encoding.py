"""How points travel: 32-byte big-endian coordinates, words of the contract, and the limbs of Go's field elements.

Every reader takes a stranger's numbers and raises only BadPoint. None of them accepts the point at infinity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from eth_hash.backends.pycryptodome import keccak256

from attestrio.bls.errors import CoordinateOutOfRange, LimbOutOfRange, PointAtInfinity, WrongPointLength
from attestrio.bls.field import P
from attestrio.bls.points import G1, G2

WORD = 32  # bytes of a coordinate, and of an operator id
LIMBS, LIMB_BITS = 4, 64
MONTGOMERY = pow(2, LIMBS * LIMB_BITS, P)
FROM_MONTGOMERY = pow(MONTGOMERY, -1, P)

Limbs = tuple[int, int, int, int]
Point = TypeVar("Point", G1, G2)


def _not_zero(point: Point) -> Point:
    if point.is_zero:
        raise PointAtInfinity(type(point).__name__)
    return point


def _words_untrusted(raw: bytes, group: str, count: int) -> list[int]:
    if len(raw) != count * WORD:
        raise WrongPointLength(group, len(raw), count * WORD, "bytes")
    return [int.from_bytes(raw[at : at + WORD], "big") for at in range(0, len(raw), WORD)]


def _encode(*words: int) -> bytes:
    return b"".join(word.to_bytes(WORD, "big") for word in words)


def encode_g1(point: G1) -> bytes:
    """x ‖ y, 64 bytes."""
    return _encode(point.x, point.y)


def g1_from_bytes_untrusted(raw: bytes) -> G1:
    """Read x ‖ y. Raises WrongPointLength, CoordinateOutOfRange, NotOnCurve, PointAtInfinity."""
    return g1_from_words_untrusted(*_words_untrusted(raw, "G1", 2))


def g1_from_words_untrusted(x: int, y: int) -> G1:
    """A point as a contract's event or an ABI decoder gives it. Raises CoordinateOutOfRange, NotOnCurve,
    PointAtInfinity."""
    return _not_zero(G1(x, y))


def encode_g2(point: G2) -> bytes:
    """x.a0 ‖ x.a1 ‖ y.a0 ‖ y.a1, 128 bytes: the real part first, the opposite of the contract's order."""
    return _encode(*point.x, *point.y)


def g2_from_bytes_untrusted(raw: bytes) -> G2:
    """Read what `encode_g2` wrote. Raises WrongPointLength, CoordinateOutOfRange, NotOnCurve, NotInSubgroup,
    PointAtInfinity."""
    x0, x1, y0, y1 = _words_untrusted(raw, "G2", 4)
    return _not_zero(G2((x0, x1), (y0, y1)))


def g2_words(point: G2) -> tuple[tuple[int, int], tuple[int, int]]:
    """X and Y as contracts take them: the imaginary part first (EIP-197)."""
    return (point.x[1], point.x[0]), (point.y[1], point.y[0])


def g2_from_words_untrusted(x: Sequence[int], y: Sequence[int]) -> G2:
    """Read what a contract gives: the imaginary part first. Raises WrongPointLength, CoordinateOutOfRange,
    NotOnCurve, NotInSubgroup, PointAtInfinity."""
    if len(x) != 2 or len(y) != 2:
        raise WrongPointLength("G2", len(x) + len(y), 4, "words")
    return _not_zero(G2((x[1], x[0]), (y[1], y[0])))


def to_limbs(point: G1) -> tuple[Limbs, Limbs]:
    """x and y in Montgomery form (times 2^256 mod p), each as four 64-bit limbs, the lowest first.

    Source: gnark's field element as gob writes it; the vector is in tests/unit/bls/test_bls_encoding.py.
    """
    return _to_limbs(point.x), _to_limbs(point.y)


def _to_limbs(coordinate: int) -> Limbs:
    value = coordinate * MONTGOMERY % P
    mask = (1 << LIMB_BITS) - 1
    return value & mask, value >> 64 & mask, value >> 128 & mask, value >> 192


def from_limbs_untrusted(x: Sequence[int], y: Sequence[int]) -> G1:
    """Read what `to_limbs` gives. Raises WrongPointLength, LimbOutOfRange, CoordinateOutOfRange (Go would reduce),
    NotOnCurve, PointAtInfinity (gob is glad to send zeros)."""
    return _not_zero(G1(_from_limbs(x), _from_limbs(y)))


def _from_limbs(limbs: Sequence[int]) -> int:
    if len(limbs) != LIMBS:
        raise WrongPointLength("G1", len(limbs), LIMBS, "limbs")
    if not all(0 <= limb < 1 << LIMB_BITS for limb in limbs):
        raise LimbOutOfRange("G1")
    value = sum(limb << LIMB_BITS * i for i, limb in enumerate(limbs))
    if value >= P:
        raise CoordinateOutOfRange("G1")
    return value * FROM_MONTGOMERY % P


def operator_id(key: G1) -> bytes:
    """The id the contracts know an operator by: keccak of its public key in G1, 32 bytes."""
    return keccak256(encode_g1(key))
