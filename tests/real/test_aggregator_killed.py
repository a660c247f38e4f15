"""Row 9 of Aligned's list: an aggregator that is killed twenty times, at four points of its work."""

import random

import trio
from aligned_kit import world_of
from anvil_kit import needs_anvil
from attestrio.aggregator import rows

pytestmark = needs_anvil

BLOCK_S = 0.3
POINTS = (("before_journal",), ("after_journal",), ("before_intent", "before_send"), ("after_send",))
KILLS_EACH = 5
MOST_TIMES = 4  # a point is passed before it is the end
POST_EVERY_S = 0.4
LIFE_S = 30.0
LIMIT_S = 240.0


async def test_row_9_killed_twenty_times_every_batch_is_answered_once_and_nothing_acknowledged_is_missing(tmp_path):
    randomness = random.Random(9)
    deaths = [points[one % len(points)] for points in POINTS for one in range(KILLS_EACH)]
    randomness.shuffle(deaths)
    with trio.fail_after(LIMIT_S):
        async with world_of(tmp_path, block_s=BLOCK_S) as world, trio.open_nursery() as posting:
            aggregator = await world.aggregator()
            await world.operators(4, aggregator.address)
            world.nursery.start_soon(world.mine_for_ever)
            await world.start()
            posting.start_soon(post_for_ever, world)
            for point in deaths:
                times = randomness.randint(1, MOST_TIMES)
                await aggregator.start(point, times)
                with trio.fail_after(LIFE_S):
                    await aggregator.process.wait()
                assert aggregator.said().splitlines()[-1] == f"at {point}"
                world.assert_nothing_acknowledged_is_missing(await aggregator.signatures())
            posting.cancel_scope.cancel()

            await aggregator.start()

            await world.until_answered(60)
            world.assert_nothing_acknowledged_is_missing(await aggregator.signatures())
            await world.assert_answered_once_each()
            answers = await aggregator.table(rows.ANSWERS)
            assert answers.keys() == world.posted.keys()


async def post_for_ever(world):
    number = 0
    while True:
        await world.post(number)
        number += 1
        await trio.sleep(POST_EVERY_S)
