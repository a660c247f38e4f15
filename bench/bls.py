"""How much cheaper signatures of one batch are checked together: random weights against one check each.

Both sides get signatures as a connection gives them, decoded and never seen before, and keys the node knows. They take
turns, slice by slice, on the clock: the library may use more than one core, in either.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence

from _floor import Figure, arguments, middle, report, wall
from attestrio.bls import G1, G2, SecretKey, from_limbs_untrusted, to_limbs, verify, verify_group

SIGNATURES = 100
TARGET = 1 / 8
MESSAGE = hashlib.sha256(b"bench batch identifier").digest()

Members = Sequence[tuple[G1, G2]]


def members(count: int) -> Members:
    """Signatures of one message by `count` operators, the same in every run."""
    keys = [SecretKey.generate(lambda size, i=i: hashlib.sha512(b"bench %d" % i).digest()[:size]) for i in range(count)]
    return [(key.sign(MESSAGE), key.public_g2()) for key in keys]


def fresh(given: Members) -> Members:
    """Signatures off the wire: nothing computed before is remembered in them."""
    return [(from_limbs_untrusted(*to_limbs(signature)), key) for signature, key in given]


def together(given: Members) -> float:
    """Seconds for one check of all of them."""
    asked = fresh(given)
    return wall(lambda: all(verify_group(MESSAGE, asked)) or sys.exit("a good signature was refused"))


def singly(given: Members) -> float:
    """Seconds for a check of each."""
    asked = fresh(given)
    return wall(lambda: all(verify(MESSAGE, *one) for one in asked) or sys.exit("a good signature was refused"))


def one_bad(given: Members) -> float:
    """Seconds for one check of all, of which one is another's signature."""
    asked = [*fresh(given[:-1]), (given[0][0], given[-1][1])]
    return wall(lambda: verify_group(MESSAGE, asked).count(False) == 1 or sys.exit("the bad one was not found"))


def ratio(given: Members) -> float:
    """Time together over time singly; together is measured before and after, which evens out a drift."""
    before, alone, after = together(given), singly(given), together(given)
    return (before + after) / 2 / alone


def main() -> int:
    asked = arguments(__doc__)
    rounds = 1 if asked.quick else asked.rounds
    given = members(SIGNATURES)
    together(given)  # the keys are handed to the library once in the life of a node
    figures = [
        Figure(f"{SIGNATURES} signatures of one batch, together / singly", middle(rounds, lambda: ratio(given)), "",
               TARGET, at_least=False),
        Figure("together", middle(rounds, lambda: together(given)) * 1e3, "ms"),
        Figure("together, one of them bad", middle(rounds, lambda: one_bad(given)) * 1e3, "ms"),
        Figure("singly", middle(rounds, lambda: singly(given)) * 1e3, "ms"),
    ]  # fmt: skip
    return report("bls", figures, as_json=asked.json)


if __name__ == "__main__":
    sys.exit(main())
