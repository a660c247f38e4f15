"""The sparse Merkle tree whose root is a state root, or a block info root.

A key is four words; at depth d the path turns to bit d // 4 of word d % 4, 0 to the left. A subtree with one leaf is
that leaf, whatever its depth, so the tree is as deep as two keys have a beginning in common. Nothing is ever changed in
place: nodes lie in a store under their hash, and an old root is a snapshot for as long as its nodes are kept.

             hash                                               node
    branch   Poseidon(left . right)                             left (32) | right (32)
    leaf     Poseidon(remaining key . hash of the value, 1)     remaining key (32) | hash of value (32) | value (1-32)
    none     32 zeros

The remaining key is each word shifted right by the bits that the path has used of it. Hashes and keys stand in nodes as
32 bytes, big endian as in headers; a value has no leading zeros.

Source: specified for cdk-erigon 2723db784b; vectors in tests/golden/datastream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attestrio.zkevm.nodes import BRANCH_BYTES, NodeStore
from attestrio.zkevm.nodes import EMPTY as EMPTY
from attestrio.zkevm.poseidon import Steps, Words, bytes_of, words_of

DEEPEST: Final = 255


def bit(key: Words, depth: int) -> int:
    """Where the path of `key` turns at `depth`."""
    return key[depth & 3] >> (depth >> 2) & 1


def shifts(depth: int) -> tuple[int, int, int, int]:
    """How many bits of each word a path to `depth` has used."""
    return ((depth + 3) >> 2, (depth + 2) >> 2, (depth + 1) >> 2, depth >> 2)


def remaining(key: Words, depth: int) -> bytes:
    """What a leaf at `depth` has left of its key."""
    a, b, c, d = shifts(depth)
    return bytes_of((key[0] >> a, key[1] >> b, key[2] >> c, key[3] >> d))


def whole(raw: bytes, near: Words, depth: int) -> Words:
    """The key of a leaf at `depth`: what it has left, and the beginning it has in common with the key `near`."""
    zipped = zip(words_of(raw), near, shifts(depth), strict=True)
    a, b, c, d = (word << used | known & ((1 << used) - 1) for word, known, used in zipped)
    return (a, b, c, d)


def turned(key: Words, depth: int) -> Words:
    """A key that begins as `key` does up to `depth`, and there turns the other way."""
    words = list(key)
    words[depth & 3] ^= 1 << (depth >> 2)
    a, b, c, d = words
    return (a, b, c, d)


class Leaf:
    """A leaf while a tree is being changed. `hash` is that of the value if it is known, `value` without zeros."""

    __slots__ = ("hash", "key", "value")

    def __init__(self, key: Words, value: bytes, hash: bytes | None = None) -> None:
        self.key, self.value, self.hash = key, value, hash


Subtree = bytes | int | Leaf
"""The hash of one that is in the store, the handle of a branch that will be hashed, or a leaf whose depth is open."""


class Change:
    """One pass over a tree: first its new shape, then all hashes at once, then the new nodes."""

    def __init__(self, nodes: NodeStore) -> None:
        self._nodes = nodes
        self._steps = Steps()
        self._made: list[tuple[int, int, int, bytes]] = []
        """Of each new node: its handle, its two halves, and what follows them."""
        self.depth = 0
        """Of the deepest leaf that was placed."""

    def run(self, root: bytes, leaves: list[Leaf]) -> bytes:
        """The new root. A leaf with the value b"" is taken out."""
        top = self._placed(self._changed(root, 0, leaves), 0)
        self._steps.run()
        known = self._steps.bytes
        self._nodes.put([(known(of), known(left) + known(right) + rest) for of, left, right, rest in self._made])
        return known(top)

    def _changed(self, node: bytes, depth: int, leaves: list[Leaf]) -> Subtree:
        if node == EMPTY:
            return self._built(depth, [leaf for leaf in leaves if leaf.value])
        raw = self._nodes.get(node)
        if len(raw) > BRANCH_BYTES:
            return self._beside(node, raw, depth, leaves)
        left, right = raw[:32], raw[32:]
        to_left, to_right = divided(leaves, depth)
        new_left = self._changed(left, depth + 1, to_left) if to_left else left
        new_right = self._changed(right, depth + 1, to_right) if to_right else right
        if new_left == left and new_right == right:
            return node
        return self._joined(new_left, new_right, depth, leaves[0].key)

    def _beside(self, node: bytes, raw: bytes, depth: int, leaves: list[Leaf]) -> Subtree:
        """Where the tree has one leaf so far."""
        there = Leaf(whole(raw[:32], leaves[0].key, depth), raw[64:], raw[32:64])
        same = [leaf for leaf in leaves if leaf.key == there.key]
        others = [leaf for leaf in leaves if leaf.value and leaf.key != there.key]
        if same and same[0].value != there.value:
            there = same[0]
        elif not others:
            return node
        return self._built(depth, [*others, there] if there.value else others)

    def _built(self, depth: int, leaves: list[Leaf]) -> Subtree:
        """A tree of nothing but these."""
        if len(leaves) < 2:
            return leaves[0] if leaves else EMPTY
        left, right = (self._built(depth + 1, some) for some in divided(leaves, depth))
        return self._joined(left, right, depth, leaves[0].key)

    def _joined(self, left: Subtree, right: Subtree, depth: int, near: Words) -> Subtree:
        """Two subtrees, at least one of them new; a leaf that is left alone moves up. `near`: a key below them."""
        if left == EMPTY or right == EMPTY:
            alone, side = (right, 1) if left == EMPTY else (left, 0)
            if isinstance(alone, Leaf) or alone == EMPTY:
                return alone
            raw = self._nodes.get(alone) if isinstance(alone, bytes) else b""
            if len(raw) > BRANCH_BYTES:
                key = near if bit(near, depth) == side else turned(near, depth)
                return Leaf(whole(raw[:32], key, depth + 1), raw[64:], raw[32:64])
        a, b = self._placed(left, depth + 1), self._placed(right, depth + 1)
        made = self._steps.branch(a, b)
        self._made.append((made, a, b, b""))
        return made

    def _placed(self, tree: Subtree, depth: int) -> int:
        """The handle of a subtree that stays at `depth`."""
        if isinstance(tree, int):
            return tree
        steps = self._steps
        if isinstance(tree, bytes):
            return steps.literal(tree)
        rest = steps.literal(remaining(tree.key, depth))
        value = steps.literal(tree.hash) if tree.hash else steps.value(steps.literal(tree.value.rjust(32, b"\0")))
        made = steps.leaf(rest, value)
        self._made.append((made, rest, value, tree.value))
        self.depth = max(self.depth, depth)
        return made


def divided(leaves: list[Leaf], depth: int) -> tuple[list[Leaf], list[Leaf]]:
    """Those whose path turns left at `depth`, and those whose path turns right."""
    left: list[Leaf] = []
    right: list[Leaf] = []
    word, shift = depth & 3, depth >> 2
    for leaf in leaves:
        (right if leaf.key[word] >> shift & 1 else left).append(leaf)
    return left, right


class Smt:
    """A tree in a store of nodes. What it is now is a root, and how deep it has ever been.

    Raises StorageUnusable when the store lacks a node.
    """

    def __init__(self, nodes: NodeStore, root: bytes = EMPTY, depth: int = 0) -> None:
        self.nodes = nodes
        self.root_bytes = root
        """32 bytes, big endian as in headers."""
        self.depth = depth
        """Of the deepest leaf there has been since the tree was empty, at most 255; a leaf that is the root has 0.
        Never falls: the counters of a batch go by it."""

    @property
    def root(self) -> Words:
        """The root as four words, the lowest first."""
        return words_of(self.root_bytes)

    def get(self, key: Words) -> int:
        """0: there is no such leaf."""
        node, depth = self.root_bytes, 0
        while node != EMPTY:
            raw = self.nodes.get(node)
            if len(raw) > BRANCH_BYTES:
                return int.from_bytes(raw[64:], "big") if raw[:32] == remaining(key, depth) else 0
            node = raw[32:] if bit(key, depth) else raw[:32]
            depth += 1
        return 0

    def apply(self, changes: Mapping[Words, int]) -> bytes:
        """Set all of these values (0 takes a leaf out) and give the new root, as `root_bytes`.

        The order does not matter, and what is already so costs no hash. The store has all nodes when this returns;
        when it raises, the tree is what it was.
        """
        if not changes:
            return self.root_bytes
        change = Change(self.nodes)
        self.root_bytes = change.run(self.root_bytes, [Leaf(key, shortest(value)) for key, value in changes.items()])
        self.depth = min(max(self.depth, change.depth), DEEPEST)
        return self.root_bytes


def shortest(value: int) -> bytes:
    """Big endian without leading zeros; nothing for 0."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
