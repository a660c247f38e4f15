"""SIGTERM, SIGINT and SIGHUP end what runs in order: all is cancelled, closed, and the exit code says which it was."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from types import FrameType

import trio

from attestrio.cli import SIGNALS
from attestrio.kit.notify import STOPPING, notify

log = logging.getLogger("attestrio.cli")


async def until_signal(work: Callable[[], Awaitable[object]]) -> int:
    """Run `work` until it returns (0) or a signal comes (128 + its number), also while it is still starting.

    Signals after the first are not obeyed, and that stays so when this has returned: what the caller cleans up then
    is not interrupted either. `cli.main` ends it.
    """
    code = 0

    def not_twice(number: int, _frame: FrameType | None) -> None:
        if not code:
            sys.exit(128 + number)  # before trio listens, or after

    async def obey(signals: AsyncIterator[int]) -> None:
        nonlocal code
        number = await anext(signals)
        log.info("stopping on %s", signal.Signals(number).name)
        notify(STOPPING, os.environ)
        code = 128 + number
        nursery.cancel_scope.cancel()

    before = {number: signal.signal(number, not_twice) for number in SIGNALS}
    try:
        with trio.open_signal_receiver(*SIGNALS) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(obey, aiter(signals))
                await work()
                nursery.cancel_scope.cancel()
    finally:
        if code:
            signal.set_wakeup_fd(-1)  # trio closes it before it takes it back: a signal then would be told as an error
        else:
            for number, handler in before.items():
                signal.signal(number, handler)
    return code
