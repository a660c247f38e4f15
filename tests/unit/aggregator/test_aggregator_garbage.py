"""What is forgotten of batches, and when; and what never is."""

from contextlib import asynccontextmanager

import pytest
import trio
from attestrio.aggregator import rows
from attestrio.aggregator.commands import Reply
from attestrio.aggregator.garbage import Garbage
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.rows import Answer, Attempt, Phase, Task
from attestrio.aggregator.settings import CollectSettings, GarbageSettings
from attestrio.aggregator.state import Accepted, AggregatorState
from attestrio.aggregator.surface import identifier_hash
from attestrio.journal import SqliteJournal
from attestrio.kit.blocking import inline
from attestrio.kit.metrics import Metrics

SENDER = b"\x22" * 20
AGE = GarbageSettings(every_s=60.0, age_blocks=100)
OPEN = (Attempt(b"raw", b"\x01" * 32, 7, 0.0),)


def root_of(number):
    return number.to_bytes(32, "big")


def batch_of(number):
    return identifier_hash(root_of(number), SENDER)


def task_of(number, created=10, verified=None):
    return Task(root_of(number), SENDER, created, b"\x05" * 32, 0, 10**16, "pointer", verified)


def signature(number, operator=1):
    return Accepted(batch_of(number), root_of(number), SENDER, bytes([operator]) * 32, bytes([operator]) * 64)


@asynccontextmanager
async def state_of(path, registry=None):
    journal = SqliteJournal(path / "aggregator.db", inline, clock=trio.current_time)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        metrics, settings = AggregatorMetrics(registry or Metrics()), CollectSettings(confirmations=12)
        state = AggregatorState(journal, metrics, settings, trio.current_time)
        await state.load({})
        yield state
        nursery.cancel_scope.cancel()


async def scanned(state, block):
    await state.commit(lambda change: None, scanned=block)


async def test_an_answered_batch_is_forgotten_at_its_age_not_a_block_before(tmp_path, autojump_clock):
    async with state_of(tmp_path) as state:
        await state.add_tasks([task_of(1, verified=20)])
        await state.accept([signature(1)])
        await state.set_answer(batch_of(1), Answer(Phase.CONFIRMED, nonce=3, attempts=OPEN))
        garbage = Garbage(state, AGE)

        await scanned(state, 119)
        before = await garbage.collect()
        await scanned(state, 120)
        after = await garbage.collect()

        assert (before, after) == (0, 1)
        assert (state.tasks, state.answers, state.signed) == ({}, {}, {})
        for table in (rows.TASKS, rows.ANSWERS, rows.SIGNATURES):
            assert await state.journal.scan(table, 10) == []


async def test_confirmations_are_waited_for_also_where_the_age_is_shorter(tmp_path, autojump_clock):
    async with state_of(tmp_path) as state:
        await state.add_tasks([task_of(1, verified=20)])
        await scanned(state, 31)

        assert await Garbage(state, GarbageSettings(age_blocks=1)).collect() == 0


@pytest.mark.parametrize(
    "answer",
    [
        Answer(Phase.PREPARED, nonce=3, attempts=OPEN),
        Answer(Phase.SENT, nonce=3, attempts=OPEN),
        Answer(Phase.MINED, nonce=3, attempts=OPEN, mined=(20, b"\x01" * 32)),
        Answer(Phase.PARKED, "price_too_high", nonce=3, attempts=OPEN),
    ],
)
async def test_a_batch_with_an_open_transaction_of_ours_is_kept_whoever_answered_it(tmp_path, autojump_clock, answer):
    async with state_of(tmp_path) as state:
        await state.add_tasks([task_of(1, verified=20)])
        await state.set_answer(batch_of(1), answer)
        await scanned(state, 10_000)

        assert await Garbage(state, AGE).collect() == 0
        assert state.answers == {batch_of(1): answer}


async def test_pending_batches_and_orphans_are_kept_for_ever(tmp_path, autojump_clock):
    async with state_of(tmp_path) as state:
        await state.add_tasks([task_of(1), task_of(2)])
        await state.accept([signature(2), signature(3)])
        await scanned(state, 10_000_000)

        assert await Garbage(state, AGE).collect() == 0
        assert set(state.tasks) == {batch_of(1), batch_of(2)}
        assert set(state.signed) == {batch_of(2), batch_of(3)}
        assert set(state.claims) == {batch_of(3)}


async def test_a_batch_that_a_reorg_took_for_good_goes_only_if_nobody_signed_it(tmp_path, autojump_clock):
    async with state_of(tmp_path) as state:
        await state.add_tasks([task_of(1), task_of(2)])
        await state.accept([signature(2)])
        await state.commit(lambda change: change.undo_above(5))
        for identifier in list(state.claims):
            claim = state.claims[identifier]
            await state.give_up(claim.key, claim.claim)
        await scanned(state, 200)

        await Garbage(state, AGE).collect()

        assert set(state.tasks) == {batch_of(2)}
        assert set(state.signed) == {batch_of(2)}


async def test_a_signature_that_comes_after_its_batch_was_forgotten_is_looked_for_anew(tmp_path, autojump_clock):
    async with state_of(tmp_path) as state:
        await state.accept([signature(1)])
        await state.add_tasks([task_of(1, verified=20)])
        await scanned(state, 200)
        await Garbage(state, AGE).collect()

        verdict = await state.accept([signature(1, operator=2)])

        assert verdict == [None]
        assert [rows.identifier_of(one.key) for one in await state.journal.listed(rows.UNKNOWN, 10)] == [batch_of(1)]


async def test_many_batches_go_in_pages_and_the_rest_of_the_journal_stays(tmp_path, autojump_clock):
    registry = Metrics()
    async with state_of(tmp_path, registry) as state:
        await state.add_tasks([task_of(number, verified=20) for number in range(1_200)])
        await state.add_tasks([task_of(5_000)])
        await scanned(state, 200)

        gone = await Garbage(state, AGE).collect()

        assert gone == 1_200
        assert set(state.tasks) == {batch_of(5_000)}
        assert registry.value("attestrio_aggregator_tasks_forgotten") == 1_200
    async with state_of(tmp_path) as state:
        assert set(state.tasks) == {batch_of(5_000)}


async def test_keys_of_ended_claims_and_replies_nobody_fetched_are_forgotten(tmp_path, autojump_clock):
    async with state_of(tmp_path) as state, trio.open_nursery() as nursery:
        await state.accept([signature(1)])
        await state.add_tasks([task_of(1)])
        await state.journal.put(rows.REPLIES, b"old", rows.pack(Reply(True, "done")))
        await trio.sleep(1.0)
        nursery.start_soon(Garbage(state, AGE).run)
        await trio.sleep(1.0)
        first = await state.journal.scan(rows.REPLIES, 10)
        await state.journal.put(rows.REPLIES, b"new", rows.pack(Reply(True, "done")))
        await trio.sleep(AGE.every_s)

        assert [key for key, _ in first] == [b"old"]
        assert [key for key, _ in await state.journal.scan(rows.REPLIES, 10)] == [b"new"]
        assert (await state.journal.count(rows.UNKNOWN)).done == 0
        nursery.cancel_scope.cancel()
