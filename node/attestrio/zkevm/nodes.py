"""Where the nodes of a tree lie, by their hash, and which old trees are kept.

What a change makes is collected in memory, and every block makes nodes that the next one replaces. So `write` puts only
those on which a given root stands, at the end of a batch say, and `drop` forgets the rest. Each root that was written
is a snapshot until `prune`. After that an old tree is had again by setting the values it had: a tree does not depend on
the order of its changes, only on what is in it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol

from attestrio.errors import StorageUnusable

Node = tuple[bytes, bytes]
"""Its hash, and its bytes as `smt` lays them out."""

EMPTY: Final = bytes(32)
BRANCH_BYTES: Final = 64
"""A leaf is longer."""


class NodeStore(Protocol):
    """What a tree needs. A node never changes, so it does not matter how often one is put."""

    def get(self, hash: bytes) -> bytes:
        """Raises StorageUnusable: there is none, though a tree refers to it."""
        ...

    def put(self, nodes: Iterable[Node]) -> None: ...


class KeptNodes(NodeStore, Protocol):
    """A `NodeStore` of a tree that goes from batch to batch."""

    def write(self, root: bytes) -> int:
        """Keep what was collected for the tree with this root; how many nodes that is. O(those), not O(the tree).

        They stay collected: what a database has rolled back can be written again.
        """
        ...

    def drop(self) -> None:
        """Forget what was collected. Right after the transaction of `write` as well, committed or rolled back."""
        ...

    def prune(self, roots: Iterable[bytes]) -> int:
        """Take out all that no tree of these roots stands on; how many nodes that was. Goes through all of them.

        Raises ValueError while anything is collected: it may stand on what would go.
        """
        ...


def children(node: bytes) -> tuple[bytes, ...]:
    """The hashes a node refers to, none of them of an empty tree."""
    if len(node) != BRANCH_BYTES:
        return ()
    return tuple(hash for hash in (node[:32], node[32:]) if hash != EMPTY)


def reachable(roots: Iterable[bytes], nodes: Mapping[bytes, bytes]) -> Iterator[Node]:
    """The nodes among `nodes` that trees of these roots stand on, each once; does not look behind what is not there."""
    waiting, seen = list(roots), set[bytes]()
    while waiting:
        hash = waiting.pop()
        node = nodes.get(hash)
        if node is not None and hash not in seen:
            seen.add(hash)
            waiting.extend(children(node))
            yield hash, node


class Collecting(ABC):
    """What `KeptNodes` have in common. `_stored` finds a node that was written, `_store` writes some."""

    def __init__(self) -> None:
        self._collected: dict[bytes, bytes] = {}

    def get(self, hash: bytes) -> bytes:
        node = self._collected.get(hash)
        if node is None:
            node = self._stored(hash)
        if node is None:
            raise StorageUnusable(f"the state tree lacks the node {hash.hex()}")
        return node

    def put(self, nodes: Iterable[Node]) -> None:
        self._collected.update(nodes)

    def write(self, root: bytes) -> int:
        wanted = list(reachable([root], self._collected))
        self._store(wanted)
        return len(wanted)

    def drop(self) -> None:
        self._collected.clear()

    def require_dropped(self) -> None:
        if self._collected:
            raise ValueError(f"{len(self._collected)} nodes are collected: drop them before the tree is pruned")

    @abstractmethod
    def _stored(self, hash: bytes) -> bytes | None: ...

    @abstractmethod
    def _store(self, nodes: list[Node]) -> None: ...


class MemoryNodes(Collecting):
    """`KeptNodes` that are gone with the process. A tree that is used once needs neither `write` nor `drop`."""

    def __init__(self) -> None:
        super().__init__()
        self._nodes: dict[bytes, bytes] = {}

    def prune(self, roots: Iterable[bytes]) -> int:
        self.require_dropped()
        before = len(self._nodes)
        self._nodes = dict(reachable(roots, self._nodes))
        return before - len(self._nodes)

    def __len__(self) -> int:
        """Of those that were written."""
        return len(self._nodes)

    def _stored(self, hash: bytes) -> bytes | None:
        return self._nodes.get(hash)

    def _store(self, nodes: list[Node]) -> None:
        self._nodes.update(nodes)
