"""Whole nodes in virtual time: a main node, a chain and wires that misbehave."""

import pytest
import trio
from attestrio.duty import EndState, Reason
from attestrio.roles import BatchNumber, BatchQC, SyncBatch
from attestrio.sim.faults import (
    HEALTHY,
    HttpStatus,
    Lagging,
    MethodMissing,
    OtherGenesis,
    Raw,
    Result,
    Says,
    Slow,
)
from attestrio.sim.links import Weather
from attestrio.status import GenesisChanged, MovedBackwards
from node_world import MAIN, WHOLE_DUTY, World, genesis_of, key

SIX = [1] * 6  # threshold 5


async def test_outage_of_the_main_node_is_waited_out(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, SIX)
    await world.start_all()
    await world.wait_certified(3)
    await trio.sleep(0.5)

    world.reach_main(False)
    await trio.sleep(100)
    world.reach_main(True)
    await world.wait_certified(4)

    assert trio.current_time() == 104.0  # the first poll after 103.5
    assert "told:main_node_down" in world.troubles("attester-1", 3)
    assert world.up["attester-1"].duty.counts()[EndState.MISSED] == 0
    assert await world.certified() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "fault",
    [HttpStatus(403), HttpStatus(500), MethodMissing(), Result(None), Raw(b"{"), Slow(20.0)],
    ids=["403", "500", "missing", "null", "json", "slow"],
)
async def test_main_node_that_answers_uselessly_is_asked_again(nursery, tmp_path, autojump_clock, fault):
    world = World(nursery, tmp_path, SIX)
    await world.start_all()
    await world.wait_certified(1)
    await trio.sleep(0.5)

    for sim in world.sims.values():
        sim.fault = fault
    await trio.sleep(60)
    during = await world.certified()
    for sim in world.sims.values():
        sim.fault = HEALTHY
    await world.wait_certified(3)

    assert during in ([0, 1], [0, 1, 2])
    assert await world.certified() == [0, 1, 2, 3]
    assert trio.current_time() < 84.0  # a slow answer that is on its way is waited for first
    assert world.ended == {}


async def test_attesters_that_are_there_before_the_main_node_begin_when_it_comes(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, SIX)
    await world.start(*world.attesters)
    await trio.sleep(60.5)
    before = world.up["attester-1"].duty.batches()

    await world.start(MAIN)
    await world.wait_certified(0)
    first = trio.current_time()
    await world.wait_certified(3)

    assert before == ()
    assert (first, trio.current_time()) == (61.0, 64.0)


async def test_first_status_that_is_null_for_long_keeps_nobody_from_running(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, SIX)
    await world.start(MAIN)
    for name in world.attesters:
        (await world.sim(name)).fault = Result(None)
    await world.start(*world.attesters)
    await trio.sleep(30.5)

    for sim in world.sims.values():
        sim.fault = HEALTHY
    await world.wait_certified(0)

    assert trio.current_time() == 31.0
    assert world.steps("attester-1", 0) == WHOLE_DUTY


async def test_node_that_was_told_nothing_for_a_while_jumps_and_takes_the_certificates_in_between(
    nursery, tmp_path, autojump_clock
):
    world = World(nursery, tmp_path, SIX)
    await world.start_all()
    await world.wait_certified(2)
    await trio.sleep(0.5)

    world.sims["attester-1"].up = False
    await trio.sleep(6)  # the others certify 3 to 8
    behind = await world.certified("attester-1")
    world.sims["attester-1"].up = True
    await world.wait_certified(9)

    assert behind == [0, 1, 2]
    assert trio.current_time() == 9.0
    assert await world.certified("attester-1") == list(range(10))
    assert world.steps("attester-1", 5) == ["seen", "certified"]
    assert world.troubles("attester-1", 5) == ["certified:batch_not_persisted"]
    assert world.steps("attester-1", 9) == WHOLE_DUTY


async def test_status_that_jumps_leaves_the_batches_in_between_to_the_main_node(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, SIX)
    await world.start(MAIN, *world.attesters[:4])  # too few for a certificate
    await trio.sleep(5.5)

    for number in range(7):  # as if restored from elsewhere
        batch = await world.chain.batch_to_sign(BatchNumber(number))
        votes = {key(index).public(): key(index).sign_batch(batch).signature for index in range(1, 7)}
        await world.stores[MAIN].persist_qc(BatchQC(batch, votes))
    await world.start("attester-5")
    await world.wait_certified(7)
    first = trio.current_time()
    await world.wait_certified(9)

    assert (first, trio.current_time()) == (6.0, 8.0)
    assert await world.certified("attester-1") == [7, 8, 9]
    assert world.up["attester-1"].duty.end_state(0) is EndState.SKIPPED
    assert world.up["attester-1"].duty.end_reason(0) is Reason.QUORUM_NOT_REACHED
    assert world.troubles("attester-1", 0) == [
        "persisted:batch_not_persisted",
        "seen:quorum_not_reached",  # its own vote and three others
    ]
    assert world.up["attester-1"].duty.batches() == (0, 7, 8, 9)


async def test_replica_that_lags_slows_its_node_and_nothing_else(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, SIX)
    await world.start(MAIN)
    (await world.sim("attester-1")).fault = Lagging(by=2)
    await world.start(*world.attesters)

    await world.wait_certified(10, MAIN)
    when = trio.current_time()
    await world.wait_certified(10)

    assert when == 10.0
    assert await world.certified("attester-1") == list(range(11))
    assert "told:status_lower" in world.troubles("attester-1", 4)
    assert world.ended == {}


async def test_status_that_stays_lower_ends_the_node_after_the_grace_and_not_before(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, SIX)
    await world.start_all(stale_grace_s=10.0)
    await world.wait_certified(4)
    await trio.sleep(0.5)

    world.sims["attester-1"].fault = Says(2)
    await world.wait_gone("attester-1")

    assert trio.current_time() == 15.0  # first lower answer at 5
    assert isinstance(world.ended["attester-1"], MovedBackwards)
    assert world.ended["attester-1"].exit_code == 70
    assert sorted(world.up) == sorted(set(world.names) - {"attester-1"})
    await world.wait_certified(16)
    assert await world.certified() == list(range(17))


async def test_changed_genesis_ends_the_node_while_the_program_around_it_goes_on(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, SIX)
    await world.start_all()
    await world.wait_certified(4)
    await trio.sleep(0.5)
    running = world.up["attester-1"]

    world.sims["attester-1"].fault = OtherGenesis(genesis_of(SIX, fork=1))
    await world.wait_gone("attester-1")

    assert trio.current_time() == 5.0  # at the next poll, without a grace
    assert isinstance(world.ended["attester-1"], GenesisChanged)
    assert world.ended["attester-1"].exit_code == 70
    assert running.duty.end_state(4) is EndState.CERTIFIED  # what was proved stays proved
    await world.wait_certified(8)  # by the five that are left
    assert trio.current_time() == 8.0
    assert await world.certified("attester-1") == [0, 1, 2, 3, 4]


async def test_batch_under_way_is_skipped_with_its_reason_when_the_genesis_changes(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, SIX)
    await world.start(MAIN, *world.attesters[:4])
    await trio.sleep(3.5)
    running = world.up["attester-1"]

    world.sims["attester-1"].fault = OtherGenesis(genesis_of(SIX, fork=1))
    await world.wait_gone("attester-1")

    assert running.duty.end_state(0) is EndState.SKIPPED
    assert running.duty.end_reason(0) is Reason.GENESIS_CHANGED


async def test_batch_that_is_sealed_late_is_voted_for_when_it_comes(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, SIX, sealed=3)
    await world.start(MAIN)
    await trio.sleep(0.5)  # from here on the attesters poll at the half seconds, after the main node
    await world.start(*world.attesters)
    await world.wait_certified(2)
    await trio.sleep(30.25)

    world.chain.seal()
    await world.wait_certified(3)

    assert trio.current_time() == 33.5  # sealed at 32.75, seen by the main node at 33
    assert world.steps("attester-1", 3) == WHOLE_DUTY
    assert world.troubles("attester-1", 3) == ["persisted:batch_not_persisted"]
    assert world.up["attester-1"].duty.counts()[EndState.MISSED] == 0


async def test_hash_that_comes_after_the_batch_is_waited_for(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, [1])
    await world.start(MAIN)
    store = await world.store("attester-1")
    await store.queue_batch(SyncBatch(BatchNumber(0), (b"block",)))  # synchronised; no hash comes with it

    class LateHash:
        async def batch_to_sign(self, number):
            await trio.lowlevel.checkpoint()
            return await world.chain.batch_to_sign(number) if trio.current_time() > 20 else None

    await world.start("attester-1", batch_source=LateHash())
    await trio.sleep(15)
    waiting = world.steps("attester-1", 0), world.troubles("attester-1", 0)
    await world.wait_certified(0)

    assert waiting == (["told", "persisted"], ["hashed:hash_not_available"])
    assert trio.current_time() in (21.0, 22.0)  # keeper and attester ask at the same instants, in any order
    assert world.steps("attester-1", 0) == WHOLE_DUTY


async def in_bad_weather(folder, seed, last=9):
    """When batch `last` was certified on the main node, and what each node holds by then."""
    async with trio.open_nursery() as nursery:
        world = World(nursery, folder, SIX, weather=Weather(delay_s=0.05, drop=0.4, reconnect_s=0.6), seed=seed)
        began = trio.current_time()
        await world.start_all()
        await world.wait_certified(last, MAIN)
        took = round(trio.current_time() - began, 6)
        held = {name: await world.certified(name) for name in world.names}
        nursery.cancel_scope.cancel()
    return took, held


async def test_delays_and_broken_connections_cost_time_and_no_certificate(tmp_path, autojump_clock):
    took, held = await in_bad_weather(tmp_path, seed=1, last=4)

    assert held[MAIN] == list(range(5))
    assert 4.05 < took < 12.0


@pytest.mark.slow
async def test_same_weather_gives_the_same_certificates_at_the_same_time(tmp_path, autojump_clock):
    stories = [await in_bad_weather(tmp_path / str(run), seed=2) for run in range(3)]

    assert stories[0] == stories[1] == stories[2]
