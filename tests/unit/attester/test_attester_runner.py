"""The attester, one rule at a time: what it refuses to sign, how it waits, what it says."""

import logging

import pytest
import trio
from attestrio.attester import AttesterRunner, OtherBatchStored
from attestrio.duty import DutyLog, EndState, Reason, Step
from attestrio.errors import SafetyError, SourceError
from attestrio.protection.errors import DoubleVote
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
from attestrio.status import AttestationStatus, AttestationStatusWatch
from attestrio.store.memory import MemoryBatchStore

GENESIS, FORK = GenesisHash(b"\x11" * 32), GenesisHash(b"\x22" * 32)
KEY, STRANGER = (AttesterSecretKey.from_bytes(bytes([seed]) * 32) for seed in (1, 9))
COMMITTEE = Committee([WeightedAttester(KEY.public(), 1)])
SEVEN = BatchNumber(7)


def batch(number, genesis=GENESIS):
    return Batch(BatchNumber(number), BatchHash(bytes([number]) * 32), genesis)


class ScriptedSigner:
    """Raises the errors given, one a call, then signs."""

    def __init__(self, *errors, takes_s=0.0):
        self.errors, self.takes_s, self.calls = list(errors), takes_s, 0

    async def sign(self, batch):
        self.calls += 1
        await trio.sleep(self.takes_s)
        if self.errors:
            raise self.errors.pop(0)
        return KEY.sign_batch(batch)


class FlakyStore(MemoryBatchStore):
    """Gives the answers of the script for `batch_to_sign`, then its own."""

    def __init__(self, *answers):
        super().__init__(GENESIS)
        self.answers = list(answers)

    async def batch_to_sign(self, number):
        await trio.lowlevel.checkpoint()
        answer = self.answers.pop(0) if self.answers else await super().batch_to_sign(number)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Node:
    """An attester that asks every second, and everything it touches."""

    def __init__(self, *, signer=None, store=None, key=KEY, committee=COMMITTEE):
        self.watch, self.store = AttestationStatusWatch(GENESIS), store or MemoryBatchStore(GENESIS)
        self.votes = VotesWatch(committee, GENESIS) if committee else None
        self.duty = DutyLog(trio.current_time)
        self.runner = AttesterRunner(
            self.watch, self.store, signer or KeySigner(key), self.votes, committee, key.public(), 1.0, self.duty
        )

    async def start(self, nursery, *held, told=None):
        await nursery.start(self.store.run)
        for number in held:
            await self.store.put_batch_to_sign(batch(number))
        if told is not None:
            self.tell(told)
        nursery.start_soon(self.runner.run)

    def tell(self, number):
        self.watch.update(AttestationStatus(GENESIS, BatchNumber(number)))

    def voted(self):
        return [vote.batch for vote in self.votes.votes()]

    def story(self, number):
        return [(event.step, event.reason) for event in self.duty.timeline(BatchNumber(number))]


async def test_a_batch_at_hand_is_signed_and_sent_at_once_and_every_step_is_noted(nursery, autojump_clock):
    node = Node()

    await node.start(nursery, 7, told=7)
    votes, _ = await node.votes.wait_newer(0)

    assert trio.current_time() == 0.0
    assert votes == [KEY.sign_batch(batch(7))]
    assert node.story(7) == [
        (Step.PERSISTED, Reason.OK), (Step.HASHED, Reason.OK), (Step.RECORDED, Reason.OK),
        (Step.SIGNED, Reason.OK), (Step.SENT, Reason.OK),
    ]  # fmt: skip
    assert node.duty.end_state(SEVEN) is EndState.OPEN  # the finder says how it ends


async def test_one_batch_is_signed_once_however_often_it_is_told(nursery, autojump_clock):
    signer = ScriptedSigner()
    node = Node(signer=signer)
    await node.start(nursery, 7, told=7)

    for _ in range(5):
        await trio.sleep(1)
        node.tell(7)

    assert signer.calls == 1


async def test_a_store_that_fails_is_asked_again_and_said_once(nursery, autojump_clock, caplog):
    caplog.set_level(logging.INFO, "attestrio.attester")
    node = Node(store=FlakyStore(SourceError("busy"), SourceError("busy")))

    await node.start(nursery, 7, told=7)
    await node.votes.wait_newer(0)

    assert trio.current_time() == 2.0
    assert (Step.HASHED, Reason.SOURCE_FAILED) in node.story(7)
    assert [record.getMessage() for record in caplog.records] == [
        "batch 7: store not read, asking again every 1 s: busy"
    ]


async def test_a_signer_that_is_busy_is_asked_again(nursery, autojump_clock):
    node = Node(signer=ScriptedSigner(SourceError("busy"), SourceError("busy")))

    await node.start(nursery, 7, told=7)
    await node.votes.wait_newer(0)

    assert trio.current_time() == 2.0
    assert [reason for step, reason in node.story(7) if step is Step.SIGNED] == [Reason.SOURCE_FAILED, Reason.OK]


async def test_a_signer_that_is_busy_too_long_is_left_when_the_status_moves_on(nursery, autojump_clock):
    node = Node(signer=ScriptedSigner(SourceError("busy")))
    await node.start(nursery, 7, told=7)

    await trio.sleep(0.5)
    await node.store.put_batch_to_sign(batch(8))
    node.tell(8)
    await node.votes.wait_newer(0)

    assert trio.current_time() == 0.5
    assert node.voted() == [batch(8)]
    assert (node.duty.end_state(SEVEN), node.duty.end_reason(SEVEN)) == (EndState.MISSED, Reason.SOURCE_FAILED)


async def test_what_is_being_signed_is_sent_although_the_status_moved_on(nursery, autojump_clock):
    node = Node(signer=ScriptedSigner(takes_s=3.0))
    await node.start(nursery, 7, told=7)

    await trio.sleep(1)
    node.tell(8)
    await node.votes.wait_newer(0)

    assert trio.current_time() == 3.0
    assert node.voted() == [batch(7)]


async def test_a_signer_that_stopped_ends_the_epoch_and_nothing_is_sent(autojump_clock):
    node = Node(signer=ScriptedSigner(SafetyError("stopped")))

    with pytest.RaisesGroup(SafetyError):
        async with trio.open_nursery() as nursery:
            await node.start(nursery, 7, told=7)

    assert node.voted() == []


async def test_a_refused_vote_is_a_missed_duty_and_the_next_batch_is_signed(nursery, autojump_clock):
    refused = DoubleVote(SEVEN, batch(8).hash, batch(7).hash)
    node = Node(signer=ScriptedSigner(refused))
    await node.start(nursery, 7, told=7)
    await trio.testing.wait_all_tasks_blocked()

    assert node.voted() == []
    assert node.story(7)[-1] == (Step.SIGNED, Reason.SIGNING_REFUSED)
    assert node.duty.end_state(SEVEN) is EndState.MISSED

    await node.store.put_batch_to_sign(batch(8))
    node.watch.update(AttestationStatus(GENESIS, BatchNumber(8)))
    await trio.sleep(2.0)

    assert node.voted() == [batch(8)]


@pytest.mark.parametrize("wrong", [batch(8), batch(7, FORK)], ids=["other-number", "other-genesis"])
async def test_a_batch_that_is_not_the_one_asked_for_is_never_signed(wrong, autojump_clock):
    signer = ScriptedSigner()
    node = Node(signer=signer, store=FlakyStore(wrong))

    with trio.fail_after(60), pytest.RaisesGroup(OtherBatchStored):
        async with trio.open_nursery() as nursery:
            await node.start(nursery, 7, told=7)

    assert signer.calls == 0
    assert node.story(7)[-1] == (Step.SIGNED, Reason.SIGNING_REFUSED)


async def test_a_vote_below_the_floor_is_said_to_be_too_late(nursery, autojump_clock):
    node = Node()
    node.votes.raise_floor(BatchNumber(8))

    await node.start(nursery, 7, told=7)
    await trio.sleep(1)

    assert node.voted() == []
    assert node.story(7)[-1] == (Step.SENT, Reason.VOTE_BELOW_FLOOR)
    assert node.duty.end_state(SEVEN) is EndState.OPEN  # the status still wants it: it is certified here


async def test_a_vote_signed_after_the_register_went_on_is_a_missed_duty(nursery, autojump_clock):
    node = Node(signer=ScriptedSigner(takes_s=3.0))
    await node.start(nursery, 7, told=7)

    await trio.sleep(1)
    node.tell(9)
    node.votes.raise_floor(BatchNumber(8))
    await trio.sleep(3)

    assert node.story(7)[-1] == (Step.SENT, Reason.VOTE_BELOW_FLOOR)
    assert (node.duty.end_state(SEVEN), node.duty.end_reason(SEVEN)) == (EndState.MISSED, Reason.VOTE_BELOW_FLOOR)


async def test_a_vote_peers_brought_back_after_a_restart_is_not_new(nursery, autojump_clock):
    node = Node()
    node.votes.add([KEY.sign_batch(batch(7))])

    await node.start(nursery, 7, told=7)
    await trio.sleep(1)

    assert node.voted() == [batch(7)]
    assert node.story(7)[-1] == (Step.SENT, Reason.VOTE_NOT_NEWER)


@pytest.mark.parametrize(
    ("setting", "reason", "said"),
    [
        ({"committee": None}, Reason.NO_COMMITTEE, "the genesis has no attesters: this node does not vote"),
        (
            {"key": STRANGER},
            Reason.NOT_IN_COMMITTEE,
            f"{STRANGER.public().to_text()} is not in the committee: this node does not vote",
        ),
    ],
    ids=["no-committee", "not-a-member"],
)
async def test_who_has_no_vote_says_so_once_and_idles(setting, reason, said, nursery, autojump_clock, caplog):
    signer = ScriptedSigner()
    node = Node(signer=signer, **setting)
    await node.start(nursery, 7, 8, told=7)
    await trio.sleep(1)

    node.tell(8)
    await trio.sleep(1)

    assert signer.calls == 0
    assert [record.getMessage() for record in caplog.records] == [said]
    assert node.story(7) == node.story(8) == [(Step.SIGNED, reason)]
    assert node.duty.counts()[EndState.SKIPPED] == 2


async def test_cancelling_is_no_error_wherever_it_waits(autojump_clock):
    for held, told in (((), None), ((), 7), ((7,), 7)):
        node = Node(signer=ScriptedSigner(takes_s=100.0))

        with trio.move_on_after(5) as scope:
            async with trio.open_nursery() as nursery:
                await node.start(nursery, *held, told=told)

        assert scope.cancelled_caught
