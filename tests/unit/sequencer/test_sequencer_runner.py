"""The sequencer's loop in virtual time: when a block is built, what is in it, when a batch ends, and going back."""

from contextlib import asynccontextmanager
from itertools import count

import pytest
import trio
from attestrio.kit.blocking import inline
from attestrio.kit.events import NAMED
from attestrio.kit.metrics import Metrics
from attestrio.l1.api import Address, BlockRef, Log, Step
from attestrio.sequencer import Leaf, MemoryLeaves
from attestrio.sequencer.builder import BatchBuilder
from attestrio.sequencer.genesis import Genesis, Injected, begin, inject
from attestrio.sequencer.intake import Intake
from attestrio.sequencer.l1_info import ROLLBACK, L1Sink, LeafBook
from attestrio.sequencer.l1_store import L1Store
from attestrio.sequencer.metrics import SequencerMetrics
from attestrio.sequencer.pool import Pool
from attestrio.sequencer.runner import NothingFits, Pace, SequencerRunner
from attestrio.sequencer.shared import SharedChain
from attestrio.zkevm.genesis import Account
from sequencer_kit import ALICE, BOB, CHAIN_A, ETHER, LOGGER, LOGS, START, Site, own_rules, tx

MANAGER = Address(b"\x01" * 20)
LAZY = Pace(empty_blocks=False)


class World:
    """A sequencer in one folder, whose clock is trio's."""

    def __init__(self, folder, *, pace=LAZY, leaves=(), rebuild=None, clock=trio.current_time, now=None, **rules):
        self.site = Site(folder)
        self.db, self.rules = self.site.db, own_rules(**rules)
        if self.db.tip is None:
            rich = {who: Account(balance=100 * ETHER) for who in (ALICE, BOB)}
            begin(self.db, Genesis(CHAIN_A, START, rich | {LOGGER: Account(nonce=1, code=LOGS)}))
            injected = Injected(tx(0, sender=BOB, to=ALICE), START, b"\x11" * 32, b"\x22" * 32)
            inject(BatchBuilder(self.db, own_rules(), MemoryLeaves()), injected)
        self.aligned = self.site.writer.align()
        self.chain, self.metrics = SharedChain(self.db, inline), Metrics()
        self.intake = Intake(self.chain, Pool(CHAIN_A))
        self.store = L1Store.open(folder / "l1.db")
        self.sink = L1Sink(self.store, LeafBook(), self.chain, 1, MANAGER, MANAGER, inline)
        self.runner = SequencerRunner(
            self.chain, self.site.writer, self.rules, MemoryLeaves(leaves), self.intake, now or self.now, pace,
            self.sink, rebuild and (lambda db: rebuild(self)), SequencerMetrics(self.metrics), clock,
        )  # fmt: skip

    @staticmethod
    def now():
        return START + 10 + trio.current_time()

    def close(self):
        self.store.close()
        self.site.close()

    async def add(self, *txs):
        for one in txs:
            await self.intake.add(one)

    async def roll_back(self, target, block=10):
        topics, data = ROLLBACK.emitted(rollupID=1, targetBatch=target, accInputHashToRollback=bytes(32))
        log = Log(MANAGER, topics, data, BlockRef(block, bytes(32)), 0, bytes(32))
        await self.sink.record(Step((log,), b"", block))

    def blocks(self):
        """(batch, time since the beginning, number of transactions) of every block after the injected one."""
        found = [self.db.block(number) for number in range(2, self.db.tip.number + 1)]
        return [(one.batch.number, one.timestamp - START - 10, len(one.txs)) for one in found]


@asynccontextmanager
async def running(folder, **how):
    world = World(folder, **how)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.runner.run)
            await trio.testing.wait_all_tasks_blocked()
            yield world
            nursery.cancel_scope.cancel()
    finally:
        world.close()


async def test_a_block_is_built_a_while_after_the_first_transaction_with_all_that_came_meanwhile(
    tmp_path, autojump_clock
):
    async with running(tmp_path) as world:
        await trio.sleep(100)
        await world.add(tx(0))
        await trio.sleep(5)
        await world.add(tx(1), tx(1, sender=BOB, to=ALICE))
        await trio.sleep(50)

        assert world.blocks() == [(2, 106, 3)]


async def test_what_takes_long_to_execute_is_left_for_the_next_blocks(tmp_path, autojump_clock):
    looks = count()
    async with running(tmp_path, pace=Pace(empty_blocks=False, most_s=2.0), clock=lambda: next(looks)) as world:
        for nonce in range(5):
            await world.add(tx(nonce))
        await trio.sleep(50)

        assert [txs for _, _, txs in world.blocks()] == [2, 2, 1]


async def test_empty_blocks_are_built_where_they_are_wanted(tmp_path, autojump_clock):
    async with running(tmp_path, pace=Pace(empty_blocks=True)) as world:
        await trio.sleep(19)

        assert world.blocks() == [(2, 6, 0), (2, 12, 0), (3, 18, 0)]  # a batch is over after 12 s


async def test_time_does_not_go_back_on_the_chain_when_the_clock_does(tmp_path, autojump_clock):
    set_by = 0

    def now():
        return World.now() + set_by

    async with running(tmp_path, pace=Pace(empty_blocks=True), now=now) as world:
        await trio.sleep(7)
        set_by = -3600
        await world.add(tx(0))
        await trio.sleep(12)
        set_by = 0
        await trio.sleep(6)

        assert world.blocks() == [(2, 6, 0), (2, 6, 1), (3, 6, 0), (3, 24, 0)]


async def test_a_batch_ends_when_it_is_old(tmp_path, autojump_clock):
    async with running(tmp_path, batch_seal_s=12.0) as world:
        for nonce in range(3):
            await world.add(tx(nonce))
            await trio.sleep(8)
        await trio.sleep(20)

        assert [batch for batch, _, _ in world.blocks()] == [2, 2, 3]
        assert world.db.batch(2).closed


async def test_a_full_batch_is_followed_by_the_next_at_once_with_what_did_not_fit(tmp_path, autojump_clock):
    one = 65 + 110
    async with running(tmp_path, data_budget=one + 110) as world:
        await world.add(*(tx(nonce) for nonce in range(5)))
        await trio.sleep(7)

        assert world.blocks() == [(2, 6, 2), (3, 6, 2), (4, 6, 1)]
        assert len(world.intake.pool) == 0


async def test_what_fits_into_no_batch_is_dropped_and_the_others_are_not(tmp_path, autojump_clock):
    async with running(tmp_path, data_budget=400) as world:
        await world.add(tx(0, data=bytes(500)), tx(1, sender=BOB, to=ALICE))
        await trio.sleep(7)

        assert world.blocks() == [(2, 6, 1)]
        assert len(world.intake.pool) == 0
        assert world.metrics.value("attestrio_sequencer_dropped_transactions_total") == 1


async def test_a_batch_that_is_full_for_the_first_transaction_of_a_block_is_closed_before_it(tmp_path, autojump_clock):
    async with running(tmp_path, data_budget=400, batch_seal_s=1000.0) as world:
        await world.add(tx(0))
        await trio.sleep(7)
        await world.add(tx(1, data=bytes(150)))
        await trio.sleep(7)

        assert [(batch, txs) for batch, _, txs in world.blocks()] == [(2, 1), (3, 1)]
        assert world.db.tip.number == 3


async def test_what_cannot_be_paid_any_more_is_dropped(tmp_path, autojump_clock):
    async with running(tmp_path) as world:
        await world.add(tx(0, value=60 * ETHER), tx(1, value=60 * ETHER), tx(2))
        await trio.sleep(7)

        assert world.blocks() == [(2, 6, 1)]
        assert [one.nonce for one in world.intake.pool.ready(9)] == []
        assert len(world.intake.pool) == 1  # it waits for another one of the nonce before it
        await world.add(tx(1))
        await trio.sleep(7)
        assert [txs for _, _, txs in world.blocks()] == [1, 2]


async def test_limits_without_room_for_a_block_end_it(tmp_path, autojump_clock):
    with pytest.RaisesGroup(NothingFits):
        async with running(tmp_path, data_budget=64) as world:
            await world.add(tx(0))
            await trio.sleep(10)


async def test_blocks_take_over_leaves(tmp_path, autojump_clock):
    leaves = [Leaf(n, bytes([n]) * 32, bytes([n + 1]) * 32, START + n) for n in (1, 2, 3)]
    async with running(tmp_path, leaves=leaves) as world:
        await world.add(tx(0))
        await trio.sleep(7)

        assert world.db.tip.l1_index == 3


async def test_the_stream_has_every_block_and_the_end_of_every_batch_but_the_last(tmp_path, autojump_clock):
    async with running(tmp_path, batch_seal_s=5.0) as world:
        for nonce in range(3):
            await world.add(tx(nonce))
            await trio.sleep(10)
        tail = world.site.writer.align(close=False)

        assert (tail.batch, tail.block, tail.unwound, tail.cut) == (4, 4, None, 0)
        assert not world.db.last_batch.closed


async def test_stopped_and_started_it_goes_on_with_a_new_batch(tmp_path, autojump_clock):
    async with running(tmp_path) as world:
        await world.add(tx(0))
        await trio.sleep(7)

    async with running(tmp_path) as world:
        assert world.aligned.unwound is None
        await world.add(tx(1))
        await trio.sleep(7)

        assert [(batch, txs) for batch, _, txs in world.blocks()] == [(2, 1), (3, 1)]


async def test_a_clock_that_went_back_does_not_take_blocks_with_it(tmp_path, autojump_clock):
    async with running(tmp_path) as world:
        await world.add(tx(0))
        await trio.sleep(7)
        world.runner._now = lambda: START - 1000
        await world.add(tx(1))
        await trio.sleep(7)

        assert [at for _, at, _ in world.blocks()] == [6, 6]


# --- going back


async def grow(world, batches):
    """Batches of one transaction each."""
    for nonce in range(batches):
        await world.add(tx(nonce))
        await trio.sleep(20)


async def test_after_a_rollback_nothing_is_built_and_somebody_is_told(tmp_path, autojump_clock, caplog):
    async with running(tmp_path) as world:
        await grow(world, 4)
        entries = len(world.site.entries())

        await world.roll_back(3)
        await trio.sleep(100)

        assert world.db.last_batch.number == 3
        assert len(world.site.entries()) == entries
        assert "started again with --resequence" in world.chain.head.halted
        assert world.metrics.value("attestrio_sequencer_halted") == 1
        assert "start again with --resequence" in caplog.text
    named = [getattr(record, NAMED)["name"] for record in caplog.records if hasattr(record, NAMED)]
    assert named == ["batches_rolled_back", "building_stopped"]


async def test_a_rollback_during_the_wait_for_a_block_comes_before_the_block(tmp_path, autojump_clock):
    async with running(tmp_path) as world:
        await grow(world, 2)
        await world.add(tx(2))
        await trio.sleep(1)

        await world.roll_back(2)
        await trio.sleep(100)

        assert [batch for batch, _, _ in world.blocks()] == [2]


async def test_a_second_rollback_reaches_further_while_it_waits(tmp_path, autojump_clock):
    async with running(tmp_path) as world:
        await grow(world, 4)

        await world.roll_back(4, block=10)
        await trio.sleep(10)
        await world.roll_back(2, block=11)
        await trio.sleep(10)

        assert world.db.last_batch.number == 2


async def test_a_rollback_of_what_the_chain_never_had_changes_nothing(tmp_path, autojump_clock):
    async with running(tmp_path) as world:
        await grow(world, 2)

        await world.roll_back(9)
        await world.add(tx(2))
        await trio.sleep(20)

        assert [batch for batch, _, _ in world.blocks()] == [2, 3, 4]


async def test_a_rollback_that_came_before_a_crash_is_obeyed_at_the_start(tmp_path, autojump_clock):
    async with running(tmp_path) as world:
        await grow(world, 3)
    killed = World(tmp_path)
    await killed.roll_back(3)
    killed.close()

    async with running(tmp_path) as world:
        await trio.sleep(1)

        assert world.db.last_batch.number == 3
        assert world.chain.head.halted is not None


async def test_where_it_may_build_again_it_does_and_goes_on(tmp_path, autojump_clock):
    def rebuild(world):
        """Stands for the rebuild: what was rolled back is given up."""
        told.append(world.db.last_batch.number)
        world.site.writer.truncate(world.db.last_batch.number + 1)
        world.site.writer.align()

    told = []
    async with running(tmp_path, rebuild=rebuild) as world:
        await grow(world, 3)
        await world.roll_back(2)
        await trio.sleep(1)

        assert (told, world.chain.head.halted) == ([2], None)
        await world.add(tx(1))
        await trio.sleep(20)
        assert [(batch, txs) for batch, _, txs in world.blocks()] == [(2, 1), (3, 1)]
