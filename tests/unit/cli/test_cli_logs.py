"""Logs: one form for everybody's records, and nothing said ten times a second."""

import errno
import json
import logging
import os

import pytest
from attestrio.cli.logs import LOGGERS, SeldomFull, set_up_logs

BEGAN = 1_700_000_000.0


@pytest.fixture(autouse=True)
def loggers_as_before():
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    yield
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def not_accepted(at):
    """What trio logs when it cannot accept a connection, `at` seconds after the first time."""
    full = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return logging.makeLogRecord(
        {
            "name": SeldomFull.NAME,
            "levelno": logging.ERROR,
            "levelname": "ERROR",
            "msg": "accept returned %s",
            "args": ("EMFILE",),
            "exc_info": (OSError, full, None),
            "created": BEGAN + at,
        }
    )


def test_a_server_without_descriptors_says_so_once_a_minute_and_in_the_form_of_all_logs(capsys):
    set_up_logs("json", "warning")

    for tenth in range(1_201):  # two minutes
        logging.getLogger(SeldomFull.NAME).handle(not_accepted(tenth / 10))

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["logger"], line["level"]) for line in lines] == [
        ("accept returned EMFILE", "trio.serve_listeners", "error")
    ] * 3
    assert all("exception" not in line for line in lines)


def test_other_records_are_not_held_back(capsys):
    set_up_logs("json", "warning")

    for _ in range(3):
        logging.getLogger("attestrio.kit").warning("again")

    assert len(capsys.readouterr().err.splitlines()) == 3
