"""How the chain is asked about unknown batches: ranges, chunks, matching, states; and how claims are paced."""

from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio
from attestrio.aggregator import rows
from attestrio.aggregator.lookup import Lookup, Wanted
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.recovery import LEASE_S, OWNER, Recovery
from attestrio.aggregator.rows import Task
from attestrio.aggregator.settings import RecoverySettings
from attestrio.aggregator.state import Accepted, AggregatorState
from attestrio.aggregator.surface import BATCH_VERIFIED, NEW_BATCH_V2, NEW_BATCH_V3, identifier_hash
from attestrio.journal import SqliteJournal
from attestrio.kit.blocking import inline
from attestrio.kit.http import AnswerTooLate
from attestrio.kit.metrics import Metrics
from attestrio.l1.api import Address, BlockHash, BlockNumber, BlockRef, Header, Log, TxHash
from attestrio.l1.errors import BlockMissing, RangeRefused
from attestrio.operator.errors import TaskDiffers
from eth_abi.abi import encode

MANAGER, SENDER, OTHER = Address(b"\xa1" * 20), b"\x22" * 20, b"\x33" * 20
LIMIT = 10**16


def root_of(number):
    return number.to_bytes(32, "big")


def batch_of(number, sender=SENDER):
    return identifier_hash(root_of(number), sender)


def ref(number):
    return BlockRef(BlockNumber(number), BlockHash(number.to_bytes(32, "big")))


class Node:
    """A `Chain` of any height. `tasks`: identifier → (created, responded); `most`: blocks it takes in one query."""

    chain_id = 1

    def __init__(self, head=5_000):
        self.head, self.most = head, 1 << 30
        self.events: list[Log] = []
        self.tasks = {}
        self.queries = []
        self.late = 0
        self.calls = 0

    def emit(self, event, number, block, *, sender=SENDER, pointer="pointer", responded=False):
        values = {"batchMerkleRoot": root_of(number), "senderAddress": sender}
        if event is not BATCH_VERIFIED:
            values |= {"taskCreatedBlock": block, "batchDataPointer": pointer}
            self.tasks[batch_of(number, sender)] = (block, responded)
        if event is NEW_BATCH_V3:
            values |= {"respondToTaskFeeLimit": LIMIT}
        topics, data = event.emitted(**values)
        self.events.append(Log(MANAGER, topics, data, ref(block), len(self.events), TxHash(bytes(32))))

    async def block(self, at):
        await trio.lowlevel.checkpoint()
        return None if self.head is None else Header(ref(self.head), BlockHash(bytes(32)), 0)

    async def logs(self, wanted, first, last):
        await trio.lowlevel.checkpoint()
        self.queries.append((first, last, wanted.topics[1]))
        if self.late:
            self.late -= 1
            raise AnswerTooLate("node", 1.0)
        if last - first + 1 > self.most:
            raise RangeRefused("node", -32005, "too many blocks", None)
        return [one for one in self.events if first <= one.block.number <= last and wanted.matches(one)]

    async def call(self, to, data, at):
        await trio.lowlevel.checkpoint()
        self.calls += 1
        created, responded = self.tasks.get(data[4:36], (0, False))
        return encode(["uint32", "bool", "uint256"], [created, responded, LIMIT if created else 0])


def lookup_of(node, **settings):
    return Lookup(node, MANAGER, RecoverySettings(**settings))


def wanted_of(*numbers, blocks=1_000):
    return {batch_of(number): Wanted(root_of(number), blocks) for number in numbers}


def ranges(node):
    return [(first, last) for first, last, _ in node.queries]


# --- one search


async def test_the_range_goes_back_from_the_head_as_far_as_anybody_wants_and_not_below_the_first_block(autojump_clock):
    node = Node()
    lookup = lookup_of(node)

    await lookup.search({batch_of(1): Wanted(root_of(1), 1_000), batch_of(2): Wanted(root_of(2), 3_000)})
    await lookup.search(wanted_of(1, blocks=10_000))

    assert ranges(node) == [(2_000, 5_000), (0, 5_000)]


async def test_many_roots_are_asked_for_in_chunks(autojump_clock):
    node = Node()
    for number in range(250):
        node.emit(NEW_BATCH_V3, number, 4_900)

    found = await lookup_of(node, max_roots=100).search(wanted_of(*range(250)))

    assert [len(roots) for _, _, roots in node.queries] == [100, 100, 50]
    assert len(found.seen) == 250


async def test_a_node_that_takes_few_blocks_at_once_is_asked_in_parts_and_keeps_being(autojump_clock):
    node = Node()
    node.most = 300
    node.emit(NEW_BATCH_V3, 1, 4_100)
    node.emit(NEW_BATCH_V3, 2, 4_950)
    lookup = lookup_of(node)

    found = await lookup.search(wanted_of(1, 2))
    first = len(node.queries)
    await lookup.search(wanted_of(1, 2))

    assert set(found.seen) == {batch_of(1), batch_of(2)}
    answered = [(first, last) for first, last in ranges(node)[:first] if last - first < 300]
    assert answered[0][0] == 4_000
    assert answered[-1][1] == 5_000
    assert all(after[0] == before[1] + 1 for before, after in pairwise(answered))
    assert len(node.queries) - first <= first
    assert trio.current_time() == 0.0  # a refusal is no fault that is waited for


async def test_a_node_that_refuses_even_one_block_is_a_failure(autojump_clock):
    node = Node()
    node.most = 0

    with pytest.raises(RangeRefused):
        await lookup_of(node).search(wanted_of(1))


async def test_a_query_that_takes_too_long_is_half_as_large_in_the_next_round(autojump_clock):
    node = Node()
    node.late = 4
    lookup = lookup_of(node)

    with pytest.raises(AnswerTooLate):
        await lookup.search(wanted_of(1))
    await lookup.search(wanted_of(1))

    assert ranges(node)[:4] == [(4_000, 5_000)] * 4
    assert ranges(node)[4:] == [(4_000, 4_499), (4_500, 4_999), (5_000, 5_000)]


async def test_a_chain_without_any_block_is_a_failure(autojump_clock):
    node = Node(head=None)

    with pytest.raises(BlockMissing):
        await lookup_of(node).search(wanted_of(1))


async def test_only_the_sender_that_is_wanted_counts_and_the_last_of_several_events(autojump_clock):
    node = Node()
    node.emit(NEW_BATCH_V3, 1, 4_100, sender=OTHER, pointer="of another")
    node.emit(NEW_BATCH_V2, 1, 4_200, pointer="early")
    node.emit(NEW_BATCH_V3, 1, 4_300, pointer="late")
    node.emit(BATCH_VERIFIED, 1, 4_400, sender=OTHER)

    found = await lookup_of(node).search(wanted_of(1))

    assert list(found.seen) == [batch_of(1)]
    seen = found.seen[batch_of(1)]
    assert (seen.sender, seen.created, seen.pointer, seen.verified) == (SENDER, ref(4_300), "late", None)


async def test_an_event_that_cannot_be_read_does_not_hide_the_others(autojump_clock):
    node = Node()
    node.emit(NEW_BATCH_V3, 1, 4_100)
    node.emit(NEW_BATCH_V3, 2, 4_200)
    node.events[0].data = b"\xff" * 31

    found = await lookup_of(node).search(wanted_of(1, 2))

    assert list(found.seen) == [batch_of(2)]


async def test_a_pointer_without_end_is_cut(autojump_clock):
    node = Node()
    node.emit(NEW_BATCH_V3, 1, 4_100, pointer="x" * 100_000)

    found = await lookup_of(node).search(wanted_of(1))

    assert len(found.seen[batch_of(1)].pointer) == rows.MAX_POINTER


# --- the state


async def test_a_task_has_what_log_and_contract_say(autojump_clock):
    node = Node()
    node.emit(NEW_BATCH_V2, 1, 4_100)
    lookup = lookup_of(node)
    found = await lookup.search(wanted_of(1))

    task = await lookup.task(batch_of(1), found.seen[batch_of(1)])

    assert task == Task(root_of(1), SENDER, 4_100, ref(4_100).hash, 0, LIMIT, "pointer")


async def test_an_answer_since_the_logs_were_read_counts_from_the_present_head(autojump_clock):
    node = Node()
    node.emit(NEW_BATCH_V3, 1, 4_100, responded=True)
    lookup = lookup_of(node)
    found = await lookup.search(wanted_of(1))
    node.head = 5_003

    task = await lookup.task(batch_of(1), found.seen[batch_of(1)])

    assert task.verified == 5_003


async def test_a_log_of_a_block_that_is_gone_is_not_believed_and_not_waited_for(autojump_clock):
    node = Node()
    node.emit(NEW_BATCH_V3, 1, 4_100)
    lookup = lookup_of(node)
    found = await lookup.search(wanted_of(1))
    node.tasks[batch_of(1)] = (4_101, False)

    with pytest.raises(TaskDiffers) as told:
        await lookup.task(batch_of(1), found.seen[batch_of(1)])

    assert (told.value.got, told.value.want) == (4_101, 4_100)
    assert (node.calls, trio.current_time()) == (1, 0.0)


# --- pace


@asynccontextmanager
async def recovery_of(path, node, settings, *, before=None, **more):
    journal = SqliteJournal(path / "aggregator.db", inline, clock=trio.current_time)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        state = AggregatorState(journal, AggregatorMetrics(Metrics()), clock=trio.current_time)
        await state.load({})
        if before is not None:
            await before(state)
        nursery.start_soon(Recovery(state, node, MANAGER, settings, **more).run)
        yield state
        nursery.cancel_scope.cancel()


def signature(number, sender=SENDER, operator=1):
    return Accepted(batch_of(number, sender), root_of(number), sender, bytes([operator]) * 32, bytes([operator]) * 64)


async def test_a_batch_that_is_not_found_is_asked_for_ever_more_seldom_up_to_a_cap(tmp_path, autojump_clock):
    node = Node()
    settings = RecoverySettings(again_cap_blocks=8)
    times = []
    ask = node.logs

    async def logs(wanted, first, last):
        times.append(trio.current_time())
        return await ask(wanted, first, last)

    node.logs = logs
    async with recovery_of(tmp_path, node, settings) as state:
        await state.accept([signature(1)])
        await trio.sleep(400.0)

    blocks = [round((after - before) / 12.0, 2) for before, after in pairwise(times)]
    assert times[0] == 7.0
    assert blocks == [1, 2, 4, 8, 8, 8]


async def test_claims_that_come_during_a_round_are_asked_for_together_in_the_next(tmp_path, autojump_clock):
    node = Node()
    begun, go_on = trio.Event(), trio.Event()
    ask = node.logs

    async def logs(wanted, first, last):
        begun.set()
        await go_on.wait()
        return await ask(wanted, first, last)

    node.logs = logs
    async with recovery_of(tmp_path, node, RecoverySettings(task_lookup=())) as state:
        node.emit(NEW_BATCH_V3, 0, 4_900)
        await state.accept([signature(0)])
        await begun.wait()
        for number in range(1, 30):
            node.emit(NEW_BATCH_V3, number, 4_900)
            await state.accept([signature(number)])
            await trio.sleep(0.1)
        go_on.set()
        await state.changed.wait_value(lambda _: len(state.tasks) == 30)

    assert [len(roots) for _, _, roots in node.queries] == [1, 29]


async def test_a_state_that_does_not_come_holds_up_nobody_else(tmp_path, autojump_clock):
    node = Node()
    node.emit(NEW_BATCH_V3, 1, 4_900)
    node.tasks.clear()  # this endpoint says for ever that there is no such batch
    async with recovery_of(tmp_path, node, RecoverySettings()) as state:
        await state.accept([signature(1)])
        await trio.sleep(8.0)
        node.emit(NEW_BATCH_V3, 2, 4_950)
        before = trio.current_time()
        await state.accept([signature(2)])
        await state.changed.wait_value(lambda _: state.is_live(batch_of(2)))

        assert trio.current_time() - before == 7.0
        assert not state.is_live(batch_of(1))


async def test_more_claims_than_are_held_at_once_are_all_looked_for(tmp_path, autojump_clock):
    node = Node()
    async with recovery_of(tmp_path, node, RecoverySettings(), in_hand=10) as state:
        for number in range(45):
            node.emit(NEW_BATCH_V3, number, 4_900)
        await state.accept([signature(number) for number in range(45)])
        await state.changed.wait_value(lambda _: len(state.tasks) == 45)

    assert max(len(roots) for _, _, roots in node.queries) == 10
    assert len(node.queries) == 5


async def test_leases_of_a_leader_that_was_killed_end_with_the_start_of_the_next(tmp_path, autojump_clock):
    node = Node()

    async def before(state):
        for number in range(20):
            node.emit(NEW_BATCH_V3, number, 4_900)
        await state.accept([signature(number) for number in range(20)])
        assert len(await state.journal.lease(rows.UNKNOWN, OWNER, 100, LEASE_S)) == 20

    async with recovery_of(tmp_path, node, RecoverySettings(), before=before, in_hand=5) as state:
        with trio.fail_after(60.0):
            await state.changed.wait_value(lambda _: len(state.tasks) == 20)


async def test_the_horizon_of_a_claim_made_before_anything_was_scanned_begins_with_the_first_round(
    tmp_path, autojump_clock
):
    node = Node(head=1_000_000)
    async with recovery_of(tmp_path, node, RecoverySettings(horizon_blocks=50)) as state:
        await state.accept([signature(1)])
        await trio.sleep(60.0)
        waiting = dict(state.claims)
        node.head += 60
        await trio.sleep(60.0)

        assert list(waiting) == [batch_of(1)]
        assert list(state.dead) == [batch_of(1)]
