"""Logs of a process: stderr, for people on a terminal and JSON otherwise. They are not an API; metrics are."""

from __future__ import annotations

import logging
import os
import sys
from typing import Literal

import structlog

Format = Literal["auto", "console", "json"]

LOGGERS = ("attestrio", "trio")


class StderrHandler(logging.Handler):
    """Writes to whatever is stderr at the time: a live table puts something of its own there while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:  # nobody reads the logs, or a record is wrong: logging's rule is to go on
            self.handleError(record)


class SeldomFull(logging.Filter):
    """Lets through what trio says when no connection can be accepted once in a while, and without its traceback: it
    says so ten times a second for as long as it lasts."""

    NAME = "trio.serve_listeners"
    EVERY_S = 60.0

    def __init__(self) -> None:
        super().__init__()
        self._said = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != self.NAME:
            return True
        if record.created - self._said < self.EVERY_S:
            return False
        self._said = record.created
        record.exc_info = None
        return True


def set_up_logs(form: Format, level: str) -> None:
    """Render every record of ours, and what trio has to say, through structlog, to stderr."""
    if form == "auto":
        form = "console" if sys.stderr.isatty() else "json"
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    colours = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    last: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=colours) if form == "console" else structlog.processors.JSONRenderer()
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            last,
        ],
    )
    handler = StderrHandler()
    handler.setFormatter(formatter)
    handler.addFilter(SeldomFull())
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(level.upper())
