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

import logging
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
from attestrio.kit.disk import Disk, DiskFile
from attestrio.kit.group_commit import CLOSE_TIMEOUT_S
from attestrio.kit.sqlite import storage_error, storage_errors
from attestrio.protection.receipt_audit import Fault, ReceiptsAltered, Verdict, read_receipts, verify_receipts
from attestrio.protection.receipt_lines import (
    BadReceipt,
    CommitteeBrief,
    Receipt,
    ReceiptLine,
    RuleAnswer,
    UpstreamAnswer,
    line_untrusted,
)
from attestrio.protection.receipt_tail import MAX_GROUP_BYTES, WINDOWS, DamagedEnd, LogEnd, WindowTooSmall, find_end
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

log = logging.getLogger("attestrio.protection")

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
    """An append-only file of receipts. Construct, then `await nursery.start(log.run)`.

    Args:
      disk: what the file is written through.
      run_blocking: where it is written; all who wait at that moment share one write and one sync.
      clock: Unix seconds, for the receipts' dates.

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
    ) -> None:
        self.path = Path(path)
        self._disk = disk
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
            file, self._end = await self._run_blocking(self._open)
            try:
                self._running = True
                task_status.started()
                await self._serve(file)
            finally:
                with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True), storage_errors(str(self.path)):
                    await self._run_blocking(file.close)
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

    async def _serve(self, file: DiskFile) -> None:
        async for first in self._receive:
            jobs = [first]
            with suppress(trio.WouldBlock, trio.EndOfChannel):
                while len(jobs) < MAX_GROUP:
                    jobs.append(self._receive.receive_nowait())
            await self._write(file, [job for job in jobs if not job.abandoned])

    async def _write(self, file: DiskFile, jobs: list[_Job]) -> None:
        try:
            if jobs:
                write = partial(self._append, file, self._end, [job.receipt for job in jobs])
                self._end, heads = await self._run_blocking(write)
                for job, head in zip(jobs, heads, strict=True):
                    job.finish(outcome.Value(head))
        except OSError as exc:
            self._failure = exc
            raise self._why_not() from exc
        finally:
            for job in jobs:
                job.finish(outcome.Error(self._why_not()))

    def _append(self, file: DiskFile, end: LogEnd, receipts: Sequence[Receipt]) -> tuple[LogEnd, list[bytes]]:
        """Write and sync; where the log ends now, and the hash of each line. In the worker."""
        at_ms, heads = int(self._clock() * 1000), list[bytes]()
        synced, group = end, bytearray()
        for receipt in receipts:
            line, head = ReceiptLine(end.seq + 1, end.head, synced.seq, at_ms, receipt).encode()
            if group and len(group) + len(line) > MAX_GROUP_BYTES:
                _write_through(file, group)
                synced, group = end, bytearray()
                line, head = ReceiptLine(end.seq + 1, end.head, synced.seq, at_ms, receipt).encode()
            group += line
            end = LogEnd(end.seq + 1, head, end.size + len(line))
            heads.append(head)
        _write_through(file, group)
        return end, heads

    def _open(self) -> tuple[DiskFile, LogEnd]:
        """The file and where it goes on; what is torn is gone, and what is left is on disk. In the worker."""
        with storage_errors(str(self.path)):
            file = self._disk.open(self.path)
            try:
                end = self._find_end(file)
                if end.size < file.size():
                    log.warning("%s: %d torn bytes cut off at %d", self.path, file.size() - end.size, end.size)
                    file.truncate(end.size)
                file.sync()  # whole lines too may have been in nothing but the page cache of a killed process
                self._disk.sync_folder(self.path.parent)
            except BaseException:
                file.close()
                raise
        return file, end

    def _find_end(self, file: DiskFile) -> LogEnd:
        size = file.size()
        for most in WINDOWS:
            start = max(0, size - most)
            try:
                return find_end(file.read(start, size - start), start)
            except WindowTooSmall:
                continue
            except DamagedEnd as exc:
                raise ReceiptsAltered(self.path, exc.fault) from None
        problem = f"no receipt can be made out in the last {WINDOWS[-1]} bytes"
        raise ReceiptsAltered(self.path, Fault(0, size - WINDOWS[-1], size, problem))

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


def _write_through(file: DiskFile, group: bytearray) -> None:
    file.append(bytes(group))
    file.sync()


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
