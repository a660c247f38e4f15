"""The Merkle root that the chain holds of a batch. Pure.

Source: specification of Aligned 2.5; lambdaworks' tree pads hashes of leaves, not leaves.
"""

from __future__ import annotations

from collections.abc import Sequence

from attestrio.operator.batch import Entry
from attestrio.roles.keccak import keccak256

NONE = bytes(32)


def auxiliary(entry: Entry) -> bytes:
    """What a proof was checked against: the program, else the key, with the proving system; zeros without either.

    Absent and empty differ: an empty program is hashed.
    """
    for data in (entry.program, entry.verification_key):
        if data is not None:
            return keccak256(data + bytes([entry.system]))
    return NONE


def leaf(entry: Entry) -> bytes:
    """keccak( keccak(proof) ‖ (zeros, or keccak(public input)) ‖ auxiliary ‖ generator's address )."""
    public = NONE if entry.public_input is None else keccak256(entry.public_input)
    return keccak256(keccak256(entry.proof) + public + auxiliary(entry) + entry.generator)


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over hashes of leaves; of one leaf, that leaf. O(n). Raises ValueError for none.

    The last hash is repeated up to a power of two, so that [a, b, c] and [a, b, c, c] have one root: it does not say
    how many leaves there are.
    """
    if not leaves:
        raise ValueError("an empty batch has no root")
    level = list(leaves)
    level += level[-1:] * ((1 << (len(level) - 1).bit_length()) - len(level))
    while len(level) > 1:
        level = [keccak256(left + right) for left, right in zip(level[::2], level[1::2], strict=True)]
    return level[0]


def batch_root(entries: Sequence[Entry]) -> bytes:
    """The root of a batch. Hashes all its bytes, about 3 ms per MB. Raises ValueError for an empty batch."""
    return root([leaf(entry) for entry in entries])
