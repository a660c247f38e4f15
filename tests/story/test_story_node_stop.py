"""A node that is stopped: nothing new comes in, what has begun is written, and it takes no longer than it may."""

from functools import partial

import pytest
import trio
from attestrio.app import run_node
from attestrio.config import NodeSection
from attestrio.duty import Reason, Step
from attestrio.protection.history import HISTORY
from attestrio.protection.reader import open_record
from attestrio.roles import BatchNumber, SyncBatch
from attestrio.store import SqliteBatchStore
from msgspec.structs import replace
from node_world import MAIN, World

DISK_S = 1.0  # each transaction takes that long
ATTESTER = "attester-1"


async def slow_disk(fn):
    await trio.sleep(DISK_S)
    return fn()


@pytest.fixture
async def world(nursery, tmp_path):
    """The main node; the attester runs over `slow_disk` and files of its own."""
    world = World(nursery, tmp_path, [1])
    await world.start(MAIN)
    return world


async def attester(world, grace_s, *, task_status=trio.TASK_STATUS_IGNORED):
    config = world.config(ATTESTER)
    config = replace(config, node=NodeSection(data_dir=config.node.data_dir, grace_s=grace_s))
    client = (await world.sim(ATTESTER)).client()
    run = partial(run_node, config, status_client=client, batch_source=world.chain, link=world.network.link(ATTESTER))
    await run(init_protection=True, run_blocking=slow_disk, task_status=task_status)


async def done(node, number, step):
    """Until this step of a batch is done."""
    duty = node.duty
    await duty.watch.wait_value(lambda _: (step, Reason.OK) in [(e.step, e.reason) for e in duty.timeline(number)])


def store_of(world):
    return SqliteBatchStore(world.folder / ATTESTER / "store.db", world.genesis.hash(), epoch=1)


async def test_vote_that_is_being_recorded_when_the_node_is_stopped_goes_on_record(world, autojump_clock):
    async with trio.open_nursery() as life:
        node = await life.start(attester, world, 10.0)
        await done(node, BatchNumber(0), Step.HASHED)
        await trio.sleep(DISK_S / 2)
        began = trio.current_time()
        life.cancel_scope.cancel()
    took_s = trio.current_time() - began

    with open_record(world.folder / ATTESTER / HISTORY) as record:
        assert [(brief.votes, brief.newest) for brief in record.briefs()] == [(1, 0)]
    assert took_s < 10.0


async def test_batches_the_store_has_taken_are_on_disk_after_the_stop(world, nursery, autojump_clock):
    async with trio.open_nursery() as life:
        node = await life.start(attester, world, 10.0)
        store = (await node.wait_epoch()).store
        first = store.persisted.next()
        for number in range(first, first + 3):
            await store.queue_batch(SyncBatch(BatchNumber(number), (b"block",)))
        life.cancel_scope.cancel()

    kept = store_of(world)
    await nursery.start(kept.run)
    assert kept.persisted.last == first + 2


async def test_node_that_cannot_finish_in_time_ends_all_the_same(world, autojump_clock, caplog):
    async with trio.open_nursery() as life:
        node = await life.start(attester, world, DISK_S / 4)
        store = (await node.wait_epoch()).store
        await store.queue_batch(SyncBatch(store.persisted.next(), (b"block",)))
        began = trio.current_time()
        life.cancel_scope.cancel()
    took_s = trio.current_time() - began

    assert "store: stopped before all was written" in caplog.text
    assert took_s == pytest.approx(DISK_S / 4 + 6 * DISK_S)  # one grace for all, then what is open is closed
