"""Stories of the QC finder over real parts: the deadlock of era-consensus PR #161, and a relay that is too quick."""

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
from attestrio.status import AttestationStatus, AttestationStatusWatch
from attestrio.status.watch import MovedBackwards
from attestrio.store.memory import MemoryBatchStore

GENESIS = GenesisHash(b"\x11" * 32)
KEYS = [AttesterSecretKey.from_bytes(bytes([i]) * 32) for i in range(1, 7)]
COMMITTEE = Committee([WeightedAttester(key.public(), 1) for key in KEYS])  # five of six are a quorum


def batch(number):
    return Batch(BatchNumber(number), BatchHash(bytes([number]) * 32), GENESIS)


def status(number):
    return AttestationStatus(GENESIS, BatchNumber(number))


class Node:
    """A node that counts votes: watch, register, store and finder."""

    def __init__(self, first_batch=None, store=None):
        self.watch = AttestationStatusWatch(GENESIS)
        self.votes = VotesWatch(COMMITTEE, GENESIS)
        self.store = store or MemoryBatchStore(GENESIS)
        self.finder = QCFinder(
            self.watch, self.votes, self.store, COMMITTEE, GENESIS, DutyLog(trio.current_time), first_batch=first_batch
        )

    async def start(self, nursery):
        await nursery.start(self.store.run)
        await self.start_finder(nursery)

    async def start_finder(self, nursery):
        nursery.start_soon(self.finder.run)
        await settle()

    async def holds(self, *numbers):
        for number in numbers:
            await self.store.put_batch_to_sign(batch(number))

    async def certified(self):
        return [qc.batch.number for qc in await self.store.qcs(BatchNumber(0), 100)]


async def settle():
    await trio.testing.wait_all_tasks_blocked()


async def six_steps(node, nursery):
    """PR #161 step by step, in the words of its description; what a node of the reference does is in brackets."""
    # 1. Nothing is certified yet, so the main node's API names the newest sealed batch, 10.
    await node.start(nursery)
    await node.holds(8, 9, 10)
    node.watch.update(status(10))
    await settle()

    # 2. A node hears 10 before any certificate is stored. [It raises its floor to 10.]
    floor = node.votes.min_batch_number

    # 3. The main node restarts; still without a certificate, its API now names 8, the batch of `first_block`.
    with pytest.raises(MovedBackwards):
        node.watch.update(status(8))

    # 4. Attesters that start now hear 8 and vote for it. 5. Each vote reaches the node once. [It is below the floor:
    #    ignored, and never sent again.]
    for key in KEYS:
        node.votes.add([key.sign_batch(batch(8))])
    await settle()

    # 6. [No quorum for 8 here, so the API stays at 8 and everybody waits until a restart.]
    return floor


async def test_pr_161_status_told_too_early_does_not_lose_the_votes_for_a_lower_batch(nursery):
    node = Node(first_batch=BatchNumber(8))

    floor = await six_steps(node, nursery)

    assert floor == 8
    assert await node.certified() == [8]


async def test_pr_161_the_network_goes_on_after_the_six_steps(nursery):
    node = Node(first_batch=BatchNumber(8))
    await six_steps(node, nursery)

    for number in (9, 10):
        for key in KEYS:
            node.votes.add([key.sign_batch(batch(number))])
        await settle()
    node.watch.update(status(11))
    await settle()

    assert await node.certified() == [8, 9, 10]
    assert node.votes.min_batch_number == 11


async def test_pr_161_a_floor_that_follows_the_status_alone_is_the_deadlock(nursery):
    """The story tells the two rules apart: with the reference's floor the same six steps end without a certificate."""
    node = Node(first_batch=BatchNumber(8))
    node.votes.raise_floor(BatchNumber(10))

    await six_steps(node, nursery)

    assert await node.certified() == []


async def relay(source, target, delay_s):
    """One direction of a wire: each vote once."""
    mark = 0
    while True:
        await source.votes.wait_newer(mark)
        await trio.sleep(delay_s)
        votes, mark = source.votes.newer_than(mark)  # what is still there when the wire is ready
        target.votes.add(votes)


async def test_relay_that_certifies_first_keeps_the_votes_until_the_main_node_has_them(nursery, autojump_clock):
    quick, main = Node(first_batch=BatchNumber(1)), Node(first_batch=BatchNumber(1))
    for node in (quick, main):
        await node.start(nursery)
        await node.holds(1, 2)
        node.watch.update(status(1))
    nursery.start_soon(relay, quick, main, 1.0)

    quick.votes.add([key.sign_batch(batch(1)) for key in KEYS])
    await trio.sleep(0.5)
    early = await quick.certified(), await main.certified()
    await trio.sleep(1.0)

    assert early == ([1], [])
    assert await main.certified() == [1]


async def test_node_that_was_away_takes_the_next_certificate_and_leaves_a_gap(nursery):
    node = Node()
    await node.start(nursery)
    await node.holds(1)
    node.watch.update(status(1))
    await settle()
    node.votes.add([key.sign_batch(batch(1)) for key in KEYS[:3]])  # the others' votes never come

    node.watch.update(status(4))
    await node.holds(2, 3, 4)
    node.votes.add([key.sign_batch(batch(4)) for key in KEYS])
    await settle()
    node.watch.update(status(5))
    await settle()

    assert await node.certified() == [4]
    assert node.votes.min_batch_number == 5


async def test_certificate_of_a_batch_that_is_late_here_does_not_stop_its_successor(nursery):
    node = Node(first_batch=BatchNumber(1))
    await node.start(nursery)
    await node.holds(1)
    node.watch.update(status(1))

    for number in (2, 3):
        node.votes.add([key.sign_batch(batch(number)) for key in KEYS])
        await settle()
    before = await node.certified()
    await node.holds(2, 3)
    await settle()

    assert before == []
    assert await node.certified() == [2, 3]


async def test_restarted_node_that_hears_a_later_status_first_still_certifies_what_comes_after_its_newest(nursery):
    """Nobody told it where attestation begins; what it has stored says from where on it still needs votes."""
    before = Node()
    await nursery.start(before.store.run)
    async with trio.open_nursery() as life:
        await before.start_finder(life)
        await before.holds(10)
        before.watch.update(status(10))
        before.votes.add([key.sign_batch(batch(10)) for key in KEYS])
        await settle()
        life.cancel_scope.cancel()

    after = Node(store=before.store)
    await after.start_finder(nursery)
    after.watch.update(status(12))
    await settle()
    floor = after.votes.min_batch_number
    await after.holds(11, 12)
    after.votes.add([key.sign_batch(batch(11)) for key in KEYS])
    await settle()

    assert floor == 11
    assert await after.certified() == [10, 11]
