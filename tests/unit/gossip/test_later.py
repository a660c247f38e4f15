"""What can wait is said when a node has nothing else to do, and is said in the end."""

import pytest
import trio
from attestrio.gossip.later import WITHIN_S, Later
from attestrio.gossip.votes_wire import VoteCodec
from attestrio.roles import SignedBatch
from memory_world import in_memory
from net_world import attester, batch_of, genesis_of


class Told:
    """Somebody with something to say; what it notes down is `note()` at that moment."""

    def __init__(self, note):
        self.times = []
        self._note = note

    def catch_up(self):
        self.times.append(self._note())


async def test_what_is_put_off_twice_is_said_once_and_only_when_others_have_done_their_work(nursery, autojump_clock):
    later, steps = Later(), []
    told = Told(lambda: len(steps))
    nursery.start_soon(later.run)

    async def work():
        for step in range(100):
            steps.append(step)
            await trio.lowlevel.checkpoint()

    nursery.start_soon(work)
    later.add(told)
    later.add(told)
    await trio.sleep(1)

    assert told.times == [100]


async def test_what_comes_after_the_rest_has_a_turn_of_its_own(nursery, autojump_clock):
    later = Later()
    told = Told(trio.current_time)
    nursery.start_soon(later.run)

    for _ in range(3):
        later.add(told)
        await trio.sleep(1)

    assert told.times == [0.0, 1.0, 2.0]


async def test_a_node_that_never_comes_to_rest_speaks_all_the_same(nursery, mock_clock):
    later, stop = Later(), trio.Event()
    told = Told(trio.current_time)
    nursery.start_soon(later.run)
    later.add(told)

    async def never_rests():
        while not stop.is_set():
            await trio.lowlevel.checkpoint()

    nursery.start_soon(never_rests)
    for _ in range(100):
        await trio.lowlevel.checkpoint()
    before = list(told.times)
    mock_clock.jump(WITHIN_S)
    for _ in range(10):
        await trio.lowlevel.checkpoint()
    stop.set()

    assert before == []
    assert told.times == [WITHIN_S]


BEYOND = [attester(index) for index in range(1, 8)]
SEVEN = genesis_of(BEYOND)
AGREED = batch_of(SEVEN, 5)
VOTES = [member.sign_batch(AGREED) for member in BEYOND]
LAST = BEYOND[6].public()


async def test_votes_beyond_the_quorum_are_counted_and_answered_when_there_is_time(autojump_clock):
    async with in_memory(SEVEN) as world, world.talk() as peer:
        world.votes.add(VOTES[:6])
        body = VoteCodec().encode([VOTES[6]])

        assert await peer.call("push_batch_votes", body) == b""

        assert world.votes.support(AGREED) == 7
        assert world.score() == 100


async def test_a_bad_vote_beyond_the_quorum_costs_its_sender_as_any_other_does(autojump_clock):
    async with in_memory(SEVEN) as world, world.talk() as peer:
        world.votes.add(VOTES[:6])
        forged = SignedBatch(AGREED, LAST, VOTES[0].signature)

        assert await peer.call("push_batch_votes", VoteCodec().encode([forged])) is None
        assert await peer.call("push_batch_votes", VoteCodec().encode([VOTES[6]])) == b""

        assert world.score() == pytest.approx(80, abs=0.1)
        assert world.votes.support(AGREED) == 7


async def test_a_vote_for_a_higher_batch_does_not_count_as_beyond_the_quorum(autojump_clock):
    async with in_memory(SEVEN) as world, world.talk() as peer:
        world.votes.add(VOTES[:6])
        newer = BEYOND[6].sign_batch(batch_of(SEVEN, 6))
        body = VoteCodec().encode([newer])
        seen = []

        async def never_rests():
            while not seen:
                seen.extend(vote for vote in world.votes.votes() if vote == newer)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as tasks:
            tasks.start_soon(never_rests)
            tasks.start_soon(peer.call, "push_batch_votes", body)

        assert seen == [newer]
        assert trio.current_time() < WITHIN_S
