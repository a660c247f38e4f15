"""Certificates and epochs read from the file, for tools; the file is not changed, and the node need not run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import apsw

from attestrio.kit.sqlite import open_read_only, storage_errors
from attestrio.roles import BatchNumber, BatchQC, GenesisHash
from attestrio.store.api import FROM_ZERO, StoreState
from attestrio.store.rows import APPLICATION_ID, SCHEMA, EpochRows


@dataclass(frozen=True, slots=True)
class EpochInfo:
    """One epoch in the file: its genesis, the persisted range, how many certificates, and the highest one's number."""

    epoch: int
    genesis: GenesisHash
    persisted: StoreState
    certificates: int
    last_certified: BatchNumber | None


class CertificateFile:
    """A store's file opened for reading. Everything blocks; raises StorageUnusable."""

    def __init__(self, path: str, connection: apsw.Connection) -> None:
        self._path = path
        self._connection = connection

    def epochs(self) -> tuple[EpochInfo, ...]:
        """All epochs, the oldest first. O(certificates)."""
        with storage_errors(self._path):
            found = self._connection.execute("SELECT epoch, genesis FROM epochs ORDER BY epoch").fetchall()
            rows = [EpochRows(epoch, GenesisHash(genesis)) for epoch, genesis in cast("list[tuple[int, bytes]]", found)]
            return tuple(self._info(epoch) for epoch in rows)

    def certificate(self, number: BatchNumber, epoch: int | None = None) -> BatchQC | None:
        """One certificate, of the latest epoch unless told otherwise; not verified."""
        with storage_errors(self._path):
            rows = self._rows(epoch)
            return None if rows is None else rows.qc(self._connection, number)

    def certificates(self, epoch: int | None = None, first: BatchNumber = FROM_ZERO) -> Iterator[BatchQC]:
        """Certificates by number from `first` on, one in memory at a time; not verified."""
        with storage_errors(self._path):
            rows = self._rows(epoch)
            while rows is not None and (qc := rows.qc_from(self._connection, first)) is not None:
                first = qc.batch.number.next()
                yield qc

    def _rows(self, epoch: int | None) -> EpochRows | None:
        found = self._connection.execute(
            "SELECT epoch, genesis FROM epochs WHERE epoch = ?1 OR ?1 IS NULL ORDER BY epoch DESC LIMIT 1", (epoch,)
        ).get
        return None if found is None else EpochRows(found[0], GenesisHash(found[1]))

    def _info(self, rows: EpochRows) -> EpochInfo:
        count = self._connection.execute("SELECT count(*) FROM certificates WHERE epoch = ?", (rows.epoch,)).get
        return EpochInfo(
            rows.epoch,
            rows.genesis,
            rows.persisted(self._connection),
            count,
            rows.last_certified(self._connection),
        )


@contextmanager
def open_certificates(path: str | Path, *, vfs: str | None = None) -> Iterator[CertificateFile]:
    """Open the file of a `SqliteBatchStore`, also while a node writes to it. Raises StorageUnusable."""
    connection = open_read_only(path, application_id=APPLICATION_ID, version=len(SCHEMA), vfs=vfs)
    try:
        yield CertificateFile(str(path), connection)
    finally:
        connection.close(True)


def read_only_certificates(path: str | Path, epoch: int | None = None) -> tuple[BatchQC, ...]:
    """All certificates of one epoch (the latest), by number; not verified. For files known to be small."""
    with open_certificates(path) as file:
        return tuple(file.certificates(epoch))
