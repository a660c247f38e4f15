"""The receipt log: a vote leaves only after what was known about it is on disk.

The order is record, receipt, vote: the vote is put on record (`VoteRecord.sign`), then its receipt is appended and
synced, then it leaves. So a crash leaves one of these behind:

- a record without receipt: the vote has not left. When it is asked for again it is the same vote, and gets its receipt;
- a receipt whose vote has not left, or a second one for the same vote: true all the same;
- a torn end of the log: it was not acknowledged, so no vote left on its strength. It is cut off at the next start.

A vote that left without a receipt is not possible. Nothing but the torn end is ever changed: each line says up to which
one the log was synced when it was written (`synced`), so an end that a crash may have torn is told apart from receipts
that were altered later; those end the start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Protocol

import outcome
import trio

from attestrio.errors import SourceError, StorageUnusable
from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.kit.disk import Disk
from attestrio.kit.group_commit import CLOSE_TIMEOUT_S
from attestrio.kit.sqlite import storage_error, storage_errors
from attestrio.protection.receipt_audit import Fault, ReceiptsAltered, Verdict, read_receipts, verify_receipts
from attestrio.protection.receipt_file import SEGMENT_BYTES, ReceiptFiles
from attestrio.protection.receipt_lines import (
    BadReceipt,
    CommitteeBrief,
    Receipt,
    ReceiptLine,
    RuleAnswer,
    UpstreamAnswer,
    line_untrusted,
)
from attestrio.protection.receipt_tail import LogEnd
from attestrio.roles import Batch, Committee, SignedBatch

__all__ = [
    "RECEIPTS",
    "BadReceipt",
    "Circumstances",
    "CommitteeBrief",
    "Fault",
    "Receipt",
    "ReceiptLine",
    "ReceiptLog",
    "ReceiptedSigner",
    "ReceiptsAltered",
    "ReceiptsClosed",
    "RuleAnswer",
    "UpstreamAnswer",
    "Verdict",
    "line_untrusted",
    "read_receipts",
    "verify_receipts",
]

RECEIPTS = "receipts.log"
"""The name of the log in a data directory."""

MAX_GROUP = 100
MAX_QUEUED = 10_000


class ReceiptsClosed(SourceError):
    """A receipt was handed in before its log was opened, or after it had ended."""

    code: ClassVar[str] = "receipts_closed"

    def __init__(self) -> None:
        super().__init__("the receipt log is not running")


@dataclass(eq=False, slots=True)
class _Job:
    receipt: Receipt
    done: trio.Event = field(default_factory=trio.Event)
    result: outcome.Outcome[bytes] | None = None
    abandoned: bool = False

    def finish(self, result: outcome.Outcome[bytes]) -> None:
        if self.result is None:
            self.result = result
            self.done.set()


class ReceiptLog:
    """An append-only log of receipts. Construct, then `await nursery.start(log.run)`.

    Args:
      disk: what the file is written through.
      run_blocking: where it is written; all who wait at that moment share one write and one sync.
      clock: Unix seconds, for the receipts' dates.
      segment_bytes: after how many a file is full and the next begun; see `receipt_file`.

    The start reads the end of the file only, and cuts off what a crash has torn; it costs the same at any length. When
    the disk fails the log ends, because nobody knows any more what is on it: see `kit.group_commit`, case 4.
    """

    def __init__(
        self,
        path: str | Path,
        disk: Disk,
        run_blocking: RunBlocking = in_thread,
        *,
        clock: Callable[[], float] = time.time,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.path = Path(path)
        self._files = ReceiptFiles(self.path, disk, segment_bytes)
        self._run_blocking = run_blocking
        self._clock = clock
        self._send, self._receive = trio.open_memory_channel[_Job](MAX_QUEUED)
        self._running = False
        self._ended = trio.Event()
        self._failure: BaseException | None = None
        self._end = LogEnd()

    @property
    def head(self) -> bytes:
        """Hash of the newest receipt on disk; 32 zeros while there is none."""
        return self._end.head

    @property
    def length(self) -> int:
        """How many receipts are on disk."""
        return self._end.seq

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open the file and serve until `close()` or cancelled; once per object.

        Raises StorageUnusable: ReceiptsAltered for a file in which something else than a torn end does not hold.
        """
        try:
            self._end = await self._run_blocking(self._files.open)
            try:
                self._running = True
                task_status.started()
                await self._serve()
            finally:
                with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True), storage_errors(str(self.path)):
                    await self._run_blocking(self._files.close)
        finally:
            self._running = False
            self._refuse_waiting()
            self._ended.set()

    async def append(self, receipt: Receipt) -> bytes:
        """Hash of the receipt's line, which is on disk by then.

        Cancelled while it waits for its turn: it is not written. Cancelled later: it may be. Raises StorageUnusable
        when the disk failed, ReceiptsClosed.
        """
        job = _Job(receipt)
        try:
            if not self._running:
                raise self._why_not()
            await self._send.send(job)
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            raise self._why_not() from None
        try:
            await job.done.wait()
        finally:
            job.abandoned = True
        assert job.result is not None
        return job.result.unwrap()

    async def close(self) -> None:
        """Write what waits, then end `run`."""
        self._send.close()
        if self._running:
            await self._ended.wait()
        else:
            await trio.lowlevel.checkpoint()

    async def _serve(self) -> None:
        async for first in self._receive:
            jobs = [first]
            with suppress(trio.WouldBlock, trio.EndOfChannel):
                while len(jobs) < MAX_GROUP:
                    jobs.append(self._receive.receive_nowait())
            await self._write([job for job in jobs if not job.abandoned])

    async def _write(self, jobs: list[_Job]) -> None:
        try:
            if jobs:
                write = partial(self._append, [job.receipt for job in jobs])
                self._end, heads = await self._run_blocking(write)
                for job, head in zip(jobs, heads, strict=True):
                    job.finish(outcome.Value(head))
        except OSError as exc:
            self._failure = exc
            raise self._why_not() from exc
        finally:
            for job in jobs:
                job.finish(outcome.Error(self._why_not()))

    def _append(self, receipts: Sequence[Receipt]) -> tuple[LogEnd, list[bytes]]:
        return self._files.append(self._end, receipts, int(self._clock() * 1000))

    def _refuse_waiting(self) -> None:
        with suppress(trio.WouldBlock, trio.EndOfChannel):
            while True:
                self._receive.receive_nowait().finish(outcome.Error(self._why_not()))
        self._receive.close()

    def _why_not(self) -> SourceError | StorageUnusable:
        """A new exception for each caller: a raised one collects the traceback of whoever it was raised in."""
        if self._failure is None:
            return ReceiptsClosed()
        error = storage_error(self._failure, str(self.path))
        assert error is not None
        error.__cause__ = self._failure
        return error


class Signs(Protocol):
    """Whoever puts a vote on record and makes it: `ProtectedSigner`."""

    async def sign(self, batch: Batch) -> SignedBatch: ...


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known at the moment a batch is about to be signed."""

    epoch: int
    committee: Committee
    upstream: tuple[UpstreamAnswer, ...] = ()
    """What each source said about this batch."""
    rules: tuple[RuleAnswer, ...] = ()
    """Which rules were asked, and what they said."""


def _nothing() -> None:
    """Where there is nothing to ask again."""


@dataclass(frozen=True, slots=True)
class ReceiptedSigner:
    """A VoteSigner whose votes leave only after their receipts are on disk.

    Args:
      context: what is known about the batch, asked before it is signed. Must not wait.
      check: raises SafetyError when signing has been stopped meanwhile: writing the receipt takes a sync.
    """

    signer: Signs
    receipts: ReceiptLog
    context: Callable[[Batch], Circumstances]
    check: Callable[[], None] = _nothing

    async def sign(self, batch: Batch) -> SignedBatch:
        """The vote, with a receipt in the log each time it leaves. Raises as the signer and `ReceiptLog.append`."""
        known = self.context(batch)
        vote = await self.signer.sign(batch)
        committee = CommitteeBrief.of(known.committee)
        await self.receipts.append(Receipt(vote, known.epoch, committee, known.upstream, known.rules))
        self.check()
        return vote
