"""Row 9 of Aligned's list: an aggregator that is killed twenty times, at four points of its work."""

import random

import pytest
import trio
from aligned_kit import world_of
from anvil_kit import needs_anvil
from attestrio.aggregator import rows
from suite import patient

pytestmark = needs_anvil

BLOCK_S = 0.2
POINTS = {
    "before the journal": ("before_journal",),
    "after the journal, before the answer": ("after_journal",),
    "after the quorum, before it is sent": ("before_intent", "before_send"),
    "after it is sent, before the receipt": ("after_send",),
}
KILLS_EACH = 5
MOST_TIMES = 3  # a point is passed before it is the end
POST_EVERY_S = 0.3
LIFE_S = patient(30.0)
LIMIT_S = patient(110.0)


@pytest.mark.parametrize("points", POINTS.values(), ids=POINTS)
async def test_row_9_killed_at_four_points_every_batch_is_answered_once_and_nothing_acknowledged_is_missing(
    tmp_path, points
):
    randomness = random.Random(points[0])
    with trio.fail_after(LIMIT_S):
        async with world_of(tmp_path, block_s=BLOCK_S) as world, trio.open_nursery() as posting:
            aggregator = await world.aggregator()
            await world.operators(4, aggregator.address)
            world.nursery.start_soon(world.mine_for_ever)
            await world.start()
            posting.start_soon(post_for_ever, world)
            for one in range(KILLS_EACH):
                point = points[one % len(points)]
                await aggregator.start(point, randomness.randint(1, MOST_TIMES))
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
            assert sum(len(member.line.acknowledged) for member in world.members) > 0


async def post_for_ever(world):
    number = 0
    while True:
        await world.post(number)
        number += 1
        await trio.sleep(POST_EVERY_S)
