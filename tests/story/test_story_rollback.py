"""Whole nodes in virtual time: a chain that is reverted, main nodes that go back or lie, and nobody is restarted."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
import trio
from attestrio.duty import EndState, Reason, Step
from attestrio.mainnode.types import GENESIS, STATUS
from attestrio.protection.epochs import EpochCause
from attestrio.sim.chain import SimChain
from attestrio.sim.faults import HEALTHY, Lagging, Only, OtherGenesis, Says
from attestrio.sim.rollup import next_fork
from fork_world import ForkWorld
from node_world import MAIN, genesis_of, key

THREE = [1] * 3  # threshold 3
SPARE = [1, 3, 3]  # threshold 6: attester-1 is not needed


async def test_revert_is_followed_by_every_node_without_a_restart(nursery, tmp_path, autojump_clock):
    world = ForkWorld(nursery, tmp_path, THREE)
    await world.start_all()
    await world.wait_certified(4)
    await trio.sleep(0.5)
    before = dict(world.up)
    gone = {number: world.chain.hash(number) for number in (3, 4)}

    following = await world.revert(2)
    world.chain.seal(100)
    await world.wait_followed(following)
    await world.wait_certified(6)

    assert world.up == before  # the same nodes, none of which was started again
    assert world.ended == {}
    assert trio.current_time() < 12.0
    for name in world.names:
        assert world.archived(name, 1, world.genesis) == [0, 1, 2, 3, 4]
        assert world.archived(name, 2, following)[:4] == [3, 4, 5, 6]
        assert [world.stored_hash(name, 1, number) for number in (3, 4)] == list(gone.values())
        assert world.stored_hash(name, 2, 4) == world.chain.hash(4) != gone[4]
    assert [row.cause for row in world.rows("attester-1")] == ["start", "genesis_changed"]
    assert [row.cause for row in world.rows(MAIN)] == ["start", "command"]
    assert [row.fork_number for row in world.rows("attester-1")] == [0, 1]
    assert world.witness.contradictions() == {}


async def test_two_reverts_in_a_row_are_not_paused_and_a_third_is(nursery, tmp_path, autojump_clock):
    world = ForkWorld(nursery, tmp_path, THREE)
    await world.start_all()
    await world.wait_certified(4)
    paused = []

    for to in (3, 1, 0):
        began = trio.current_time()
        following = await world.revert(to)
        world.chain.seal(20)
        await world.wait_followed(following)
        await world.wait_certified(to + 1)
        paused.append(trio.current_time() - began)

    assert paused[0] <= 3.0  # the main node looks for commands once a second, and so do the others for the status
    assert paused[1] <= 3.0
    assert 2.0 <= paused[2] <= 6.0
    assert world.archived(MAIN, 2, world.forks[1])[:1] == [4]
    assert world.archived(MAIN, 3, world.forks[2])[:1] == [2]
    assert world.archived(MAIN, 4, following)[:1] == [1]


async def test_node_that_is_away_during_a_revert_begins_in_the_fork(nursery, tmp_path, autojump_clock):
    world = ForkWorld(nursery, tmp_path, SPARE)
    await world.start_all()
    await world.wait_certified(3)
    await world.stop("attester-1")

    following = await world.revert(1)
    world.chain.seal(20)
    await world.wait_followed(following)
    await world.wait_certified(3)
    await world.start("attester-1")
    await world.wait_followed(following)
    await world.wait_certified(7)

    assert [row.cause for row in world.rows("attester-1")] == ["start", "genesis_changed"]
    assert world.archived("attester-1", 1, world.genesis) == [0, 1, 2, 3]
    assert 7 in world.archived("attester-1", 2, following)


async def test_node_restarted_after_a_fork_goes_on_in_it_although_its_genesis_file_is_old(
    nursery, tmp_path, autojump_clock
):
    world = ForkWorld(nursery, tmp_path, THREE)
    await world.start_all()
    await world.wait_certified(3)
    following = await world.revert(1)
    world.chain.seal(20)
    await world.wait_followed(following)
    await world.wait_certified(3)

    await world.stop("attester-1")
    await world.start("attester-1")
    await world.wait_certified(6)

    epoch = await world.up["attester-1"].wait_epoch()
    assert (epoch.number, epoch.genesis) == (2, following)
    assert len(world.rows("attester-1")) == 2  # no new one: it went on
    assert world.archived("attester-1", 2, following)[-1] == 6


async def test_restarted_node_waits_for_the_fork_it_followed_and_not_for_an_older_one(
    nursery, tmp_path, autojump_clock
):
    world = ForkWorld(nursery, tmp_path, THREE)
    await world.start_all()
    await world.wait_certified(3)
    following = await world.revert(1)
    world.chain.seal(20)
    await world.wait_followed(following)
    await world.wait_certified(3)
    await world.stop("attester-1")

    world.sims["attester-1"].fault = OtherGenesis(world.genesis)  # a replica that has not heard of the fork
    await world.start("attester-1")
    await trio.sleep(30)
    waiting = world.up["attester-1"].epoch.value
    world.sims["attester-1"].fault = HEALTHY
    await world.wait_certified(6)

    assert waiting is None
    assert world.ended == {}
    assert (await world.up["attester-1"].wait_epoch()).number == 2


# --- the status goes back


async def test_status_that_stays_lower_begins_an_epoch_and_the_stored_signature_is_sent_again(
    nursery, tmp_path, autojump_clock
):
    world = ForkWorld(nursery, tmp_path, SPARE)
    await world.start_all(stale_grace_s=10.0)
    await world.wait_certified(3)
    before = (await world.up["attester-1"].wait_epoch()).votes
    (first,) = [vote for vote in before.votes() if vote.key == key(1).public()]
    await world.wait_certified(4)
    await trio.sleep(0.5)

    world.sims["attester-1"].fault = Says(int(first.batch.number))
    epoch = await world.up["attester-1"].wait_epoch(after=1)
    at = trio.current_time()
    await trio.sleep(2)
    again = [vote for vote in epoch.votes.votes() if vote.key == key(1).public()]
    world.sims["attester-1"].fault = HEALTHY
    await world.wait_certified(20)

    assert 14.0 <= at <= 17.0  # the first lower answer, and the grace
    assert (epoch.genesis, epoch.cause) == (world.genesis, EpochCause.MOVED_BACKWARDS)
    assert again == [first]
    assert again[0].signature == first.signature
    assert world.witness.contradictions() == {}
    assert world.ended == {}


async def test_other_hash_in_an_epoch_of_the_same_genesis_is_refused_and_the_next_number_is_signed(
    nursery, tmp_path, autojump_clock
):
    world = ForkWorld(nursery, tmp_path, SPARE)
    other = SimChain(world.genesis.hash(), seed=1)
    other.seal(100)
    lies = trio.Event()

    class Source:
        async def batch_to_sign(self, number):
            return await (other if lies.is_set() and number < 10 else world.chain).batch_to_sign(number)

    await world.start(MAIN)
    await world.start("attester-1", batch_source=Source(), stale_grace_s=10.0)
    await world.start(*world.attesters[1:])
    await world.wait_certified(4)
    await trio.sleep(0.5)

    lies.set()
    world.sims["attester-1"].fault = Says(2)
    node = world.up["attester-1"]
    await node.wait_epoch(after=1)
    await node.duty.watch.wait_value(lambda _: node.duty.end_state(2) is EndState.MISSED)
    refused = node.duty.end_reason(2), world.details("attester-1", 2, Step.SIGNED)
    world.sims["attester-1"].fault = HEALTHY
    await world.wait_certified(20)

    assert refused == (Reason.SIGNING_REFUSED, ["double_vote"])
    assert world.witness.contradictions() == {}
    assert "signed" in world.steps("attester-1", 20)
    assert (await node.wait_epoch()).number == 2
    assert world.ended == {}


async def test_status_that_never_rests_leaves_longer_and_longer_pauses(nursery, tmp_path, autojump_clock):
    world = ForkWorld(nursery, tmp_path, SPARE)
    await world.start_all(stale_grace_s=0.0)
    await world.wait_certified(9)
    began = []

    async def note():
        async for epoch in world.up["attester-1"].epoch.eventual_values():
            if epoch is not None:
                began.append(trio.current_time())

    nursery.start_soon(note)
    world.sims["attester-1"].fault = Lagging(by=5)
    await trio.sleep(400)

    gaps = [later - earlier for earlier, later in pairwise(began)]
    assert len(began) <= 12
    assert gaps[1:7] == [1.0, 2.0, 6.0, 16.0, 61.0, 61.0]  # each lasted from one poll to the next
    assert world.archived(MAIN, 1, world.genesis)[-1] == 99  # the others certified all there were


# --- a main node that lies


@pytest.mark.parametrize(
    "fault",
    [
        OtherGenesis(genesis_of(SPARE, fork=1, chain_id=271)),
        OtherGenesis(genesis_of([2, 6, 6], fork=3)),
        OtherGenesis(genesis_of(SPARE, fork=2)),
        Only(STATUS, OtherGenesis(genesis_of(SPARE, fork=4))),
        Only(GENESIS, OtherGenesis(genesis_of(SPARE, fork=4))),
    ],
    ids=["other chain", "same fork", "lower fork", "genesis not shown", "genesis alone"],
)
async def test_genesis_that_must_not_follow_is_not_followed_and_nothing_is_signed_under_it(
    nursery, tmp_path, autojump_clock, fault
):
    world = ForkWorld(nursery, tmp_path, SPARE, fork=3)
    await world.start_all()
    await world.wait_certified(3)
    await trio.sleep(0.5)

    world.sims["attester-1"].fault = fault
    await trio.sleep(10)
    epochs = len(world.rows("attester-1"))
    world.sims["attester-1"].fault = HEALTHY
    await world.wait_certified(20)

    assert epochs == 1
    assert world.ended == {}
    assert {genesis for genesis, _, _ in world.witness.hashes} == {world.genesis.hash()}
    assert "signed" in world.steps("attester-1", 20)


@dataclass(frozen=True, slots=True)
class Briefly:
    """`fault` for the first status, and for the genesis that is asked for to judge it."""

    fault: OtherGenesis

    async def __call__(self, call, honest):
        return await (self.fault if call.index == 0 else HEALTHY)(call, honest)


async def test_main_node_that_takes_a_fork_back_is_followed_back_and_signs_no_second_hash(
    nursery, tmp_path, autojump_clock
):
    world = ForkWorld(nursery, tmp_path, SPARE)
    await world.start_all()
    await world.wait_certified(3)
    await trio.sleep(0.5)

    world.sims["attester-1"].fault = Briefly(OtherGenesis(next_fork(world.genesis, 2)))
    await world.wait_certified(12)

    assert [row.genesis for row in world.rows("attester-1")] == [world.genesis.hash()] * 2
    assert world.witness.contradictions() == {}
    assert world.ended == {}
    assert "signed" in world.steps("attester-1", 12)
