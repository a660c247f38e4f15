"""Lines of a log that strangers can cause: one in a while, the next says how many there were between."""

from __future__ import annotations

import logging
from typing import Final

import trio

EVERY_S: Final = 10.0


class Seldom:
    """Says one line in `EVERY_S`, and with it how many of its kind were left out since the one before."""

    def __init__(self, log: logging.Logger, level: int) -> None:
        self._log, self._level = log, level
        self._again_at = -float("inf")
        self._left_out = 0

    def say(self, text: str, *args: object) -> None:
        """As `Logger.log`."""
        now = trio.current_time()
        if now < self._again_at:
            self._left_out += 1
            return
        more = f" ({self._left_out} more like this since the last one told)" if self._left_out else ""
        self._again_at, self._left_out = now + EVERY_S, 0
        self._log.log(self._level, f"{text}%s", *args, more)
