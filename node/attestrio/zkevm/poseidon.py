"""Poseidon, in the fastest version this installation has.

The compiled version is there where a C compiler was found at installation; with `ATTESTRIO_POSEIDON=plain` in the
environment it is not used. Both give the same numbers.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Sequence

from attestrio.zkevm import poseidon_plain
from attestrio.zkevm.poseidon_plain import BRANCH, LEAF, VALUE, ZERO, P, Words, bytes_of, words_of

__all__ = ["IMPLEMENTATION", "ZERO", "P", "Steps", "Words", "bytes_of", "hash12", "words_of"]

Run = Callable[[Sequence[bytes], "array[int]"], list[bytes]]
Hash12 = Callable[[Sequence[int], Words], Words]


def _versions() -> tuple[str, Hash12, Run]:
    # Not a key of the configuration: it is for comparing the two, and changes nothing but the time that is taken.
    if os.environ.get("ATTESTRIO_POSEIDON") != "plain":
        try:
            from attestrio.zkevm import poseidon_native
        except ImportError:
            pass
        else:
            return "native", poseidon_native.hash12, poseidon_native.run
    return "plain", poseidon_plain.hash12, poseidon_plain.run


IMPLEMENTATION, _hash12, _run = _versions()
"""IMPLEMENTATION: "native" or "plain"."""


def hash12(inputs: Sequence[int], capacity: Words = ZERO) -> Words:
    """Poseidon of eight elements.

    Args:
      inputs: eight numbers below 2^64; what is not below `P` counts modulo `P`.
      capacity: the last four elements of the state.
    """
    return _hash12(inputs, capacity)


class Steps:
    """Hashes to be made in one go, of which later ones use earlier ones. One call costs less than one for each.

    What a step is given, and what it gives, is a handle: of 32 bytes put in with `literal`, or of the hash of a step
    before it. `run` makes all of them, and `bytes` tells what a handle stands for.
    """

    __slots__ = ("_made", "_steps", "literals")

    def __init__(self) -> None:
        self.literals: list[bytes] = []
        # Three numbers a step: kind, and two handles. Literal i is i, the hash of step i is ~i.
        self._steps: array[int] = array("i")
        self._made: list[bytes] = []

    def literal(self, raw: bytes) -> int:
        """32 bytes."""
        self.literals.append(raw)
        return len(self.literals) - 1

    def branch(self, left: int, right: int) -> int:
        return self._step(BRANCH, left, right)

    def leaf(self, remaining_key: int, value_hash: int) -> int:
        return self._step(LEAF, remaining_key, value_hash)

    def value(self, literal: int) -> int:
        """The hash of a 256-bit number, which is cut into eight limbs."""
        return self._step(VALUE, literal, literal)

    def _step(self, kind: int, left: int, right: int) -> int:
        self._steps.extend((kind, left, right))
        return ~(len(self._steps) // 3 - 1)

    def run(self) -> None:
        self._made = _run(self.literals, self._steps)

    def bytes(self, handle: int) -> bytes:
        return self.literals[handle] if handle >= 0 else self._made[~handle]
