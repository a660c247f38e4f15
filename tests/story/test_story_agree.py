"""A whole node with three main nodes, over HTTP on loopback and the real clock: one of them is wrong, and is named."""

import json
from dataclasses import dataclass

import pytest
from attestrio.app import run_node
from attestrio.config import load_config
from attestrio.duty import Reason
from attestrio.mainnode.agree import ABOUT
from attestrio.mainnode.types import BATCH_TO_ATTEST, hash_json
from attestrio.roles import Batch, BatchHash, BatchNumber
from attestrio.sim.faults import HEALTHY, Hangs, HttpStatus, Only, OtherGenesis, Reply, Says, Slow
from attestrio.sim.main_node import SimMainNode
from attestrio.sim.rollup import next_fork
from attestrio.store.memory import MemoryBatchStore
from node_world import genesis_of, key

GENESIS = genesis_of([1])
FORK = next_fork(GENESIS, 1)
TRUE, FALSE = BatchHash(b"\x11" * 32), BatchHash(b"\x99" * 32)
A_WHILE_S = 0.02


def batch(number, of=GENESIS):
    return Batch(BatchNumber(number), TRUE, of.hash())


@dataclass(frozen=True, slots=True)
class OtherHash:
    """Every batch has another hash than it has."""

    async def __call__(self, call, honest):
        reply = await honest(call)
        told = json.loads(reply.body)
        if call.method != BATCH_TO_ATTEST or told["result"] is None:
            return reply
        told["result"]["hash"] = hash_json(FALSE)
        return Reply(200, json.dumps(told).encode())


class Site:
    """Three main nodes with the same batches, and an attester that is a committee of its own and asks all three."""

    def __init__(self, nursery, folder):
        self.nursery, self.folder = nursery, folder

    async def start(self, *faults, **main_node):
        self.store = MemoryBatchStore(GENESIS.hash())
        await self.nursery.start(self.store.run)
        for number in range(20):
            await self.store.put_batch_to_sign(batch(number))
        self.sims = [SimMainNode(self.store, GENESIS, fault=fault) for fault in faults]
        self.urls = [await self.nursery.start(sim.run) for sim in self.sims]
        overrides = {
            "node.data_dir": str(self.folder / "data"),
            "main_node.urls": ",".join(self.urls),
            "main_node.poll_s": "0.01",
            "batches.poll_s": "0.01",
            "protection.listen_s": "0",
            **{f"main_node.{name}": value for name, value in main_node.items()},
        }
        config = load_config(env={"ATTESTRIO_KEYS_ATTESTER": key(1).to_text()}, overrides=overrides)

        async def run(*, task_status):
            await run_node(config, init_protection=True, task_status=task_status)

        self.node = await self.nursery.start(run)
        return self.node

    async def voted(self, number):
        """The vote that was sent for a batch."""
        epoch = await self.node.wait_epoch()
        while True:
            for vote in epoch.votes.votes():
                if vote.batch.number == number:
                    return vote
            await epoch.votes.wait_newer(epoch.votes.newer_than(0)[1])

    def dissent(self, index):
        return sum(self.dissent_about(index).values())

    def dissent_about(self, index):
        name = "attestrio_main_node_dissent_total"
        return {what: self.node.metrics.value(name, main_node=self.urls[index], what=what) for what in ABOUT}

    def named(self, number):
        """Who dissented about a batch, and about what, as the duty log tells it."""
        events = self.node.duty.timeline(BatchNumber(number))
        return {event.detail for event in events if event.reason is Reason.DISSENT}

    def details(self, number):
        return {event.detail for event in self.node.duty.timeline(BatchNumber(number))}


@pytest.fixture
def site(nursery, tmp_path):
    return Site(nursery, tmp_path)


@pytest.mark.slow
async def test_right_hash_is_signed_and_the_main_node_that_lied_about_it_is_named(site):
    later = Only(BATCH_TO_ATTEST, Slow(0.3))  # the lie is heard first: once two agree nobody listens any more
    await site.start(later, OtherHash(), later)

    vote = await site.voted(0)

    assert vote.batch == batch(0)
    assert site.named(0) == {f"{site.urls[1]} about the batch"}
    assert site.dissent_about(1)["batch"] >= 1.0
    assert [site.dissent(0), site.dissent(2)] == [0.0, 0.0]


async def test_one_that_names_another_number_is_named_and_the_others_are_followed(site):
    await site.start(Slow(A_WHILE_S), Says(7), Slow(A_WHILE_S))
    await site.voted(0)
    await site.node.duty.watch.wait_value(lambda _: site.named(0))

    assert site.named(0) == {f"{site.urls[1]} about the status"}
    assert (await site.node.wait_epoch()).status.status.next_batch == 0


@pytest.mark.parametrize("fault", [Hangs(), HttpStatus(500)], ids=["hangs", "fails"])
async def test_one_that_does_not_answer_is_not_missed(site, fault):
    await site.start(HEALTHY, fault, HEALTHY, timeout_s="10")

    assert (await site.voted(0)).batch == batch(0)
    assert [site.dissent(index) for index in range(3)] == [0.0, 0.0, 0.0]


async def test_nothing_is_signed_while_one_lies_and_one_is_down(site):
    await site.start(HEALTHY, OtherHash(), Only(BATCH_TO_ATTEST, HttpStatus(500)))
    epoch = await site.node.wait_epoch()
    await site.node.duty.watch.wait_value(lambda _: "not_agreed" in site.details(0))

    before = epoch.votes.votes()
    site.sims[2].fault = HEALTHY

    assert list(before) == []
    assert (await site.voted(0)).batch == batch(0)


async def test_fork_that_one_alone_shows_is_not_followed(site):
    await site.start(Slow(A_WHILE_S), HEALTHY, Slow(A_WHILE_S))
    await site.voted(0)

    site.sims[1].fault = OtherGenesis(FORK)
    await site.node.duty.watch.wait_value(lambda _: site.named(0))

    assert (await site.node.wait_epoch()).genesis == GENESIS


async def test_fork_that_enough_show_is_followed_while_the_third_is_behind(site):
    await site.start(HEALTHY, HEALTHY, Slow(A_WHILE_S))
    await site.voted(0)

    site.sims[0].fault = site.sims[1].fault = OtherGenesis(FORK)
    epoch = await site.node.wait_epoch(after=1)
    vote = await site.voted(0)

    assert epoch.genesis == FORK
    assert vote.batch == batch(0, FORK)
