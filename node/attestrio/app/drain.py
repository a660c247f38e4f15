"""The end of a node: who lets work in goes first, then what has begun may finish, for a bounded time."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn, Protocol

import trio

log = logging.getLogger("attestrio.app")


class Writer(Protocol):
    """What others write into: a store, the vote record, the receipt log."""

    async def run(self, *, task_status: trio.TaskStatus[None] = ...) -> None:
        """Serve until `close()` or cancelled."""
        ...

    async def close(self) -> None:
        """Take nothing more, write what waits, end `run`."""
        ...


class Grace:
    """How long writers may still write: `seconds` from the moment the node was stopped, the same for all of them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None

    async def run(self) -> NoReturn:
        """Started beside what is cancelled first, so that it notices the moment."""
        try:
            await trio.sleep_forever()
        finally:
            self._until = trio.current_time() + self._seconds

    def deadline(self) -> float:
        """In trio time. For a writer that ends while the node goes on, as at the end of an epoch: from now on."""
        return trio.current_time() + self._seconds if self._until is None else self._until


@asynccontextmanager
async def draining(writer: Writer, grace: Grace, name: str) -> AsyncIterator[None]:
    """`writer` runs for as long as the body, which is cancelled first, and then until it has written what waits.

    Cancelling from outside reaches the body at once and the writer through its `close()` only; one that is not done
    when the grace is over is cancelled. What fails in the writer ends the body.
    """
    async with trio.open_nursery() as around:
        life = trio.CancelScope()
        await around.start(_live, writer, life)
        life.shield = True
        try:
            yield
        finally:
            with trio.CancelScope(deadline=grace.deadline(), shield=True) as drain:
                await writer.close()
            if drain.cancelled_caught:
                log.warning("%s: stopped before all was written: the time to finish is over", name)
            life.cancel()


async def _live(writer: Writer, life: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
    with life:
        await writer.run(task_status=task_status)
