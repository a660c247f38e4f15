"""Many signatures of one message, each of them checked, for little more than the price of one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from attestrio.bls.bn254 import map_to_curve
from attestrio.bls.points import G1, G2

if TYPE_CHECKING:
    from attestrio.bls.pairing import Native1, Native2

WEIGHT_BYTES = 16  # a group with a bad member passes once in 2^128 tries

Member: TypeAlias = "tuple[int, Native1, Native2]"  # index in the answer, signature, key


def verify_group(
    message: bytes, members: Sequence[tuple[G1, G2]], *, randomness: Callable[[int], bytes] = os.urandom
) -> list[bool]:
    """Which of these (signature, key in G2) are signatures of `message`, in the order given. Raises MissingExtra.

    Args:
      randomness: gives n bytes nobody can foresee.

    A plain sum proves nothing about its members: s1 + d and s2 - d pass together. So each is multiplied by a random
    weight first, and one product of two pairings answers for all. If it fails, halves are asked, down to the bad ones.
    100 good ones cost about a tenth of 100 single checks. k bad ones among n cost at most 2·k·log2(n) products more,
    and never more than 2n in all: who can send junk can at most double the price of a member.
    """
    if not members:
        return []
    from attestrio.bls import pairing

    verdicts = [False] * len(members)
    hashed = pairing.native_g1(map_to_curve(message))
    asked: list[Member] = [
        (index, pairing.native_g1(signature), pairing.native_g2(key))
        for index, (signature, key) in enumerate(members)
        if not (signature.is_zero or key.is_zero)
    ]

    def passes(part: Sequence[Member]) -> bool:
        _, signatures, keys = zip(*part, strict=True)
        if len(part) == 1:
            return pairing.signed(hashed, signatures[0], keys[0])
        return pairing.signed(hashed, *pairing.weighted(signatures, keys, [_weight(randomness) for _ in part]))

    def bisect(part: Sequence[Member], *, known_bad: bool) -> bool:
        """Fill in the verdicts of `part`; True if all are good. `known_bad`: somebody in it is bad, do not ask."""
        if not known_bad and passes(part):
            for index, _, _ in part:
                verdicts[index] = True
            return True
        if len(part) > 1:
            middle = len(part) // 2
            left_is_good = bisect(part[:middle], known_bad=False)
            bisect(part[middle:], known_bad=left_is_good)
        return False

    if asked:
        bisect(asked, known_bad=False)
    return verdicts


def _weight(randomness: Callable[[int], bytes]) -> int:
    """1 to 2^128: with weight 0 a member would not be checked at all."""
    return int.from_bytes(randomness(WEIGHT_BYTES), "big") + 1
