"""A chain in one SQLite file: its state, the nodes of its tree, its blocks and batches, and what was told about it.

All of it goes on together: a block is there with its state, its nodes, its batch and the cursor of a rebuild, or it
never was. All of it goes back together as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import apsw

from attestrio.kit.sqlite import open_database, storage_errors
from attestrio.sequencer.errors import UnwindRefused
from attestrio.sequencer.rows import (
    BATCH,
    BLOCK,
    CHAIN_SCHEMA,
    TX,
    batch_of,
    batch_row,
    block_of,
    block_row,
    tx_of,
    tx_row,
)
from attestrio.sequencer.sealed import SealedBatch, SealedBlock, SealedTx
from attestrio.stream.messages import ZERO
from attestrio.zkevm.nodes_sqlite import NODES_SCHEMA, SqliteNodes
from attestrio.zkevm.smt import Smt
from attestrio.zkevm.state import State
from attestrio.zkevm.state_sqlite import STATE_SCHEMA, SqliteStore
from attestrio.zkevm.system import local_exit_root

APPLICATION_ID: Final = 0x41545351  # "ATSQ"
SCHEMA: Final = (STATE_SCHEMA + NODES_SCHEMA + CHAIN_SCHEMA,)
CHAIN_ID: Final = "chain_id"
T = TypeVar("T")
Bound = int | bytes | str | None


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


class ChainDb:
    """One thread at a time, and all of it blocks. Everything raises StorageUnusable when the disk does not do its part.

    `state` and `smt` are for an executor; after it has finished a block, `put_block` belongs into the same transaction.
    """

    def __init__(self, connection: apsw.Connection, path: str) -> None:
        self._db, self._path = connection, path
        self.state = State(SqliteStore(connection, path))
        self.nodes = SqliteNodes(connection)
        self.smt = Smt(self.nodes, self.state.tip.root, self.state.tip.depth)

    @classmethod
    def open(cls, path: Path, *, vfs: str | None = None) -> Self:
        """The file, made if missing. Raises as `kit.sqlite.open_database`."""
        connection = open_database(path, application_id=APPLICATION_ID, schema=SCHEMA, vfs=vfs)
        try:
            return cls(connection, str(path))
        except BaseException:
            connection.close(True)
            raise

    def close(self) -> None:
        with storage_errors(self._path):
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # --- transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside at once, or nothing. Nests: many blocks are on disk with one flush.

        After anything raised inside, chain and state are what they were before; a builder that was at work is not.
        """
        try:
            with self.state.transaction(), storage_errors(self._path):
                yield
        except BaseException:
            self._tree_as_state()
            raise
        finally:
            self.nodes.drop()

    def trial(self, work: Callable[[], T]) -> T:
        """What `work` returns, with all it has done to the chain undone. It must not leave a block under way."""
        results: list[T] = []
        try:
            with self.transaction():
                results.append(work())
                raise _Undone
        except _Undone:
            return results[0]

    # --- what is there

    @property
    def tip(self) -> SealedBlock | None:
        """The last block, without its transactions; None before the genesis block."""
        return self._block("ORDER BY number DESC LIMIT 1", (), txs=False)

    @property
    def last_batch(self) -> SealedBatch | None:
        """The last batch, closed or not; None before the genesis batch."""
        return self._batch("ORDER BY number DESC LIMIT 1", ())

    def block(self, number: int) -> SealedBlock | None:
        return self._block("WHERE number = ?", (number,))

    def block_by_hash(self, hash: bytes) -> SealedBlock | None:
        return self._block("WHERE hash = ?", (hash,))

    def block_hash(self, number: int) -> bytes | None:
        return self._bytes("SELECT hash FROM blocks WHERE number = ?", number)

    def batch(self, number: int) -> SealedBatch | None:
        return self._batch("WHERE number = ?", (number,))

    def transaction_place(self, hash: bytes) -> tuple[int, int] | None:
        """Block and position of a transaction by its hash."""
        rows = self._rows("SELECT block, position FROM transactions WHERE hash = ?", hash)
        return (rows[0][0], rows[0][1]) if rows else None

    def transactions(self, block: int) -> tuple[SealedTx, ...]:
        """Those of a block, in order."""
        return tuple(map(tx_of, self._rows(f"SELECT {TX} FROM transactions WHERE block = ? ORDER BY position", block)))

    @property
    def l1_progress(self) -> int:
        """The highest L1 info index that a block has had."""
        return self._int("SELECT l1_progress FROM blocks ORDER BY number DESC LIMIT 1") or 0

    @property
    def cursor(self) -> bytes | None:
        """What was written with the last block, or with the end of the last batch, whichever came later."""
        sql = """
        SELECT coalesce(batches.cursor, blocks.cursor) FROM batches
        LEFT JOIN blocks ON blocks.number = batches.last_block AND blocks.batch = batches.number
        ORDER BY batches.number DESC LIMIT 1
        """
        return self._bytes(sql)

    def meta(self, key: str) -> bytes | None:
        """What was put under this name."""
        return self._bytes("SELECT value FROM meta WHERE key = ?", key)

    @property
    def chain_id(self) -> int | None:
        """None before the genesis."""
        raw = self.meta(CHAIN_ID)
        return None if raw is None else int.from_bytes(raw, "big")

    # --- going on

    def put_meta(self, key: str, value: bytes | None) -> None:
        """None takes it out. Durable, or part of the transaction it stands in; it does not go back with the chain."""
        if value is None:
            self._run("DELETE FROM meta WHERE key = ?", key)
        else:
            self._run("REPLACE INTO meta VALUES (?, ?)", key, value)

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
            self.nodes.write(block.state_root)

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
        last, tip = self.last_batch, self.state.tip.number
        with self.transaction():
            root = self.state.unwind_to(block).root  # raises NoSuchBlock before anything is changed
            self._run("DELETE FROM transactions WHERE block > ?", block)
            self._run("DELETE FROM blocks WHERE number > ?", block)
            self._run("DELETE FROM batches WHERE number > ?", batch)
            self._run(
                "UPDATE batches SET (last_block, state_root, closed, local_exit_root, cursor, data, counters)"
                " = (SELECT number, ?, 0, ?, NULL, data, counters FROM blocks WHERE number = ?)"
                " WHERE number = ? AND last_block > ?",
                root, ZERO, block, batch, block,
            )  # fmt: skip
        self._tree_as_state()
        return Unwound(batch, block, 0 if last is None else last.number - batch, tip - block)

    def forget_cursors(self) -> None:
        """The rebuild they belong to has come to its end."""
        with self.transaction():
            self._run("UPDATE blocks SET cursor = NULL WHERE cursor IS NOT NULL")
            self._run("UPDATE batches SET cursor = NULL WHERE cursor IS NOT NULL")

    def forget_before(self, number: int) -> int:
        """Give up the way back to before the end of batch `number`, and the nodes of older trees.

        How many nodes are gone. Goes through all of them; for no more than some ten thousand blocks since then. Raises
        UnwindRefused, StorageUnusable.
        """
        batch = self.batch(number)
        if batch is None:
            raise UnwindRefused(number, "no such batch")
        with self.transaction():
            self.state.forget_before(batch.last_block)
            return self.nodes.prune([row[0] for row in self._rows("SELECT root FROM state_block")])

    # --- within

    def _tree_as_state(self) -> None:
        tip = self.state.tip
        self.smt.root_bytes, self.smt.depth = tip.root, tip.depth

    def _put_batch(self, batch: SealedBatch, cursor: bytes | None = None) -> None:
        sql = f"REPLACE INTO batches ({BATCH}, cursor) VALUES ({_marks(BATCH)}, ?)"
        self._run(sql, *batch_row(batch), cursor)

    def _first_of(self, batch: int) -> int | None:
        return self._int("SELECT first_block FROM batches WHERE number = ?", batch)

    def _batch(self, where: str, values: tuple[Any, ...]) -> SealedBatch | None:
        rows = self._rows(f"SELECT {BATCH} FROM batches {where}", *values)
        return batch_of(rows[0]) if rows else None

    def _block(self, where: str, values: tuple[Any, ...], *, txs: bool = True) -> SealedBlock | None:
        rows = self._rows(f"SELECT {BLOCK}, number FROM blocks {where}", *values)
        if not rows:
            return None
        *row, number = rows[0]
        batch = self.batch(row[-1])
        assert batch is not None
        return block_of(row, batch, self.transactions(number) if txs else ())

    def _rows(self, sql: str, *values: Bound) -> list[Any]:
        with storage_errors(self._path):
            return self._db.execute(sql, values).fetchall()

    def _int(self, sql: str, *values: Bound) -> int | None:
        rows = self._rows(sql, *values)
        return rows[0][0] if rows else None

    def _bytes(self, sql: str, *values: Bound) -> bytes | None:
        rows = self._rows(sql, *values)
        return rows[0][0] if rows else None

    def _run(self, sql: str, *values: Bound) -> None:
        with storage_errors(self._path):
            self._db.execute(sql, values)


def _marks(columns: str) -> str:
    return ", ".join("?" * len(columns.split(",")))
