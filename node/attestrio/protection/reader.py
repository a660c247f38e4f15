"""The vote record read by somebody who does not write: one moment of it, also while a node runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import apsw

from attestrio.kit.sqlite import open_read_only, storage_errors
from attestrio.protection import rows
from attestrio.protection.interchange import Interchange, newest_of
from attestrio.protection.rows import EpochRow, RecordedVote, VoteHistory
from attestrio.protection.schema import APPLICATION_ID, SCHEMA
from attestrio.roles import AttesterPublicKey, BatchNumber

PAGE = 10_000  # votes read at once


@dataclass(frozen=True, slots=True)
class HistoryBrief:
    """A history in numbers. `newest` None: no votes."""

    chain_id: int
    history: VoteHistory
    votes: int
    newest: BatchNumber | None
    contested: int
    """Numbers with two hashes."""


@dataclass(frozen=True, slots=True)
class RecordReader:
    """Made by `open_record`. Every method sees the same moment."""

    connection: apsw.Connection

    def chains(self) -> list[int]:
        """The chains that something was signed on."""
        return sorted({int(chain) for (chain,) in self.connection.execute("SELECT DISTINCT chain_id FROM histories")})

    def keys(self) -> list[AttesterPublicKey]:
        """The keys that may sign here."""
        return rows.attesters(self.connection)

    def epoch(self) -> EpochRow | None:
        """The newest epoch; None before the first."""
        found = rows.epochs(self.connection, newest=True)
        return found[0] if found else None

    def epochs(self) -> list[EpochRow]:
        """All epochs, oldest first."""
        return rows.epochs(self.connection)

    def refusals(self) -> int:
        """How many refused votes are remembered."""
        return int(self.connection.execute("SELECT count(*) FROM refusals").get)

    def briefs(self) -> list[HistoryBrief]:
        """Every history by chain, genesis, key. Counts all votes: about 0.1 s a million."""
        return [self._brief(chain, history) for chain in self.chains() for history in self._histories(chain)]

    def export(self, chain_id: int, newest: int | None = None) -> Interchange:
        """All histories of a chain; of each only the newest votes, if told so. Memory: some 400 B a vote."""
        told = []
        for history in self._histories(chain_id):
            votes = tuple(self._votes(chain_id, history))
            whole = VoteHistory(history.genesis, history.attester, history.low, votes)
            told.append(whole if newest is None else newest_of(whole, newest))
        # A key with a past on another chain only is left out: here it would seem to have none.
        unused = [key for key in self.keys() if not self._has_history(key)]
        return Interchange(chain_id, tuple(told), tuple(unused))

    def _histories(self, chain_id: int) -> list[VoteHistory]:
        return rows.histories(self.connection, chain_id)

    def _votes(self, chain_id: int, history: VoteHistory) -> Iterator[RecordedVote]:
        # Of a shared hash one signature would not do: the next record has to accept the others as well.
        shared = rows.shared_numbers(self.connection, chain_id, history.genesis, history.attester)
        first = 0
        while page := rows.votes(self.connection, chain_id, history.genesis, history.attester, first, PAGE):
            yield from (replace(vote, signature=None) if int(vote.number) in shared else vote for vote in page)
            first = int(page[-1].number) + 1

    def _brief(self, chain_id: int, history: VoteHistory) -> HistoryBrief:
        votes, newest, contested = self.connection.execute(
            "SELECT count(*), max(v.number), count(v.other) FROM histories h JOIN votes v ON v.history = h.id"
            " WHERE h.chain_id = ? AND h.genesis = ? AND h.attester = ?",
            (str(chain_id), history.genesis.raw, history.attester.raw),
        ).get
        return HistoryBrief(chain_id, history, votes, None if newest is None else BatchNumber(newest), contested)

    def _has_history(self, key: AttesterPublicKey) -> bool:
        sql = "SELECT 1 FROM histories WHERE attester = ?"
        return self.connection.execute(sql, (key.raw,)).get is not None


@contextmanager
def open_record(path: Path, vfs: str | None = None) -> Iterator[RecordReader]:
    """The record as it is now. Raises StorageUnusable; blocks no writer."""
    with storage_errors(str(path)):
        connection = open_read_only(path, application_id=APPLICATION_ID, version=len(SCHEMA), vfs=vfs)
        try:
            connection.execute("BEGIN")
            connection.execute("SELECT 1 FROM histories LIMIT 1").fetchall()  # the moment is that of the first read
            yield RecordReader(connection)
        finally:
            connection.close(True)
