"""The journal of an operator, and what it knows of its own progress."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from trio_util import AsyncValue

from attestrio.duty import Reason
from attestrio.journal import Journal, Put
from attestrio.kit.events import EventName, named
from attestrio.operator import rows
from attestrio.operator.errors import JournalOfAnotherKey
from attestrio.operator.metrics import OperatorMetrics
from attestrio.operator.progress import Progress, Watermark
from attestrio.operator.rows import OnChain, Verdict

log = logging.getLogger("attestrio.operator")

PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Batch:
    """All that is known of one batch."""

    identifier: bytes
    row: OnChain
    verdict: Verdict | None

    @property
    def key(self) -> bytes:
        """Of its present work."""
        return rows.key_of(self.identifier, self.row, self.verdict)

    def __str__(self) -> str:
        return f"0x{self.identifier.hex()[:16]}"


class OperatorState:
    """Rows by name, and the progress made from them. Construct one, then `load`."""

    def __init__(self, journal: Journal, metrics: OperatorMetrics, wall: Callable[[], float] = time.time) -> None:
        """`wall` is Unix time in seconds, to be shown."""
        self.journal, self.metrics, self.wall = journal, metrics, wall
        self.progress = Progress(Watermark(0))
        self.busy: set[bytes] = set()
        """Keys of work that somebody does at this moment."""
        self.changed: AsyncValue[int] = AsyncValue(0)
        """A number that grows whenever a batch ends."""

    async def load(self, about: dict[str, str]) -> None:
        """What was left by the last run; its leases end. Raises JournalOfAnotherKey."""
        for name, value in about.items():
            found = await self.journal.get(rows.ABOUT, name.encode())
            if found is None:
                await self.journal.put(rows.ABOUT, name.encode(), value.encode())
            elif found != value.encode():
                raise JournalOfAnotherKey(name, found.decode("utf-8", "replace"), value)
        await self.journal.abandon(rows.OWNER)
        end = await self.journal.get(rows.ABOUT, rows.END)
        self.progress = Progress(Watermark(0) if end is None else Watermark.from_bytes(end))
        after = -1
        while work := await self.journal.listed(rows.WORK, PAGE, after):
            for item in work:
                batch = await self.batch(rows.identifier_of(item.key))
                self.opened(item.key, None if batch is None else batch.row)
            after = work[-1].position

    def opened(self, key: bytes, row: OnChain | None) -> None:
        """There is work for a batch, on the chain or not."""
        if row is None or row.void:
            self.progress.parked(key)
        else:
            self.progress.opened(key, Watermark(row.created, row.index))

    async def batch(self, identifier: bytes) -> Batch | None:
        raw = await self.journal.get(rows.CHAIN, identifier)
        if raw is None:
            return None
        return Batch(identifier, rows.unpack(raw, OnChain), await self.verdict(identifier))

    async def verdict(self, identifier: bytes) -> Verdict | None:
        raw = await self.journal.get(rows.VERDICTS, identifier)
        return None if raw is None else rows.unpack(raw, Verdict)

    def is_older(self, batch: Batch, blocks: int) -> bool:
        """Whether the chain has gone on by more than that many blocks since the batch was posted."""
        return batch.row.created + blocks < self.progress.end.block

    def mark(self) -> Put:
        """The watermark as it is now, to be written with the work it covers."""
        mark = self.progress.watermark()
        self.metrics.watermark.set(mark.block)
        return Put(rows.ABOUT, rows.MARK, mark.to_bytes())

    def ended(self, batch: Batch, verdict: Verdict) -> None:
        """Count a batch that came to its end, and say so."""
        reason = verdict.ended.value if verdict.reason is Reason.OK else verdict.reason.value
        why = verdict.detail or ("" if verdict.reason is Reason.OK else reason)
        log.info(
            "batch %s is %s%s", batch, verdict.ended.value, f": {why}" if why else "",
            extra=named(EventName.RESPONSE_ENDED, batch=f"0x{batch.identifier.hex()}", reason=reason),
        )  # fmt: skip
        self.metrics.batches.labels(verdict.ended.value).inc()
        self.changed.value += 1

    async def count_rows(self) -> None:
        """Bring the gauges up to date."""
        for topic, gauge in (
            (rows.WORK, self.metrics.work), (rows.OUTBOX, self.metrics.outbox), (rows.DEAD, self.metrics.dead),
        ):  # fmt: skip
            gauge.set((await self.journal.count(topic)).waiting)
        self.metrics.watermark.set(self.progress.watermark().block)


def put_chain(identifier: bytes, row: OnChain) -> Put:
    return Put(rows.CHAIN, identifier, rows.pack(row))


def put_verdict(identifier: bytes, row: Verdict) -> Put:
    return Put(rows.VERDICTS, identifier, rows.pack(row))
