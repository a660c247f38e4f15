"""Signatures become one aggregate that the contract takes: enough stake, everybody counted as of the batch's block."""

from contextlib import asynccontextmanager

import pytest
import trio
from aligned_chain import (
    CONTRACTS,
    OPERATORS,
    AlignedChain,
    Away,
    journal_at,
    loaded,
    root_of,
)
from attestrio.aggregator import rows
from attestrio.aggregator.collect import Collector
from attestrio.aggregator.errors import KeysMissing, NotReady
from attestrio.aggregator.settings import CollectSettings
from attestrio.aggregator.sink import LogSink
from attestrio.aggregator.snapshot import Snapshots
from attestrio.aggregator.state import Accepted
from attestrio.aggregator.surface import identifier_hash, wanted
from attestrio.aggregator.tally import Snapshot
from attestrio.bls import aggregate_verify, encode_g1, sum_g1
from attestrio.kit.blocking import inline
from attestrio.l1.api import BlockNumber
from attestrio.l1.scan import LogScanner, ScanSettings

FOUR = OPERATORS[:4]
ROOT = root_of(1)
SETTLE_S = 0.001  # of virtual time: enough for everything that does not wait


class World:
    """A chain with four operators of equal stake, and everything up to the aggregate."""

    def __init__(self, journal, chain, settings):
        self.journal, self.chain, self.settings = journal, chain, settings

    @classmethod
    async def begin(cls, journal, chain, settings):
        self = cls(journal, chain, settings)
        self.state = await loaded(journal, settings)
        sink = LogSink(self.state, chain, CONTRACTS, 1_000, inline)
        scanning = ScanSettings(BlockNumber(0), patience_s=0.0)
        self.scanner = LogScanner(chain, wanted(CONTRACTS), sink, scanning)
        self.collector = Collector(self.state, Snapshots(chain, CONTRACTS, settings), settings, inline)
        return self

    async def scan(self):
        while await self.scanner.advance():
            pass
        await self.settle()

    async def settle(self):
        await trio.sleep(SETTLE_S)

    async def sign(self, *operators, root=ROOT):
        identifier = identifier_hash(root, b"\xb0" * 20)
        await self.state.accept([one.sign(identifier, root) for one in operators])
        await self.settle()
        return identifier

    def post(self, root=ROOT):
        identifier = self.chain.post(root)
        self.chain.mine()
        return identifier


@asynccontextmanager
async def world_at(path, chain=None, **settings):
    if chain is None:
        chain = AlignedChain()
        chain.register(*FOUR)
        chain.mine()
    async with journal_at(path) as journal:
        world = await World.begin(journal, chain, CollectSettings(**settings))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.collector.run)
            await world.scan()
            yield world
            nursery.cancel_scope.cancel()


# --- quorum and window


async def test_two_of_four_are_not_enough_and_three_wait_for_the_window(tmp_path, autojump_clock):
    async with world_at(tmp_path) as world:
        one = world.post()
        await world.scan()

        await world.sign(*FOUR[:2])
        await trio.sleep(60)
        assert world.collector.ready == {}
        began = trio.current_time()
        await world.sign(FOUR[2])
        await trio.sleep(14.9)
        assert world.collector.ready == {}
        await trio.sleep(0.1)

        assert world.collector.ready == {one: began + 15.0}


async def test_nobody_is_waited_for_once_everybody_has_signed(tmp_path, autojump_clock):
    async with world_at(tmp_path) as world:
        one = world.post()
        await world.scan()
        await world.sign(*FOUR[:3])

        await trio.sleep(5)
        await world.sign(FOUR[3])

        assert set(world.collector.ready) == {one}


async def test_a_signature_within_the_window_is_part_of_the_aggregate_and_prolongs_nothing(tmp_path, autojump_clock):
    chain = AlignedChain()
    chain.register(*OPERATORS)
    chain.mine()
    async with world_at(tmp_path, chain) as world:
        one = world.post()
        await world.scan()
        began = trio.current_time()
        await world.sign(*OPERATORS[:6])
        await trio.sleep(10)
        await world.sign(OPERATORS[6])

        await trio.sleep(10)

        assert world.collector.ready == {one: began + 15.0}
        assert len((await world.collector.aggregate(one)).signers) == 7


async def test_whoever_waits_for_ready_batches_is_woken(tmp_path, autojump_clock):
    async with world_at(tmp_path) as world:
        one = world.post()
        await world.scan()
        seen = world.collector.changed.value

        with trio.fail_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.sign, *FOUR)
                await world.collector.changed.wait_value(lambda value: value != seen)

        assert set(world.collector.ready) == {one}


async def test_an_operator_from_outside_the_snapshot_never_counts(tmp_path, autojump_clock):
    async with world_at(tmp_path) as world:
        one = world.post()
        world.chain.register(OPERATORS[5], stake=10**6)  # after the batch
        world.chain.mine()
        await world.scan()

        await world.sign(*FOUR[:2], OPERATORS[5])
        await trio.sleep(60)
        assert world.collector.ready == {}
        await world.sign(FOUR[2])
        await trio.sleep(60)

        aggregate = await world.collector.aggregate(one)
        assert OPERATORS[5].id not in {*aggregate.signers, *aggregate.non_signers}


async def test_a5_signatures_from_before_the_batch_is_known_count_when_it_is(tmp_path, autojump_clock):
    async with world_at(tmp_path) as world:
        one = await world.sign(*FOUR)
        assert (world.collector.ready, world.chain.asked.count("call")) == ({}, 0)

        world.post()
        await world.scan()

        assert set(world.collector.ready) == {one}


# --- the aggregate


async def test_an_aggregate_is_what_the_contract_checks(tmp_path, autojump_clock):
    async with world_at(tmp_path) as world:
        one = world.post()
        await world.scan()
        await world.sign(FOUR[2], FOUR[0], FOUR[3])

        aggregate = await world.collector.aggregate(one)

        by_id = {each.id: each for each in FOUR}
        assert set(aggregate.signers) == {FOUR[0].id, FOUR[2].id, FOUR[3].id}
        assert aggregate.non_signers == (FOUR[1].id,)
        assert aggregate.non_signer_keys == (FOUR[1].secret.public_g1(),)
        assert aggregate_verify(one, aggregate.sigma, [by_id[id].secret.public_g2() for id in aggregate.signers])
        assert aggregate_verify(one, aggregate.sigma, [aggregate.apk_g2])
        assert aggregate.quorum_apk == sum_g1(each.secret.public_g1() for each in FOUR)


async def test_non_signers_are_in_the_order_of_their_numbers(tmp_path, autojump_clock):
    chain = AlignedChain()
    chain.register(OPERATORS[0], stake=10_000)
    chain.register(*OPERATORS[1:], stake=1)
    chain.mine()
    async with world_at(tmp_path, chain) as world:
        one = world.post()
        await world.scan()
        await world.sign(OPERATORS[0])

        aggregate = await world.collector.aggregate(one)

        numbers = [int.from_bytes(id, "big") for id in aggregate.non_signers]
        assert (numbers, len(numbers)) == (sorted(numbers), 7)
        keys = {each.id: each.secret.public_g1() for each in OPERATORS}
        assert aggregate.non_signer_keys == tuple(keys[id] for id in aggregate.non_signers)


async def test_there_is_no_aggregate_without_a_quorum_or_a_task(tmp_path, autojump_clock):
    async with world_at(tmp_path) as world:
        one = world.post()
        await world.scan()
        await world.sign(*FOUR[:2])

        with pytest.raises(NotReady, match="stake 200 of 400"):
            await world.collector.aggregate(one)
        with pytest.raises(NotReady, match="stake 0 of 0"):
            await world.collector.aggregate(b"\x01" * 32)


async def test_an_aggregate_waits_for_a_key_that_is_not_scanned_yet(tmp_path, autojump_clock):
    chain = AlignedChain()
    chain.register(*FOUR)
    chain.mine()
    one = chain.post(ROOT)
    chain.mine()
    async with journal_at(tmp_path) as journal:
        world = await World.begin(journal, chain, CollectSettings())
        await world.state.add_tasks([chain.task(ROOT)])  # the recovery is faster than the scan
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.collector.run)
            await world.sign(*FOUR)
            await trio.sleep(60)
            assert world.collector.ready == {}
            with pytest.raises(KeysMissing):
                await world.collector.aggregate(one)

            await world.scan()

            assert set(world.collector.ready) == {one}
            nursery.cancel_scope.cancel()


# --- faults


async def test_a2_a_restart_goes_on_with_what_was_signed_and_waits_no_window_twice(tmp_path, autojump_clock):
    async with world_at(tmp_path) as world:
        one = world.post()
        await world.scan()
        await world.sign(*FOUR[:3])
        chain = world.chain
    await trio.sleep(20)

    async with world_at(tmp_path, chain) as world:
        await world.settle()

        assert set(world.collector.ready) == {one}


async def test_a_window_that_was_interrupted_is_waited_for_to_its_end(tmp_path, autojump_clock):
    async with world_at(tmp_path) as world:
        one = world.post()
        await world.scan()
        await world.sign(*FOUR[:3])
        signed, chain = trio.current_time() - SETTLE_S, world.chain
    await trio.sleep(10)

    async with world_at(tmp_path, chain) as world:
        await trio.sleep(20)

        assert world.collector.ready == {one: pytest.approx(signed + 15.0)}


async def test_a_chain_that_is_away_delays_a_quorum_and_loses_nothing(tmp_path, autojump_clock):
    async with world_at(tmp_path) as world:
        ids = {world.post(), world.post(root_of(2))}
        await world.scan()

        def away(_):
            raise Away("nobody there")

        world.chain.fault = away
        await world.sign(*FOUR)
        await world.sign(*FOUR, root=root_of(2))
        await trio.sleep(300)
        assert world.collector.ready == {}
        world.chain.fault = None
        await trio.sleep(20)

        assert set(world.collector.ready) == ids


async def test_row_5_one_snapshot_is_read_for_all_operators_and_all_batches_of_a_block(tmp_path, autojump_clock):
    async with world_at(tmp_path) as world:
        roots = [root_of(number) for number in range(1, 6)]
        for root in roots:
            world.chain.post(root)
        world.chain.mine()
        await world.scan()

        for root in roots:
            for one in FOUR:
                await world.sign(one, root=root)

        assert len(world.collector.ready) == 5
        assert world.chain.asked.count("call") == 1


async def test_row_16a_a_batch_that_moved_is_judged_by_its_new_block(tmp_path, autojump_clock):
    async with world_at(tmp_path) as world:
        one = world.post()
        world.chain.mine(2)
        await world.scan()
        await world.sign(*FOUR)
        assert set(world.collector.ready) == {one}
        world.chain.reorg(3)
        world.chain.register(*OPERATORS[4:6])
        world.chain.mine(2)
        world.post()
        world.chain.mine(2)

        await world.scan()
        assert world.collector.ready == {}
        with pytest.raises(NotReady, match="stake 400 of 600"):
            await world.collector.aggregate(one)
        await world.sign(OPERATORS[4], OPERATORS[5])

        assert set(world.collector.ready) == {one}
        assert len((await world.collector.aggregate(one)).signers) == 6


async def test_a_batch_that_moves_while_its_operators_are_read_is_judged_by_its_new_block(tmp_path, autojump_clock):
    async with world_at(tmp_path) as world:
        one = world.post()
        await world.scan()
        await world.sign(*FOUR)

        class Moving:
            """Reads of operators, during the first of which the batch moves a block up."""

            def __init__(self):
                self.read = []

            async def at(self, task):
                self.read.append(task.created)
                if len(self.read) == 1:
                    world.chain.reorg(1)
                    world.chain.mine()
                    world.post()
                    await world.scan()
                return Snapshot.of(task.created, {one.id: 100 for one in FOUR})

        moving = Moving()
        aggregate = await Collector(world.state, moving, run_blocking=inline).aggregate(one)

        assert aggregate.task == world.state.tasks[one]
        assert moving.read == [aggregate.task.created - 1, aggregate.task.created]


async def test_row_16b_a_batch_that_is_gone_is_not_ready_until_it_is_back(tmp_path, autojump_clock):
    async with world_at(tmp_path) as world:
        one = world.post()
        world.chain.mine(2)
        await world.scan()
        await world.sign(*FOUR)
        world.chain.reorg(3)
        world.chain.mine(4)
        await world.scan()
        assert world.collector.ready == {}
        with pytest.raises(NotReady):
            await world.collector.aggregate(one)

        world.post()
        await world.scan()

        assert set(world.collector.ready) == {one}


async def test_row_16c_an_answered_batch_is_not_ready_and_is_again_when_the_answer_is_gone(tmp_path, autojump_clock):
    async with world_at(tmp_path) as world:
        one = world.post()
        await world.scan()
        await world.sign(*FOUR)
        world.chain.answer(ROOT)
        world.chain.mine(2)
        await world.scan()
        assert world.collector.ready == {}
        world.chain.reorg(2)
        world.chain.mine(3)

        await world.scan()

        assert set(world.collector.ready) == {one}


async def test_a_finished_batch_costs_no_memory_for_signatures(tmp_path, autojump_clock):
    async with world_at(tmp_path, confirmations=3) as world:
        world.post()
        await world.scan()
        await world.sign(*FOUR)
        world.chain.answer(ROOT)
        world.chain.mine(3)
        await world.scan()
        assert len(world.state.signed) == 1

        world.chain.mine()
        await world.scan()

        assert world.state.signed == {}
        assert await world.journal.scan(rows.SIGNATURES, 10) == []


# --- refused by the contract


async def test_bad_signatures_are_taken_out_for_good_and_the_rest_is_tried_again(tmp_path, autojump_clock):
    async with world_at(tmp_path) as world:
        one = world.post()
        await world.scan()
        await world.sign(*FOUR[:2])
        wrong = encode_g1(FOUR[2].secret.sign(b"\x01" * 32))
        no_point = b"\x01" * 64
        await world.state.accept(
            [
                Accepted(one, ROOT, b"\xb0" * 20, FOUR[2].id, wrong),
                Accepted(one, ROOT, b"\xb0" * 20, FOUR[3].id, no_point),
            ]
        )
        await world.settle()
        assert set(world.collector.ready) == {one}

        assert await world.collector.recheck(one) == 2
        await world.settle()

        assert world.collector.ready == {}
        assert set((await loaded(world.journal)).signed[one]) == {FOUR[0].id, FOUR[1].id}
        await world.sign(FOUR[2], FOUR[3])
        assert set(world.collector.ready) == {one}
        assert await world.collector.recheck(one) == 0


async def test_a_recheck_without_a_bad_signature_reads_the_snapshot_again(tmp_path, autojump_clock):
    async with world_at(tmp_path) as world:
        one = world.post()
        await world.scan()
        await world.sign(*FOUR)
        before = world.chain.asked.count("call")

        assert await world.collector.recheck(one) == 0
        await world.settle()

        assert world.chain.asked.count("call") == before + 1
        assert set(world.collector.ready) == {one}
