"""The chain of a sequencer as several tasks use it: one question or one block at a time, and a value to wait on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import trio
from trio_util import AsyncValue

from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.sequencer.db import ChainDb

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain is."""

    batch: int
    block: int
    hash: bytes
    halted: str | None = None
    """Why nothing is built; None: building."""


NOTHING = Head(-1, -1, b"")


class SharedChain:
    """A `ChainDb` that is asked by many and written by one. Owns nothing: who opened `db` closes it.

    Between two calls no block is under way in `db`, so whatever is asked sees the end of a block.
    """

    def __init__(self, db: ChainDb, run: RunBlocking = in_thread) -> None:
        self.db, self._run = db, run
        self._one = trio.Lock()
        self._head = AsyncValue(NOTHING)

    @property
    def head(self) -> Head:
        return self._head.value

    async def wait_head(self, is_it: Callable[[Head], bool]) -> Head:
        """The head, once this is true of it; what comes between two looks may be skipped."""
        return await self._head.wait_value(is_it)

    def halt(self, why: str | None) -> None:
        """From now on nothing is built, or (None) something is again."""
        head = self.head
        self._head.value = Head(head.batch, head.block, head.hash, why)

    async def ask(self, question: Callable[[ChainDb], T]) -> T:
        """What the chain says. It may execute something, if it takes that back. Raises as `question`."""
        async with self._one:
            return await self._run(lambda: question(self.db))

    async def change(self, work: Callable[[ChainDb], T], *, shield: bool = True) -> T:
        """Do something to the chain, whole: a cancel waits for its end. Then whoever waits sees the new head.

        Without `shield` a cancel reaches `work` where it calls back into trio, and a thread ends with it there.
        """
        async with self._one:
            try:
                with trio.CancelScope(shield=shield):
                    result = await self._run(lambda: work(self.db))
            finally:
                with trio.CancelScope(shield=True):
                    await self._look()
            return result

    async def look(self) -> None:
        """Let `head` be what the chain ends with. For who has written to it otherwise."""
        async with self._one:
            await self._look()

    async def _look(self) -> None:
        def read() -> Head:
            tip, batch = self.db.tip, self.db.last_batch
            if tip is None or batch is None:
                return NOTHING
            return Head(batch.number, tip.number, tip.hash)

        head = await self._run(read)
        self._head.value = Head(head.batch, head.block, head.hash, self.head.halted)
