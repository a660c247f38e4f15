"""From events to work: what the scanner brings becomes rows, in one transaction with the scanner's place.

A batch is known by its identifier hash, so V2 and V3 events of one batch, a batch seen twice, and one that a reorg
moved are one piece of work. When a reorg takes BatchVerified back, the work begins anew under the next round; what was
verified stays verified.
"""

from __future__ import annotations

import logging
from typing import Any

from msgspec.structs import replace

from attestrio.journal import Item, Put, Work
from attestrio.l1.api import Log, Step
from attestrio.l1.errors import UnreadableEvent
from attestrio.operator import rows
from attestrio.operator.progress import Watermark
from attestrio.operator.rows import OnChain, Recent
from attestrio.operator.state import Batch, OperatorState, put_chain
from attestrio.operator.surface import BATCH_VERIFIED, NEW_BATCH_V2, NEW_BATCH_V3, identifier_hash

log = logging.getLogger("attestrio.operator")

PAGE = 1_000
NEW_BATCH = {event.topic: event for event in (NEW_BATCH_V2, NEW_BATCH_V3)}


class EventSink:
    """A `LogSink`. Steps come one after the other, from one task."""

    def __init__(self, state: OperatorState) -> None:
        self._state = state

    async def cursor(self) -> bytes | None:
        return await self._state.journal.cursor(rows.SCAN)

    async def record(self, step: Step) -> None:
        """Undo what is void, take in what is new; see `LogSink.record`."""
        change = _Change(self._state)
        if step.void_above is not None:
            await change.undo_above(step.void_above)
        for one in step.logs:
            await change.apply(one)
        end = Watermark(step.scanned + 1)
        if step.logs and step.logs[-1].block.number == step.scanned:  # the rest of the block may follow
            end = Watermark(step.scanned, step.logs[-1].index + 1)
        await change.commit(step.cursor, end)


class _Change:
    """One transaction in the making."""

    def __init__(self, state: OperatorState) -> None:
        self._state = state
        self._batches: dict[bytes, Batch] = {}
        self._recent: dict[bytes, bytes | None] = {}
        self._work: set[bytes] = set()  # identifiers of batches that may have to be done
        self._answered: list[bytes] = []

    async def apply(self, one: Log) -> None:
        """One event that has happened. One that cannot be read is dropped: whoever emitted it is to blame."""
        event = NEW_BATCH.get(one.topics[0])
        try:
            if event is not None:
                await self._new_batch(one, event.read_untrusted(one))
            else:
                await self._verified(one, BATCH_VERIFIED.read_untrusted(one))
        except UnreadableEvent as exc:
            log.warning("event dropped: %s (%s)", exc, exc.code)
            self._state.metrics.events_dropped.inc()

    async def undo_above(self, block: int) -> None:
        """Events of blocks above have not happened, the newest first."""
        found: list[tuple[bytes, bytes]] = []
        after = (block + 1).to_bytes(8, "big")  # shorter than any key of that block, so before all of them
        while page := await self._state.journal.scan(rows.RECENT, PAGE, after):
            found += page
            after = page[-1][0]
        for key, raw in reversed(found):
            self._recent[key] = None
            event = rows.unpack(raw, Recent)
            batch = await self._known(event.identifier)
            if batch is None:
                continue
            if not event.verified:
                self._now(batch, void=True)
            elif batch.row.responded is not None:
                log.info("batch %s: the answer to it is gone from the chain", batch)
                self._now(batch, responded=None, round=batch.row.round + 1)
                self._work.add(event.identifier)

    async def commit(self, cursor: bytes, end: Watermark) -> None:
        """Write it all. Work whose key the journal knows is waiting or done already."""
        state = self._state
        new, back = [], []
        for identifier in sorted(self._work, key=lambda one: _place(self._batches[one])):
            key = self._batches[identifier].key
            if key in state.progress:
                back.append(key)
            elif not await state.journal.knows(rows.WORK, key):
                new.append(key)
        state.progress.end = end
        for batch in self._batches.values():
            if batch.key in new or batch.key in state.progress:
                state.opened(batch.key, batch.row)
        puts = [
            *(put_chain(identifier, batch.row) for identifier, batch in self._batches.items()),
            *(Put(rows.RECENT, key, value) for key, value in self._recent.items()),
            Put(rows.ABOUT, rows.END, end.to_bytes()),
            state.mark(),
        ]
        work = [Work(rows.WORK, [Item(key) for key in new])] if new else []
        await state.journal.ack(rows.OUTBOX, self._answered, append=work, cursor=(rows.SCAN, cursor), put=puts)
        for key in back:  # it may have been put off for as long as it was off the chain
            if key not in state.busy:
                await state.journal.release(rows.WORK, key)

    async def _new_batch(self, one: Log, told: dict[str, Any]) -> None:
        root, sender = told["batchMerkleRoot"], told["senderAddress"]
        identifier = identifier_hash(root, sender)
        row = OnChain(root, sender, one.block.number, one.index, told["batchDataPointer"][: rows.MAX_POINTER])
        row = replace(row, seen_at=self._state.wall())
        known = await self._known(identifier)
        if known is not None:
            row = replace(
                row, responded=known.row.responded, round=known.row.round, seen_at=known.row.seen_at,
                responded_at=known.row.responded_at,
            )  # fmt: skip
        self._batches[identifier] = Batch(identifier, row, None if known is None else known.verdict)
        self._recent[one.key] = rows.pack(Recent(identifier, False))
        self._work.add(identifier)

    async def _verified(self, one: Log, told: dict[str, Any]) -> None:
        batch = await self._known(identifier_hash(told["batchMerkleRoot"], told["senderAddress"]))
        if batch is None:  # posted before the first block that is scanned
            return
        self._now(batch, responded=int(one.block.number), responded_at=self._state.wall())
        self._recent[one.key] = rows.pack(Recent(batch.identifier, True))
        self._answered.append(batch.key)

    async def _known(self, identifier: bytes) -> Batch | None:
        return self._batches.get(identifier) or await self._state.batch(identifier)

    def _now(self, batch: Batch, **changes: object) -> None:
        self._batches[batch.identifier] = Batch(batch.identifier, replace(batch.row, **changes), batch.verdict)


def _place(batch: Batch) -> tuple[int, int]:
    return batch.row.created, batch.row.index
