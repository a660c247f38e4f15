"""What is shown of an aggregator, read from its journal alone."""

import json
from contextlib import asynccontextmanager

import msgspec
import trio
from attestrio.aggregator import rows
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.report import queue_of, report_of
from attestrio.aggregator.rows import Answer, Attempt, Phase, Place, Task
from attestrio.aggregator.state import Accepted, AggregatorState
from attestrio.aggregator.surface import identifier_hash
from attestrio.journal import SqliteJournal
from attestrio.kit.blocking import inline
from attestrio.kit.metrics import Metrics

SENDER = b"\x22" * 20


def root_of(number):
    return number.to_bytes(32, "big")


def batch_of(number):
    return identifier_hash(root_of(number), SENDER)


def task_of(number, **changes):
    task = Task(root_of(number), SENDER, 100 + number, b"\x05" * 32, 0, 10**16, "pointer")
    return msgspec.structs.replace(task, **changes)


def signature(number, operator):
    return Accepted(batch_of(number), root_of(number), SENDER, operator.to_bytes(32, "big"), bytes([operator]) * 64)


@asynccontextmanager
async def journal_of(path):
    journal = SqliteJournal(path / "aggregator.db", inline, clock=trio.current_time)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        yield journal
        nursery.cancel_scope.cancel()


async def fill(journal):
    """Five batches: two open, one verified, one unknown, one given up."""
    state = AggregatorState(journal, AggregatorMetrics(Metrics()), clock=trio.current_time)
    await state.load({})
    await state.commit(lambda change: None, end=Place(120), scanned=119)
    await state.add_tasks([task_of(2), task_of(1), task_of(3, verified=110)])
    await state.accept([signature(number, operator) for number in (1, 2, 4, 5) for operator in range(1, number + 1)])
    await state.set_answer(batch_of(1), Answer(Phase.PARKED, "price_too_high", "200 gwei"))
    await state.set_answer(batch_of(2), Answer(Phase.SENT, nonce=7, attempts=(Attempt(b"raw", b"\x09" * 32, 5, 0.0),)))
    claim = state.claims[batch_of(5)]
    await state.give_up(claim.key, msgspec.structs.replace(claim.claim, reason="not_on_chain", detail="nothing seen"))


async def test_the_report_counts_what_is_there_and_says_who_leads(tmp_path, autojump_clock):
    async with journal_of(tmp_path) as journal:
        await fill(journal)
        await journal.lead("aggregator", "host/17", 10.0)

        report = await report_of(journal)

    assert report.document() == {
        "leader": "host/17",
        "lead_left_s": 10.0,
        "scanned_before_block": 120,
        "operators": 0,
        "tasks": {"open": 2, "verified": 1},
        "answers": {"parked": 1, "sent": 1},
        "parked": {"price_too_high": 1},
        "signatures": 12,
        "orphan_signatures": 9,
        "unknown": 1,
        "dead": 1,
    }
    assert list(report.lines()) == [
        "host/17 leads",
        "scanned: everything before block 120; 0 operators",
        "batches: 2 open, 1 verified",
        "answers: 1 parked, 1 sent",
        "parked for: 1 price_too_high",
        "signatures: 12, 9 of them of batches that are not on the chain",
        "not on the chain: 1 looked for, 1 given up",
    ]


async def test_an_empty_journal_is_reported_as_such(tmp_path, autojump_clock):
    async with journal_of(tmp_path) as journal:
        report, queue = await report_of(journal), await queue_of(journal)

    assert (report.leader, report.scanned_before, report.signatures) == (None, None, 0)
    assert list(report.lines())[:2] == ["nobody leads", "scanned: nothing; 0 operators"]
    assert list(queue.lines()) == ["nothing waits"]


async def test_a_leader_that_is_gone_is_told_from_one_that_works(tmp_path, autojump_clock):
    async with journal_of(tmp_path) as journal:
        await journal.lead("aggregator", "host/17", 10.0)
        await trio.sleep(11.0)

        report = await report_of(journal)

    assert next(report.lines()) == "nobody leads; host/17 was the last, and is gone"


async def test_the_queue_shows_batches_the_oldest_first_with_what_they_wait_for(tmp_path, autojump_clock):
    async with journal_of(tmp_path) as journal:
        await fill(journal)

        queue = await queue_of(journal)

    assert [(one["batch"], one["signed"], one["phase"], one["reason"]) for one in queue.open] == [
        (f"0x{batch_of(1).hex()}", 1, "parked", "price_too_high"),
        (f"0x{batch_of(2).hex()}", 2, "sent", ""),
    ]
    assert queue.open[1]["transactions"] == ["0x" + "09" * 32]
    assert [(one["batch"], one["signed"], one["since_block"]) for one in queue.unknown] == [
        (f"0x{batch_of(4).hex()}", 4, 119)
    ]
    assert [(one["batch"], one["signed"], one["reason"]) for one in queue.dead] == [
        (f"0x{batch_of(5).hex()}", 5, "not_on_chain")
    ]
    assert list(queue.lines()) == [
        f"open     0x{batch_of(1).hex()}  block 101, 1 signed, parked  (price_too_high: 200 gwei)",
        f"open     0x{batch_of(2).hex()}  block 102, 2 signed, sent, nonce 7, 1 transactions",
        f"unknown  0x{batch_of(4).hex()}  4 signed, attempt 0, due in 0 s",
        f"given up 0x{batch_of(5).hex()}  5 signed  (not_on_chain: nothing seen)",
    ]
    assert json.loads(json.dumps(queue.document()))["left_out"] == 0
    assert [(one["batch"], one["verified_block"]) for one in queue.newest] == [(f"0x{batch_of(3).hex()}", 110)]


async def test_a_long_queue_is_cut_and_says_so(tmp_path, autojump_clock):
    async with journal_of(tmp_path) as journal:
        await fill(journal)

        queue = await queue_of(journal, 1)

    assert (len(queue.open), len(queue.unknown), len(queue.dead)) == (1, 1, 1)
    assert queue.left_out == 1
    assert list(queue.lines())[-1] == "and 1 more"


async def test_a_report_changes_nothing(tmp_path, autojump_clock):
    async with journal_of(tmp_path) as journal:
        await fill(journal)
        before = await everything(journal)

        await report_of(journal)
        await queue_of(journal)

        assert await everything(journal) == before


async def everything(journal):
    names = (rows.TASKS, rows.SIGNATURES, rows.ANSWERS, rows.ABOUT, rows.KEYS)
    topics = (rows.UNKNOWN, rows.DEAD)
    return [await journal.scan(name, 100) for name in names] + [await journal.listed(topic, 100) for topic in topics]
