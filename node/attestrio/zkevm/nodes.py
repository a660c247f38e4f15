"""Where the nodes of a tree lie, by their hash, and which old trees are kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from attestrio.errors import StorageUnusable

Node = tuple[bytes, bytes]
"""Its hash, and its bytes as `smt` lays them out."""


class NodeStore(Protocol):
    """What a tree needs. A node never changes, so it does not matter how often one is put."""

    def get(self, hash: bytes) -> bytes:
        """Raises StorageUnusable: there is none, though a tree refers to it."""
        ...

    def put(self, nodes: Iterable[Node]) -> None: ...


def missing(hash: bytes) -> StorageUnusable:
    return StorageUnusable(f"the state tree lacks the node {hash.hex()}")


class MemoryNodes:
    """A `NodeStore` that is gone with the process."""

    def __init__(self) -> None:
        self._nodes: dict[bytes, bytes] = {}

    def get(self, hash: bytes) -> bytes:
        try:
            return self._nodes[hash]
        except KeyError:
            raise missing(hash) from None

    def put(self, nodes: Iterable[Node]) -> None:
        self._nodes.update(nodes)

    def __len__(self) -> int:
        return len(self._nodes)
