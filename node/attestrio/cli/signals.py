"""SIGTERM and SIGINT end what runs in order: everything is cancelled, closed, and the exit code says which it was."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import trio

from attestrio.kit.notify import STOPPING, notify

log = logging.getLogger("attestrio.cli")


async def until_signal(work: Callable[[], Awaitable[object]]) -> int:
    """Run `work` until it returns (0) or a signal comes (128 + its number), also while it is still starting."""
    code = 0

    async def obey(signals: AsyncIterator[int]) -> None:
        nonlocal code
        number = await anext(signals)
        log.info("stopping on %s", signal.Signals(number).name)
        notify(STOPPING, os.environ)
        code = 128 + number
        nursery.cancel_scope.cancel()

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(obey, aiter(signals))
            await work()
            nursery.cancel_scope.cancel()
    return code
