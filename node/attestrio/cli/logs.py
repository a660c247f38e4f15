"""Logs of a process: stderr, for people on a terminal and JSON otherwise. They are not an API; metrics are."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import structlog
from cyclopts import Parameter

from attestrio.cli.output import escaped
from attestrio.configuring import LogFormat, LogSection
from attestrio.kit.events import NAMED

LogFormatFlag = Annotated[
    Literal["auto", "console", "json", "logfmt"] | None, Parameter(name="--log-format", help="Instead of log.format.")
]
FIRST: Final = ("timestamp", "level", "logger", "name", "event")
TRACES: Final = frozenset({"exception", "stack_info"})

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


def follow_config(section: LogSection, flag: LogFormat | None = None, *, as_json: bool = False) -> None:
    """Set the logs up as a run command is told to: by its flag, else JSON with `--json`, else as the file says."""
    set_up_logs(flag or ("json" if as_json else section.format), section.level, section.levels)


def set_up_logs(form: LogFormat, level: str, levels: Mapping[str, str] | None = None, *, shown: str = "debug") -> None:
    """Render every record of ours, and what trio has to say, through structlog, to stderr.

    `levels` are those of single loggers, which hold for the loggers below them too. Of what passes them, stderr gets
    what is `shown` or above; a page gets it all.
    """
    if form == "auto":
        form = "console" if sys.stderr.isatty() else "json"
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_name_and_fields,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer(form),
        ],
    )
    handler = StderrHandler()
    handler.setFormatter(formatter)
    handler.addFilter(SeldomFull())
    handler.setLevel(shown.upper())
    forget_levels()
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(level.upper())
    for name, own in (levels or {}).items():
        logging.getLogger(name).setLevel(own.upper())


def forget_levels() -> None:
    """Take back the levels that single loggers were given before."""
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and name.startswith(tuple(f"{one}." for one in LOGGERS)):
            logger.setLevel(logging.NOTSET)


def renderer(form: LogFormat) -> structlog.types.Processor:
    """What makes a line of a record: `auto` is none of them. Strangers are quoted in some: nothing that they wrote
    begins another line, and nothing reaches a terminal as a command."""
    if form == "json":
        return structlog.processors.JSONRenderer()
    if form == "logfmt":
        line = structlog.processors.LogfmtRenderer(key_order=FIRST, drop_missing=True)
        return lambda logger, method, fields: escaped(str(line(logger, method, fields)), "")
    console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR"))
    return lambda logger, method, fields: console(logger, method, {name: plain(name, fields[name]) for name in fields})


def plain(name: str, value: object) -> object:
    """A field as a terminal may have it. A traceback keeps its lines."""
    return escaped(value, "\n" if name in TRACES else "") if isinstance(value, str) else value


def add_name_and_fields(
    _logger: object, _method: str, event_dict: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """A record made with `named` has its stable name and its fields beside the text."""
    record: logging.LogRecord | None = event_dict.get("_record")
    event_dict.update(getattr(record, NAMED, {}))
    return event_dict
