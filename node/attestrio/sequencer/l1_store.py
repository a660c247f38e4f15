"""What L1 has said, kept on disk: leaves of its info tree, rollbacks of batches, and how far it was read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import apsw

from attestrio.kit.sqlite import open_database, storage_errors
from attestrio.sequencer.leaves import Leaf

APPLICATION_ID: Final = 0x4154534C  # "ATSL"
SCHEMA: Final = (
    """
CREATE TABLE place (one INTEGER PRIMARY KEY CHECK (one = 1), cursor BLOB NOT NULL) STRICT;
CREATE TABLE leaves (
    number INTEGER PRIMARY KEY, ger BLOB NOT NULL, l1_hash BLOB NOT NULL, timestamp INTEGER NOT NULL,
    block INTEGER NOT NULL
) STRICT;
CREATE TABLE rollbacks (key BLOB PRIMARY KEY, block INTEGER NOT NULL, target INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE half (
    one INTEGER PRIMARY KEY CHECK (one = 1), tx BLOB NOT NULL, ger BLOB NOT NULL, block INTEGER NOT NULL
) STRICT;
""",
)
"""`half` is the first of the two events of a leaf whose second has not come yet; `block` is of L1 throughout."""


@dataclass(frozen=True, slots=True)
class Rollback:
    """L1 has taken back the batches above `target`."""

    key: bytes
    """Of the event, in the order of L1."""
    block: int
    """Of L1."""
    target: int


@dataclass(frozen=True, slots=True)
class Half:
    """A new global exit root, before it is known which leaf has it."""

    tx: bytes
    ger: bytes
    block: int


class L1Store:
    """One thread at a time, and all of it blocks. Raises StorageUnusable when the disk does not do its part."""

    def __init__(self, connection: apsw.Connection, path: str) -> None:
        self._db, self._path = connection, path

    @classmethod
    def open(cls, path: Path) -> Self:
        """The file, made if missing. Raises as `kit.sqlite.open_database`."""
        return cls(open_database(path, application_id=APPLICATION_ID, schema=SCHEMA), str(path))

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All inside, durable at its end, or nothing."""
        with storage_errors(self._path), self._db:
            yield

    # --- what is there

    def leaves(self) -> list[Leaf]:
        """All, by number."""
        rows = self._rows("SELECT number, ger, l1_hash, timestamp FROM leaves ORDER BY number")
        return [Leaf(*row) for row in rows]

    def last_leaf(self) -> int:
        """Its number, 0: there is none."""
        return self._rows("SELECT coalesce(max(number), 0) FROM leaves")[0][0]  # type: ignore[no-any-return]

    def rollbacks(self, after: bytes = b"") -> list[Rollback]:
        """Those that came after the one with this key, in the order of L1."""
        return [
            Rollback(*row)
            for row in self._rows("SELECT key, block, target FROM rollbacks WHERE key > ? ORDER BY key", after)
        ]

    def half(self) -> Half | None:
        rows = self._rows("SELECT tx, ger, block FROM half")
        return Half(*rows[0]) if rows else None

    def cursor(self) -> bytes | None:
        rows = self._rows("SELECT cursor FROM place")
        return rows[0][0] if rows else None

    # --- what comes, inside `transaction`

    def put_leaf(self, leaf: Leaf, block: int) -> None:
        self._rows(
            "REPLACE INTO leaves VALUES (?, ?, ?, ?, ?)", leaf.index, leaf.ger, leaf.l1_hash, leaf.timestamp, block
        )

    def put_rollback(self, rollback: Rollback) -> None:
        self._rows("REPLACE INTO rollbacks VALUES (?, ?, ?)", rollback.key, rollback.block, rollback.target)

    def put_half(self, half: Half | None) -> None:
        self._rows("DELETE FROM half")
        if half is not None:
            self._rows("INSERT INTO half VALUES (1, ?, ?, ?)", half.tx, half.ger, half.block)

    def put_cursor(self, cursor: bytes) -> None:
        self._rows("REPLACE INTO place VALUES (1, ?)", cursor)

    def forget_above(self, block: int) -> None:
        """What blocks of L1 above this one have said has not happened."""
        for table in ("leaves", "rollbacks", "half"):
            self._rows(f"DELETE FROM {table} WHERE block > ?", block)

    def _rows(self, sql: str, *values: Any) -> list[Any]:  # noqa: ANN401  what SQLite binds
        with storage_errors(self._path):
            return self._db.execute(sql, values).fetchall()
