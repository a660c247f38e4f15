"""An operator from the event to the aggregator's reply, in virtual time."""

from itertools import pairwise

import pytest
import trio
from attestrio.duty import Reason
from attestrio.operator import rows
from attestrio.operator.commands import Command
from attestrio.operator.outbox import PERMANENT
from attestrio.operator.rows import Ended
from attestrio.operator.settings import OutboxSettings, WorkSettings
from operator_world import BLOCK_S, Told, ended, good, watermark, world_of


async def test_every_batch_is_verified_signed_and_sent(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world:
        one, two = world.post(b"one", b"uno"), world.post(b"two")
        world.chain.mine()

        async with world.operator() as state:
            await ended(state, 2)
            await trio.sleep(1.0)

            assert sorted(world.aggregator.signed()) == sorted([one, two])
            assert all(good(response) for _, response in world.aggregator.got)
            assert sorted(world.verified) == [b"one", b"two", b"uno"]
            assert await watermark(state) == world.chain.head
            assert world.metrics.value("attestrio_operator_batches", end="signed") == 2


@pytest.mark.slow
async def test_an_operator_that_was_away_for_a_day_answers_every_batch_on_its_return(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world:
        async with world.operator():
            await trio.sleep(BLOCK_S)
        posted = []
        for number in range(60):
            posted.append(world.post(b"proof %d" % number))
            world.chain.mine(120)
        before = trio.current_time()

        async with world.operator() as state:
            await ended(state, 60)
            await trio.sleep(1.0)

            assert set(world.aggregator.signed()) == set(posted)
            assert len(world.aggregator.got) == 60
            assert len(world.verified) == 60
            assert trio.current_time() - before < 10
            assert await watermark(state) == world.chain.head + 1


async def test_an_operator_starts_and_works_while_the_aggregator_is_away(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world:
        world.aggregator.up = False
        batch = world.post(b"proof")
        world.chain.mine()

        async with world.operator() as state:
            await ended(state, 1)
            await trio.sleep(400.0)
            assert world.aggregator.got == []
            before = trio.current_time()
            world.aggregator.up = True
            await world.aggregator.count.wait_value(lambda count: count > 0)

            assert world.aggregator.signed() == [batch]
            assert trio.current_time() - before <= 31.0  # one wait at the cap of 30 s
            assert world.aggregator.dials < 30
            assert len(world.verified) == 1


async def test_an_acknowledgement_ends_only_the_fast_attempts(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world:
        world.post(b"proof")
        world.chain.mine()

        async with world.operator() as state:
            await ended(state, 1)
            await trio.sleep(310.0)
            times = [round(at) for at, _ in world.aggregator.got]
            first = times[0]
            (root,) = {response.batch_merkle_root for _, response in world.aggregator.got}
            world.chain.answer(root)
            world.chain.mine()
            await trio.sleep(310.0)

            assert [at - first for at in times] == [0, 300]
            assert len(world.aggregator.got) == 2  # the chain has the answer: none since
            assert (await state.journal.count(rows.OUTBOX)).waiting == 0


async def test_a_reply_that_is_no_acceptance_is_tried_again_quickly(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world:
        replies = iter([1, Told("queue full"), Told("permanent: else"), 1, 0])
        world.aggregator.reply = lambda response: next(replies)
        world.post(b"proof")
        world.chain.mine()

        async with world.operator() as state:
            await ended(state, 1)
            await trio.sleep(10.0)

            times = [at for at, _ in world.aggregator.got]
            assert [round(later - sooner, 3) for sooner, later in pairwise(times)] == [0.2, 0.4, 0.8, 1.6]
            assert len({response for _, response in world.aggregator.got}) == 1
            assert world.metrics.value("attestrio_operator_responses", result="refused") == 4


async def test_a_fixed_interval_below_a_second_goes_on_without_limit(tmp_path, autojump_clock):
    async with world_of(tmp_path, outbox=OutboxSettings(retry_first_s=0.25, retry_cap_s=0.25)) as world:
        world.aggregator.reply = 1
        world.post(b"proof")
        world.chain.mine()

        async with world.operator() as state:
            await ended(state, 1)
            await trio.sleep(20.0)

            times = [at for at, _ in world.aggregator.got]
            assert len(times) > 75
            assert {round(later - sooner, 3) for sooner, later in pairwise(times)} == {0.25}


@pytest.mark.parametrize("text", sorted(PERMANENT))
async def test_a_permanent_refusal_goes_to_the_dead_letters_and_can_be_tried_again(tmp_path, autojump_clock, text):
    async with world_of(tmp_path) as world:
        world.aggregator.reply = Told(text)
        batch = world.post(b"proof")
        world.chain.mine()

        async with world.operator() as state:
            await ended(state, 2)
            await trio.sleep(310.0)
            verdict = await state.verdict(batch)
            dead = await state.journal.count(rows.DEAD)
            world.aggregator.reply = 0
            await state.journal.put(rows.COMMANDS, b"1", rows.pack(Command("retry", batch)))
            await trio.sleep(5.0)

            assert (verdict.reason, verdict.detail, dead.waiting) == (Reason.RESPONSE_REFUSED, text, 1)
            assert world.aggregator.signed() == [batch, batch]
            assert (await state.journal.count(rows.DEAD)).waiting == 0
            assert (await state.verdict(batch)).acknowledged
            assert len(world.verified) == 1


async def test_responses_in_flight_when_the_aggregator_dies_are_sent_again(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world:
        posted = {world.post(b"%d" % number) for number in range(5)}
        world.aggregator.reply = lambda response: world.aggregator.down() or 0
        world.chain.mine()

        async with world.operator() as state:
            await ended(state, 5)
            await trio.sleep(5.0)
            world.aggregator.up, world.aggregator.reply = True, 0
            await trio.sleep(60.0)

            assert set(world.aggregator.signed()) == posted
            assert all([(await state.verdict(one)).acknowledged for one in posted])


async def test_a_response_past_the_horizon_is_given_up_for_a_reason(tmp_path, autojump_clock):
    async with world_of(tmp_path, work=WorkSettings(horizon_blocks=50)) as world:
        world.aggregator.up = False
        batch = world.post(b"proof")
        world.chain.mine()

        async with world.operator() as state:
            await ended(state, 1)
            world.chain.mine(100)
            await ended(state, 2)

            verdict = await state.verdict(batch)
            assert (verdict.ended, verdict.reason) == (Ended.MISSED, Reason.AGGREGATOR_AWAY)
            assert (await state.journal.count(rows.OUTBOX)).waiting == 0


async def test_two_senders_of_one_root_are_two_batches(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world:
        both = {world.post(b"proof"), world.post(b"proof", sender=b"\xb1" * 20)}
        world.chain.mine()

        async with world.operator() as state:
            await ended(state, 2)
            await trio.sleep(1.0)

            assert set(world.aggregator.signed()) == both


async def test_a_batch_announced_by_both_versions_of_the_event_is_one(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world:
        batch = world.post(b"proof", version=0)
        world.chain.mine()

        async with world.operator() as state:
            await ended(state, 1)
            await trio.sleep(10.0)

            assert len(world.chain.blocks[1].logs) == 2
            assert world.aggregator.signed() == [batch]
            assert len(world.verified) == 1
