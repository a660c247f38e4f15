"""An attester whose votes are slow on their way is late on the pages of the others; one that is away is silent."""

import pytest
import trio
from attestrio.quorum.watch import VotesWatch
from attestrio.roles import BatchNumber
from node_world import MAIN, World, key

SIX = [1] * 6  # of which five certify
SLOW, DELAY_S = "attester-6", 2.6


class SlowLink:
    """What others send comes at once; what this node sends takes its time."""

    def __init__(self, link, genesis, delay_s):
        self.link, self.genesis, self.delay_s = link, genesis, delay_s

    async def run(self, votes):
        wires = VotesWatch(self.genesis.attesters, self.genesis.hash())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.link.run, wires)
            nursery.start_soon(self.carry, votes, wires, self.delay_s)
            nursery.start_soon(self.carry, wires, votes, 0.0)
        raise AssertionError("unreachable: a link runs until cancelled")

    async def carry(self, here, there, delay_s):
        mark = 0
        async with trio.open_nursery() as pushes:
            while True:
                votes, mark = await here.wait_newer(mark)
                pushes.start_soon(self.push, there, votes, delay_s)

    async def push(self, there, votes, delay_s):
        await trio.sleep(delay_s)
        there.add(votes)


@pytest.mark.slow
async def test_a_slow_attester_is_told_from_one_that_is_away(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, SIX)
    await world.start(MAIN, *world.attesters[:5])
    await world.start(SLOW, link=SlowLink(world.network.link(SLOW), world.genesis, DELAY_S))

    main = world.up[MAIN]
    await world.wait_certified(BatchNumber(10), MAIN)
    story = main.duty.story(BatchNumber(5))
    slow = {reason: missed(main, 6, reason) for reason in ("silent", "late")}
    await world.stop(SLOW)
    await world.wait_certified(BatchNumber(20), MAIN)

    member = key(6).public()
    assert list(story.latecomers()) == [member]
    assert 0 < story.latecomers()[member] < DELAY_S + 1
    assert story.missing() == ()
    assert slow["silent"] == 0
    assert slow["late"] >= 3
    assert missed(main, 6, "silent") >= 3  # once it is away
    assert [missed(main, index, reason) for index in range(1, 6) for reason in ("silent", "late")] == [0] * 10


def missed(node, index, reason):
    return node.metrics.value("attestrio_member_missed_total", member=key(index).public().to_text(), reason=reason)
