"""Logs of a process: stderr, for people on a terminal and JSON otherwise. They are not an API; metrics are."""

from __future__ import annotations

import logging
import os
import sys
from typing import Literal

import structlog

Format = Literal["auto", "console", "json"]


class StderrHandler(logging.Handler):
    """Writes to whatever is stderr at the time: a live table puts something of its own there while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:  # nobody reads the logs, or a record is wrong: logging's rule is to go on
            self.handleError(record)


def set_up_logs(form: Format, level: str) -> None:
    """Render every record of the standard library's loggers through structlog, to stderr."""
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
    root = logging.getLogger("attestrio")
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(level.upper())
