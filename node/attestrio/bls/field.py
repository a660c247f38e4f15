"""BN254 in plain Python: numbers modulo p, pairs a0 + a1·i with i² = -1, and the addition of points.

Everything that decides whether numbers are a point happens here, so that the library behind `backend` is never asked:
it answers a bad point by printing a trace and raising a BaseException. Points are affine; None is the point at
infinity. G1 is the curve y² = x³ + 3 over numbers; G2 is y² = x³ + 3/(9 + i) over pairs.
"""

from __future__ import annotations

from typing import TypeAlias

# The curve of Ethereum's precompiles (EIP-196, EIP-197), made from u = 4965661367192848881 as all BN curves are.
U = 4965661367192848881
P = 36 * U**4 + 36 * U**3 + 24 * U**2 + 6 * U + 1
R = 36 * U**4 + 36 * U**3 + 18 * U**2 + 6 * U + 1
FROBENIUS = 6 * U**2  # the trace minus one: what Frobenius multiplies a point of G2 by

Fp2: TypeAlias = tuple[int, int]
Affine: TypeAlias = tuple[Fp2, Fp2] | None


def mul(a: Fp2, b: Fp2) -> Fp2:
    return (a[0] * b[0] - a[1] * b[1]) % P, (a[0] * b[1] + a[1] * b[0]) % P


def sub(a: Fp2, b: Fp2) -> Fp2:
    return (a[0] - b[0]) % P, (a[1] - b[1]) % P


def inverse(a: Fp2) -> Fp2:
    """1 / a. Raises ValueError for zero. About 15 µs."""
    norm = pow(a[0] * a[0] + a[1] * a[1], -1, P)
    return a[0] * norm % P, -a[1] * norm % P


def power(a: Fp2, exponent: int) -> Fp2:
    result = (1, 0)
    for bit in f"{exponent:b}":
        result = mul(result, result)
        if bit == "1":
            result = mul(result, a)
    return result


XI = (9, 1)
TWIST_B = mul((3, 0), inverse(XI))
FROBENIUS_X = power(XI, (P - 1) // 3)
FROBENIUS_Y = power(XI, (P - 1) // 2)


def add(a: Affine, b: Affine) -> Affine:
    """The sum of two points of one curve; points of G1 come with imaginary parts 0. About 25 µs."""
    if a is None or b is None:
        return b if a is None else a
    (ax, ay), (bx, by) = a, b
    if ax != bx:
        slope = mul(sub(by, ay), inverse(sub(bx, ax)))
    elif ay == by and ay != (0, 0):
        square = mul(ax, ax)
        slope = mul((3 * square[0], 3 * square[1]), inverse((2 * ay[0], 2 * ay[1])))
    else:  # opposite points
        return None
    x = sub(sub(mul(slope, slope), ax), bx)
    return x, sub(mul(slope, sub(ax, x)), ay)


def times(point: Affine, scalar: int) -> Affine:
    """`scalar` times the point, scalar >= 0, for points of any order. Not constant in time: never with a secret."""
    result: Affine = None
    for bit in f"{scalar:b}":
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def on_g1(x: int, y: int) -> bool:
    return (y * y - x * x * x - 3) % P == 0


def on_twist(x: Fp2, y: Fp2) -> bool:
    cube = mul(mul(x, x), x)
    return mul(y, y) == ((cube[0] + TWIST_B[0]) % P, (cube[1] + TWIST_B[1]) % P)


def in_g2(x: Fp2, y: Fp2) -> bool:
    """Whether a point of the twist is in the group of order R. About 5 ms, half of what R times the point costs.

    Frobenius f satisfies f² - t·f + p = 0 on the whole twist. A point on which f is multiplication by t - 1 is
    therefore killed by (t-1)² - t·(t-1) + p = p + 1 - t = R; and on the group of order R that is what f is.
    """
    frobenius = mul((x[0], -x[1] % P), FROBENIUS_X), mul((y[0], -y[1] % P), FROBENIUS_Y)
    return times((x, y), FROBENIUS) == frobenius
