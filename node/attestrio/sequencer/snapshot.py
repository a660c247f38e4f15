"""A chain as it was at the end of a block, read beside whoever goes on writing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from attestrio.kit.sqlite import storage_errors
from attestrio.sequencer.reader import ChainReader
from attestrio.zkevm.state import State
from attestrio.zkevm.state_sqlite import SqliteStore


class ChainSnapshot(ChainReader):
    """As a `ChainReader`, with the state to execute something on. What is executed there is never written.

    A block that is written meanwhile is not seen before the next `moment`. Until then SQLite's log cannot be folded
    back behind it and grows: let a moment be short.
    """

    def __init__(self, connection: apsw.Connection, path: str) -> None:
        super().__init__(connection, path)
        self._state: State | None = None
        self._at: bytes | None = None

    @property
    def state(self) -> State:
        """At the end of the last block. RuntimeError outside of a `moment`."""
        if self._state is None or not self._db.in_transaction:
            raise RuntimeError("the state of no moment is asked for")
        return self._state

    @contextmanager
    def moment(self) -> Iterator[None]:
        """Inside, every answer is of one moment; what was done to `state` is gone after it. Raises StorageUnusable."""
        with storage_errors(self._path):
            self._db.execute("BEGIN")
        try:
            tip = self.tip  # the first thing read: from now on nothing changes
            hash = b"" if tip is None else tip.hash
            if self._state is None or hash != self._at:  # else what was read before is as it was: the hash says so
                self._state, self._at = State(SqliteStore(self._db, self._path)), hash
            yield
        finally:
            if self._state is not None:
                self._state.drop_block()
            with storage_errors(self._path):
                self._db.execute("ROLLBACK")
