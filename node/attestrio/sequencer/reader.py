"""Looking at a chain: its blocks, batches and transactions, for whoever builds on it and for whoever only reads."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import apsw

from attestrio.kit.sqlite import open_read_only, storage_errors
from attestrio.sequencer.rows import BATCH, BLOCK, CHAIN_SCHEMA, TX, batch_of, block_of, tx_of
from attestrio.sequencer.sealed import SealedBatch, SealedBlock, SealedTx
from attestrio.zkevm.nodes_sqlite import NODES_SCHEMA
from attestrio.zkevm.state_sqlite import STATE_SCHEMA

APPLICATION_ID: Final = 0x41545351  # "ATSQ"
SCHEMA: Final = (STATE_SCHEMA + NODES_SCHEMA + CHAIN_SCHEMA,)
CHAIN_ID: Final = "chain_id"
Bound = int | bytes | str | None


class ChainReader:
    """One thread at a time, and all of it blocks. Everything raises StorageUnusable when the disk does not do its part.

    Each answer is of one moment; between two of them whoever writes may have gone on, or back.
    """

    def __init__(self, connection: apsw.Connection, path: str) -> None:
        self._db, self._path = connection, path

    @classmethod
    def open(cls, path: Path, *, vfs: str | None = None) -> Self:
        """An existing file, which another connection may go on writing. Raises as `kit.sqlite.open_read_only`."""
        connection = open_read_only(path, application_id=APPLICATION_ID, version=len(SCHEMA), vfs=vfs)
        return cls(connection, str(path))

    def close(self) -> None:
        with storage_errors(self._path):
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

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

    # --- within

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
