"""The vote record: the only way from a batch to a signature.

A signature leaves `VoteRecord.sign` only after the row with its hash is on disk. The same batch again gives the stored
signature; another hash for the same (chain, genesis, attester, number) is refused, in whatever epoch it is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import apsw
import trio

from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.kit.group_commit import CLOSE_TIMEOUT_S, GroupCommit, GroupCommitStatistics
from attestrio.kit.metrics import Metrics
from attestrio.kit.sqlite import open_database, storage_errors
from attestrio.protection import rows
from attestrio.protection.errors import (
    MAX_NUMBER,
    RULES,
    BelowWatermark,
    DoubleVote,
    EpochClosed,
    KeyNotInHistory,
    NumberNotRecordable,
    NumberTooFarAhead,
    RecordClosed,
    SigningRefused,
    WrongEpochGenesis,
)
from attestrio.protection.merge import merge
from attestrio.protection.rounds import Rounds
from attestrio.protection.rows import EpochRow, RecordedVote, Refusal, VoteHistory
from attestrio.protection.schema import APPLICATION_ID, SCHEMA
from attestrio.protection.voting import Answer, Ask, Voting
from attestrio.roles import (
    AttesterPublicKey,
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    GenesisHash,
    SignedBatch,
)

__all__ = [
    "BelowWatermark",
    "DoubleVote",
    "EpochClosed",
    "EpochRow",
    "KeyNotInHistory",
    "NumberNotRecordable",
    "NumberTooFarAhead",
    "RecordClosed",
    "RecordedVote",
    "Refusal",
    "SigningRefused",
    "VoteHistory",
    "VoteRecord",
    "WrongEpochGenesis",
]

T = TypeVar("T")


class VoteRecord:
    """What was signed, in one SQLite file. Construct, then `await nursery.start(record.run)`.

    Args:
      chain_id: the L2 chain, from the genesis. Votes of other chains in the same file are neither seen nor touched.
      run_blocking: where the writer's transactions run, signing included. Point reads run on the trio thread (5 µs).
      vfs: the disk below; every read and write goes through it.
      clock: Unix seconds, for the rows' dates.

    Writes return after their COMMIT. They raise StorageUnusable when the disk failed (then the record has ended, and
    what was asked for may or may not be recorded), SourceError when the record is closing.
    """

    def __init__(
        self,
        path: str | Path,
        chain_id: int,
        run_blocking: RunBlocking = in_thread,
        vfs: str | None = None,
        *,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.chain_id = chain_id
        self._path = str(path)
        self._vfs = vfs
        self._run_blocking = run_blocking
        self._clock = clock
        self._writer = GroupCommit(self._connect, run_blocking)
        self._rounds = Rounds(self._sign_round)
        self._reader: apsw.Connection | None = None
        self._ended = trio.Event()
        metrics = metrics or Metrics()
        self._took = metrics.histogram(
            "attestrio_protection_commit_seconds", "To sign the votes asked for together and put them on record."
        )
        self._refused = metrics.counter(
            "attestrio_protection_refused_total",
            "Votes the record refused to sign, by rule.",
            {"rule": [rule.code for rule in RULES]},
        )
        self._recorded = metrics.counter("attestrio_votes_recorded_total", "Votes signed and put on record.")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open the file and serve until `close()` or cancelled; once per object. The start costs the same at any size.

        Raises StorageUnusable, at the start before anything is changed, later when the disk fails.
        """
        reader = await self._run_blocking(self._open_reader)
        try:
            await self._serve(reader, task_status)
        finally:
            self._reader = None
            self._ended.set()
            with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True), storage_errors(self._path):
                await self._run_blocking(lambda: reader.close(True))

    async def close(self) -> None:
        """Finish what was asked for, then end `run`."""
        running = self._reader is not None
        if running:
            await self._rounds.close()
        await self._writer.close()
        if running:
            await self._ended.wait()

    async def add_key(self, key: AttesterPublicKey, cause: str = "command") -> None:
        """Let this key sign: what it signed before is in here, or it has signed nothing. See `history.open_history`."""
        await self._write(lambda connection: rows.add_attester(connection, key, cause, self._clock()))

    async def sign(
        self, secret: AttesterSecretKey, batch: Batch, *, epoch: int, receipt: bytes | None = None
    ) -> SignedBatch:
        """The vote of `secret` for `batch`, on record before it is returned; the stored one if there is one.

        Args:
          epoch: id of the epoch the caller is in; it has to be the open one when the vote is recorded.
          receipt: head of the receipt log, kept with the vote.

        Raises SigningRefused by the name of the rule (and keeps the event in `refusals`). Cancelled: the vote may be on
        record without having left; asking again gives it.
        """
        if self._reader is None:
            raise RecordClosed
        batch.message_hash()  # once for all who sign this batch, and not while others wait for the writer
        answer = await self._rounds.ask(Ask(secret, batch, epoch, receipt))
        if answer.vote is None:
            assert answer.refused is not None
            raise answer.refused
        return answer.vote

    async def open_epoch(self, genesis: GenesisHash, fork_number: int, cause: str, detail: str = "") -> EpochRow:
        """Begin the next epoch: nothing is signed in the one before any more, nor in this one until it is on disk."""

        def begin(connection: apsw.Connection) -> EpochRow:
            return rows.open_epoch(connection, self.chain_id, genesis, fork_number, cause, detail, self._clock())

        return await self._write(begin)

    async def prune(self, keep: int) -> int:
        """Remove votes older than the newest `keep` of each history and raise the watermarks. Raises ValueError.

        Returns how many are gone, at most 10,000: what signs meanwhile waits for a call, so it is called again until 0.
        """
        if keep < 1:
            raise ValueError(f"keep {keep} must be at least 1: the newest vote always stays")
        return await self._write(lambda connection: rows.prune(connection, keep))

    async def merge(self, histories: Iterable[VoteHistory], cause: str = "import") -> tuple[int, int]:
        """Take over what another record knows, all or nothing; returns (votes added, numbers with two hashes since)."""
        taken = tuple(histories)

        def take(connection: apsw.Connection) -> tuple[int, int]:
            counts = [merge(connection, self.chain_id, each, self._clock(), cause) for each in taken]
            return sum(added for added, _ in counts), sum(contested for _, contested in counts)

        return await self._write(take)

    def recorded(self, genesis: GenesisHash, attester: AttesterPublicKey, number: BatchNumber) -> BatchHash | None:
        """The hash on record; None where there is none (any more, see `watermark`). 5 µs, as all below."""
        row = self._find(genesis, attester, number)
        return None if row is None or row.hash is None else BatchHash(row.hash)

    def knows(self, batch: Batch, attester: AttesterPublicKey) -> bool:
        """Whether this very vote is on record, also as one of two that an import brought together."""
        row = self._find(batch.genesis, attester, batch.number)
        return row is not None and batch.hash.raw in (row.hash, row.other)

    def is_shared(self, genesis: GenesisHash, attester: AttesterPublicKey, number: BatchNumber) -> bool:
        """Whether the recorded hash was signed elsewhere too, so that any valid signature of it is an own one."""
        row = self._find(genesis, attester, number)
        return row is not None and bool(row.shared)

    def watermark(self, genesis: GenesisHash, attester: AttesterPublicKey) -> BatchNumber | None:
        """At or below it only what has a row is signed; None: nothing was pruned."""
        row = self._find(genesis, attester, BatchNumber(0))
        return None if row is None or row.low is None else BatchNumber(row.low)

    def knows_key(self, key: AttesterPublicKey) -> bool:
        return self._read(lambda connection: rows.knows_attester(connection, key))

    def keys(self) -> list[AttesterPublicKey]:
        """The keys that may sign here, in the order of their bytes."""
        return self._read(rows.attesters)

    def current_epoch(self) -> EpochRow | None:
        """The open epoch; None before the first."""
        found = self._read(lambda connection: rows.epochs(connection, newest=True))
        return found[0] if found else None

    def epochs(self) -> list[EpochRow]:
        """All epochs, oldest first."""
        return self._read(rows.epochs)

    def refusals(self) -> list[Refusal]:
        """What was not signed and why, oldest first; the newest 1,000."""
        return self._read(rows.refusals)

    def histories(self) -> list[VoteHistory]:
        """Every history of this chain, without its votes."""
        return self._read(lambda connection: rows.histories(connection, self.chain_id))

    def votes(
        self, genesis: GenesisHash, attester: AttesterPublicKey, first: BatchNumber, limit: int
    ) -> list[RecordedVote]:
        """The votes of at most `limit` numbers from `first` on, in order. O(limit)."""
        if first > MAX_NUMBER:
            return []
        return self._read(lambda connection: rows.votes(connection, self.chain_id, genesis, attester, first, limit))

    def statistics(self) -> GroupCommitStatistics:
        return self._writer.statistics()

    async def _sign_round(self, asked: Sequence[Ask]) -> Sequence[Answer]:
        began = trio.current_time()

        def sign(connection: apsw.Connection) -> list[Answer]:
            return Voting(connection, self.chain_id, asked, self._clock()).answer()

        answers = await self._write(sign, self._count)
        self._took.observe(trio.current_time() - began)
        return answers

    def _count(self, answers: Sequence[Answer]) -> None:
        self._recorded.inc(sum(answer.new for answer in answers))
        for answer in answers:
            if answer.refused is not None:
                self._refused.labels(rule=answer.refused.code).inc()

    def _find(self, genesis: GenesisHash, attester: AttesterPublicKey, number: BatchNumber) -> rows.VoteRow | None:
        if number > MAX_NUMBER:
            return None
        return self._read(lambda connection: rows.find_vote(connection, self.chain_id, genesis, attester, number))

    def _read(self, read: Callable[[apsw.Connection], T]) -> T:
        if self._reader is None:
            raise RecordClosed
        with storage_errors(self._path):
            return read(self._reader)

    async def _write(self, job: Callable[[apsw.Connection], T], on_commit: Callable[[T], None] | None = None) -> T:
        if self._reader is None:
            raise RecordClosed
        return await self._writer.submit(job, on_commit=on_commit)

    def _connect(self) -> apsw.Connection:
        return open_database(self._path, application_id=APPLICATION_ID, schema=SCHEMA, vfs=self._vfs)

    def _open_reader(self) -> apsw.Connection:
        reader = self._connect()
        reader.execute("PRAGMA query_only = ON")
        return reader

    async def _serve(self, reader: apsw.Connection, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._run_writer, nursery.cancel_scope)
            nursery.start_soon(self._rounds.run)
            self._reader = reader
            task_status.started()
            await trio.sleep_forever()

    async def _run_writer(
        self, life: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        await self._writer.run(task_status=task_status)
        life.cancel()  # it was closed: nothing is left to be written
