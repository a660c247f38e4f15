"""The last lines of the log, as the page shows them."""

import logging

import pytest
import trio
from attestrio.web.tail import MAX_TEXT, LogTail, following

NAME = "attestrio.test_web_tail"


@pytest.fixture
def log():
    logger = logging.getLogger(NAME)
    logger.setLevel(logging.INFO)
    yield logger
    logger.setLevel(logging.NOTSET)


def test_the_newest_lines_are_kept_and_no_more(log):
    tail = LogTail(lines=2)

    with following(tail, NAME):
        for number in range(3):
            log.info("line %d", number)
    log.info("after the end")

    assert [(line.text, line.level, line.source) for line in tail.lines()] == [
        ("line 1", "info", NAME),
        ("line 2", "info", NAME),
    ]
    assert tail.version == 3


def test_what_the_level_keeps_out_is_not_shown_either(log):
    tail = LogTail()

    with following(tail, NAME):
        log.debug("too much")

    assert tail.lines() == []


def test_an_error_is_shown_without_its_traceback(log):
    tail = LogTail()

    with following(tail, NAME):
        try:
            raise OSError("disk full")
        except OSError:
            log.exception("not written")

    assert [line.text for line in tail.lines()] == ["not written: OSError('disk full')"]


def test_what_a_stranger_sends_stays_one_short_line(log):
    tail = LogTail()

    with following(tail, NAME):
        log.info("peer says %s", "a\nb\x1b[31m" + "x" * 2_000)

    (line,) = tail.lines()
    assert line.text.startswith("peer says a b [31mxx")
    assert len(line.text) == MAX_TEXT
    assert line.text.endswith("…")


def test_a_record_that_is_wrong_is_left_out_and_said(log, capsys):
    tail = LogTail()

    with following(tail, NAME):
        log.propagate = False
        try:
            log.info("%d batches", "many")
        finally:
            log.propagate = True
        log.info("goes on")

    assert [line.text for line in tail.lines()] == ["goes on"]
    assert "Logging error" in capsys.readouterr().err


async def test_two_nodes_in_one_process_each_have_lines_of_their_own(log):
    async def node(text, *, task_status):
        with following(LogTail(), NAME):
            tail = logging.getLogger(NAME).handlers[-1]
            async with trio.open_nursery() as parts:
                parts.start_soon(trio.to_thread.run_sync, log.info, text)
            task_status.started(tail)
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        tails = [await nursery.start(node, text) for text in ("of one", "of two")]
        log.info("of the chain they share")
        lines = [[line.text for line in tail.lines()] for tail in tails]
        nursery.cancel_scope.cancel()

    assert lines == [["of one", "of the chain they share"], ["of two", "of the chain they share"]]
