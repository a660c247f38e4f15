"""The command line: one file per verb group. Each parses, calls, and leaves with an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

__all__ = ["main"]

HANG_UP = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
"""A terminal that is closed ends what runs on it, in order; what `nohup` started goes on."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, *HANG_UP)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command (`sys.argv` by default) and leave with its exit code, by SystemExit.

    A signal ends it with 128 + its number from here on, also while the rest is still being imported. The first one is
    obeyed and later ones are not: they would interrupt what the first has begun. Who cannot wait has SIGQUIT
    (Ctrl-backslash) and SIGKILL. With `argv` given, the caller's handlers are in force again afterwards.
    """
    open_missing_streams()
    before = {number: signal.signal(number, _leave) for number in SIGNALS}
    try:
        from attestrio.cli.root import run_command

        sys.exit(run_command(sys.argv[1:] if argv is None else argv))
    finally:
        for number, handler in before.items():
            # A process of its own has nothing left to do, and shall end with the code it has.
            signal.signal(number, signal.SIG_IGN if argv is None else handler)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    for one in SIGNALS:
        signal.signal(one, _stay)
    sys.exit(128 + number)


def _stay(_number: int, _frame: FrameType | None) -> None:
    """No SIG_IGN: Python would report a signal that came just before as a bug of its own."""


def open_missing_streams() -> None:
    """Open standard streams that the caller has closed: their numbers would go to the next files opened, such as a
    database, and `print` would write to the wrong place. What is printed to stdout then is an error, to stderr lost."""
    for name, flags, mode in (
        ("stdin", os.O_RDONLY, "r"),
        ("stdout", os.O_RDONLY, "w"),  # writing to it fails, as it would to the closed one
        ("stderr", os.O_WRONLY, "w"),
    ):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.open(os.devnull, flags), mode, closefd=False))  # noqa: SIM115 - open for ever
