"""The tables of the SQLite store, and what is read and written in them. Every function blocks; a read takes about 5 µs.

Rows are keyed by (epoch, number): a later epoch sees nothing of a former one, and nothing is ever deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import apsw

from attestrio.errors import PeerError
from attestrio.kit.sqlite import StorageCorrupt
from attestrio.roles import Batch, BatchHash, BatchNumber, BatchQC, GenesisHash, SyncBatch
from attestrio.store.api import StoreOfOtherGenesis, StoreState
from attestrio.store.rules import NONE_WHOLE, check_batch, check_qc, extended

APPLICATION_ID = 0x41545354  # "ATST"
SCHEMA = (
    """
    CREATE TABLE epochs(
      epoch INTEGER PRIMARY KEY CHECK (epoch >= 0),
      genesis BLOB NOT NULL CHECK (length(genesis) = 32),
      first INTEGER NOT NULL CHECK (first >= 0),     -- the persisted range
      last INTEGER CHECK (last >= first),            -- NULL: empty, to begin at `first`
      run_first INTEGER,                             -- all of run_first .. run_next - 1 have a certificate,
      run_next INTEGER CHECK (run_next > run_first)  -- run_next has none; NULL: no certificate at all
    ) STRICT;
    CREATE TABLE batches_to_sign(
      epoch INTEGER NOT NULL REFERENCES epochs(epoch),
      number INTEGER NOT NULL CHECK (number >= 0),
      hash BLOB NOT NULL CHECK (length(hash) = 32),
      PRIMARY KEY (epoch, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE sync_batches(
      epoch INTEGER NOT NULL REFERENCES epochs(epoch),
      number INTEGER NOT NULL CHECK (number >= 0),
      encoded BLOB NOT NULL,                         -- protobuf SyncBatch
      PRIMARY KEY (epoch, number)
    ) STRICT;
    CREATE TABLE certificates(
      epoch INTEGER NOT NULL REFERENCES epochs(epoch),
      number INTEGER NOT NULL CHECK (number >= 0),
      hash BLOB NOT NULL CHECK (length(hash) = 32),
      encoded BLOB NOT NULL,                         -- protobuf BatchQC
      PRIMARY KEY (epoch, number)
    ) STRICT;
    """,
    """
    ALTER TABLE epochs ADD COLUMN whole_first INTEGER;   -- the newest run in sync_batches; NULL: none
    ALTER TABLE epochs ADD COLUMN whole_last INTEGER CHECK (whole_last >= whole_first);
    UPDATE epochs SET
      whole_first = (
        SELECT number FROM sync_batches AS whole WHERE whole.epoch = epochs.epoch AND NOT EXISTS (
          SELECT 1 FROM sync_batches AS below WHERE below.epoch = whole.epoch AND below.number = whole.number - 1
        ) ORDER BY number DESC LIMIT 1
      ),
      whole_last = (SELECT max(number) FROM sync_batches AS whole WHERE whole.epoch = epochs.epoch);
    """,
)

M = TypeVar("M", BatchQC, SyncBatch)


@dataclass(frozen=True, slots=True)
class EpochRows:
    """The rows of one epoch. What changes several tables belongs inside one transaction of the caller."""

    epoch: int
    genesis: GenesisHash

    def open(self, connection: apsw.Connection, first_batch: BatchNumber) -> None:
        """Begin the epoch, or go on with it. Raises StoreOfOtherGenesis."""
        with connection:
            connection.execute(
                "INSERT OR IGNORE INTO epochs(epoch, genesis, first) VALUES (?, ?, ?)",
                (self.epoch, self.genesis.to_bytes(), int(first_batch)),
            )
        stored = connection.execute("SELECT genesis FROM epochs WHERE epoch = ?", (self.epoch,)).get
        if stored != self.genesis.to_bytes():
            raise StoreOfOtherGenesis(connection.filename, self.epoch, GenesisHash(stored), self.genesis)

    def persisted(self, connection: apsw.Connection) -> StoreState:
        first, last = connection.execute("SELECT first, last FROM epochs WHERE epoch = ?", (self.epoch,)).get
        return StoreState(BatchNumber(first), None if last is None else BatchNumber(last))

    def whole(self, connection: apsw.Connection) -> StoreState:
        """The newest unbroken run of whole batches. Remembered, so that a million of them cost nothing at the start."""
        first, last = connection.execute(
            "SELECT whole_first, whole_last FROM epochs WHERE epoch = ?", (self.epoch,)
        ).get
        return NONE_WHOLE if last is None else StoreState(BatchNumber(first), BatchNumber(last))

    def put_batch_to_sign(self, connection: apsw.Connection, batch: Batch) -> StoreState:
        """Returns the persisted range after it. Raises BatchConflict, QCConflict."""
        stored, certified = self._hashes(connection, batch.number)
        check_batch(batch, stored, certified)
        if stored is None:
            connection.execute(
                "INSERT INTO batches_to_sign VALUES (?, ?, ?)", (self.epoch, int(batch.number), batch.hash.to_bytes())
            )
        return self._extend(connection, [batch.number])

    def put_sync_batches(self, connection: apsw.Connection, batches: Sequence[SyncBatch]) -> StoreState:
        """Returns the persisted range after them. For one number the first stays."""
        connection.executemany(
            "INSERT OR IGNORE INTO sync_batches VALUES (?, ?, ?)",
            [(self.epoch, int(batch.number), batch.encode()) for batch in batches],
        )
        numbers = [batch.number for batch in batches]
        self._grow_whole(connection, numbers)
        return self._extend(connection, numbers)

    def put_qc(self, connection: apsw.Connection, qc: BatchQC, encoded: bytes) -> None:
        """For one number the first stays. Raises QCConflict."""
        number = qc.batch.number
        stored, certified = self._hashes(connection, number)
        check_qc(qc, stored, certified)
        if certified is None:
            connection.execute(
                "INSERT INTO certificates VALUES (?, ?, ?, ?)",
                (self.epoch, int(number), qc.batch.hash.to_bytes(), encoded),
            )
            self._grow_run(connection, number)

    def batch_to_sign(self, connection: apsw.Connection, number: BatchNumber) -> Batch | None:
        raw = self._select(connection, "SELECT hash FROM batches_to_sign WHERE epoch = ? AND number = ?", number)
        return None if raw is None else Batch(BatchNumber(number), BatchHash(raw), self.genesis)

    def sync_batch(self, connection: apsw.Connection, number: BatchNumber) -> SyncBatch | None:
        raw = self._select(connection, "SELECT encoded FROM sync_batches WHERE epoch = ? AND number = ?", number)
        return None if raw is None else _decode(connection, SyncBatch, raw)

    def qc(self, connection: apsw.Connection, number: BatchNumber) -> BatchQC | None:
        raw = self._select(connection, "SELECT encoded FROM certificates WHERE epoch = ? AND number = ?", number)
        return None if raw is None else _decode(connection, BatchQC, raw)

    def qc_from(self, connection: apsw.Connection, number: BatchNumber) -> BatchQC | None:
        """The certificate with the lowest number that is not below `number`."""
        raw = self._select(
            connection,
            "SELECT encoded FROM certificates WHERE epoch = ? AND number >= ? ORDER BY number LIMIT 1",
            number,
        )
        return None if raw is None else _decode(connection, BatchQC, raw)

    def certified(self, connection: apsw.Connection, first: BatchNumber, limit: int) -> tuple[BatchNumber, ...]:
        """The numbers of at most `limit` certificates from `first` on, from the index alone."""
        if first >> 63:
            return ()
        sql = "SELECT number FROM certificates WHERE epoch = ? AND number >= ? ORDER BY number LIMIT ?"
        return tuple(BatchNumber(number) for (number,) in connection.execute(sql, (self.epoch, int(first), limit)))

    def last_certified(self, connection: apsw.Connection) -> BatchNumber | None:
        number = connection.execute("SELECT max(number) FROM certificates WHERE epoch = ?", (self.epoch,)).get
        return None if number is None else BatchNumber(number)

    def first_gap(self, connection: apsw.Connection, start: BatchNumber) -> BatchNumber:
        """The lowest number from `start` on without a certificate. Does not walk through the stored run."""
        run = self._run(connection)
        gap = int(start)
        for number in self._certified_from(connection, gap):
            if run is not None and run[0] <= gap < run[1]:
                return BatchNumber(run[1])
            if number != gap:
                break
            gap += 1
        return BatchNumber(gap)

    def _hashes(self, connection: apsw.Connection, number: BatchNumber) -> tuple[BatchHash | None, BatchHash | None]:
        to_sign = self._select(connection, "SELECT hash FROM batches_to_sign WHERE epoch = ? AND number = ?", number)
        certified = self._select(connection, "SELECT hash FROM certificates WHERE epoch = ? AND number = ?", number)
        return (to_sign and BatchHash(to_sign)) or None, (certified and BatchHash(certified)) or None

    def _extend(self, connection: apsw.Connection, numbers: Sequence[BatchNumber]) -> StoreState:
        before = after = self.persisted(connection)
        for number in numbers:
            after = extended(after, number)
        if after != before and after.last is not None:
            connection.execute(
                "UPDATE epochs SET first = ?, last = ? WHERE epoch = ?", (int(after.first), int(after.last), self.epoch)
            )
        return after

    def _grow_whole(self, connection: apsw.Connection, numbers: Sequence[BatchNumber]) -> None:
        whole = self.whole(connection)
        for number in numbers:
            whole = extended(whole, number)
        if whole.last is not None:
            connection.execute(
                "UPDATE epochs SET whole_first = ?, whole_last = ? WHERE epoch = ?",
                (int(whole.first), int(whole.last), self.epoch),
            )

    def _grow_run(self, connection: apsw.Connection, number: BatchNumber) -> None:
        """Keep the run of certificates that `first_gap` skips, so that a million of them cost nothing at the start.

        The run is given up for a new one once the range has begun anew above it: nobody asks below the range.
        """
        run = self._run(connection)
        if run is None or run[1] < self.persisted(connection).first:
            first, after = int(number), int(number) + 1
        elif number == run[1]:
            first, after = run[0], run[1] + 1
        elif number == run[0] - 1:
            first, after = run[0] - 1, run[1]
        else:
            return
        has = "SELECT 1 FROM certificates WHERE epoch = ? AND number = ?"
        while connection.execute(has, (self.epoch, after)).get is not None:
            after += 1
        while connection.execute(has, (self.epoch, first - 1)).get is not None:
            first -= 1
        connection.execute("UPDATE epochs SET run_first = ?, run_next = ? WHERE epoch = ?", (first, after, self.epoch))

    def _run(self, connection: apsw.Connection) -> tuple[int, int] | None:
        first, after = connection.execute("SELECT run_first, run_next FROM epochs WHERE epoch = ?", (self.epoch,)).get
        return None if first is None else (first, after)

    def _certified_from(self, connection: apsw.Connection, start: int) -> Iterator[int]:
        cursor = connection.execute(
            "SELECT number FROM certificates WHERE epoch = ? AND number >= ? ORDER BY number", (self.epoch, start)
        )
        try:
            for (number,) in cursor:
                yield number
        finally:
            cursor.close()  # an open read would keep the WAL from being folded back

    def _select(self, connection: apsw.Connection, sql: str, number: BatchNumber) -> bytes | None:
        if number >> 63:
            return None  # more than a column holds, so it is not there
        value: bytes | None = connection.execute(sql, (self.epoch, int(number))).get
        return value


def _decode(connection: apsw.Connection, kind: type[M], raw: bytes) -> M:
    try:
        return kind.decode(raw)
    except PeerError as exc:  # no peer wrote this: it passed our own encoder once
        raise StorageCorrupt(connection.filename, f"a stored {kind.__name__} cannot be read: {exc}") from exc
