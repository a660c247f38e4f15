"""The queue in front of a store: what is on its way to the disk, the watch everybody waits on, and what both answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import trio
from trio_util import AsyncValue

from attestrio.roles import BatchNumber, SyncBatch
from attestrio.store.api import NextRule, StoreClosed, StoreState
from attestrio.store.rules import NONE_WHOLE, Ranges, check_number

CACHE_BATCHES = 10  # the reference's capacity for batches
MAX_UNWRITTEN = 20  # its fetcher has as many requests open at most; beyond that `put` waits


@dataclass(frozen=True, slots=True)
class _Shared:
    ranges: Ranges
    unwritten: int = 0
    closed: bool = False


class BatchQueue:
    """Batches by number, newest kept for reading, unwritten ones until they are on disk; trio thread only.

    Bound: `CACHE_BATCHES` batches, or `MAX_UNWRITTEN` while the disk lags.
    """

    def __init__(self, persisted: StoreState, whole: StoreState = NONE_WHOLE) -> None:
        self._shared = AsyncValue(_Shared(Ranges(persisted, persisted, whole)))
        self._cache: dict[BatchNumber, SyncBatch] = {}  # by number, ascending: looked up, never computed into
        self._unwritten: dict[BatchNumber, SyncBatch] = {}

    @property
    def ranges(self) -> Ranges:
        return self._shared.value.ranges

    async def put(self, batch: SyncBatch) -> None:
        """See `BatchStore.queue_batch`."""
        await trio.lowlevel.checkpoint()
        while not self._may_decide(batch.number):
            await self._shared.wait_value(lambda _: self._may_decide(batch.number))
        now = self._shared.value
        if now.closed:
            raise StoreClosed
        if batch.number == now.ranges.queued.next():
            self._cache[batch.number] = self._unwritten[batch.number] = batch
            self._publish(now.ranges.enqueued())

    def cached(self, number: BatchNumber) -> SyncBatch | None:
        return self._cache.get(number) if self.ranges.queued.contains(number) else None

    async def wait_until_queued(self, number: BatchNumber) -> StoreState:
        return (await self._shared.wait_value(lambda now: number < now.ranges.queued.next())).ranges.queued

    async def wait_until_persisted(self, number: BatchNumber) -> StoreState:
        return (await self._shared.wait_value(lambda now: number < now.ranges.persisted.next())).ranges.persisted

    async def wait_held_changed(self, seen: StoreState) -> StoreState:
        return (await self._shared.wait_value(lambda now: now.ranges.held != seen)).ranges.held

    async def wait_moved(self, queued: StoreState, persisted: StoreState) -> None:
        seen = (queued, persisted)
        await self._shared.wait_value(lambda now: (now.ranges.queued, now.ranges.persisted) != seen)

    async def wait_unwritten(self) -> tuple[SyncBatch, ...]:
        """What has to be written next, by number; waits while there is nothing."""
        await self._shared.wait_value(lambda now: now.unwritten > 0)
        return tuple(self._unwritten.values())

    async def wait_written(self) -> None:
        """Wait until nothing is left to be written."""
        await self._shared.wait_value(lambda now: now.unwritten == 0)

    def moved(self, persisted: StoreState, written: Sequence[SyncBatch] = ()) -> None:
        """The durable range is `persisted` now, and `written` is on disk. In the order of the commits."""
        for batch in written:
            self._unwritten.pop(batch.number, None)
        ranges = self.ranges.moved(persisted, [batch.number for batch in written])
        for number in [number for number in self._unwritten if number < persisted.first]:
            del self._unwritten[number]  # the range began anew above it
        for number in [number for number in self._cache if not ranges.queued.contains(number)]:
            del self._cache[number]
        self._publish(ranges)

    def close(self) -> None:
        """Take nothing more: who waits in `put` gets StoreClosed."""
        self._shared.value = replace(self._shared.value, closed=True)

    def _may_decide(self, number: BatchNumber) -> bool:
        now = self._shared.value
        after = now.ranges.queued.next()
        return now.closed or number < after or (number == after and now.unwritten < MAX_UNWRITTEN)

    def _publish(self, ranges: Ranges) -> None:
        for number in list(self._cache)[:-CACHE_BATCHES]:
            if number in self._unwritten:
                break
            del self._cache[number]
        self._shared.value = replace(self._shared.value, ranges=ranges, unwritten=len(self._unwritten))


class QueuedStore:
    """How every `BatchStore` begins, and the part of it that its queue answers, whatever lies behind that."""

    def __init__(self, first_batch: BatchNumber, next_rule: NextRule) -> None:
        self._first_batch = BatchNumber(first_batch)
        self._next_rule: NextRule = next_rule
        self._opened: BatchQueue | None = None
        self._ended = trio.Event()

    @property
    def queued(self) -> StoreState:
        return self._queue.ranges.queued

    @property
    def persisted(self) -> StoreState:
        return self._queue.ranges.persisted

    @property
    def held(self) -> StoreState:
        return self._queue.ranges.held

    async def queue_batch(self, batch: SyncBatch) -> None:
        check_number(batch.number)
        await self._queue.put(batch)

    async def wait_until_queued(self, number: BatchNumber) -> StoreState:
        return await self._queue.wait_until_queued(number)

    async def wait_until_persisted(self, number: BatchNumber) -> StoreState:
        return await self._queue.wait_until_persisted(number)

    async def wait_held_changed(self, seen: StoreState) -> StoreState:
        return await self._queue.wait_held_changed(seen)

    async def wait_moved(self, queued: StoreState, persisted: StoreState) -> None:
        await self._queue.wait_moved(queued, persisted)

    @property
    def _queue(self) -> BatchQueue:
        if self._opened is None:
            raise StoreClosed
        return self._opened
