"""BLS signatures over BN254 as Aligned and EigenLayer use them: signatures in G1, public keys in G2.

A signature is secret · H(message). It belongs to a key if e(H, key) = e(signature, generator of G2). Everything that
needs the library raises MissingExtra without the extra `aligned`. Nothing here waits; a check takes 1.5 ms and up, so
it belongs into a worker.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Sequence
from typing import NoReturn, Self

from attestrio.bls.errors import BadScalar
from attestrio.bls.field import P, R
from attestrio.bls.points import G1, G2, sum_g2

MESSAGE_BYTES = 32
SCALAR_BYTES = 32
SPARE_BYTES = 16  # drawn on top of a scalar, so that taking the remainder favours no key


def map_to_curve(message: bytes) -> G1:
    """H: the first point at or after x = message mod p. `message` is a hash of 32 bytes. About 0.2 ms.

    Half of all x have a point; a message that somebody ground to be far from one costs 0.1 ms a step, and a step
    costs who grinds twice the work of the one before.

    Source: specification of Aligned 2.6, the same in Solidity and Go: the root is (x³ + 3)^((p + 1) / 4), as it comes.
    """
    if len(message) != MESSAGE_BYTES:
        raise ValueError(f"a message of {len(message)} bytes, {MESSAGE_BYTES} are signed")
    x = int.from_bytes(message, "big") % P
    while True:
        square = (x * x * x + 3) % P
        y = pow(square, (P + 1) // 4, P)
        if y * y % P == square:
            return G1(x, y)
        x = (x + 1) % P


class SecretKey:
    """A number from 1 to R - 1. It never appears in repr, errors or pickles. A plain class: serialisers walk
    dataclasses."""

    __slots__ = ("_scalar",)

    def __init__(self, scalar: int) -> None:
        """Raises BadScalar."""
        if not 0 < scalar < R:
            raise BadScalar
        self._scalar = scalar

    @classmethod
    def generate(cls, randomness: Callable[[int], bytes] = os.urandom) -> Self:
        """A new key; `randomness(n)` gives n bytes."""
        return cls(int.from_bytes(randomness(SCALAR_BYTES + SPARE_BYTES), "big") % (R - 1) + 1)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read 32 bytes, big-endian. Raises BadScalar."""
        if len(raw) != SCALAR_BYTES:
            raise BadScalar
        return cls(int.from_bytes(raw, "big"))

    def to_bytes(self) -> bytes:
        """The secret itself."""
        return self._scalar.to_bytes(SCALAR_BYTES, "big")

    def sign(self, message: bytes) -> G1:
        """The signature of a hash of 32 bytes. About 0.4 ms. Raises MissingExtra."""
        from attestrio.bls import pairing

        return pairing.plain_g1(pairing.native_g1(map_to_curve(message)) * self._scalar)

    def public_g1(self) -> G1:
        """The key in G1: what the id of an operator is made from. Raises MissingExtra."""
        from attestrio.bls import pairing

        return pairing.plain_g1(pairing.GENERATOR_1 * self._scalar)

    def public_g2(self) -> G2:
        """The key in G2: what signatures are checked with. Raises MissingExtra."""
        from attestrio.bls import pairing

        return pairing.plain_g2(pairing.GENERATOR_2 * self._scalar)

    def __repr__(self) -> str:
        return "<BLS secret key>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretKey) and hmac.compare_digest(self.to_bytes(), other.to_bytes())

    __hash__ = None  # type: ignore[assignment]  # a hash of the scalar would tell about it

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret key is not pickled")


def verify(message: bytes, signature: G1, key_g2: G2) -> bool:
    """Whether `signature` is this key's signature of a hash of 32 bytes. About 1.5 ms. Raises MissingExtra.

    The point at infinity is no signature and no key: it would sign everything.
    """
    from attestrio.bls import pairing

    if signature.is_zero or key_g2.is_zero:
        return False
    hashed = pairing.native_g1(map_to_curve(message))
    return pairing.signed(hashed, pairing.native_g1(signature), pairing.native_g2(key_g2))


def aggregate_verify(message: bytes, signature: G1, keys_g2: Sequence[G2]) -> bool:
    """Whether `signature` is the sum of signatures of one message by all these keys. Raises MissingExtra.

    It says nothing about single signatures (see `verify_group`), and is only safe with keys whose owners have proved,
    by registering, that they have the secret: a made-up key can cancel another one out.
    """
    return verify(message, signature, sum_g2(keys_g2))
