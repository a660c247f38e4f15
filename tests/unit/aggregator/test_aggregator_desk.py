"""What an operator hears for its response, and what is in the journal by then."""

from dataclasses import replace

import pytest
import trio
from aligned_chain import OPERATORS, OTHER_SENDER, AlignedChain, Away, Disturbed, batch, loaded
from attestrio.aggregator import rows
from attestrio.aggregator.desk import Absent, Desk
from attestrio.aggregator.intake import candidate_untrusted
from attestrio.aggregator.recording import MAX_EVIDENCE, MAX_OPERATOR_EVIDENCE
from attestrio.aggregator.refusals import NilSignature, Unavailable, UnusablePoint, WrongIdentifier
from attestrio.aggregator.rows import Evidence
from attestrio.aggregator.settings import CollectSettings
from attestrio.bls import G1, BadPoint, to_limbs
from attestrio.gorpc.messages import Point
from attestrio.journal import Put
from hypothesis import given, settings
from hypothesis import strategies as st
from server_world import office, response_of, task_of, told
from suite import examples

ONE, TWO = OPERATORS[:2]
STRANGER = OPERATORS[7]
REGISTERED = OPERATORS[:7]
IDENTIFIER, _ = batch(1)
P = 21888242871839275222246405745257275088696311157297823662689037894645226208583


# --- the desk


def test_the_desk_says_why_nothing_can_be_recorded():
    desk = Desk()
    with pytest.raises(Unavailable, match=r"^temporary: starting$"):
        desk.needed()

    with desk.open_for("a core"):
        assert desk.needed() == "a core"

    with pytest.raises(Unavailable, match=r"^temporary: not the leader$"):
        desk.needed()
    desk.shut(Absent.STORE_AWAY)
    with pytest.raises(Unavailable, match=r"^temporary: the store does not answer$"):
        desk.needed()


def test_a_term_that_ends_late_does_not_shut_the_desk_for_the_next():
    desk = Desk()
    first = desk.open_for("first")
    first.__enter__()

    with desk.open_for("second"):
        first.__exit__(None, None, None)

        assert desk.needed() == "second"


# --- what is refused before anything is looked up


def limbs(value):
    return tuple(value >> 64 * index & (1 << 64) - 1 for index in range(4))


GOOD = response_of(ONE, 1)
BAD_POINTS = {
    "zero": Point((0,) * 4, (0,) * 4),
    "not on the curve": Point(limbs(5), limbs(6)),
    "limbs of p": Point(limbs(P), GOOD.signature.y),
    "limbs above p": Point(((1 << 64) - 1,) * 4, GOOD.signature.y),
}


@pytest.mark.parametrize("point", BAD_POINTS.values(), ids=list(BAD_POINTS))
def test_a13_what_is_no_point_is_no_signature(point):
    with pytest.raises(UnusablePoint, match=r"^permanent: bad signature$"):
        candidate_untrusted(replace(GOOD, signature=point))


def test_a13_a_nil_signature_is_refused_in_go_s_words():
    with pytest.raises(NilSignature, match=r"^invalid response: nil signature$"):
        candidate_untrusted(replace(GOOD, signature=None))


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_identifier_hash": bytes(32)},
        {"batch_merkle_root": bytes(32)},
        {"sender_address": OTHER_SENDER},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_row_18_the_identifier_has_to_be_that_of_root_and_sender(changes):
    with pytest.raises(WrongIdentifier, match=r"^permanent: bad batch identifier$"):
        candidate_untrusted(replace(GOOD, **changes))


words = st.integers(0, (1 << 64) - 1)


@settings(max_examples=examples(100))
@given(st.tuples(*[words] * 4), st.tuples(*[words] * 4))
def test_a13_whatever_the_limbs_are_there_is_one_kind_of_answer(x, y):
    try:
        found = candidate_untrusted(replace(GOOD, signature=Point(x, y)))
    except UnusablePoint:
        return
    assert to_limbs(found.signature) == (x, y)


def test_the_bounds_of_points_are_those_of_the_curve():
    with pytest.raises(BadPoint):
        G1(P, 2)


# --- what is recorded


async def test_zero_means_that_the_signature_is_in_the_journal(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        state = await place.term()
        client = await place.client()

        assert await told(client, response_of(ONE, 1)) == 0

        again = await loaded(place.journal)
        assert again.signed == {IDENTIFIER: {ONE.id: state.signed[IDENTIFIER][ONE.id]}}
        assert place.results() == {"accepted": 1}


async def test_a5_a_signature_of_an_unknown_batch_is_taken_without_asking_the_chain(autojump_clock, tmp_path):
    chain = AlignedChain()
    async with office(tmp_path, chain) as place:
        state = await place.term()
        client = await place.client()

        assert await told(client, response_of(ONE, 1)) == 0

        assert chain.asked == []
        assert set(state.claims) == {IDENTIFIER}
        assert state.orphans[ONE.id] == 1


async def test_a5_above_the_bound_of_orphans_an_operator_is_told_to_come_again(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        state = await place.term(settings=CollectSettings(max_orphans=2))
        client = await place.client()
        await state.add_tasks([task_of(9)])

        answers = [await told(client, response_of(ONE, number)) for number in (1, 2, 3, 9)]
        other = await told(client, response_of(TWO, 3))

        assert answers == [0, 0, "temporary: too many signatures of unknown batches", 0]
        assert other == 0
        assert len(place.groups) == 4  # nothing was verified for the one that has no room


async def test_a6_a_signature_that_is_recorded_is_not_verified_again(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        await place.term()
        clients = [await place.client(), await place.client("10.0.0.2")]

        for client in clients * 5:
            assert await told(client, response_of(ONE, 1)) == 0

        assert len(place.groups) == 1
        assert len(await place.journal.scan(rows.SIGNATURES, 10)) == 1
        assert place.results() == {"accepted": 1, "duplicate": 9}


async def test_a6_the_same_signature_at_once_is_one_verification_and_one_row(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        await place.term()
        clients = [await place.client(f"10.0.0.{number}") for number in range(5)]
        answers = []

        async def ask(client):
            answers.append(await told(client, response_of(ONE, 1)))

        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(ask, client)

        assert answers == [0] * 5
        assert len(place.groups) == 1
        assert place.counts("records") == 1


async def test_a_batch_that_the_chain_has_answered_for_good_costs_no_pairing(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        state = await place.term()
        await state.add_tasks([task_of(1, verified=6)])
        client = await place.client()

        answers = [await told(client, response_of(one, 1)) for one in (ONE, TWO)]

        assert answers == [0, 0]
        assert place.groups == []
        assert place.results() == {"finished": 2}
        assert state.signed == {}


async def test_a_signature_is_recorded_while_a_reorg_may_take_the_answer_back(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        state = await place.term(settings=CollectSettings(confirmations=12))
        await state.add_tasks([task_of(1, verified=89)])
        client = await place.client()

        assert await told(client, response_of(ONE, 1)) == 0  # the head is 100
        assert set(state.signed[IDENTIFIER]) == {ONE.id}

        await state.commit(lambda change: None, scanned=101)
        assert await told(client, response_of(TWO, 1)) == 0
        assert set(state.signed[IDENTIFIER]) == {ONE.id}
        assert place.results() == {"accepted": 1, "finished": 1}


async def test_a_signature_of_a_batch_that_a_reorg_took_away_is_recorded(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        state = await place.term()
        await state.add_tasks([task_of(1, verified=6, void=True)])
        client = await place.client()

        assert await told(client, response_of(ONE, 1)) == 0

        assert set(state.signed) == {IDENTIFIER}


# --- what is not


async def test_row_18_a_bad_signature_is_refused_for_good_and_leaves_nothing(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        state = await place.term()
        client = await place.client()

        answer = await told(client, response_of(ONE, 1, signed=batch(2)[0]))

        assert answer == "permanent: bad signature"
        assert state.signed == {}
        assert state.claims == {}


async def test_a14_junk_under_an_operator_s_id_does_not_keep_its_signature_out(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        state = await place.term()
        evil, honest = await place.client("10.6.6.6"), await place.client()

        assert await told(evil, response_of(ONE, 1, signed=batch(2)[0])) == "permanent: bad signature"
        assert await told(honest, response_of(ONE, 1)) == 0

        assert set(state.signed[IDENTIFIER]) == {ONE.id}


async def test_a_second_answer_is_refused_without_pairing_and_kept_as_evidence(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        state = await place.term()
        honest, evil = await place.client(), await place.client("10.6.6.6")
        await told(honest, response_of(ONE, 1))

        answers = [await told(evil, response_of(ONE, 1, signed=batch(number)[0])) for number in (2, 3, 2)]
        await trio.testing.wait_all_tasks_blocked()

        assert answers == ["permanent: bad signature"] * 3
        assert len(place.groups) == 1
        [(key, raw)] = await place.journal.scan(rows.EVIDENCE, 10)
        kept = rows.unpack(raw, Evidence)
        assert (rows.identifier_of(key), rows.operator_of(key)) == (IDENTIFIER, ONE.id)
        assert kept.first == state.signed[IDENTIFIER][ONE.id] != kept.second
        assert kept.peer == "10.6.6.6:1234"
        assert place.counts("evidence") == 1


def evidence_key(number, operator):
    return rows.signature_key(number.to_bytes(32, "big"), operator)


async def test_of_one_operator_only_the_newest_evidence_is_kept(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        for number in range(MAX_OPERATOR_EVIDENCE):
            old = rows.pack(Evidence(b"1" * 64, b"2" * 64, float(MAX_OPERATOR_EVIDENCE - number), "peer"))
            await place.journal.put(rows.EVIDENCE, evidence_key(number, ONE.id), old)
        other = evidence_key(0, STRANGER.id)
        await place.journal.put(rows.EVIDENCE, other, rows.pack(Evidence(b"1" * 64, b"2" * 64, 0.0, "peer")))
        await place.term()
        client = await place.client()
        await told(client, response_of(ONE, 1))

        await told(client, response_of(ONE, 1, signed=batch(2)[0]))
        await trio.testing.wait_all_tasks_blocked()

        kept = {key for key, _ in await place.journal.scan(rows.EVIDENCE, 100)}
        oldest = evidence_key(MAX_OPERATOR_EVIDENCE - 1, ONE.id)
        assert oldest not in kept
        assert {other, rows.signature_key(IDENTIFIER, ONE.id)} < kept
        assert len(kept) == MAX_OPERATOR_EVIDENCE + 1


async def test_of_all_evidence_the_oldest_makes_room(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        puts = [
            Put(rows.EVIDENCE, evidence_key(number, number.to_bytes(32, "big")),
                rows.pack(Evidence(b"1" * 64, b"2" * 64, float(abs(number - 500)), "peer")))
            for number in range(MAX_EVIDENCE)
        ]  # fmt: skip
        await place.journal.append(rows.UNKNOWN, (), put=puts)
        await place.term()
        client = await place.client()
        await told(client, response_of(ONE, 1))

        await told(client, response_of(ONE, 1, signed=batch(2)[0]))
        await trio.testing.wait_all_tasks_blocked()

        kept = {key for key, _ in await place.journal.scan(rows.EVIDENCE, 2 * MAX_EVIDENCE)}
        gone = {put.key for put in puts} - kept
        assert gone == {evidence_key(500, (500).to_bytes(32, "big"))}
        assert len(kept) == MAX_EVIDENCE


async def test_a_key_that_is_not_scanned_yet_is_waited_for(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        state = await place.term(operators=REGISTERED)
        await state.add_tasks([task_of(1)])  # whose quorum nobody has read yet
        client = await place.client()

        assert await told(client, response_of(STRANGER, 1)) == "temporary: operator not known yet"
        assert await told(client, response_of(STRANGER, 2)) == "temporary: operator not known yet"
        assert place.groups == []


async def test_row_18_a_foreign_id_is_refused_for_good_once_the_quorum_is_known(autojump_clock, tmp_path):
    chain = AlignedChain()
    chain.register(*REGISTERED)
    chain.post(batch(1)[1])
    chain.mine()
    async with office(tmp_path, chain) as place:
        state = await place.term(operators=REGISTERED)
        task = chain.task(batch(1)[1])
        await state.add_tasks([task])
        await place.desk.core.value.snapshots.at(task)
        chain.asked.clear()
        client = await place.client()

        assert await told(client, response_of(STRANGER, 1)) == "permanent: not in quorum"
        assert await told(client, response_of(ONE, 1)) == 0
        assert chain.asked == []


async def test_who_has_left_the_quorum_is_recorded_all_the_same(autojump_clock, tmp_path):
    """Whether a signature counts is the quorum's to say, and a reorg may move the batch to another one."""
    chain = AlignedChain()
    chain.register(*REGISTERED)
    chain.post(batch(1)[1])
    chain.mine()
    async with office(tmp_path, chain) as place:
        state = await place.term()
        task = chain.task(batch(1)[1])
        await state.add_tasks([task])
        await place.desk.core.value.snapshots.at(task)
        client = await place.client()

        assert await told(client, response_of(STRANGER, 1)) == 0
        assert STRANGER.id in state.signed[IDENTIFIER]


# --- terms, and a store in trouble


async def test_without_a_core_every_response_is_to_be_sent_again(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        client = await place.client()
        assert await told(client, response_of(ONE, 1)) == "temporary: starting"

        await place.term()
        assert await told(client, response_of(ONE, 1)) == 0

        place.desk.shut(Absent.NOT_THE_LEADER)
        assert await told(client, response_of(ONE, 1)) == "temporary: not the leader"


async def test_what_the_last_term_acknowledged_is_looked_up_in_the_new_one(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        await place.term()
        client = await place.client()
        await told(client, response_of(ONE, 1))

        state = await place.term()
        await state.remove_signatures(IDENTIFIER, [ONE.id])
        answer = await told(client, response_of(ONE, 1))

        assert answer == 0
        assert set(state.signed[IDENTIFIER]) == {ONE.id}
        assert place.results() == {"accepted": 2}


async def test_a_term_that_ended_while_it_wrote_acknowledges_nothing(autojump_clock, tmp_path):
    """The next term may have read the journal before the row was there."""
    async with office(tmp_path) as place:
        slow = Disturbed(place.journal)
        await place.term(journal=slow)
        client = await place.client()

        async def another_term(_):
            slow.before = slow._nothing
            place.desk.shut(Absent.NOT_THE_LEADER)

        slow.before = another_term

        assert await told(client, response_of(ONE, 1)) == "temporary: not the leader"


@pytest.mark.parametrize("written", [False, True])
async def test_a9_a_store_in_trouble_is_an_error_and_not_a_reply(autojump_clock, tmp_path, written):
    async with office(tmp_path) as place:
        broken = Disturbed(place.journal)
        await place.term(journal=broken)
        client = await place.client()

        async def fail(_):
            raise Away("no answer from redis://secret@store")

        setattr(broken, "after" if written else "before", fail)
        answers = [await told(client, response_of(one, 1)) for one in (ONE, TWO)]
        await place.term()  # as whoever leads does it then
        later = [await told(client, response_of(one, 1)) for one in (ONE, TWO)]

        assert answers == ["temporary: the signature could not be recorded"] * 2
        assert later == [0, 0]


async def test_signatures_that_wait_are_recorded_together(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        slow = Disturbed(place.journal)
        state = await place.term(journal=slow)
        clients = [await place.client(f"10.0.0.{number}") for number in range(7)]

        async def pause(_):
            await trio.sleep(1)

        slow.before = pause
        answers = []

        async def ask(client, operator, number):
            await trio.sleep(0.1 * number)
            answers.append(await told(client, response_of(operator, number)))

        async with trio.open_nursery() as nursery:
            for client, operator in zip(clients, REGISTERED, strict=True):
                for number in (1, 2, 3):
                    nursery.start_soon(ask, client, operator, number)

        assert answers == [0] * 21
        assert place.counts("records") == 2
        assert {number: len(state.signed[batch(number)[0]]) for number in (1, 2, 3)} == {1: 7, 2: 7, 3: 7}


async def test_a_signature_that_is_being_recorded_is_not_verified_again(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        slow = Disturbed(place.journal)
        await place.term(journal=slow)

        async def pause(_):
            await trio.sleep(1)

        slow.before = pause
        answers = []

        async def ask(after_s, response):
            client = await place.client()
            await trio.sleep(after_s)
            answers.append((await told(client, response), trio.current_time()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 0, response_of(ONE, 1))
            nursery.start_soon(ask, 0.5, response_of(ONE, 1))
            nursery.start_soon(ask, 0.6, response_of(ONE, 1, signed=batch(2)[0]))

        assert answers == [("permanent: bad signature", 0.6), (0, 1.0), (0, 1.0)]
        assert place.counts("verified_signatures", result="good") == 1
        assert place.counts("records") == 1


async def test_one_operator_s_full_orphans_do_not_hold_up_the_others(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        slow = Disturbed(place.journal)
        await place.term(settings=CollectSettings(max_orphans=2), journal=slow)

        async def pause(_):
            await trio.sleep(1)

        slow.before = pause
        answers = []

        async def ask(client, operator, number):
            answers.append((operator, await told(client, response_of(operator, number))))

        async with trio.open_nursery() as nursery:
            for operator, numbers in ((ONE, range(1, 6)), (TWO, range(1, 3))):
                client = await place.client()
                for number in numbers:
                    nursery.start_soon(ask, client, operator, number)

        assert sorted(answer for one, answer in answers if one is ONE and isinstance(answer, int)) == [0, 0]
        assert [answer for one, answer in answers if one is TWO] == [0, 0]
