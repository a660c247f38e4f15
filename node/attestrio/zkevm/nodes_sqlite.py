"""The nodes of a tree in a table of a SQLite file that has other tables as well: see `nodes`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import apsw

from attestrio.kit.sqlite import storage_errors
from attestrio.zkevm.nodes import BRANCH_BYTES, EMPTY, Collecting, Node

NODES_SCHEMA: Final = "CREATE TABLE nodes(hash BLOB PRIMARY KEY, node BLOB NOT NULL) STRICT, WITHOUT ROWID;"
"""To be part of the schema of the file."""

REMEMBERED: Final = 50_000
"""Nodes that were read, in each of two generations: about 15 MB. The upper half of the tree is read in every block."""

SWEEP: Final = f"""
WITH RECURSIVE kept(hash) AS (
  VALUES %s
  UNION
  SELECT substr(node, 1 + side, 32) FROM kept JOIN nodes USING (hash), (SELECT 0 AS side UNION ALL SELECT 32)
  WHERE length(node) = {BRANCH_BYTES}
)
DELETE FROM nodes WHERE hash NOT IN kept
"""


class SqliteNodes(Collecting):
    """`KeptNodes` in a connection of the caller, whose transaction `write` and `prune` join.

    All of it blocks, and is called by one thread at a time. Raises StorageUnusable.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        super().__init__()
        self._connection = connection
        self._recent: dict[bytes, bytes] = {}
        self._older: dict[bytes, bytes] = {}

    def prune(self, roots: Iterable[bytes]) -> int:
        self.require_dropped()
        wanted = [*roots] or [EMPTY]
        self._recent, self._older = {}, {}
        with storage_errors(self._connection.filename):
            self._connection.execute(SWEEP % ", ".join(["(?)"] * len(wanted)), wanted)
        return self._connection.changes()

    def __len__(self) -> int:
        """Of those that were written. Goes through all of them."""
        with storage_errors(self._connection.filename):
            return int(self._connection.execute("SELECT count(*) FROM nodes").get)

    def _stored(self, hash: bytes) -> bytes | None:
        node = self._recent.get(hash)
        if node is not None:
            return node
        node = self._older.get(hash) or self._read(hash)
        if node is not None:
            self._remember(hash, node)
        return node

    def _read(self, hash: bytes) -> bytes | None:
        with storage_errors(self._connection.filename):
            node: bytes | None = self._connection.execute("SELECT node FROM nodes WHERE hash = ?", (hash,)).get
        return node

    def _remember(self, hash: bytes, node: bytes) -> None:
        if len(self._recent) >= REMEMBERED:
            self._recent, self._older = {}, self._recent
        self._recent[hash] = node

    def _store(self, nodes: list[Node]) -> None:
        # Whoever reads on after `drop` begins with what was made last.
        for hash, node in nodes:
            self._remember(hash, node)
        with storage_errors(self._connection.filename), self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO nodes(hash, node) VALUES (?, ?)", nodes)
