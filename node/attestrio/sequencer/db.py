"""A chain in one SQLite file: its state, the nodes of its tree, its blocks and batches, and what was told about it.

All of it goes on together: a block is there with its state, its nodes, its batch and the cursor of a rebuild, or it
never was. All of it goes back together as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self, TypeVar

import apsw

from attestrio.errors import StorageUnusable
from attestrio.kit.sqlite import open_database, storage_errors
from attestrio.sequencer.errors import UnwindRefused
from attestrio.sequencer.reader import APPLICATION_ID, CHAIN_ID, SCHEMA, Bound, ChainReader
from attestrio.sequencer.rows import BATCH, BLOCK, TX, batch_row, block_row, tx_row
from attestrio.sequencer.sealed import SealedBatch, SealedBlock
from attestrio.stream.messages import ZERO
from attestrio.zkevm.nodes_sqlite import SqliteNodes
from attestrio.zkevm.smt import EMPTY, Smt
from attestrio.zkevm.state import Key, State, Tip
from attestrio.zkevm.state_sqlite import MARKS, SqliteStore
from attestrio.zkevm.system import local_exit_root
from attestrio.zkevm.tree import tree_changes

CHANGED_SINCE: Final = "SELECT DISTINCT address, field FROM state_old WHERE block > ?"
FIELDS: Final = {mark: field for field, mark in MARKS.items()}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unwound:
    """How far a chain has gone back."""

    batch: int
    block: int
    """Those it now ends with."""
    batches: int
    blocks: int
    """How many are gone."""


class _Undone(Exception):
    """Raised within `ChainDb.trial` to end it; nobody else sees it."""


class ChainDb(ChainReader):
    """As a `ChainReader`, and the only one that writes.

    `state` and `smt` are for an executor; after it has finished a block, `put_block` belongs into the same transaction.
    """

    def __init__(self, connection: apsw.Connection, path: str) -> None:
        super().__init__(connection, path)
        self.state = State(SqliteStore(connection, path))
        self.nodes = SqliteNodes(connection)
        self.smt = Smt(self.nodes, self.state.tip.root, self.state.tip.depth)
        self._depth = 0  # of transactions
        # Nodes of blocks that are replaced within a transaction are never written: half of the work, with many blocks.
        self._unwritten: bytes | None = None

    @classmethod
    def open(cls, path: Path, *, vfs: str | None = None) -> Self:
        """The file, made if missing. Raises as `kit.sqlite.open_database`."""
        connection = open_database(path, application_id=APPLICATION_ID, schema=SCHEMA, vfs=vfs)
        try:
            return cls(connection, str(path))
        except BaseException:
            connection.close(True)
            raise

    # --- transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside at once, or nothing. Nests: many blocks are on disk with one flush.

        After anything raised inside, chain and state are what they were before; a builder that was at work is not. An
        inner one that fails must fail the outer ones too.
        """
        self._depth += 1
        try:
            with self.state.transaction(), storage_errors(self._path):
                yield
                if self._depth == 1 and self._unwritten is not None:
                    self.nodes.write(self._unwritten)
        except BaseException:
            self._tree_as_state()
            raise
        finally:
            self._depth -= 1
            if not self._depth:
                self._unwritten = None
                self.nodes.drop()

    def trial(self, work: Callable[[], T]) -> T:
        """What `work` returns, with all it has done to the chain undone. It must not leave a block under way.

        RuntimeError inside a transaction, which would be undone as well.
        """
        if self._depth:
            raise RuntimeError("a transaction is under way")
        results: list[T] = []
        try:
            with self.transaction():
                results.append(work())
                raise _Undone
        except _Undone:
            return results[0]

    # --- going on

    def put_meta(self, key: str, value: bytes | None) -> None:
        """None takes it out. Durable, or part of the transaction it stands in; it does not go back with the chain."""
        if value is None:
            self._run("DELETE FROM meta WHERE key = ?", key)
        else:
            self._run("REPLACE INTO meta VALUES (?, ?)", key, value)

    def put_chain_id(self, chain_id: int) -> None:
        """Which chain this is, once."""
        self.put_meta(CHAIN_ID, chain_id.to_bytes(8, "big"))

    def put_block(self, block: SealedBlock, cursor: bytes | None = None) -> None:
        """The block that `state` has just come to the end of. In the transaction of `Executor.finish_block`."""
        progress = max(self.l1_progress, block.l1_index)
        with self.transaction():
            self._run(
                f"INSERT INTO blocks ({BLOCK}, number, l1_progress, cursor) VALUES ({_marks(BLOCK)}, ?, ?, ?)",
                *block_row(block), block.number, progress, cursor,
            )  # fmt: skip
            with storage_errors(self._path):
                rows = [(block.number, at, *tx_row(tx)) for at, tx in enumerate(block.txs)]
                self._db.executemany(
                    f"INSERT INTO transactions (block, position, {TX}) VALUES (?, ?, {_marks(TX)})", rows
                )
            first = block.number if block.first_in_batch else self._first_of(block.batch.number)
            self._put_batch(
                SealedBatch(
                    block.batch, False, first, block.number, block.state_root, data=block.data, counters=block.counters
                )
            )
            self._unwritten = block.state_root

    def close_batch(self, batch: SealedBatch, cursor: bytes | None = None) -> SealedBatch:
        """The end of the batch that the chain ends with, which may be one without blocks that is not there yet.

        As it is kept: with the local exit root of the state as it is now.
        """
        closed = replace(batch, closed=True, local_exit_root=local_exit_root(self.state))
        with self.transaction():
            self._put_batch(closed, cursor)
        return closed

    # --- going back

    def unwind_to_batch(self, number: int) -> Unwound:
        """The chain as it was after the last block of this batch; for the last batch nothing happens.

        Raises UnwindRefused for batch 0 (batch 1 comes from L1 and cannot be built again), for one that is not there,
        and for one without blocks; StorageUnusable.
        """
        last = self.last_batch
        batch = self.batch(number)
        if number == 0:
            raise UnwindRefused(0, "batch 1 is taken from L1 once, so batch 1 is the earliest to go back to")
        if last is None or batch is None:
            newest = "there is none" if last is None else f"the last one is {last.number}"
            raise UnwindRefused(number, f"no such batch, {newest}")
        if batch.number != last.number and not batch.blocks:
            raise UnwindRefused(number, "no block found, go back to one that has blocks")
        return self._unwind(number, batch.last_block)

    def unwind_to_end_of(self, number: int) -> Unwound:
        """As `unwind_to_batch`, also for a batch without blocks. Raises UnwindRefused, StorageUnusable."""
        batch = self.batch(number)
        if batch is None:
            raise UnwindRefused(number, "no such batch")
        return self._unwind(number, batch.last_block)

    def unwind_to_block(self, number: int) -> Unwound:
        """The chain ends with this block; its batch is open again if it has lost blocks. Raises NoSuchBlock,
        StorageUnusable."""
        batch = self._int("SELECT batch FROM blocks WHERE number = ?", number)
        return self._unwind(-1 if batch is None else batch, number)

    def _unwind(self, batch: int, block: int) -> Unwound:
        last, tip = self.last_batch, self.state.tip
        with self.transaction():
            changed = [_key(*row) for row in self._rows(CHANGED_SINCE, block)]
            root = self.state.unwind_to(block).root  # raises NoSuchBlock before anything is changed
            self._restore_tree(tip, root, changed)
            self._run("DELETE FROM transactions WHERE block > ?", block)
            self._run("DELETE FROM blocks WHERE number > ?", block)
            self._run("DELETE FROM batches WHERE number > ?", batch)
            self._run(
                "UPDATE batches SET (last_block, state_root, closed, local_exit_root, cursor, data, counters)"
                " = (SELECT number, ?, 0, ?, NULL, data, counters FROM blocks WHERE number = ?)"
                " WHERE number = ? AND last_block > ?",
                root, ZERO, block, batch, block,
            )  # fmt: skip
        return Unwound(batch, block, 0 if last is None else last.number - batch, tip.number - block)

    def _restore_tree(self, before: Tip, root: bytes, changed: list[Key]) -> None:
        """The tree with this root, whose nodes may never have been written or be pruned: it depends on nothing but the
        values in it, which the state has again."""
        if root != EMPTY and not self._has_node(root):
            self.smt.root_bytes = before.root
            made = self.smt.apply(tree_changes({key: self.state.get(key) for key in changed}))
            if made != root:
                raise StorageUnusable(f"{self._path}: the old values give the root {made.hex()}, not {root.hex()}")
        self._unwritten = root
        self._tree_as_state()

    def _has_node(self, hash: bytes) -> bool:
        try:
            self.nodes.get(hash)
        except StorageUnusable:
            return False
        return True

    def forget_cursors(self) -> None:
        """The rebuild they belong to has come to its end."""
        with self.transaction():
            self._run("UPDATE blocks SET cursor = NULL WHERE cursor IS NOT NULL")
            self._run("UPDATE batches SET cursor = NULL WHERE cursor IS NOT NULL")

    def forget_before(self, number: int) -> int:
        """Give up the way back to before the end of batch `number`, and the nodes of older trees.

        How many nodes are gone. Goes through all of them. Raises UnwindRefused, StorageUnusable.
        """
        batch = self.batch(number)
        if batch is None:
            raise UnwindRefused(number, "no such batch")
        with self.transaction():
            self.state.forget_before(batch.last_block)
            return self.nodes.prune([self.state.tip.root])

    # --- within

    def _tree_as_state(self) -> None:
        tip = self.state.tip
        self.smt.root_bytes, self.smt.depth = tip.root, tip.depth

    def _put_batch(self, batch: SealedBatch, cursor: bytes | None = None) -> None:
        sql = f"REPLACE INTO batches ({BATCH}, cursor) VALUES ({_marks(BATCH)}, ?)"
        self._run(sql, *batch_row(batch), cursor)

    def _first_of(self, batch: int) -> int | None:
        return self._int("SELECT first_block FROM batches WHERE number = ?", batch)

    def _run(self, sql: str, *values: Bound) -> None:
        with storage_errors(self._path):
            self._db.execute(sql, values)


def _key(address: bytes, field: bytes) -> Key:
    return address, FIELDS[field] if field in FIELDS else int.from_bytes(field, "big")


def _marks(columns: str) -> str:
    return ", ".join("?" * len(columns.split(",")))
