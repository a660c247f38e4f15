"""Whole nodes in virtual time: the committee at work, and what becomes of it when members are missing."""

import pytest
import trio
from attestrio.duty import EndState, Reason
from node_world import MAIN, WHOLE_DUTY, World

FIVE = [2, 2, 2, 2, 1]  # total 9, threshold 8: the four heavy ones are enough
SIX = [1] * 6  # threshold 5


async def test_four_of_five_attesters_certify_every_batch(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, FIVE)
    await world.start(MAIN, *world.attesters[:4])

    await world.wait_certified(9)

    assert trio.current_time() == 9.0  # the first at once, then one per poll
    assert await world.certified() == list(range(10))
    for name in world.attesters[:4]:
        assert await world.certified(name) == list(range(10))


async def test_each_batch_leaves_its_steps_in_the_duty_log(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, FIVE)
    await world.start(MAIN, *world.attesters[:4])

    await world.wait_certified(1)

    assert world.steps("attester-1", 1) == WHOLE_DUTY
    assert world.steps(MAIN, 1) == ["persisted", "told", "seen", "certified"]
    assert world.up["attester-1"].duty.end_state(1) is EndState.CERTIFIED


async def test_without_a_threshold_nothing_is_certified_and_nothing_is_ended(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, FIVE)
    await world.start(MAIN, *world.attesters[1:])  # weight 7 of 8

    await trio.sleep(30)

    assert await world.certified() == []
    assert world.up["attester-2"].duty.end_state(0) is EndState.OPEN
    assert world.ended == {}


async def test_last_missing_attester_completes_the_batch_the_others_wait_for(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, FIVE)
    await world.start(MAIN, *world.attesters[1:])
    await trio.sleep(30.5)

    await world.start("attester-1")
    await world.wait_certified(0)
    first = trio.current_time()
    await world.wait_certified(3)

    assert first == 30.5  # its neighbours' votes came with the connection
    assert trio.current_time() == 33.5  # it polls at the half second, and the threshold needs it
    assert await world.certified() == [0, 1, 2, 3]


async def test_attester_outside_the_committee_idles_and_still_collects_certificates(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, FIVE)
    stranger = "attester-9"
    await world.start(MAIN, *world.attesters[:4], stranger)

    await world.wait_certified(3)

    assert await world.certified(stranger) == [0, 1, 2, 3]
    assert world.steps(stranger, 2) == ["told", "persisted", "seen", "certified", "submitted"]
    assert world.troubles(stranger, 2) == ["signed:not_in_committee"]
    keys = {vote.key for vote in (await world.up[MAIN].wait_epoch()).votes.votes()}
    assert keys == {member.key for member in world.committee if member.weight == 2}


async def test_certificates_go_on_while_one_is_cut_off_and_stop_exactly_when_the_threshold_is_lost(
    nursery, tmp_path, autojump_clock
):
    world = World(nursery, tmp_path, SIX)
    await world.start_all()
    await world.wait_certified(2)

    world.network.isolate("attester-6", world.names)
    await trio.sleep(2.5)  # the polls at 3 and 4
    one_away = await world.certified()
    world.network.isolate("attester-5", world.names)
    await trio.sleep(30)
    two_away = await world.certified()

    assert one_away == [0, 1, 2, 3, 4]
    assert two_away == [0, 1, 2, 3, 4]
    assert world.steps("attester-5", 5) == WHOLE_DUTY[:-2]  # sent, and nobody hears it


async def test_members_that_were_cut_off_are_back_without_a_restart(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, SIX)
    await world.start_all()
    await world.wait_certified(2)
    for name in ("attester-5", "attester-6"):
        world.network.isolate(name, world.names)
    await trio.sleep(20.25)

    world.network.mend()
    await world.wait_certified(3)
    mended = trio.current_time()
    await world.wait_certified(5)

    assert mended == 22.25  # at once: what was sent in vain is sent again on the new connection
    assert trio.current_time() == 24.0  # the polls at 23 and 24
    for name in world.names:
        assert await world.certified(name) == [0, 1, 2, 3, 4, 5]


async def test_main_node_cut_off_from_votes_holds_the_number_until_the_wires_are_back(
    nursery, tmp_path, autojump_clock
):
    world = World(nursery, tmp_path, SIX)
    await world.start_all()
    await world.wait_certified(0)

    world.network.isolate(MAIN, world.attesters)
    await trio.sleep(20.5)
    alone = await world.certified(), await world.certified("attester-1")
    world.network.mend()
    await world.wait_certified(1, MAIN)

    assert alone == ([0], [0, 1])  # its neighbours have the certificate, and keep the votes for it
    assert trio.current_time() == 20.5
    await world.wait_certified(3)
    assert await world.certified() == [0, 1, 2, 3]


@pytest.mark.parametrize("away", [1, 2])
async def test_attester_that_was_away_votes_for_the_next_batch_and_leaves_a_gap(
    nursery, tmp_path, autojump_clock, away
):
    world = World(nursery, tmp_path, SIX)
    await world.start_all()
    await world.wait_certified(1)

    await world.stop("attester-3")
    await trio.sleep(away + 0.5)
    await world.start("attester-3")
    await world.wait_certified(away + 3)

    missed = list(range(2, away + 1))
    kept = [number for number in range(away + 4) if number not in missed]
    assert await world.certified("attester-3") == kept
    assert world.up["attester-3"].duty.counts()[EndState.MISSED] == 0


async def test_attester_whose_batch_source_is_silent_says_why_it_missed_the_batch(nursery, tmp_path, autojump_clock):
    class Silent:
        async def batch_to_sign(self, number):
            await trio.lowlevel.checkpoint()

    world = World(nursery, tmp_path, SIX)
    await world.start(MAIN, *world.attesters[:5])
    await world.stop("attester-5")
    await world.start("attester-6")
    await world.start("attester-5", batch_source=Silent())

    await world.wait_certified(3, MAIN)

    duty = world.up["attester-5"].duty
    assert duty.end_reason(2) is Reason.BATCH_NOT_PERSISTED
    assert set(world.troubles("attester-5", 2)) == {
        "persisted:batch_not_persisted",
        "certified:batch_not_persisted",
        "signed:superseded",
    }
