"""Signatures of batches nobody has seen, in virtual time: rows 13, 14, 15 and 19 of Aligned's acceptance list.

The chain is a stub in this process: a virtual clock runs ahead of real sockets.
"""

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import trio
from attestrio.aggregator import rows
from attestrio.aggregator.garbage import Garbage
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.recovery import Recovery
from attestrio.aggregator.rows import Answer, Phase
from attestrio.aggregator.settings import CollectSettings, GarbageSettings, RecoverySettings
from attestrio.aggregator.sink import LogSink
from attestrio.aggregator.state import Accepted, AggregatorState
from attestrio.aggregator.surface import Contracts, wanted
from attestrio.errors import SourceError
from attestrio.journal import SqliteJournal
from attestrio.kit.blocking import inline
from attestrio.kit.metrics import Metrics
from attestrio.l1.api import BlockNumber
from attestrio.l1.scan import LogScanner, ScanSettings
from operator_world import BLOCK_S, MANAGER, SENDER, ServiceChain, identifier_hash


class Down(SourceError):
    """What a scripted fault raises."""

    code = "scripted"


class Ethereum(ServiceChain):
    """The service manager's chain. Each call is noted with its time; `faults[what]` calls of a kind fail."""

    def __init__(self):
        self.calls: list[tuple[str, float]] = []
        self.faults: Counter[str] = Counter()
        self.hidden: set[bytes] = set()
        """Identifier hashes whose logs an endpoint does not show."""
        self.queries: list[object] = []
        super().__init__()

    def _call(self, what):
        self.calls.append((what, trio.current_time()))
        if self.faults[what]:
            self.faults[what] -= 1
            raise Down(what)

    async def block(self, at):
        self._call("block")
        return await super().block(at)

    async def logs(self, wanted, first, last):
        self._call("logs" if len(wanted.topics) > 1 else "scan")
        if len(wanted.topics) > 1:
            self.queries.append((wanted, first, last))
        return self._shown(await super().logs(wanted, first, last))

    async def logs_of(self, wanted, block):
        self._call("scan")
        return self._shown(await super().logs_of(wanted, block))

    def _shown(self, found):
        return [one for one in found if identifier_hash(one.topics[1], SENDER) not in self.hidden]

    async def call(self, to, data, at):
        self._call("state")
        return await super().call(to, data, at)

    def times(self, what):
        return [at for kind, at in self.calls if kind == what]

    def waits(self, what):
        """Seconds between two calls of a kind, one after the other."""
        return [after - before for before, after in pairwise(self.times(what))]


@dataclass
class World:
    """A chain, a disk, and what an aggregator learns of batches with; without `scans` that is the recovery alone."""

    path: object
    chain: Ethereum = field(default_factory=Ethereum)
    settings: RecoverySettings = field(default_factory=RecoverySettings)
    collect: CollectSettings = field(default_factory=CollectSettings)
    metrics: Metrics = field(default_factory=Metrics)
    scans: bool = False

    @asynccontextmanager
    async def aggregator(self, settings=None):
        """A state whose recovery runs. Cancelled at the end, without any goodbye."""
        settings = settings or self.settings
        journal = SqliteJournal(self.path, inline, clock=trio.current_time)
        async with trio.open_nursery() as nursery:
            await nursery.start(journal.run)
            state = AggregatorState(journal, AggregatorMetrics(self.metrics), self.collect, trio.current_time)
            await state.load({"chain": "1"})
            nursery.start_soon(state.run)
            nursery.start_soon(Recovery(state, self.chain, MANAGER, settings).run)
            if self.scans:
                contracts = Contracts(MANAGER, MANAGER, MANAGER, MANAGER)
                sink = LogSink(state, self.chain, contracts, settings.fetch_range_blocks, inline)
                scan = ScanSettings(BlockNumber(0), every_s=1.0)
                nursery.start_soon(LogScanner(self.chain, wanted(contracts), sink, scan).run)
                await state.head.wait_value(lambda head: head == self.chain.head)
            yield state
            nursery.cancel_scope.cancel()

    def searches(self, result):
        return self.metrics.value("attestrio_aggregator_searches", result=result)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "aggregator.db")


def root_of(number):
    return number.to_bytes(32, "big")


def signature(root, operator=1, sender=SENDER):
    """What the server hands over once it has verified it."""
    point = bytes([operator]) * 64
    return Accepted(identifier_hash(root, sender), root, sender, operator.to_bytes(32, "big"), point)


async def until(state, *identifiers):
    """Until the batches are known to be on the chain."""
    with trio.fail_after(3_600.0):
        await state.changed.wait_value(lambda _: all(state.is_live(one) for one in identifiers))


async def claims(state, topic=rows.UNKNOWN):
    return [rows.identifier_of(one.key) for one in await state.journal.listed(topic, 100)]


# --- row 13


@pytest.mark.parametrize("scans", [True, False])
async def test_row_13_a_batch_older_than_the_range_stays_an_orphan_until_a_restart_with_a_larger_one(
    world, autojump_clock, scans
):
    world.scans = scans
    batch = world.chain.post(root_of(1), "pointer")
    world.chain.mine()
    world.chain.mine(1_500)

    async with world.aggregator() as state:
        assert await state.accept([signature(root_of(1))]) == [None]
        await trio.sleep(600.0)

        assert not state.is_live(batch)
        assert list(state.signed) == [batch]
        assert await claims(state) == [batch]
        assert world.searches("missing") >= 3
        state.count()
        assert world.metrics.value("attestrio_aggregator_unknown_tasks") == 1
        assert world.metrics.value("attestrio_aggregator_orphan_signatures") == 1
    async with world.aggregator(RecoverySettings(fetch_range_blocks=2_000)) as state:
        before = trio.current_time()
        await until(state, batch)

        assert trio.current_time() == before
        assert state.tasks[batch].is_open
        assert list(state.signed[batch]) == [signature(root_of(1)).operator_id]
        assert await claims(state) == []


async def test_row_13_past_the_horizon_it_is_given_up_with_a_reason_and_nothing_else_is_lost(world, autojump_clock):
    batch = world.chain.post(root_of(1), "pointer")
    world.chain.mine()
    world.chain.mine(1_500)
    settings = RecoverySettings(horizon_blocks=100)

    async with world.aggregator(settings) as state:
        await state.accept([signature(root_of(1))])
        await trio.sleep(60.0)
        world.chain.mine(200)
        await trio.sleep(120.0)
        state.count()

        assert await claims(state) == []
        assert await claims(state, rows.DEAD) == [batch]
        assert state.dead[batch].claim.reason == "not_on_chain"
        assert "1000 blocks" in state.dead[batch].claim.detail
        assert list(state.signed) == [batch]
        assert world.searches("given_up") == 1
        assert world.metrics.value("attestrio_aggregator_dead_tasks") == 1
        asked = len(world.chain.calls)
        await state.accept([signature(root_of(1), operator=2)])
        await trio.sleep(600.0)
        assert len(world.chain.calls) == asked  # who signs it once more does not make us ask again
    async with world.aggregator(settings) as state:
        await trio.sleep(600.0)
        assert len(world.chain.calls) == asked
    async with world.aggregator(RecoverySettings(fetch_range_blocks=5_000)) as state:
        await until(state, batch)

        assert len(state.signed[batch]) == 2
        assert await claims(state, rows.DEAD) == []


# --- row 14

STEPS = {"block": (1.0, 2.0, 4.0), "logs": (1.0, 2.0, 4.0), "state": (12.0, 24.0, 48.0)}


@pytest.mark.parametrize("what", STEPS)
@pytest.mark.parametrize("k", [1, 2, 3])
async def test_row_14_a_step_that_fails_up_to_three_times_follows_its_schedule_and_succeeds(
    world, autojump_clock, what, k
):
    batch = world.chain.post(root_of(1), "pointer")
    world.chain.mine()

    async with world.aggregator() as state:
        await state.accept([signature(root_of(1))])
        world.chain.faults[what] = k
        await until(state, batch)

    assert world.chain.waits(what) == list(STEPS[what][:k])
    assert trio.current_time() == 7.0 + sum(STEPS[what][:k])  # 1, 2, 4 s in the table come before
    assert {kind: len(world.chain.times(kind)) for kind in STEPS} == dict.fromkeys(STEPS, 1) | {what: k + 1}


@pytest.mark.parametrize("what", STEPS)
async def test_row_14_a_step_that_fails_four_times_ends_the_round_and_the_next_is_scheduled(
    world, autojump_clock, what
):
    batch = world.chain.post(root_of(1), "pointer")
    world.chain.mine()

    async with world.aggregator() as state:
        before = trio.current_time()
        verdict = await state.accept([signature(root_of(1))])
        accepted_after = trio.current_time() - before
        world.chain.faults[what] = 4
        await trio.sleep(7.0 + sum(STEPS[what]) + 1.0)
        waiting = await claims(state)
        await until(state, batch)

    assert (verdict, accepted_after) == ([None], 0.0)  # the operator has had its 0 all along
    assert waiting == [batch]
    assert world.chain.waits(what) == [*STEPS[what], BLOCK_S]
    assert (world.searches("failed"), world.searches("found")) == (1, 1)


@pytest.mark.parametrize("alive", [True, False])
async def test_row_14_a_fallback_that_is_alive_answers_within_the_same_try(world, autojump_clock, alive):
    batch = world.chain.post(root_of(1), "pointer")
    world.chain.mine()
    main, fallback = Ethereum(), world.chain
    main.faults.update(block=100, logs=100, state=100)
    world.chain = Either(main, fallback)

    async with world.aggregator() as state:
        await state.accept([signature(root_of(1))])
        if not alive:
            fallback.faults.update(block=1, logs=2, state=3)
        await until(state, batch)

    assert trio.current_time() == (7.0 if alive else 7.0 + 1.0 + (1.0 + 2.0) + (12.0 + 24.0 + 48.0))
    assert [kind for kind, _ in main.calls] == [kind for kind, _ in fallback.calls]


class Either:
    """What an `L1Provider` without a schedule is for its callers: the second endpoint where the first fails."""

    chain_id = 31337

    def __init__(self, main, fallback):
        self._both = main, fallback

    async def block(self, at):
        return await self._first(lambda chain: chain.block(at))

    async def logs(self, wanted, first, last):
        return await self._first(lambda chain: chain.logs(wanted, first, last))

    async def call(self, to, data, at):
        return await self._first(lambda chain: chain.call(to, data, at))

    async def _first(self, ask):
        main, fallback = self._both
        try:
            return await ask(main)
        except SourceError:
            return await ask(fallback)


async def test_row_14_a_state_that_still_says_no_such_batch_is_asked_again_by_the_schedule(world, autojump_clock):
    batch = world.chain.post(root_of(1), "pointer")
    world.chain.mine()
    created = world.chain.blocks[-1].tasks.pop(batch)

    async with world.aggregator() as state:
        await state.accept([signature(root_of(1))])
        await trio.sleep(7.0 + 12.0 + 1.0)
        world.chain.blocks[-1].tasks[batch] = created
        await until(state, batch)

    assert world.chain.waits("state") == [12.0, 24.0]
    assert len(world.chain.times("logs")) == 1


# --- row 15


@pytest.mark.parametrize("scans", [True, False])
async def test_row_15_an_event_that_shows_two_blocks_late_is_found_with_one_query_a_round_for_all(
    world, autojump_clock, scans
):
    world.scans = scans
    batches = [world.chain.post(root_of(number), "pointer") for number in range(20)]
    world.chain.mine()
    world.chain.hidden.update(batches)

    async with world.aggregator() as state:
        for number in range(20):
            for operator in range(1, 9):
                await state.accept([signature(root_of(number), operator)])
        await trio.sleep(2 * BLOCK_S)
        world.chain.mine(2)
        await trio.sleep(2.0)  # whoever scans has passed the block for good
        world.chain.hidden.clear()
        await until(state, *batches)

        assert all(len(state.signed[batch]) == 8 for batch in batches)
    rounds = world.metrics.value("attestrio_aggregator_recovery_rounds")
    assert len(world.chain.times("logs")) == rounds <= 3
    assert len(world.chain.times("state")) == len(batches)
    assert all(len(asked.topics[1]) == len(batches) for asked, _, _ in world.chain.queries)


async def test_two_senders_of_one_root_are_both_found_with_one_query(world, autojump_clock):
    other = b"\xb1" * 20
    one, two = world.chain.post(root_of(1), "one"), world.chain.post(root_of(1), "two", sender=other)
    world.chain.mine()

    async with world.aggregator() as state:
        await state.accept([signature(root_of(1)), signature(root_of(1), sender=other)])
        await until(state, one, two)

        assert (state.tasks[one].pointer, state.tasks[two].pointer) == ("one", "two")
        assert (state.tasks[one].sender, state.tasks[two].sender) == (SENDER, other)
    assert len(world.chain.times("logs")) == 1


async def test_a_batch_the_scanner_brings_meanwhile_costs_no_call(world, autojump_clock):
    batch = world.chain.post(root_of(1), "pointer")
    world.chain.mine()

    async with world.aggregator() as state:
        await state.accept([signature(root_of(1))])
        await trio.sleep(5.0)
        await state.add_tasks([found_by_the_scanner(world, batch)])
        await trio.sleep(60.0)

        assert await claims(state) == []
    assert world.chain.calls == []
    assert world.searches("known") == 1


async def test_a_batch_that_is_answered_already_comes_with_the_block_of_its_answer(world, autojump_clock):
    batch = world.chain.post(root_of(1), "pointer")
    world.chain.mine()
    world.chain.answer(root_of(1))
    world.chain.mine(3)

    async with world.aggregator() as state:
        await state.accept([signature(root_of(1))])
        await until(state, batch)

        assert (state.tasks[batch].created, state.tasks[batch].verified) == (1, 2)


async def test_claims_in_hand_when_the_process_is_killed_are_looked_for_at_once_after_the_start(world, autojump_clock):
    batch = world.chain.post(root_of(1), "pointer")
    world.chain.mine()
    world.chain.faults["state"] = 1

    async with world.aggregator() as state:
        await state.accept([signature(root_of(1))])
        await trio.sleep(10.0)
    async with world.aggregator() as state:
        before = trio.current_time()
        await until(state, batch)

        assert trio.current_time() - before == 0.0


async def test_what_the_recovery_found_is_looked_for_again_when_a_reorg_takes_it_away(world, autojump_clock):
    world.scans = True
    batch = world.chain.post(root_of(1), "pointer")
    world.chain.mine()
    world.chain.hidden.add(batch)

    async with world.aggregator() as state:
        await state.accept([signature(root_of(1))])
        await trio.sleep(5.0)
        world.chain.hidden.clear()
        await until(state, batch)
        world.chain.reorg(1)
        world.chain.mine(3)
        await trio.sleep(30.0)
        gone = state.is_live(batch)
        world.chain.post(root_of(1), "again")
        world.chain.hidden.add(batch)
        world.chain.mine()
        await trio.sleep(5.0)
        world.chain.hidden.clear()
        await until(state, batch)

        assert not gone
        assert (state.tasks[batch].created, state.tasks[batch].pointer) == (4, "again")
        assert len(state.signed[batch]) == 1


# --- row 19


def found_by_the_scanner(world, identifier):
    """The task as the chain has it."""
    for block in world.chain.blocks:
        for one in block.logs:
            if identifier_hash(one.topics[1], SENDER) == identifier:
                return rows.Task(
                    one.topics[1], SENDER, int(block.ref.number), block.ref.hash, one.index, 10**16, "pointer"
                )
    raise AssertionError("no such batch")


async def test_row_19_a_pending_batch_is_never_forgotten_however_often_garbage_is_collected(world, autojump_clock):
    pending = world.chain.post(root_of(1), "pointer")
    done = world.chain.post(root_of(2), "pointer")
    world.chain.mine()
    world.chain.answer(root_of(2))
    world.chain.mine()
    world.collect = CollectSettings(confirmations=2)

    async with world.aggregator() as state, trio.open_nursery() as nursery:
        await state.accept([signature(root_of(1)), signature(root_of(2))])
        await until(state, pending, done)
        await state.set_answer(done, Answer(Phase.CONFIRMED))
        nursery.start_soon(Garbage(state, GarbageSettings(every_s=2.0, age_blocks=20)).run)
        for _ in range(5):
            await trio.sleep(2.0)
            await state.commit(lambda change: None, scanned=state.head.value + 10)

        assert pending in state.tasks
        assert list(state.signed[pending]) == [signature(root_of(1)).operator_id]
        assert done not in state.tasks
        assert done not in state.answers
        assert world.metrics.value("attestrio_aggregator_tasks_forgotten") == 1
        nursery.cancel_scope.cancel()
    async with world.aggregator() as state:
        assert list(state.tasks) == [pending]
        assert list(state.signed) == [pending]
        assert state.answers == {}
