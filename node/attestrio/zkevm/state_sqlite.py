"""The state of a chain in a SQLite database, beside whatever else its owner keeps there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import apsw

from attestrio.errors import StorageUnusable
from attestrio.kit.sqlite import storage_errors
from attestrio.zkevm.state import BALANCE, BEFORE_GENESIS, CODE, NONCE, Key, Tip, Value, empty

STATE_SCHEMA: Final = """
CREATE TABLE state (
    address BLOB NOT NULL, field BLOB NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (address, field)
) WITHOUT ROWID;
CREATE TABLE state_old (
    block INTEGER NOT NULL, address BLOB NOT NULL, field BLOB NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (block, address, field)
) WITHOUT ROWID;
CREATE TABLE state_block (block INTEGER PRIMARY KEY, root BLOB NOT NULL, depth INTEGER NOT NULL);
"""
"""What was never written has no row. `state_old` is what each block has found where it wrote, empty if nothing."""

READ: Final = 1 << 17
"""Values that are remembered, about 40 MB without code; then all are forgotten and read again."""

MARKS: Final = {BALANCE: b"b", NONCE: b"n", CODE: b"c"}
"""Fields of an account as they stand in `field`; a slot stands there as 32 bytes, big endian."""

Row = tuple[bytes, bytes, bytes]


class SqliteStore:
    """A `StateStore`. Its tables (`STATE_SCHEMA`) are there, and nobody else writes to them. Raises StorageUnusable.

    Every `commit` is on disk when it returns, unless it is inside a `transaction`.
    """

    def __init__(self, connection: apsw.Connection, path: str) -> None:
        self._db, self._path = connection, path
        self._read: dict[Key, Value] = {}
        self._load_tip()

    @property
    def tip(self) -> Tip:
        return self._tip

    @property
    def oldest(self) -> int:
        with storage_errors(self._path):
            oldest = self._db.execute("SELECT min(block) FROM state_block").get
        return BEFORE_GENESIS.number if oldest is None else int(oldest)

    def get(self, key: Key) -> Value:
        value = self._read.get(key)
        if value is None:
            if len(self._read) >= READ:
                self._read.clear()
            self._read[key] = value = self._fetch(key)
        return value

    def commit(self, tip: Tip, changes: Mapping[Key, Value]) -> None:
        old = [(tip.number, *_row(key, self._fetch(key))) for key in changes]
        with self.transaction() as db:
            db.executemany("INSERT INTO state_old VALUES (?, ?, ?, ?)", old)
            self._write(_row(key, value) for key, value in changes.items())
            db.execute("INSERT INTO state_block VALUES (?, ?, ?)", (tip.number, tip.root, tip.depth))
            self._read.update(changes)
            self._tip = tip

    def unwind_to(self, number: int) -> None:
        with self.transaction() as db:
            # Of several blocks that wrote to one place the first one knows what was there before all of them.
            sql = "SELECT address, field, value, min(block) FROM state_old WHERE block > ? GROUP BY address, field"
            rows: list[Any] = db.execute(sql, (number,)).fetchall()
            self._write(row[:3] for row in rows)
            db.execute("DELETE FROM state_old WHERE block > ?", (number,))
            db.execute("DELETE FROM state_block WHERE block > ?", (number,))
            self._read.clear()
            self._load_tip()

    def forget_before(self, number: int) -> None:
        with self.transaction() as db:
            db.execute("DELETE FROM state_old WHERE block <= ?", (number,))
            db.execute("DELETE FROM state_block WHERE block < ?", (number,))

    @contextmanager
    def transaction(self) -> Iterator[apsw.Connection]:
        """A savepoint: the outermost one is a transaction of SQLite's."""
        try:
            with storage_errors(self._path), self._db:
                yield self._db
        except BaseException as exc:
            self._read.clear()
            self._load_tip()
            cause: BaseException | None = exc
            while isinstance(cause, apsw.SQLError):
                # "no transaction is active": after an error of the disk SQLite has already taken everything back
                cause = cause.__context__
            if cause is not exc and isinstance(cause, StorageUnusable | apsw.Error):
                with storage_errors(self._path):
                    raise cause from exc
            raise

    def _load_tip(self) -> None:
        with storage_errors(self._path):
            row = self._db.execute("SELECT block, root, depth FROM state_block ORDER BY block DESC LIMIT 1").fetchone()
        self._tip = Tip(*row) if row else BEFORE_GENESIS

    def _fetch(self, key: Key) -> Value:
        address, field = key
        with storage_errors(self._path):
            raw = self._db.execute(
                "SELECT value FROM state WHERE address = ? AND field = ?", (address, _mark(field))
            ).get
        if raw is None:
            return empty(key)
        return bytes(raw) if field == CODE else int.from_bytes(raw, "big")

    def _write(self, rows: Iterable[Row]) -> None:
        rows = list(rows)
        gone = [(address, field) for address, field, value in rows if not value]
        self._db.executemany("REPLACE INTO state VALUES (?, ?, ?)", [row for row in rows if row[2]])
        self._db.executemany("DELETE FROM state WHERE address = ? AND field = ?", gone)


def _mark(field: int) -> bytes:
    return MARKS[field] if field < 0 else field.to_bytes(32, "big")


def _row(key: Key, value: Value) -> Row:
    address, field = key
    raw = value if isinstance(value, bytes) else value.to_bytes((value.bit_length() + 7) // 8, "big")
    return address, _mark(field), raw
