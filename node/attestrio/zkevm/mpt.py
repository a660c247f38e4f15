"""The root of a list as Ethereum's headers have it: a Merkle Patricia trie with the RLP of the index as key.

Only the root is made, from all values at once; nothing is stored.

Source: the Yellow Paper, appendix D.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attestrio.roles.keccak import keccak256
from attestrio.zkevm.rlp import Encodable, encode, encode_int

EMPTY_ROOT: Final = keccak256(encode(b""))
"""Of an empty list."""

Pair = tuple[bytes, bytes]  # nibbles, one a byte, and the value


def list_root(values: Sequence[bytes]) -> bytes:
    """32 bytes. The values are non-empty. O(n) hashes."""
    if not values:
        return EMPTY_ROOT
    pairs = sorted((_nibbles(encode(encode_int(index))), value) for index, value in enumerate(values))
    return keccak256(encode(_node(pairs, 0)))


def _nibbles(key: bytes) -> bytes:
    return bytes(nibble for byte in key for nibble in (byte >> 4, byte & 15))


def _compact(nibbles: bytes, leaf: bool) -> bytes:
    """Nibbles as bytes, with a first nibble that tells leaf from extension and odd from even."""
    flag = 2 * leaf + len(nibbles) % 2
    padded = bytes([flag]) + nibbles if len(nibbles) % 2 else bytes([flag, 0]) + nibbles
    return bytes(padded[at] << 4 | padded[at + 1] for at in range(0, len(padded), 2))


def _node(pairs: list[Pair], depth: int) -> Encodable:
    """The node of all `pairs`, which agree in their first `depth` nibbles. Keys of a list are no prefixes of others."""
    first, last = pairs[0][0], pairs[-1][0]
    if len(pairs) == 1:
        return [_compact(first[depth:], True), pairs[0][1]]
    common = depth
    while first[common] == last[common]:
        common += 1
    if common > depth:
        return [_compact(first[depth:common], False), _reference(pairs, common)]
    branches: list[Encodable] = [b""] * 17
    for nibble in range(16):
        inside = [pair for pair in pairs if pair[0][depth] == nibble]
        if inside:
            branches[nibble] = _reference(inside, depth + 1)
    return branches


def _reference(pairs: list[Pair], depth: int) -> Encodable:
    """A short node stands in its parent itself, a longer one as its hash."""
    node = _node(pairs, depth)
    raw = encode(node)
    return node if len(raw) < 32 else keccak256(raw)
