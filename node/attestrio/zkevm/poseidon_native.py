"""Poseidon compiled from `poseidon.c`. Importing this raises ImportError where no compiler was found at installation.

The interpreter runs other threads while `run` is at work.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from attestrio.zkevm.poseidon_plain import ZERO, Words

_compiled = import_module("attestrio.zkevm._poseidon")
_hash12 = _compiled.lib.poseidon_hash12
_run = _compiled.lib.poseidon_run
_view = _compiled.ffi.from_buffer

STATE: Final = struct.Struct("=12Q")
OUT: Final = struct.Struct("=4Q")


def hash12(inputs: Sequence[int], capacity: Words = ZERO) -> Words:
    """As `poseidon_plain.hash12`. A quarter of its time goes into crossing over to C and back."""
    state = bytearray(STATE.pack(*inputs, *capacity))
    _hash12(_view("uint64_t[]", state))
    words: Words = OUT.unpack_from(state)
    return words


def run(literals: Sequence[bytes], steps: array[int]) -> list[bytes]:
    """As `poseidon_plain.run`: crosses over once, whatever the number of hashes."""
    count = len(steps) // 3
    made = bytearray(32 * count)
    if count:
        _run(b"".join(literals), _view("int[]", steps), count, _view(made))
    raw = bytes(made)
    return [raw[at : at + 32] for at in range(0, len(raw), 32)]
