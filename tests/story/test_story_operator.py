"""An operator from the event to the aggregator's reply, in virtual time."""

import trio
from operator_world import BLOCK_S, ended, good, watermark, world_of


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
