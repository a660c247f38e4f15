import pytest
import trio
import trio.testing
from attestrio.roles import BatchNumber, SyncBatch
from attestrio.store import StoreClosed, StoreState
from attestrio.store.queue import CACHE_BATCHES, MAX_UNWRITTEN, BatchQueue
from suite import patient


def batch(number) -> SyncBatch:
    return SyncBatch(BatchNumber(number), (b"payload",), b"")


def range_of(first, last=None) -> StoreState:
    return StoreState(BatchNumber(first), None if last is None else BatchNumber(last))


async def filled(count) -> BatchQueue:
    queue = BatchQueue(range_of(0))
    for number in range(count):
        await queue.put(batch(number))
    return queue


def cached(queue, upto) -> list[int]:
    return [number for number in range(upto) if queue.cached(BatchNumber(number)) is not None]


async def test_only_the_newest_written_batches_stay_in_memory():
    queue = await filled(MAX_UNWRITTEN)
    assert cached(queue, MAX_UNWRITTEN) == list(range(MAX_UNWRITTEN))

    queue.moved(range_of(0, MAX_UNWRITTEN - 1), await queue.wait_unwritten())

    assert cached(queue, MAX_UNWRITTEN) == list(range(MAX_UNWRITTEN - CACHE_BATCHES, MAX_UNWRITTEN))
    assert queue.ranges.queued == range_of(0, MAX_UNWRITTEN - 1)


async def test_a_lagging_disk_makes_the_next_batch_wait(autojump_clock):
    queue = await filled(MAX_UNWRITTEN)

    with trio.move_on_after(5) as scope:
        await queue.put(batch(MAX_UNWRITTEN))
    assert scope.cancelled_caught
    assert not queue.ranges.queued.contains(MAX_UNWRITTEN)

    queue.moved(range_of(0, 0), [batch(0)])
    with trio.fail_after(patient(5)):
        await queue.put(batch(MAX_UNWRITTEN))


async def test_an_old_batch_never_waits_for_the_disk(autojump_clock):
    queue = await filled(MAX_UNWRITTEN)

    with trio.fail_after(patient(5)):
        await queue.put(batch(3))

    assert queue.ranges.queued == range_of(0, MAX_UNWRITTEN - 1)


async def test_what_is_unwritten_is_still_written_when_the_range_has_overtaken_it():
    queue = await filled(1)

    queue.moved(range_of(0, 0))
    queue.moved(range_of(0, 1))

    assert await queue.wait_unwritten() == (batch(0),)
    assert queue.ranges.queued == range_of(0, 1)
    assert cached(queue, 3) == [0]


async def test_what_lies_below_a_range_that_began_anew_is_dropped(autojump_clock):
    queue = await filled(3)

    queue.moved(range_of(9, 9))

    assert cached(queue, 10) == []
    with trio.fail_after(patient(1)):
        await queue.wait_written()


async def test_an_evicted_number_is_looked_up_and_not_computed():
    queue = BatchQueue(range_of(0))
    for number in range(CACHE_BATCHES + 5):
        await queue.put(batch(number))
        queue.moved(range_of(0, number), [batch(number)])

    assert [queue.cached(BatchNumber(number)) for number in range(5)] == [None] * 5
    assert queue.cached(BatchNumber(2**64 - 1)) is None


async def test_a_closed_queue_lets_go_of_who_waits_in_it():
    queue = await filled(MAX_UNWRITTEN)
    refused = []

    async def put(number):
        with pytest.raises(StoreClosed):
            await queue.put(batch(number))
        refused.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(put, MAX_UNWRITTEN)
        nursery.start_soon(put, MAX_UNWRITTEN + 7)
        await trio.testing.wait_all_tasks_blocked()
        queue.close()

    assert sorted(refused) == [MAX_UNWRITTEN, MAX_UNWRITTEN + 7]
