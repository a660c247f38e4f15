"""Every reason, and every end it leads to, has a test that produces it: `reasons.PRODUCED` says which, and the fixture
in `conftest.py` sees to it that they do while they run. Here: that the table is whole, and that the check bites."""

import ast
from functools import cache
from pathlib import Path

import pytest
from attestrio.duty import EndState, Reason, Step
from attestrio.duty.book import BOOK, DutyBook
from attestrio.duty.events import ENDS
from attestrio.duty.reader import open_book
from attestrio.duty.telling import of_story
from attestrio.kit.blocking import inline
from attestrio.operator.rows import Ended
from attestrio.roles import BatchNumber
from duty_kit import EPOCH, SEVEN, Clock, log_of
from reasons import NOTE, PRODUCED, wanted_of, watched

TESTS = Path(__file__).parents[2]


def test_every_reason_has_a_line_for_each_way_in_which_it_ends_a_batch():
    assert set(PRODUCED) == {(reason, end) for reason in Reason for end in ENDS.get(reason, (NOTE,))}
    assert {end for ends in ENDS.values() for end in ends} < {*EndState, *Ended}


@pytest.mark.parametrize("what", PRODUCED, ids="-".join)
def test_the_test_that_produces_a_reason_is_there(what, request):
    path, name = PRODUCED[what].split("::")
    function = name.partition("[")[0]
    collected = {f"{path}::{item.name}" for item in request.session.items if item.path == TESTS / path}
    cases = {test for test in collected if test.partition("[")[0] == f"{path}::{function}"}

    assert function in known_in(TESTS / path)
    if cases:  # where it runs beside this one, its case is among them, and is held to what it has to produce
        assert [test for test in cases if what in wanted_of(test)] != []


@cache
def known_in(path):
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_what_is_said_while_a_test_is_watched_is_what_it_produced():
    with watched() as seen:
        duty = log_of(Clock())
        duty.record(SEVEN, Step.TOLD, Reason.DISSENT)
        duty.end(SEVEN, EndState.SKIPPED, Reason.QC_ELSEWHERE)
        duty.end(SEVEN, EndState.MISSED, Reason.SUPERSEDED)  # refused: it has ended
    seen.check()

    assert seen.produced == {(Reason.DISSENT, NOTE), (Reason.QC_ELSEWHERE, "skipped")}


def test_an_end_that_the_page_of_reasons_does_not_promise_is_seen():
    with watched(), pytest.raises(AssertionError):
        log_of(Clock()).end(SEVEN, EndState.MISSED, Reason.QC_ELSEWHERE)


async def test_every_reason_is_explained_out_of_the_book(tmp_path, nursery, autojump_clock):
    duty = log_of(Clock(), None)
    book = DutyBook(tmp_path / BOOK, duty, inline)
    await nursery.start(book.run)
    duty.begin_epoch(EPOCH)
    ends = {reason: next((end for end in ENDS.get(reason, ()) if end in [*EndState]), "open") for reason in Reason}

    for number, reason in enumerate(Reason):
        duty.record(BatchNumber(number), Step.TOLD, reason, "a detail")
        if ends[reason] != "open":
            duty.end(BatchNumber(number), EndState(ends[reason]), reason)
    await book.close()

    with open_book(tmp_path / BOOK) as kept:
        told = [of_story(story).document for story in kept.newest(1_000)]
    assert [(one["state"], one["reason"]) for one in told] == [
        (end, "" if end == "open" else reason) for reason, end in ends.items()
    ]
    assert [[(step["reason"], step["meaning"], step["detail"]) for step in one["steps"]] for one in told] == [
        [(reason, reason.meaning, "a detail")] for reason in Reason
    ]
