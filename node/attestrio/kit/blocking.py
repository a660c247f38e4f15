"""How code that blocks (a disk, a long computation) is run: a worker thread in a node, inline in a story."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import trio

T = TypeVar("T")


class RunBlocking(Protocol):
    """The port: runs `fn` once and hands back what it returned or raised.

    Either `fn` has not been started and `Cancelled` is raised, or it has run to its end: cancellation never
    leaves a thread behind that still works on a file.
    """

    async def __call__(self, fn: Callable[[], T], /) -> T: ...


async def in_thread(fn: Callable[[], T], /) -> T:
    """In a worker thread, about 80 µs for the hop. Cancellation waits for the thread, then the result is kept."""
    return await trio.to_thread.run_sync(fn, abandon_on_cancel=False)


async def inline(fn: Callable[[], T], /) -> T:
    """On the trio thread, after a checkpoint. For virtual time, where a real thread makes deadlines fire falsely."""
    await trio.lowlevel.checkpoint()
    return fn()
