"""Stories of one attester, in virtual time, from the number told to the vote in the register.

Real parts in memory: status runner (every 5 s), batch keeper and attester (every second), store, register. The main
node is scripted by the clock: which number it names, and from when on it knows the hash of a batch.
"""

import logging
from dataclasses import replace

import pytest
import trio
from attestrio.attester import AttesterRunner
from attestrio.batches import BatchKeeper, MainNodeBatches
from attestrio.batches.chain import ChainContradicts, NotOnChain
from attestrio.duty import DutyLog, EndState, Reason, Step
from attestrio.errors import SourceError
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
from attestrio.sim.signers import KeySigner
from attestrio.status import AttestationStatus, AttestationStatusRunner, AttestationStatusWatch, GenesisChanged
from attestrio.store.memory import MemoryBatchStore

GENESIS, FORK = GenesisHash(b"\x11" * 32), GenesisHash(b"\x22" * 32)
MINE, OTHER, STRANGER = (AttesterSecretKey.from_bytes(bytes([seed]) * 32) for seed in (1, 2, 9))
COMMITTEE = Committee([WeightedAttester(MINE.public(), 1), WeightedAttester(OTHER.public(), 9)])  # OTHER is a quorum
DOWN = SourceError("connection refused")


def batch(number):
    return Batch(BatchNumber(number), BatchHash(bytes([number]) * 32), GENESIS)


class MainNode:
    """`script`: (seconds, answer), each until the next. `known_at`: from when on it knows a batch; else at once."""

    def __init__(self, *script, known_at=None):
        self.script, self.known_at = script, known_at or {}

    def answer(self):
        answer = [answer for since, answer in self.script if since <= trio.current_time()][-1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def attestation_status(self):
        await trio.lowlevel.checkpoint()
        told = self.answer()
        return AttestationStatus(GENESIS, BatchNumber(told)) if isinstance(told, int) else told

    async def batch_to_attest(self, number):
        await trio.lowlevel.checkpoint()
        self.answer()
        return batch(number) if self.known_at.get(number, 0) <= trio.current_time() else None


class Node:
    """An external node with an attester key."""

    def __init__(self, main_node, key=MINE):
        self.watch, self.votes = AttestationStatusWatch(GENESIS), VotesWatch(COMMITTEE, GENESIS)
        self.store, self.duty = MemoryBatchStore(GENESIS), DutyLog(trio.current_time)
        self.status = AttestationStatusRunner(main_node, self.watch, every_s=5.0, duty=self.duty)
        self.keeper = BatchKeeper(self.watch, MainNodeBatches(main_node, GENESIS), self.store, 1.0, self.duty)
        self.attester = AttesterRunner(
            self.watch, self.store, KeySigner(key), self.votes, COMMITTEE, key.public(), 1.0, self.duty
        )
        self.finder = QCFinder(self.watch, self.votes, self.store, COMMITTEE, GENESIS, self.duty)
        self.cast = []

    def use(self, store):
        """Another store than the usual one; before anything runs."""
        self.store = store
        self.keeper, self.attester = replace(self.keeper, store=store), replace(self.attester, store=store)

    async def note_votes(self):
        mark = 0
        while True:
            votes, mark = await self.votes.wait_newer(mark)
            self.cast += [(trio.current_time(), vote.batch.number) for vote in votes if vote.key == MINE.public()]

    async def live(self, *services, until=1e9):
        """Run these services (all but the finder, if none is named) until the time given, or an error."""
        services = services or (self.status, self.keeper, self.attester)
        with trio.move_on_at(until):
            async with trio.open_nursery() as nursery:
                await nursery.start(self.store.run)
                nursery.start_soon(self.note_votes)
                for service in services:
                    nursery.start_soon(service.run)

    def reasons(self, number, step):
        return [event.reason for event in self.duty.timeline(BatchNumber(number)) if event.step is step]

    def end(self, number):
        return self.duty.end_state(BatchNumber(number)), self.duty.end_reason(BatchNumber(number))


async def test_each_batch_gets_one_vote_as_soon_as_it_is_told(autojump_clock):
    node = Node(MainNode((0, 7), (7, 8), (14, 9)))

    await node.live(until=30)

    assert node.cast == [(0.0, 7), (10.0, 8), (15.0, 9)]
    assert [event.step for event in node.duty.timeline(BatchNumber(8)) if event.reason is Reason.OK] == [
        Step.TOLD, Step.PERSISTED, Step.HASHED, Step.RECORDED, Step.SIGNED, Step.SENT,
    ]  # fmt: skip


async def test_after_an_outage_the_next_vote_follows_the_next_poll(autojump_clock):
    node = Node(MainNode((0, 7), (1, DOWN), (61, 8)))

    await node.live(until=80)

    assert node.cast == [(0.0, 7), (65.0, 8)]


async def test_nothing_is_signed_before_the_first_status(autojump_clock):
    node = Node(MainNode((0, DOWN), (9, None), (21, 7)))

    await node.live(until=40)

    assert node.cast == [(25.0, 7)]


async def test_a_batch_persisted_late_is_voted_for_when_it_is(autojump_clock):
    node = Node(MainNode((0, 7), known_at={7: 11.5}))

    await node.live(until=20)

    assert node.cast == [(12.0, 7)]
    assert node.reasons(7, Step.PERSISTED) == [Reason.BATCH_NOT_PERSISTED, Reason.OK]


async def test_a_hash_that_comes_late_is_asked_for_every_second(autojump_clock):
    """A node with a chain: the batch is persisted when it is sealed, its hash is computed later."""

    class SealedEarly(MemoryBatchStore):
        async def batch_to_sign(self, number):
            known = await super().batch_to_sign(number)
            return known if trio.current_time() >= 17.5 else None

    node = Node(MainNode((0, 7)))
    node.use(SealedEarly(GENESIS))

    await node.live(until=30)

    assert node.cast == [(18.0, 7)]
    assert node.reasons(7, Step.HASHED) == [Reason.HASH_NOT_AVAILABLE, Reason.OK]


async def test_a_jump_ends_the_wait_for_a_batch_and_the_newest_is_voted_for(autojump_clock):
    node = Node(MainNode((0, 7), (13, 11), known_at={7: 1e9}))

    await node.live(until=20)

    assert node.cast == [(15.0, 11)]  # the reference would still wait for 7
    assert node.end(7) == (EndState.MISSED, Reason.BATCH_NOT_PERSISTED)
    assert node.reasons(7, Step.SIGNED) == [Reason.SUPERSEDED]


class Answers(MemoryBatchStore):
    """Gives `answer()` for the batch to sign once it holds it."""

    def __init__(self, answer):
        super().__init__(GENESIS)
        self.answer = answer

    async def batch_to_sign(self, number):
        held = await super().batch_to_sign(number)
        return held if held is None or number != 7 else await self.answer()


def raises(error):
    async def answer():
        raise error

    return answer


async def unknown():
    return None


HINDRANCES = {  # from when on the batch is here, and what the store then says to it
    Reason.BATCH_NOT_PERSISTED: (1e9, unknown),
    Reason.HASH_NOT_AVAILABLE: (0.0, unknown),
    Reason.SOURCE_FAILED: (0.0, raises(SourceError("disk"))),
    Reason.NOT_ON_CHAIN: (0.0, raises(NotOnChain(BatchNumber(7)))),
    Reason.CHAIN_CONTRADICTS: (0.0, raises(ChainContradicts(batch(7), batch(8).hash))),
    Reason.SUPERSEDED: (0.0, trio.sleep_forever),
}


@pytest.mark.parametrize("reason", HINDRANCES, ids=str)
async def test_a_batch_that_was_missed_ends_with_what_kept_it_from_being_signed(reason, autojump_clock):
    known_at, answer = HINDRANCES[reason]
    node = Node(MainNode((0, 7), (13, 8), known_at={7: known_at}))
    node.use(Answers(answer))

    await node.live(until=20)

    assert node.cast == [(15.0, 8)]
    assert node.end(7) == (EndState.MISSED, reason)
    assert node.reasons(7, Step.SIGNED) == [Reason.SUPERSEDED]


async def test_a_hash_that_comes_before_the_jump_is_still_signed(autojump_clock):
    node = Node(MainNode((0, 7), (13, 11), known_at={7: 14.0}))

    await node.live(until=20)

    assert node.cast == [(14.0, 7), (15.0, 11)]


async def test_a_lagging_replica_makes_nobody_vote_twice_or_for_less(autojump_clock):
    node = Node(MainNode((0, 8), (4, 7), (13, 8), (18, 6), (23, 9)))

    await node.live(until=40)

    assert node.cast == [(0.0, 8), (25.0, 9)]


async def test_another_genesis_ends_the_epoch_before_anything_of_it_is_signed(autojump_clock):
    node = Node(MainNode((0, 7), (8, AttestationStatus(FORK, BatchNumber(8)))))

    with pytest.RaisesGroup(GenesisChanged):
        await node.live()

    assert trio.current_time() == 10.0
    assert node.cast == [(0.0, 7)]
    assert node.end(7) == (EndState.SKIPPED, Reason.GENESIS_CHANGED)


async def test_a_node_outside_the_committee_still_collects_certificates(autojump_clock, caplog):
    caplog.set_level(logging.WARNING, "attestrio.attester")
    node = Node(MainNode((0, 7)), key=STRANGER)

    class Peers:
        async def run(self):
            await trio.sleep(3)
            node.votes.add([OTHER.sign_batch(batch(7))])

    await node.live(node.status, node.keeper, node.attester, node.finder, Peers(), until=10)

    assert len(caplog.records) == 1
    assert "is not in the committee" in caplog.text
    assert {vote.key for vote in node.votes.votes()} <= {OTHER.public()}
    assert node.end(7) == (EndState.CERTIFIED, Reason.OK)
    assert [event.at for event in node.duty.timeline(BatchNumber(7)) if event.step is Step.CERTIFIED] == [3.0]


async def test_a_batch_certified_by_the_others_is_certified_although_its_own_vote_was_missed(autojump_clock):
    node = Node(MainNode((0, 7), (4, 8), known_at={7: 1e9}))

    class Peers:
        async def run(self):
            await trio.sleep(7)
            node.votes.add([OTHER.sign_batch(batch(7))])

    await node.live(node.status, node.keeper, node.attester, node.finder, Peers(), until=20)

    assert node.reasons(7, Step.SIGNED) == [Reason.SUPERSEDED]
    assert node.end(7) == (EndState.CERTIFIED, Reason.OK)
