"""Whole nodes in virtual time: nodes that are stopped and started again, and the deadlock of era-consensus PR #161."""

import pytest
import trio
from attestrio.errors import DataDirInUse, leaves
from attestrio.sim.faults import HEALTHY, Says
from attestrio.sim.links import Weather
from attestrio.status import MovedBackwards
from node_world import MAIN, World

SIX = [1] * 6  # threshold 5


async def test_main_node_that_restarts_goes_on_where_it_ended(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, SIX)
    await world.start_all()
    await world.wait_certified(3)
    await trio.sleep(0.5)

    await world.stop(MAIN)
    await trio.sleep(60)
    await world.start(MAIN)
    await world.wait_certified(5)

    assert trio.current_time() == 65.0  # 4 at the poll of 64
    for name in world.names:
        assert await world.certified(name) == [0, 1, 2, 3, 4, 5]


async def test_main_node_that_restarts_between_vote_and_certificate_is_sent_the_votes_again(
    nursery, tmp_path, autojump_clock
):
    world = World(nursery, tmp_path, SIX, weather=Weather(delay_s=0.2))
    await world.start_all()
    await world.wait_certified(2)
    await trio.sleep(0.9)  # at 3.1 the votes for batch 3 are cast, and on their way

    await world.stop(MAIN)
    await trio.sleep(0.05)
    await world.start(MAIN)
    await world.wait_certified(3, MAIN)

    assert trio.current_time() == pytest.approx(3.35)  # stopped at 3.1, back at 3.15, and one delay
    assert await world.certified() == [0, 1, 2, 3]


@pytest.mark.slow
async def test_every_node_restarts_in_turn_and_no_certificate_is_missing(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, SIX)
    await world.start_all()

    for number, name in enumerate(world.names, start=1):
        await world.wait_certified(number)
        await world.stop(name)
        await trio.sleep(0.5)
        await world.start(name)
    await world.wait_certified(10)

    for name in world.names:
        assert await world.certified(name) == list(range(11))


async def test_all_nodes_restart_at_once(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, SIX)
    await world.start(MAIN, *world.attesters[:4])
    await trio.sleep(5.5)  # four votes for batch 0 are everywhere, and lost with the nodes

    await world.stop(*world.attesters[:4], MAIN)
    await world.start_all()
    await world.wait_certified(0)

    assert trio.current_time() == 5.5
    assert await world.certified() == [0]


async def test_pr_161_two_nodes_restart_after_the_votes_were_sent_and_nobody_is_stuck(
    nursery, tmp_path, autojump_clock
):
    world = World(nursery, tmp_path, SIX)
    await world.start(MAIN, *world.attesters[:4])
    await trio.sleep(5.5)  # each of the four votes went over each connection once
    await world.stop(MAIN, "attester-2")
    await world.start(MAIN, "attester-2")
    await trio.sleep(5)

    await world.start("attester-5", "attester-6")
    await world.wait_certified(0)
    first = trio.current_time()
    await world.wait_certified(3)

    assert first == 10.5  # with the vote of attester-5, although main node and attester-2 had lost all they had heard
    for name in world.names:
        assert await world.certified(name) == [0, 1, 2, 3]


async def test_pr_161_node_told_a_number_too_early_does_not_stop_the_others_and_comes_back_to_them(
    nursery, tmp_path, autojump_clock
):
    """The six steps of the description, with whole nodes: one of them heard 10 before the main node settled on 8."""
    world = World(nursery, tmp_path, SIX, first=8)
    await world.start(MAIN)
    (await world.sim("attester-1")).fault = Says(10, world.genesis)
    await world.start("attester-1")
    await trio.sleep(1.5)
    votes = (await world.up["attester-1"].wait_epoch()).votes
    early = [int(vote.batch.number) for vote in votes.votes()]
    world.sims["attester-1"].fault = HEALTHY

    await world.start(*world.attesters[1:])
    await world.wait_certified(12)

    assert early == [10]
    assert votes.min_batch_number > 8  # now; but it counted 8 and 9, for which its floor was low enough
    assert trio.current_time() == 5.5  # 8 at 1.5, from the five others
    for name in world.names:
        assert (await world.certified(name))[-3:] == [10, 11, 12]
    assert await world.certified() == [8, 9, 10, 11, 12]
    assert world.ended == {}


async def test_pr_161_nodes_told_a_number_too_early_end_after_the_grace_and_their_restart_is_enough(
    nursery, tmp_path, autojump_clock
):
    world = World(nursery, tmp_path, SIX, first=8)
    await world.start(MAIN)
    world.network.isolate("attester-1", world.names)  # their votes for 10 reach nobody
    world.network.isolate("attester-2", world.names)
    for name in ("attester-1", "attester-2"):
        (await world.sim(name)).fault = Says(10, world.genesis)
        await world.start(name, stale_grace_s=10.0)
    await trio.sleep(1.5)
    for name in ("attester-1", "attester-2"):
        world.sims[name].fault = HEALTHY

    await world.start(*world.attesters[2:])
    for name in ("attester-1", "attester-2"):
        await world.wait_gone(name)
    ended = trio.current_time()
    world.network.mend()
    await world.start("attester-1", "attester-2")
    await world.wait_certified(8)

    assert ended == 12.0  # ten seconds after the poll at 2
    assert {type(error) for error in world.ended.values()} == {MovedBackwards}
    assert trio.current_time() in (12.0, 13.0)  # they hold 10, so that the hash of 8 may be looked for twice
    await world.wait_certified(10)
    assert await world.certified() == [8, 9, 10]


async def test_pr_161_where_it_remains_two_votes_for_a_number_told_too_early_outrank_those_for_the_lower_one(
    nursery, tmp_path, autojump_clock
):
    """A main node that names 10 to two of six and then 8 has spent their votes wherever they are known: a register
    keeps the greatest vote of a key, in every implementation. The nodes say so, and new registers everywhere end it."""
    world = World(nursery, tmp_path, SIX, first=8)
    await world.start(MAIN)
    for name in ("attester-1", "attester-2"):
        (await world.sim(name)).fault = Says(10, world.genesis)
        await world.start(name, stale_grace_s=1.0)
    await trio.sleep(1.5)
    for name in ("attester-1", "attester-2"):
        world.sims[name].fault = HEALTHY
    await world.start(*world.attesters[2:])
    for name in ("attester-1", "attester-2"):
        await world.wait_gone(name)

    await world.start("attester-1", "attester-2")
    await trio.sleep(20)
    stuck = await world.certified(), world.troubles("attester-1", 8)[-1]
    await world.stop(*world.names)
    await world.start_all()
    await world.wait_certified(8)

    assert stuck == ([], "sent:vote_not_newer")
    assert await world.certified() == [8]


async def test_second_node_over_the_same_directory_is_refused_while_the_first_goes_on(
    nursery, tmp_path, autojump_clock
):
    world = World(nursery, tmp_path, SIX)
    await world.start_all()

    with pytest.RaisesGroup(DataDirInUse, flatten_subgroups=True) as refused:
        async with trio.open_nursery():
            await world.start("attester-1")
    await world.wait_certified(3)

    assert [leaf.exit_code for leaf in leaves(refused.value)] == [5]
    assert await world.certified() == [0, 1, 2, 3]
