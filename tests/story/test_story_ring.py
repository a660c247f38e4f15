"""Votes that pass from neighbour to neighbour: nobody hears all the others, and each node collects the certificate."""

import pytest
import trio
import trio.testing
from attestrio.duty import DutyLog
from attestrio.quorum.finder import QCFinder
from attestrio.quorum.watch import VotesWatch
from attestrio.roles import (
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    Committee,
    GenesisHash,
    WeightedAttester,
)
from attestrio.sim.links import MemoryNetwork, Weather
from attestrio.status import AttestationStatus, AttestationStatusWatch
from attestrio.store.memory import MemoryBatchStore

GENESIS = GenesisHash(b"\x11" * 32)
KEYS = [AttesterSecretKey.from_bytes(bytes([i]) * 32) for i in range(1, 11)]
COMMITTEE = Committee([WeightedAttester(key.public(), 1) for key in KEYS])  # nine of ten are a quorum
BATCH = Batch(BatchNumber(0), BatchHash(b"\xab" * 32), GENESIS)
HOP_S = 0.1


class Node:
    """Watch, register, store and finder of a node that holds batch 0, with its end of the network."""

    def __init__(self, name, network):
        self.watch, self.votes = AttestationStatusWatch(GENESIS), VotesWatch(COMMITTEE, GENESIS)
        self.store, self.link = MemoryBatchStore(GENESIS), network.link(name)
        duty = DutyLog(trio.current_time)
        self.stored = trio.Event()
        self.finder = QCFinder(
            self.watch, self.votes, self.store, COMMITTEE, GENESIS, duty, BATCH.number, lambda _: self.stored.set()
        )

    async def start(self, nursery):
        await nursery.start(self.store.run)
        await self.store.put_batch_to_sign(BATCH)
        self.watch.update(AttestationStatus(GENESIS, BATCH.number))
        nursery.start_soon(self.finder.run)
        await nursery.start(self.link.run, self.votes)


@pytest.fixture
def names():
    return [f"node-{index}" for index in range(1, 11)]


async def started(nursery, network, names):
    """All nodes, connected, with nothing to say yet."""
    nodes = [Node(name, network) for name in names]
    for node in nodes:
        await node.start(nursery)
    await trio.testing.wait_all_tasks_blocked()
    return nodes


async def test_ten_nodes_in_a_ring_each_with_one_vote_all_store_the_certificate(nursery, autojump_clock, names):
    network = MemoryNetwork(Weather(delay_s=HOP_S))
    network.ring(names)
    nodes = await started(nursery, network, names)
    began = trio.current_time()

    for node, key in zip(nodes, KEYS, strict=True):
        node.votes.add([key.sign_batch(BATCH)])
    with trio.fail_after(60):
        for node in nodes:
            await node.stored.wait()

    assert trio.current_time() - began == pytest.approx(4 * HOP_S)  # nine votes: four neighbours on either side
    for node in nodes:
        certificate = await node.store.qc(BATCH.number)
        assert certificate.batch == BATCH
        certificate.verify_with(GENESIS, COMMITTEE)


async def test_ring_that_breaks_once_still_reaches_everybody_the_other_way_round(nursery, autojump_clock, names):
    network = MemoryNetwork(Weather(delay_s=HOP_S))
    network.ring(names)
    network.cut(names[0], names[-1])
    nodes = await started(nursery, network, names)

    for node, key in zip(nodes, KEYS, strict=True):
        node.votes.add([key.sign_batch(BATCH)])
    with trio.fail_after(60):
        for node in nodes:
            await node.stored.wait()

    assert [len((await node.store.qc(BATCH.number)).signatures) >= 9 for node in nodes] == [True] * 10


async def test_two_breaks_keep_the_votes_apart_until_they_are_mended(nursery, autojump_clock, names):
    network = MemoryNetwork(Weather(delay_s=HOP_S))
    network.ring(names)
    network.cut(names[0], names[-1])
    network.cut(names[4], names[5])
    nodes = await started(nursery, network, names)

    for node, key in zip(nodes, KEYS, strict=True):
        node.votes.add([key.sign_batch(BATCH)])
    await trio.sleep(60)
    apart = {node.votes.support(BATCH) for node in nodes}
    network.mend()
    with trio.fail_after(60):
        for node in nodes:
            await node.stored.wait()

    assert apart == {5}
