"""What a command does to a batch, and what it says when it does nothing."""

from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
from attestrio.aggregator import rows
from attestrio.aggregator.commands import Command, Reply, carry_out
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.rows import Answer, Attempt, Claim, Phase, Task
from attestrio.aggregator.state import Accepted, AggregatorState
from attestrio.aggregator.surface import identifier_hash
from attestrio.journal import SqliteJournal
from attestrio.kit.blocking import inline
from attestrio.kit.metrics import Metrics

ROOT, SENDER = b"\x11" * 32, b"\x22" * 20
BATCH = identifier_hash(ROOT, SENDER)
TASK = Task(ROOT, SENDER, 5, b"\x05" * 32, 0, 10**16, "pointer")
OPEN = (Attempt(b"raw", b"\x01" * 32, 7, 0.0),)


@asynccontextmanager
async def state_of(path):
    journal = SqliteJournal(path / "aggregator.db", inline, clock=trio.current_time)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        state = AggregatorState(journal, AggregatorMetrics(Metrics()), clock=trio.current_time)
        await state.load({})
        yield state
        nursery.cancel_scope.cancel()


async def reply_to(state, verb, identifier=BATCH, **more):
    """What is said to one command; it is gone then."""
    await state.journal.put(rows.COMMANDS, b"key", rows.pack(Command(verb, identifier, **more)))
    await carry_out(state)
    assert await state.journal.get(rows.COMMANDS, b"key") is None
    return rows.unpack(await state.journal.get(rows.REPLIES, b"key"), Reply)


def signature(operator=1):
    return Accepted(BATCH, ROOT, SENDER, operator.to_bytes(32, "big"), bytes([operator]) * 64)


async def claims(state, topic=rows.UNKNOWN):
    return [(one, rows.unpack(one.body, Claim)) for one in await state.journal.listed(topic, 10)]


@pytest.mark.parametrize("verb", ["retry", "drop", "fetch"])
async def test_a_batch_that_nobody_has_heard_of_is_not_touched(tmp_path, autojump_clock, verb):
    async with state_of(tmp_path) as state:
        reply = await reply_to(state, verb, b"\x99" * 32)

        assert not reply.done
        assert "has been seen" in reply.text


@pytest.mark.parametrize("verb", ["retry", "drop", "fetch"])
async def test_a_batch_that_has_its_answer_is_left_alone(tmp_path, autojump_clock, verb):
    async with state_of(tmp_path) as state:
        await state.add_tasks([msgspec.structs.replace(TASK, verified=9)])

        reply = await reply_to(state, verb)

        assert (reply.done, reply.text) == (False, "the chain has the answer to this batch, since block 9")


@pytest.mark.parametrize("verb", ["retry", "drop", "fetch"])
async def test_what_the_sender_works_on_is_refused_for_the_moment(tmp_path, autojump_clock, verb):
    async with state_of(tmp_path) as state:
        await state.add_tasks([TASK])
        state.busy.add(BATCH)

        reply = await reply_to(state, verb)

        assert not reply.done
        assert "try again later" in reply.text


@pytest.mark.parametrize("phase", [Phase.PREPARED, Phase.SENT, Phase.REPLACED, Phase.MINED])
@pytest.mark.parametrize("verb", ["retry", "drop"])
async def test_an_answer_on_its_way_can_neither_be_dropped_nor_sent_anew(tmp_path, autojump_clock, verb, phase):
    answer = Answer(phase, nonce=3, attempts=OPEN)
    async with state_of(tmp_path) as state:
        await state.add_tasks([TASK])
        await state.set_answer(BATCH, answer)

        reply = await reply_to(state, verb)

        assert (reply.done, reply.text) == (False, f"the answer to this batch is on its way ({phase})")
        assert state.answers[BATCH] == answer


async def test_a_parked_answer_is_dropped_and_taken_up_again_with_the_nonce_it_has(tmp_path, autojump_clock):
    async with state_of(tmp_path) as state:
        await state.add_tasks([TASK])
        await state.set_answer(BATCH, Answer(Phase.PARKED, "price_too_high", "150 gwei", 3, OPEN))

        dropped = await reply_to(state, "drop")
        in_between = state.answers[BATCH]
        retried = await reply_to(state, "retry")

        assert (dropped.done, retried.done) == (True, True)
        assert in_between == Answer(Phase.PARKED, "dropped", "", 3, OPEN, updated=state.clock())
        assert state.answers[BATCH] == Answer(Phase.WAITING, "", "", 3, OPEN, updated=state.clock())
    async with state_of(tmp_path) as state:
        assert state.answers[BATCH].phase is Phase.WAITING


async def test_a_batch_without_a_quorum_can_be_dropped_and_its_signatures_stay(tmp_path, autojump_clock):
    async with state_of(tmp_path) as state:
        await state.add_tasks([TASK])
        await state.accept([signature()])

        reply = await reply_to(state, "drop")

        assert reply.done
        assert (state.answers[BATCH].phase, state.answers[BATCH].reason) == (Phase.PARKED, "dropped")
        assert len(state.signed[BATCH]) == 1


async def test_a_retry_of_a_batch_that_waits_for_signatures_has_them_counted_again(tmp_path, autojump_clock):
    async with state_of(tmp_path) as state:
        await state.add_tasks([TASK])
        await state.accept([signature(1), signature(2)])
        state.take_touched()

        reply = await reply_to(state, "retry")

        assert reply == Reply(True, "its 2 signatures are counted again")
        assert state.take_touched() == {BATCH}


async def test_an_unknown_batch_is_fetched_from_further_back_at_once_also_when_it_was_given_up(
    tmp_path, autojump_clock
):
    async with state_of(tmp_path) as state:
        await state.accept([signature()])
        ((waiting, claim),) = await claims(state)
        await state.journal.lease(rows.UNKNOWN, "recovery", 1, 1_000.0)

        first = await reply_to(state, "fetch", blocks=50_000)
        ((fetched, wider),) = await claims(state)
        await state.give_up(fetched.key, msgspec.structs.replace(wider, reason="not_on_chain", blocks=50_000))
        second = await reply_to(state, "fetch", blocks=90_000)

        assert (first.done, second.done) == (True, True)
        assert first.text == "it is looked for on the chain, 50000 blocks back"
        assert (wider.root, wider.sender, wider.blocks) == (claim.root, claim.sender, 50_000)
        assert fetched.key != waiting.key
        assert fetched.due_in_s <= 0
        ((_, last),) = await claims(state)
        assert (last.blocks, last.reason) == (90_000, "")
        assert await claims(state, rows.DEAD) == []
        assert len(state.signed[BATCH]) == 1


async def test_a_retry_of_what_was_fetched_looks_as_far_back_as_the_fetch_did(tmp_path, autojump_clock):
    async with state_of(tmp_path) as state:
        await state.accept([signature()])
        await reply_to(state, "fetch", blocks=50_000)

        reply = await reply_to(state, "retry")

        assert reply.done
        ((_, claim),) = await claims(state)
        assert claim.blocks == 50_000


async def test_a_known_batch_need_not_be_fetched(tmp_path, autojump_clock):
    async with state_of(tmp_path) as state:
        await state.add_tasks([TASK])

        reply = await reply_to(state, "fetch", blocks=50_000)

        assert reply == Reply(False, "the batch is known: it was posted in block 5")


async def test_a_dropped_orphan_is_gone_with_its_signatures_and_makes_room_for_others(tmp_path, autojump_clock):
    async with state_of(tmp_path) as state:
        await state.accept([signature(1), signature(2)])

        reply = await reply_to(state, "drop")

        assert reply == Reply(True, "it is given up, and its 2 signatures with it")
        assert (state.signed, state.orphans.total()) == ({}, 0)
        assert await claims(state) == []
    async with state_of(tmp_path) as state:
        assert (state.signed, state.claims) == ({}, {})


async def test_a_batch_off_the_chain_with_an_open_nonce_is_not_forgotten(tmp_path, autojump_clock):
    async with state_of(tmp_path) as state:
        await state.add_tasks([TASK])
        await state.set_answer(BATCH, Answer(Phase.WAITING, nonce=3, attempts=OPEN))
        await state.void([BATCH])

        reply = await reply_to(state, "drop")

        assert (reply.done, reply.text) == (False, "a transaction for this batch is open, with nonce 3")
        assert state.answers[BATCH].nonce == 3


@pytest.mark.parametrize("raw", [b"", b"\x81\xa4verb\xa4jump", b"\xff" * 9])
async def test_a_command_of_another_release_is_answered_and_stops_nothing(tmp_path, autojump_clock, raw):
    async with state_of(tmp_path) as state:
        await state.journal.put(rows.COMMANDS, b"a", raw)
        await state.journal.put(rows.COMMANDS, b"b", rows.pack(Command("retry", BATCH)))

        await carry_out(state)

        replies = [rows.unpack(found, Reply) for _, found in await state.journal.scan(rows.REPLIES, 10)]
        assert [one.done for one in replies] == [False, False]
        assert "does not know this command" in replies[0].text
        assert await state.journal.scan(rows.COMMANDS, 10) == []
