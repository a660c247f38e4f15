"""The command line: one file per verb group. Each parses, calls, and leaves with an exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command (`sys.argv` by default) and leave with its exit code, by SystemExit.

    A signal ends it with 128 + its number from here on, also while the rest is still being imported.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, _leave) for number in numbers}
    try:
        from attestrio.cli.root import run_command

        sys.exit(run_command(sys.argv[1:] if argv is None else argv))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
