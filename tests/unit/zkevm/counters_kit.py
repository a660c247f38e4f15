"""What the tests of counters share: amounts in a few letters, and frames with nothing but operands."""

from __future__ import annotations

import re

from attestrio.zkevm.counters import LETTERS
from attestrio.zkevm.counters.values import unpacked

NONE = dict.fromkeys(LETTERS, 0)


def amounts(text):
    """All eight, from "S22 B1"; signs are allowed."""
    found = {letter: int(number) for letter, number in re.findall(r"(SHA|[SABMKDP])(-?\d+)", text)}
    return NONE | found


def of(cost):
    """All eight, of a Cost below the limits."""
    return unpacked(cost.whole).as_map()


class Operands:
    """A frame whose stack is these numbers, the top one first."""

    depth, caller, address, input = 0, bytes(20), bytes(20), b""
    is_create = is_create2 = is_deploy = False

    def __init__(self, *words, code=0, nonce=0, **fields):
        self.words, self.code, self.at_nonce = words, code, nonce
        for name, value in fields.items():
            setattr(self, name, value)

    def operand(self, at):
        return self.words[at]

    def code_size(self, address):
        assert len(address) == 20
        return self.code

    def nonce(self, address):
        assert address == self.caller
        return self.at_nonce
