"""The pool on disk: what was taken in is not forgotten by a crash, until a block has it or nobody wants it any more.

Only that: order, gaps and prices are the pool's affair, which is filled again from here at a start. A row too many does
no harm, its nonce says that it is over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw
import trio

from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.kit.group_commit import GroupCommit
from attestrio.kit.sqlite import open_database

APPLICATION_ID: Final = 0x41545350  # "ATSP"
SCHEMA: Final = (
    """
CREATE TABLE transactions (
    place INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, raw BLOB NOT NULL, at REAL NOT NULL
) STRICT;
""",
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A transaction that waits."""

    hash: bytes
    raw: bytes
    at: float
    """When it was taken in, seconds since 1970."""


class PoolStore:
    """Writes from many at once share a flush. `run` it; until that has started everybody waits.

    Everything raises StorageUnusable, or WriterStopped after the end of `run`.
    """

    def __init__(self, path: Path, run: RunBlocking = in_thread) -> None:
        def connect() -> apsw.Connection:
            return open_database(path, application_id=APPLICATION_ID, schema=SCHEMA)

        self._writer = GroupCommit(connect, run)
        self._hashes: set[bytes] = set()

    @property
    def hashes(self) -> frozenset[bytes]:
        """Of all that is kept, once `load` has been there."""
        return frozenset(self._hashes)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. Raises StorageUnusable when the disk does not do its part."""
        await self._writer.run(task_status=task_status)

    async def load(self) -> list[Kept]:
        """All, as they came."""

        def work(db: apsw.Connection) -> list[Kept]:
            return [Kept(*row) for row in db.execute("SELECT hash, raw, at FROM transactions ORDER BY place")]

        kept = await self._writer.submit(work)
        self._hashes.update(one.hash for one in kept)
        return kept

    async def put(self, kept: Kept) -> None:
        """It is on disk when this returns. One that is there stays as it is."""

        def work(db: apsw.Connection) -> bytes:
            sql = "INSERT INTO transactions (hash, raw, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
            db.execute(sql, (kept.hash, kept.raw, kept.at))
            return kept.hash

        await self._writer.submit(work, on_commit=self._hashes.add)

    async def remove(self, hashes: Iterable[bytes]) -> None:
        """They wait no longer."""
        gone = list(hashes)

        def work(db: apsw.Connection) -> list[bytes]:
            db.executemany("DELETE FROM transactions WHERE hash = ?", [(hash,) for hash in gone])
            return gone

        await self._writer.submit(work, on_commit=self._hashes.difference_update)
