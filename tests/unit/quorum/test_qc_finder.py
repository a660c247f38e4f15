"""The QC finder over a scripted store: what is stored when, where the floor is, and that nothing waits in line."""

from dataclasses import dataclass, field

import pytest
import trio
import trio.testing
from attestrio.duty import DutyLog, EndState, Reason, Step
from attestrio.errors import leaves
from attestrio.quorum.finder import QCFinder
from attestrio.quorum.watch import VotesWatch
from attestrio.roles import BatchNumber, BatchQC
from attestrio.status import AttestationStatus, AttestationStatusWatch
from attestrio.store import StoreState
from attestrio.store.api import MAX_NUMBER, BatchNumberTooLarge, QCConflict
from quorum_kit import GENESIS, KEYS, batch, committee, vote
from trio_util import AsyncValue

COMMITTEE = committee()


@dataclass
class ScriptedStore:
    """A store whose batches arrive when the test says so, and whose disk takes its time."""

    batches: AsyncValue = field(default_factory=lambda: AsyncValue(frozenset()))
    flushed: AsyncValue = field(default_factory=lambda: AsyncValue(True))
    conflict: bool = False
    kept: dict[int, BatchQC] = field(default_factory=dict)

    @property
    def persisted(self):
        last = max(self.batches.value, default=None)
        return StoreState(BatchNumber(0), None if last is None else BatchNumber(last))

    def arrive(self, *numbers):
        self.batches.value |= set(numbers)

    async def persist_qc(self, certificate):
        number = certificate.batch.number
        if number > MAX_NUMBER:
            raise BatchNumberTooLarge(number, MAX_NUMBER)
        await self.batches.wait_value(lambda batches: number in batches)
        await self.flushed.wait_value(True)
        if self.conflict:
            raise QCConflict(number, certificate.batch.hash, batch(number, 0x77).hash)
        self.kept.setdefault(number, certificate)

    async def qc(self, number):
        await trio.lowlevel.checkpoint()
        return self.kept.get(number)

    async def last_qc(self):
        await trio.lowlevel.checkpoint()
        return self.kept[max(self.kept)] if self.kept else None


class Node:
    """A finder and everything around it."""

    def __init__(self, *, first_batch=None, told=None, max_waiting=16):
        self.watch = AttestationStatusWatch(GENESIS)
        self.votes = VotesWatch(COMMITTEE, GENESIS)
        self.store = ScriptedStore()
        self.duty = DutyLog(trio.current_time)
        self.announced = []
        self.finder = QCFinder(
            self.watch,
            self.votes,
            self.store,
            COMMITTEE,
            GENESIS,
            self.duty,
            first_batch=None if first_batch is None else BatchNumber(first_batch),
            on_certificate=lambda certificate: self.announced.append(certificate.batch.number),
            max_waiting=max_waiting,
        )
        if told is not None:
            self.tell(told)

    def tell(self, number):
        self.watch.update(AttestationStatus(GENESIS, BatchNumber(number)))

    async def told(self, number):
        self.tell(number)
        await settle()

    async def voted(self, number, fill=0xAB, keys=KEYS):
        self.votes.add([vote(key, number, fill) for key in keys])
        await settle()


async def settle():
    await trio.testing.wait_all_tasks_blocked()


async def started(nursery, node):
    nursery.start_soon(node.finder.run)
    await settle()
    return node


async def test_certificate_is_stored_and_then_announced(nursery):
    node = await started(nursery, Node(told=5))
    node.store.arrive(5)

    await node.voted(5)

    assert node.store.kept[5].batch == batch(5)
    node.store.kept[5].verify_with(GENESIS, COMMITTEE)
    assert node.announced == [5]
    assert node.duty.end_state(BatchNumber(5)) is EndState.CERTIFIED


async def test_nothing_is_stored_below_the_threshold(nursery):
    node = await started(nursery, Node(told=5))
    node.store.arrive(5)

    await node.voted(5, keys=KEYS[:8])

    assert node.store.kept == {}


async def test_late_votes_for_a_stored_batch_change_nothing(nursery):
    node = await started(nursery, Node(told=5))
    node.store.arrive(5)

    await node.voted(5, keys=KEYS[:9])
    first = node.store.kept[5]
    await node.voted(5)

    assert node.store.kept == {5: first}
    assert node.announced == [5]


# Where the floor is


async def test_floor_starts_at_the_configured_first_batch_whatever_the_status_says(nursery):
    node = await started(nursery, Node(first_batch=3, told=10))

    assert node.votes.min_batch_number == 3


async def test_floor_starts_at_the_first_status_heard_where_no_first_batch_is_configured(nursery):
    node = await started(nursery, Node())
    await node.voted(4)

    before = node.votes.min_batch_number
    await node.told(5)

    assert before == 0
    assert node.votes.min_batch_number == 5
    assert node.store.kept == {}


async def test_floor_does_not_pass_a_batch_whose_certificate_is_still_being_written(nursery):
    node = await started(nursery, Node(told=5))
    node.store.arrive(5)
    node.store.flushed.value = False

    await node.voted(5)
    await node.told(6)
    meanwhile = node.votes.min_batch_number
    node.store.flushed.value = True
    await settle()

    assert meanwhile == 5
    assert node.votes.min_batch_number == 6


async def test_floor_waits_for_the_status_because_neighbours_may_need_the_votes(nursery):
    node = await started(nursery, Node(told=5))
    node.store.arrive(5)

    await node.voted(5)
    with_certificate, votes = node.votes.min_batch_number, node.votes.newer_than(0)[0]
    await node.told(6)

    assert with_certificate == 5
    assert len(votes) == 10
    assert node.votes.min_batch_number == 6


async def test_floor_stays_while_the_status_runs_ahead_and_follows_the_next_certificate(nursery):
    node = await started(nursery, Node(told=5))

    for number in (6, 7, 9):
        await node.told(number)
    ahead = node.votes.min_batch_number
    node.store.arrive(9)
    await node.voted(9)
    await node.told(10)

    assert ahead == 5
    assert node.votes.min_batch_number == 10
    assert node.announced == [9]


async def test_restarted_node_puts_the_floor_after_its_newest_certificate(nursery):
    node = Node(first_batch=0, told=8)
    node.store.arrive(7)
    node.store.kept[7] = BatchQC(batch(7), {key.public(): vote(key, 7).signature for key in KEYS})

    await started(nursery, node)

    assert node.votes.min_batch_number == 8


async def test_restarted_node_without_a_first_batch_puts_the_floor_after_its_newest_certificate_too(nursery):
    node = Node(told=12)
    node.store.arrive(10)
    node.store.kept[10] = BatchQC(batch(10), {key.public(): vote(key, 10).signature for key in KEYS})

    await started(nursery, node)

    assert node.votes.min_batch_number == 11


async def test_older_certificate_that_is_stored_later_does_not_lower_what_the_floor_follows(nursery):
    node = await started(nursery, Node(first_batch=2, told=2))
    await node.voted(2)
    await node.voted(3)
    node.store.arrive(3)
    await settle()

    node.store.arrive(2)
    await settle()
    await node.told(4)

    assert node.announced == [3, 2]
    assert node.votes.min_batch_number == 4


# Nothing waits in line


async def test_certificate_waits_for_its_batch_and_says_so(nursery):
    node = await started(nursery, Node(told=5))

    await node.voted(5)
    waiting = [event.reason for event in node.duty.timeline(BatchNumber(5)) if event.step is Step.CERTIFIED]
    node.store.arrive(5)
    await settle()

    assert waiting == [Reason.BATCH_NOT_PERSISTED]
    assert node.announced == [5]


async def test_quorum_for_a_batch_that_never_comes_holds_up_no_other(nursery):
    node = await started(nursery, Node(told=5))

    await node.voted(1_000)
    node.store.arrive(1_001)
    await node.voted(1_001)

    assert node.announced == [1_001]


async def test_certificates_that_wait_are_bounded_and_the_next_is_taken_when_there_is_room(nursery):
    node = await started(nursery, Node(told=5, max_waiting=2))

    for number in (5, 6, 7):
        await node.voted(number)
    node.store.arrive(6, 7)
    await settle()

    assert node.announced == [6, 7]
    node.store.arrive(5)
    await settle()
    assert node.announced == [6, 7, 5]


async def test_bounded_means_that_no_more_are_taken(nursery):
    node = await started(nursery, Node(told=5, max_waiting=1))

    await node.voted(5)
    await node.voted(6)
    node.store.arrive(6)
    await settle()

    assert node.announced == []


# What goes wrong


async def test_certificate_for_another_hash_than_the_node_holds_ends_the_epoch():
    node = Node(told=5)
    node.store.conflict = True
    node.store.arrive(5)

    async def epoch():
        async with trio.open_nursery() as nursery:
            await started(nursery, node)
            await node.voted(5)

    with pytest.raises(BaseExceptionGroup) as raised:
        await epoch()

    assert [type(error) for error in leaves(raised.value)] == [QCConflict]
    assert node.announced == []
    assert node.duty.timeline(BatchNumber(5))[-1].reason is Reason.QC_CONFLICT
    assert node.duty.end_reason(BatchNumber(5)) is Reason.QC_CONFLICT


async def test_quorum_for_a_number_no_store_can_hold_does_not_end_the_node(nursery):
    node = await started(nursery, Node(told=5))

    await node.voted(2**64 - 1)

    assert node.announced == []
    assert node.duty.end_reason(BatchNumber(2**64 - 1)) is Reason.QC_INVALID


async def test_certificate_known_from_before_a_restart_is_not_announced_again(nursery):
    node = Node(first_batch=7, told=7)
    node.store.arrive(7)
    node.store.kept[7] = BatchQC(batch(7), {key.public(): vote(key, 7).signature for key in KEYS[:9]})
    known = node.store.kept[7]

    await started(nursery, node)
    await node.voted(7)

    assert node.announced == []
    assert node.store.kept == {7: known}


async def test_certificate_that_is_stored_already_is_said_to_be_known(nursery):
    node = Node(first_batch=7, told=7)
    node.store.arrive(7)
    node.store.kept[7] = BatchQC(batch(7), {key.public(): vote(key, 7).signature for key in KEYS[:9]})

    await started(nursery, node)
    await node.voted(7)

    events = node.duty.timeline(BatchNumber(7))
    assert [event.reason for event in events if event.step is Step.CERTIFIED] == [Reason.QC_KNOWN]
    assert node.duty.end_state(BatchNumber(7)) is EndState.CERTIFIED


async def test_batch_the_status_went_past_is_submitted_and_what_was_open_below_it_ends(nursery):
    node = await started(nursery, Node(told=5))
    node.duty.record(BatchNumber(3), Step.TOLD, Reason.DISSENT, "somebody about the batch")

    await node.told(6)

    submitted = node.duty.timeline(BatchNumber(5))[-1]
    assert (submitted.step, submitted.detail) == (Step.SUBMITTED, "it went on to batch 6")
    assert node.duty.end_reason(BatchNumber(3)) is Reason.QC_ELSEWHERE
    assert node.duty.end_state(BatchNumber(5)) is EndState.OPEN  # its votes may still come


async def test_batch_the_network_left_behind_ends_as_certified_elsewhere(nursery):
    node = await started(nursery, Node(told=5))

    await node.told(6)
    just_passed = node.duty.end_state(BatchNumber(5))
    await node.told(9)

    assert just_passed is not EndState.SKIPPED
    assert node.duty.end_state(BatchNumber(5)) is EndState.SKIPPED
    assert node.duty.end_reason(BatchNumber(5)) is Reason.QC_ELSEWHERE


async def test_batch_left_behind_with_too_few_votes_says_how_many_there_were(nursery):
    node = await started(nursery, Node(told=5))
    await node.voted(5, keys=KEYS[:4])
    await node.voted(5, fill=0xCD, keys=KEYS[4:7])

    await node.told(6)
    seen = node.duty.timeline(BatchNumber(5))[-1]
    await node.voted(6, keys=KEYS)
    await node.told(9)

    assert (seen.step, seen.reason, seen.detail) == (Step.SEEN, Reason.QUORUM_NOT_REACHED, "weight 4 of 9")
    assert node.duty.end_state(BatchNumber(5)) is EndState.SKIPPED
    assert node.duty.end_reason(BatchNumber(5)) is Reason.QUORUM_NOT_REACHED


async def test_certificate_that_comes_after_the_status_went_on_still_ends_the_batch_as_certified(nursery):
    node = await started(nursery, Node(told=5))
    node.store.arrive(5)
    await node.voted(5, keys=KEYS[:4])

    await node.told(6)
    await node.voted(5, keys=KEYS[4:])
    await node.told(7)

    assert node.duty.end_state(BatchNumber(5)) is EndState.CERTIFIED


async def test_cancelled_finder_stores_nothing_that_it_was_waiting_with():
    node = Node(told=5)

    async with trio.open_nursery() as nursery:
        await started(nursery, node)
        await node.voted(5)
        nursery.cancel_scope.cancel()
    node.store.arrive(5)
    await settle()

    assert node.store.kept == {}
    assert node.announced == []
