"""Whole nodes that attest the batches of a sequencer which builds some of them again, in virtual time."""

import pytest
import trio
from attestrio.batches.stream import StreamBatches
from attestrio.duty import EndState, Reason, Step
from attestrio.kit.blocking import inline
from attestrio.resequence.journal import Journal
from attestrio.resequence.runner import Resequencer
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.sink import DirectSink
from attestrio.sequencer.writer import ChainWriter
from attestrio.sim.l2 import demo_plan
from attestrio.sim.resequence_demo import CHAIN, KEPT, SCENARIOS, STREAM, open_stream, write_chain
from attestrio.stream.live import LiveStream
from fork_world import ForkWorld
from node_world import MAIN

pytestmark = pytest.mark.slow  # the chain is built and executed

THREE = [1] * 3  # threshold 3
PLAN = demo_plan(odd=True)
LAST = 12  # batch 13 is open
CHANGED = 4  # the first batch with a block whose L1 info index is another one


class Sequencer:
    """A sequencer and its stream, from which every node takes its batches."""

    def __init__(self, folder):
        write_chain(folder, PLAN)
        self.folder = folder
        self.db, self.stream = ChainDb.open(folder / CHAIN), open_stream(folder)
        self.live = LiveStream(self.stream, inline)

    def close(self):
        self.stream.close()
        self.db.close()

    def resequence(self):
        """Everything behind KEPT, with L1 info indices taken anew."""
        self.db.unwind_to_batch(KEPT)
        writer, scenario = ChainWriter(self.db, DirectSink(self.stream)), SCENARIOS[4]
        report = Resequencer(
            writer, PLAN.rules, PLAN.all_leaves(), Journal(self.folder / STREAM), scenario.options
        ).run()
        self.live.publish()
        assert report.audit.ok

    def source(self, genesis):
        return StreamBatches(self.live, genesis)


class SequencedChain:
    """What a `ForkWorld` has for a chain: the sources of all of its nodes, and what their stream says."""

    def __init__(self, sequencer, genesis):
        self._sequencer, self._genesis, self._sources = sequencer, genesis, {}
        self.first = 0

    def of(self, name):
        return self._sources.setdefault(name, self._sequencer.source(self._genesis))

    def revert(self, to, genesis):
        """What is built behind `to` belongs to `genesis`."""
        for source in self._sources.values():
            source.follow(genesis, to + 1)
        self._genesis, self.first = genesis, to + 1


@pytest.fixture
def sequencer(tmp_path):
    made = Sequencer(tmp_path / "sequencer")
    yield made
    made.close()


def world_of(nursery, tmp_path, sequencer):
    world = ForkWorld(nursery, tmp_path / "nodes", THREE)
    world.chain = SequencedChain(sequencer, world.genesis.hash())
    world.rollup = type(world.rollup)(world.chain, world.rollup.genesis_file, world.rollup.main)
    return world


async def start(world, *names):
    for name in names:
        await world.start(name, batch_source=world.chain.of(name), stale_grace_s=5.0)


async def hashes_of(world, numbers):
    source = world.chain.of("somebody")
    return {number: (await source.batch_to_sign(number)).hash for number in numbers}


async def test_batches_that_were_rebuilt_before_anybody_signed_them_are_attested_in_a_new_epoch(
    nursery, tmp_path, sequencer, autojump_clock
):
    """Attestation waits for its third attester at batch 0; the batches that are in the main node's store change."""
    world = world_of(nursery, tmp_path, sequencer)
    await start(world, MAIN, "attester-1", "attester-2")
    await trio.sleep(5)
    old = await hashes_of(world, range(LAST + 1))

    sequencer.resequence()
    await world.up[MAIN].wait_epoch(after=1)
    await start(world, "attester-3")
    await world.wait_certified(LAST)

    new = {number: world.stored_hash(MAIN, 2, number) for number in range(LAST + 1)}
    assert [number for number in new if new[number] != old[number]] == list(range(CHANGED, LAST + 1))
    assert [row.cause for row in world.rows(MAIN)] == ["start", "resequenced"]
    assert {row.genesis for name in world.names for row in world.rows(name)} == {world.genesis.hash()}
    assert world.archived("attester-3", 1, world.genesis) == list(range(LAST + 1))
    assert world.witness.contradictions() == {}
    assert world.ended == {}


async def test_rebuilt_batches_that_were_signed_are_refused_until_a_genesis_of_their_own_and_then_attested(
    nursery, tmp_path, sequencer, autojump_clock
):
    world = world_of(nursery, tmp_path, sequencer)
    await start(world, *world.names)
    await world.wait_certified(LAST)
    await trio.sleep(0.5)

    sequencer.resequence()
    node = world.up["attester-1"]
    await world.up[MAIN].wait_epoch(after=1)
    await node.wait_epoch(after=1)
    await node.duty.watch.wait_value(lambda _: node.duty.end_state(CHANGED) is EndState.MISSED)
    refused = node.duty.end_reason(CHANGED), world.details("attester-1", CHANGED, Step.SIGNED)
    await trio.sleep(30)
    certified = world.archived(MAIN, 2, world.genesis)

    following = await world.revert(KEPT)
    await world.wait_followed(following)
    await world.wait_certified(LAST)

    assert refused == (Reason.SIGNING_REFUSED, ["double_vote"])
    assert certified == list(range(CHANGED))  # those that are what they were, signed as before
    assert [row.cause for row in world.rows(MAIN)] == ["start", "resequenced", "command"]
    assert [row.cause for row in world.rows("attester-1")] == ["start", "resequenced", "genesis_changed"]
    last = world.rows("attester-1")[-1].id
    assert world.archived("attester-1", last, following) == list(range(KEPT + 1, LAST + 1))
    now = await hashes_of(world, range(KEPT + 1, LAST + 1))
    assert {number: world.stored_hash("attester-1", last, number) for number in now} == now
    assert world.witness.contradictions() == {}
    assert world.ended == {}
