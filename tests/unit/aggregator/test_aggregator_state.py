"""What was acknowledged is known after any restart, and whatever nobody knows is asked for until the chain says."""

import tempfile
from pathlib import Path

import pytest
import trio
import trio.testing
from aligned_chain import (
    OTHER_SENDER,
    SENDER,
    Away,
    Disturbed,
    batch,
    journal_at,
    junk,
    loaded,
    memory_of,
    root_of,
)
from attestrio.aggregator import rows
from attestrio.aggregator.errors import JournalOfAnotherContract, OrphansFull
from attestrio.aggregator.rows import Answer, Claim, Phase, Place, Signed, Task
from attestrio.aggregator.settings import CollectSettings
from attestrio.journal import Item, Put, TopicFull
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples

ONE, ROOT = batch(1)


def task_of(number, created=5, sender=SENDER, index=0, **more):
    return Task(root_of(number), sender, created, b"h" * 32, index, 10**16, "http://data", **more)


async def waiting(journal, topic=rows.UNKNOWN):
    """Identifiers in a topic, in order."""
    return [rows.identifier_of(one.key) for one in await journal.listed(topic, 100)]


# --- signatures


async def test_an_accepted_signature_is_there_after_a_restart(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)
        await state.add_tasks([task_of(1)])

        verdicts = await state.accept([junk(ONE, ROOT, operator=1), junk(ONE, ROOT, operator=2)])
    async with journal_at(tmp_path) as journal:
        again = await loaded(journal)

    assert verdicts == [None, None]
    assert set(again.signed[ONE]) == {b"\x01" * 32, b"\x02" * 32}
    assert memory_of(again) == memory_of(state)
    assert again.take_touched() == {ONE}


async def test_row_7_one_signature_is_one_row_however_often_it_comes(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)

        for _ in range(3):
            assert await state.accept([junk(ONE, ROOT), junk(ONE, ROOT)]) == [None, None]

        assert len(await journal.scan(rows.SIGNATURES, 10)) == 1
        assert state.orphans[b"\x01" * 32] == 1


async def test_the_same_signature_from_two_connections_at_once_is_counted_once(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(state.accept, [junk(ONE, ROOT)])

        assert state.orphans[b"\x01" * 32] == 1
        assert memory_of(await loaded(journal)) == memory_of(state)


async def test_a_signature_is_recorded_even_if_whoever_asked_for_it_is_gone(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)

        with trio.CancelScope() as scope:
            scope.cancel()
            await state.accept([junk(ONE, ROOT)])

        assert set(state.signed) == {ONE}
        assert memory_of(await loaded(journal)) == memory_of(state)


# --- orphans and claims


async def test_a5_a_signature_of_an_unknown_batch_is_kept_and_the_chain_is_asked_once(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)

        await state.accept([junk(ONE, ROOT, operator=1)])
        await state.accept([junk(ONE, ROOT, operator=2)])

        assert await waiting(journal) == [ONE]
        assert state.orphans.total() == 2


async def test_two_senders_of_one_root_are_two_batches(tmp_path):
    two, _ = batch(1, OTHER_SENDER)
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)

        await state.accept([junk(ONE, ROOT), junk(two, ROOT, sender=OTHER_SENDER)])
        await state.add_tasks([task_of(1)])

        assert await waiting(journal) == [two]
        assert (state.is_live(ONE), state.is_live(two)) == (True, False)


async def test_one_operator_cannot_fill_the_journal_with_batches_that_do_not_exist(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal, CollectSettings(max_orphans=2))
        junk_of = [junk(*batch(number)) for number in range(3)]

        verdicts = await state.accept([*junk_of, junk(*batch(9), operator=2)])

        assert [type(one) for one in verdicts] == [type(None), type(None), OrphansFull, type(None)]
        assert (verdicts[2].got, verdicts[2].limit) == (2, 2)
        assert len(await journal.scan(rows.SIGNATURES, 10)) == 3
        assert await state.accept([junk_of[0]]) == [None]


async def test_the_bound_holds_for_calls_at_the_same_time(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal, CollectSettings(max_orphans=2))

        async with trio.open_nursery() as nursery:
            for number in range(9):
                nursery.start_soon(state.accept, [junk(*batch(number))])

        assert len(await journal.scan(rows.SIGNATURES, 10)) == 2
        assert state.orphans == {b"\x01" * 32: 2}


async def test_an_explained_batch_gives_its_operators_room_again(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal, CollectSettings(max_orphans=1))
        await state.accept([junk(ONE, ROOT)])
        assert state.room_for(junk(*batch(2))) is not None

        await state.add_tasks([task_of(1)])

        assert await state.accept([junk(*batch(2)), junk(ONE, ROOT)]) == [None, None]


async def test_signatures_of_known_batches_are_not_bounded(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal, CollectSettings(max_orphans=1))
        await state.add_tasks([task_of(number) for number in range(5)])

        assert await state.accept([junk(*batch(number)) for number in range(5)]) == [None] * 5


async def test_a_batch_that_a_reorg_takes_away_is_asked_for_again_under_another_key(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)
        await state.accept([junk(ONE, ROOT)])
        keys = {state.claims[ONE].key}

        for _ in range(3):
            await state.add_tasks([task_of(1)])
            assert await waiting(journal) == []
            await state.void([ONE])
            assert await waiting(journal) == [ONE]
            keys.add(state.claims[ONE].key)

        assert len(keys) == 4
        assert state.orphans == {b"\x01" * 32: 1}
        assert memory_of(await loaded(journal)) == memory_of(state)


async def test_a_batch_that_goes_while_its_signature_is_written_is_asked_for(tmp_path):
    async with journal_at(tmp_path) as inner:
        journal = Disturbed(inner)
        state = await loaded(journal)
        await state.add_tasks([task_of(1)])

        async def reorg(_):
            journal.after = journal._nothing
            await state.void([ONE])

        journal.after = reorg
        await state.accept([junk(ONE, ROOT)])

        assert await waiting(inner) == [ONE]
        assert state.orphans == {b"\x01" * 32: 1}
        assert memory_of(await loaded(inner)) == memory_of(state)


async def test_a_claim_that_was_written_while_its_batch_was_found_can_be_ended(tmp_path):
    async with journal_at(tmp_path) as inner:
        journal = Disturbed(inner)
        state = await loaded(journal)

        async def found(_):
            journal.before = journal._nothing
            await state.add_tasks([task_of(1)])

        journal.before = found
        await state.accept([junk(ONE, ROOT)])
        (leased,) = await inner.lease(rows.UNKNOWN, "recovery", 1, 60.0)
        await state.explain([leased.key, rows.claim_key(batch(2)[0], 0)])

        assert await waiting(inner) == []
        assert (state.claims, +state.orphans) == ({}, {})
        assert memory_of(await loaded(inner)) == memory_of(state)


async def test_a_claim_given_up_keeps_its_signatures_and_can_be_made_again(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)
        await state.accept([junk(ONE, ROOT)])
        key = state.claims[ONE].key

        assert await state.give_up(key, Claim(ROOT, SENDER, 0, "not_on_chain"))
        assert (await waiting(journal), await waiting(journal, rows.DEAD)) == ([], [ONE])
        await state.accept([junk(ONE, ROOT, operator=2)])
        assert await waiting(journal) == []

        assert await state.reclaim(ONE, blocks=100_000)
        assert (await waiting(journal), await waiting(journal, rows.DEAD)) == ([ONE], [])
        assert state.claims[ONE].claim.blocks == 100_000
        assert set(state.signed[ONE]) == {b"\x01" * 32, b"\x02" * 32}
        assert memory_of(await loaded(journal)) == memory_of(state)


async def test_a_waiting_claim_can_be_asked_anew_with_a_larger_range(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)
        await state.accept([junk(ONE, ROOT)])
        (leased,) = await journal.lease(rows.UNKNOWN, "recovery", 1, 3600.0)

        assert await state.reclaim(ONE, blocks=5_000)
        assert not await state.reclaim(batch(2)[0])

        (again,) = await journal.lease(rows.UNKNOWN, "recovery", 5, 60.0)
        assert again.key != leased.key
        assert rows.unpack(again.body, Claim).blocks == 5_000


async def test_what_the_chain_has_meanwhile_is_not_given_up(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)
        await state.accept([junk(ONE, ROOT)])
        key = state.claims[ONE].key
        await state.add_tasks([task_of(1)])

        assert not await state.give_up(key, Claim(ROOT, SENDER, 0, "not_on_chain"))
        assert await waiting(journal, rows.DEAD) == []


async def test_the_chain_explains_a_batch_that_was_given_up(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)
        await state.accept([junk(ONE, ROOT)])
        await state.give_up(state.claims[ONE].key, Claim(ROOT, SENDER, 0, "not_on_chain"))

        await state.add_tasks([task_of(1)])
        assert (state.dead, await waiting(journal, rows.DEAD)) == ({}, [])
        await state.void([ONE])

        assert await waiting(journal) == [ONE]


# --- tasks


async def test_what_the_recovery_finds_does_not_overwrite_what_the_scanner_saw(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)
        await state.commit(lambda change: change.posted(task_of(1, created=5)), end=Place(6), scanned=5)

        await state.add_tasks([task_of(1, created=4, verified=9)])

        assert (state.tasks[ONE].created, state.tasks[ONE].verified) == (5, 9)


async def test_what_the_recovery_found_ahead_of_the_scanner_has_to_be_there_when_it_comes(tmp_path):
    two, _ = batch(2)
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)
        await state.add_tasks([task_of(1, created=5, index=0), task_of(2, created=5, index=3)])
        assert state.ahead == {ONE, two}

        def scanned(change):
            change.posted(task_of(1, created=5, index=1))
            change.passed(state.ahead, Place(6))

        await state.commit(scanned, end=Place(6), scanned=5)

        assert (state.is_live(ONE), state.is_live(two), state.ahead) == (True, False, set())
        assert await waiting(journal) == [two]


async def test_a_batch_is_finished_when_its_answer_is_deep_enough(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal, CollectSettings(confirmations=3))
        await state.add_tasks([task_of(1, verified=6)])
        await state.accept([junk(ONE, ROOT)])

        await state.commit(lambda change: None, end=Place(9), scanned=8)
        assert not state.is_finished(ONE)
        await state.finish([ONE])
        assert ONE in state.signed

        await state.commit(lambda change: None, end=Place(10), scanned=9)
        assert state.is_finished(ONE)
        await state.finish([ONE])
        assert (state.signed, state.signed_at, ONE in state.tasks) == ({}, {}, True)
        assert await journal.scan(rows.SIGNATURES, 10) == []


async def test_signatures_that_came_too_late_are_dropped_by_the_next_start(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal, CollectSettings(confirmations=3))
        await state.add_tasks([task_of(1, verified=6)])
        await state.commit(lambda change: None, end=Place(10), scanned=9)
        await journal.put(rows.SIGNATURES, rows.signature_key(ONE, b"\x01" * 32), rows.pack(Signed(b"p" * 64, 1.0)))

        again = await loaded(journal, CollectSettings(confirmations=3))

        assert again.signed == {}
        assert await journal.scan(rows.SIGNATURES, 10) == []


async def test_what_is_forgotten_leaves_no_row(tmp_path):
    two, root_2 = batch(2)
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)
        await state.add_tasks([task_of(1, verified=6)])
        await state.set_answer(ONE, Answer(Phase.CONFIRMED))
        await state.accept([junk(ONE, ROOT), junk(two, root_2)])

        await state.forget([ONE, two])

        for table in (rows.TASKS, rows.ANSWERS, rows.SIGNATURES):
            assert await journal.scan(table, 10) == []
        assert (await waiting(journal), +state.orphans) == ([], {})
        assert memory_of(await loaded(journal)) == memory_of(state)


async def test_a_batch_that_a_reorg_takes_back_in_time_is_not_forgotten(tmp_path):
    async with journal_at(tmp_path) as inner, trio.open_nursery() as nursery:
        journal, forgotten = Disturbed(inner), []
        state = await loaded(journal, CollectSettings(confirmations=3))
        await state.add_tasks([task_of(1, verified=6)])
        await state.accept([junk(ONE, ROOT)])
        await state.commit(lambda change: None, scanned=20)
        assert state.is_finished(ONE)

        async def forget():
            forgotten.append(await state.forget([ONE], state.is_finished))

        async def meanwhile(_):
            journal.after = journal._nothing
            nursery.start_soon(forget)
            await trio.testing.wait_all_tasks_blocked()

        journal.after = meanwhile
        await state.void([ONE])
        await trio.testing.wait_all_tasks_blocked()

        assert forgotten == [0]
        assert state.tasks[ONE].void
        assert len(state.signed[ONE]) == 1
        assert memory_of(await loaded(inner)) == memory_of(state)


async def test_a_batch_that_was_dropped_is_asked_for_again_when_it_is_signed_again(tmp_path):
    """Operators go on sending what was dropped, within the same block and after a restart too."""
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)
        for _ in range(3):
            await state.accept([junk(ONE, ROOT)])
            assert await waiting(journal) == [ONE]

            await state.forget([ONE])
            assert await waiting(journal) == []
            state = await loaded(journal)


async def test_a_batch_that_is_dropped_while_its_signature_is_written_is_asked_for(tmp_path):
    async with journal_at(tmp_path) as inner:
        journal = Disturbed(inner)
        state = await loaded(journal)
        await state.add_tasks([task_of(1)])

        async def dropped(_):
            journal.after = journal._nothing
            await state.forget([ONE])

        journal.after = dropped
        await state.accept([junk(ONE, ROOT)])

        assert await waiting(inner) == [ONE]
        assert memory_of(await loaded(inner)) == memory_of(state)


async def test_what_two_find_out_about_one_batch_at_once_both_counts(tmp_path):
    async with journal_at(tmp_path) as inner, trio.open_nursery() as nursery:
        journal = Disturbed(inner)
        state = await loaded(journal)

        async def meanwhile(_):
            journal.before = journal._nothing
            nursery.start_soon(state.commit, lambda change: change.verified(ONE, 9))
            await trio.testing.wait_all_tasks_blocked(0.001)

        journal.before = meanwhile
        await state.add_tasks([task_of(1)])
        await trio.testing.wait_all_tasks_blocked(0.001)

        assert state.tasks[ONE].verified == 9
        assert memory_of(await loaded(inner)) == memory_of(state)


async def test_of_two_claims_for_one_batch_each_ends_when_the_chain_has_it(tmp_path):
    older, newer = rows.claim_key(ONE, 3), rows.claim_key(ONE, 7)
    async with journal_at(tmp_path) as journal:
        claim = rows.pack(Claim(ROOT, SENDER, 3))
        await journal.append(rows.UNKNOWN, [Item(older, claim), Item(newer, claim)])
        state = await loaded(journal)
        assert state.claims[ONE].key == newer

        await state.add_tasks([task_of(1)])
        assert [one.key for one in await journal.listed(rows.UNKNOWN, 10)] == [older]
        await state.explain([older])

        assert await waiting(journal) == []
        assert state.tasks[ONE].turn == 8


async def test_an_answer_is_recorded_with_what_belongs_to_it(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)

        await state.set_answer(ONE, Answer(Phase.PREPARED, nonce=7), put=[Put("nonces", b"next", b"8")])

        assert (await loaded(journal)).answers == {ONE: Answer(Phase.PREPARED, nonce=7)}
        assert await journal.get("nonces", b"next") == b"8"
        await state.set_answer(ONE, None)
        assert (await loaded(journal)).answers == state.answers == {}


async def test_removed_signatures_stay_removed(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)
        await state.accept([junk(ONE, ROOT, operator=1), junk(ONE, ROOT, operator=2)])

        await state.remove_signatures(ONE, [b"\x01" * 32])

        assert set(state.signed[ONE]) == {b"\x02" * 32}
        assert +state.orphans == {b"\x02" * 32: 1}
        assert memory_of(await loaded(journal)) == memory_of(state)


# --- the term


async def test_the_journal_of_another_contract_is_refused(tmp_path):
    async with journal_at(tmp_path) as journal:
        await loaded(journal, about={"chain": "1", "contract": "0xaa"})

        with pytest.raises(JournalOfAnotherContract, match="contract 0xaa, configured is 0xbb"):
            await loaded(journal, about={"chain": "1", "contract": "0xbb"})


async def test_a_write_whose_outcome_nobody_knows_ends_the_term(tmp_path):
    async with journal_at(tmp_path) as inner:
        journal = Disturbed(inner)
        state = await loaded(journal)

        async def lost(_):
            raise Away("the answer was lost")

        journal.after = lost
        with pytest.raises(Away):
            await state.accept([junk(ONE, ROOT)])
        journal.after = journal._nothing
        journal.writes.clear()

        assert ONE not in state.signed
        for write in (state.accept([junk(*batch(2))]), state.add_tasks([task_of(1)]), state.set_answer(ONE, None)):
            with pytest.raises(Away):
                await write
        assert journal.writes == []
        with pytest.raises(Away):
            await state.run()
        assert set((await loaded(inner)).signed) == {ONE}


async def test_a_full_queue_refuses_a_signature_and_ends_nothing(tmp_path):
    async with journal_at(tmp_path) as inner:
        journal = Disturbed(inner)
        state = await loaded(journal)

        async def full(_):
            raise TopicFull(rows.UNKNOWN, 2, 1)

        journal.before = full
        with pytest.raises(TopicFull):
            await state.accept([junk(ONE, ROOT)])
        journal.before = journal._nothing

        assert (+state.orphans, state.signed) == ({}, {})
        assert await state.accept([junk(ONE, ROOT)]) == [None]


async def test_the_gauges_say_what_there_is(tmp_path):
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)
        await state.add_tasks([task_of(1), task_of(2, verified=7)])
        await state.accept([junk(*batch(3))])
        await state.set_answer(ONE, Answer(Phase.SENT))

        state.count()

        metrics = state.metrics
        gauges = [metrics.open, metrics.orphans, metrics.unknown, metrics.dead, metrics.answers.labels("sent")]
        assert [one._value.get() for one in gauges] == [1, 1, 1, 0, 1]


# --- whatever happens


BATCHES = st.integers(1, 3)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("accept"), BATCHES, st.integers(1, 3)),
        st.tuples(st.just("found"), BATCHES, st.integers(0, 9)),
        st.tuples(st.just("scan"), BATCHES, st.integers(0, 9)),
        st.tuples(st.sampled_from(["verified", "undo"]), BATCHES, st.integers(0, 9)),
        st.tuples(st.sampled_from(["void", "give_up", "reclaim", "explain", "finish", "forget"]), BATCHES, st.just(0)),
    ),
    max_size=25,
)


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(actions=ACTIONS)
def test_a_restart_changes_nothing_and_every_orphan_is_asked_for(actions):
    async def play():
        with tempfile.TemporaryDirectory() as folder:
            await play_in(Path(folder))

    async def play_in(folder):
        async with journal_at(folder) as journal:
            state = await loaded(journal, CollectSettings(confirmations=2))
            for action, number, value in actions:
                await act(state, action, number, value)
                waits = set(await waiting(journal))
                unknown = {one for one in state.signed if not state.is_live(one)}
                void = {one for one, task in state.tasks.items() if task.void}
                assert unknown | void <= waits | set(state.dead)
                assert waits == set(state.claims)
                assert not any(state.is_live(one) for one in waits)
                assert state.orphans.total() == sum(len(state.signed[one]) for one in unknown)
            await state.finish(list(state.signed))  # as a start does
            assert memory_of(await loaded(journal, CollectSettings(confirmations=2))) == memory_of(state)

    trio.run(play)


async def act(state, action, number, value):
    """One step of a history."""
    identifier, root = batch(number)
    end = state.head.value + 1
    match action:
        case "accept":
            await state.accept([junk(identifier, root, operator=value)])
        case "found":
            await state.add_tasks([task_of(number, created=value)])
        case "scan":
            task = task_of(number, created=end)

            def scanned(change):
                change.posted(task)
                change.passed(state.ahead, Place(end + 1))

            await state.commit(scanned, end=Place(end + 1), scanned=end)
        case "verified":

            def verified(change):
                change.verified(identifier, end)
                change.passed(state.ahead, Place(end + 1))

            await state.commit(verified, end=Place(end + 1), scanned=end)
        case "undo":
            to = min(value, state.head.value)
            await state.commit(lambda change: change.undo_above(to), end=Place(to + 1), scanned=to)
        case "void":
            await state.void([identifier])
        case "give_up" if identifier in state.claims:
            await state.give_up(state.claims[identifier].key, Claim(root, SENDER, 0, "not_on_chain"))
        case "reclaim":
            await state.reclaim(identifier)
        case "explain" if identifier in state.claims:
            await state.explain([state.claims[identifier].key])
        case "finish":
            await state.finish([identifier])
        case "forget":
            await state.forget([identifier])
