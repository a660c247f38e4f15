"""Asking again, on a schedule that is plain data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from attestrio.errors import SourceError

T = TypeVar("T")

Schedule = tuple[float, ...]
"""Seconds to wait before each further try: `(1.0, 2.0)` means at most three tries."""


async def retry(
    schedule: Schedule,
    fn: Callable[[], Awaitable[T]],
    on: tuple[type[Exception], ...] = (SourceError,),
    told: Callable[[Exception, float], None] | None = None,
) -> T:
    """What `fn` returns, tried once and then once after each wait of `schedule`.

    Args:
      schedule: seconds; its length bounds the tries. Empty: no second try.
      fn: called without arguments, afresh for each try.
      on: what is worth another try. Anything else, and `Cancelled`, goes through at once.
      told: called with the error and the seconds until the next try, for a log line.

    Raises the last error when the schedule is used up.
    """
    for wait_s in schedule:
        try:
            return await fn()
        except on as exc:
            if told is not None:
                told(exc, wait_s)
        await trio.sleep(wait_s)
    return await fn()
