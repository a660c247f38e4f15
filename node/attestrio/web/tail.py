"""The last lines of the log, in memory: what the page shows of it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, cast

from attestrio.web.api import Level, LogView

LINES: Final = 100
MAX_TEXT: Final = 500  # characters of a line; what strangers send is quoted in some
LEVELS = {"debug", "info", "warning", "error", "critical"}

_tail: ContextVar[LogTail | None] = ContextVar("tail", default=None)


class LogTail(logging.Handler):
    """Keeps the newest lines that pass the logger's level. Any thread may log.

    Where several nodes share a process, as in a devnet, each has what was logged by tasks that came of `following`
    its own tail, and what belongs to none of them.
    """

    def __init__(self, lines: int = LINES) -> None:
        super().__init__()
        self._lines: deque[LogView] = deque(maxlen=lines)
        self.version = 0
        """Grows with every line."""

    def emit(self, record: logging.LogRecord) -> None:
        if _tail.get() not in (None, self):
            return
        try:
            text = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                text = f"{text}: {record.exc_info[1]!r}"
            level = record.levelname.lower()
            known = level if level in LEVELS else "info"
            line = LogView(at=record.created, level=cast("Level", known), source=record.name, text=_line(text))
        except Exception:  # a record is wrong: logging's rule is to say so and go on
            self.handleError(record)
            return
        self._lines.append(line)
        self.version += 1

    def lines(self) -> list[LogView]:
        """Newest last."""
        return list(self._lines)


def _line(text: str) -> str:
    """One line of printable text: control characters of strangers are shown, not sent."""
    shown = "".join(one if one.isprintable() else " " for one in text[: MAX_TEXT + 1])
    return shown if len(shown) <= MAX_TEXT else f"{shown[: MAX_TEXT - 1]}…"


@contextmanager
def following(tail: LogTail, *loggers: str) -> Iterator[None]:
    """Let `tail` hear `loggers` meanwhile; what this task and those that it starts then log is for no other tail."""
    for name in loggers:
        logging.getLogger(name).addHandler(tail)
    before = _tail.get()
    _tail.set(tail)
    try:
        yield
    finally:
        _tail.set(before)
        for name in loggers:
            logging.getLogger(name).removeHandler(tail)
