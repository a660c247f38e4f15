"""What the duty log learns from the network: who brought a vote first, and who took ours."""

import time

import trio
from attestrio.duty import DutyLog, Step
from attestrio.roles import BatchNumber
from memory_world import GENESIS, MEMBERS
from net_world import LIFTED, running
from suite import patient

FIVE = BatchNumber(5)
QUICK = {"rates": LIFTED, "redial_s": 0.05}


async def until(condition):
    with trio.fail_after(patient(5)):
        while not condition():  # noqa: ASYNC110 - nothing announces a delivery
            await trio.sleep(0.01)


def told():
    duty = DutyLog(time.time)
    duty.record(FIVE, Step.TOLD)
    return duty


async def test_a_vote_that_came_over_another_node_names_the_node_it_came_from_and_not_its_maker():
    duty = told()
    async with (
        running(GENESIS, 1, **QUICK) as maker,
        running(GENESIS, 2, outbound=[maker], **QUICK) as between,
        running(GENESIS, 3, outbound=[between], duty=duty, **QUICK) as last,
    ):
        maker.vote(MEMBERS[0], 5)
        await last.wait_votes(1)

        (vote,) = duty.story(FIVE).votes
        assert (vote.key, vote.via) == (MEMBERS[0].public(), between.node.key)


async def test_each_peer_that_takes_our_vote_is_noted_once_and_none_for_votes_of_others():
    duty, own = told(), MEMBERS[0]
    async with (
        running(GENESIS, 1, own=own.public(), duty=duty, **QUICK) as ours,
        running(GENESIS, 2, outbound=[ours], **QUICK) as one,
        running(GENESIS, 3, outbound=[ours], **QUICK) as two,
    ):
        await ours.wait_connected(2)
        one.vote(MEMBERS[1], 5)
        await two.wait_votes(1)
        before = duty.story(FIVE).deliveries
        ours.vote(own, 5)
        await until(lambda: len(duty.story(FIVE).deliveries) == 2)

        assert before == ()
        assert {delivery.peer for delivery in duty.story(FIVE).deliveries} == {one.node.key, two.node.key}
        vias = {vote.key: vote.via for vote in duty.story(FIVE).votes}
        assert vias == {own.public(): None, MEMBERS[1].public(): one.node.key}
