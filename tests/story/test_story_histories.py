"""Random histories: reverts, restarts, statuses that go back and a source that lies, on whole nodes in virtual time."""

import tempfile
from pathlib import Path

import pytest
import trio
from attestrio.roles import Batch, BatchHash, BatchNumber
from attestrio.sim.faults import HEALTHY, Says
from fork_world import ForkWorld, Witnessed
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from node_world import MAIN, genesis_of, key
from trio.testing import MockClock

SPARE = [1, 3, 3]  # threshold 6: the first one may do what it likes, the others are needed
PATIENCE_S = 600.0

STEPS = st.one_of(
    st.tuples(st.just("certify"), st.integers(1, 3)),
    st.tuples(st.just("revert"), st.integers(0, 4)),
    st.tuples(st.just("restart"), st.integers(0, 3)),
    st.tuples(st.just("lie"), st.integers(0, 3)),
    st.tuples(st.just("wait"), st.integers(1, 30)),
)


class TwoFaced:
    """Batches of the chain, or others with the same numbers, as one source tells them."""

    def __init__(self, chain):
        self.chain, self.lies = chain, False

    async def batch_to_sign(self, number):
        batch = await self.chain.batch_to_sign(number)
        if batch is None or not self.lies:
            return batch
        return Batch(number, BatchHash(bytes(reversed(batch.hash.to_bytes()))), batch.genesis)


class History:
    """One world, and what can happen in it. After each step the network has to get on."""

    def __init__(self, nursery, folder):
        self.world = ForkWorld(nursery, folder, SPARE, sealed=0)
        self.source = TwoFaced(self.world.chain)
        self.first = 0  # batch of the genesis in force

    async def begin(self):
        await self.world.start(MAIN)
        await self._start(*self.world.attesters)

    async def certify(self, count):
        """As many batches more, certified on the main node."""
        for _ in range(count):
            self.world.chain.seal()
            await self.wait_certified(self.world.chain.height.value)

    async def revert(self, depth):
        to = max(self.world.chain.height.value - depth, -1)
        await self.world.revert(to)
        self.first = to + 1
        await self.certify(1)  # what should certify does

    async def restart(self, index):
        name = self.world.names[index]
        await self.world.stop(name)
        await (self.world.start(MAIN) if name == MAIN else self._start(name))
        await self.certify(1)

    async def lie(self, depth):
        """The spare node is told another hash for a number it may have signed, and one it has not."""
        lowest = max(self.first, self.world.chain.height.value - depth)
        self.source.lies = True
        self.world.sims["attester-1"].fault = Says(lowest)
        await trio.sleep(20)
        await self.certify(1)
        self.world.sims["attester-1"].fault = HEALTHY
        await self.certify(1)
        self.source.lies = False

    async def wait(self, seconds):
        await trio.sleep(seconds)

    async def wait_certified(self, number):
        node = self.world.up[MAIN]
        while True:
            version = node.duty.watch.value
            epoch = node.epoch.value
            if epoch is not None and await epoch.store.qc(BatchNumber(number)) is not None:
                return
            await node.duty.watch.wait_value(lambda now, seen=version: now != seen)

    async def _start(self, *names):
        for name in names:
            source = self.source if name == "attester-1" else self.world.chain
            await self.world.start(name, batch_source=source, stale_grace_s=5.0)


async def live(folder, steps):
    """Run a history; what every node signed, and the world as it ended."""
    with trio.fail_after(PATIENCE_S * (len(steps) + 1)):
        async with trio.open_nursery() as nursery:
            history = History(nursery, folder)
            await history.begin()
            await history.certify(2)
            for step, amount in steps:
                await getattr(history, step)(amount)
            await history.certify(2)
            nursery.cancel_scope.cancel()
    return history.world


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, min_size=1, max_size=6))
@example([("revert", 1), ("revert", 3), ("revert", 0)])
@example([("lie", 2), ("revert", 2), ("lie", 1)])
@example([("revert", 2), ("restart", 0), ("restart", 2), ("revert", 4)])
def test_whatever_happens_no_number_has_two_hashes_and_every_fork_certifies(steps):
    with tempfile.TemporaryDirectory() as folder:
        world = trio.run(live, Path(folder), steps, clock=MockClock(autojump_threshold=0))

        assert world.witness.contradictions() == {}
        assert world.ended == {}
        assert [row.genesis for row in world.rows(MAIN)] == [genesis.hash() for genesis in world.forks]
        for number, genesis in enumerate(world.forks, start=1):
            certified = world.archived(MAIN, number, genesis)
            assert certified == list(range(genesis.first_block, genesis.first_block + len(certified)))
            assert set(certified) <= set(world.witness.numbers(genesis, key(2)))
            assert certified != []


def test_witness_notices_a_second_hash():
    genesis, witness = genesis_of(SPARE), Witnessed()
    votes = [key(1).sign_batch(Batch(BatchNumber(3), BatchHash(bytes([n]) * 32), genesis.hash())) for n in (1, 2)]

    witness.add(votes[:1] * 2)
    before = witness.contradictions()
    witness.add(votes[1:])

    assert before == {}
    assert list(witness.contradictions()) == [(genesis.hash(), key(1).public(), 3)]
