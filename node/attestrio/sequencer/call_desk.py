"""Where eth_call and eth_estimateGas are executed: beside the chain that grows, one at a time, and not for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import outcome
import trio

from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.sequencer.calls import CallFailed, Patience, Wanted
from attestrio.sequencer.settings import Rules
from attestrio.sequencer.snapshot import ChainSnapshot

T = TypeVar("T")
How = Callable[[ChainSnapshot, Rules, Wanted, Patience], T]


class CallDesk:
    """Executes calls on a snapshot of its own: no block waits for one, though it shares the processor with one.

    Owns nothing: who opened `chain` closes it, after the last `execute`.

    Args:
      most_s: for one call to begin, and again for it to end.
      clock: seconds, never going back; read in the thread that executes.
    """

    def __init__(
        self,
        chain: ChainSnapshot,
        rules: Rules,
        most_s: float = 5.0,
        run: RunBlocking = in_thread,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rules = rules
        self._chain, self._most_s, self._run, self._clock = chain, most_s, run, clock
        # One at a time: a second one would take another third of the processor from the block that is being built.
        self._one = trio.Lock()

    async def execute(self, how: How[T], wanted: Wanted, check: Callable[[ChainSnapshot], None]) -> T:
        """At the end of the newest block, once `check` has found nothing wrong with it.

        Raises CallFailed, also when its turn does not come; StorageUnusable, and as `check`. A cancel ends it.
        """
        with trio.move_on_after(self._most_s) as waiting:
            await self._one.acquire()
        if waiting.cancelled_caught:
            raise CallFailed("too many calls at once: ask again later")
        try:
            return await self._execute(how, wanted, check)
        finally:
            self._one.release()

    async def _execute(self, how: How[T], wanted: Wanted, check: Callable[[ChainSnapshot], None]) -> T:
        patience = Patience(self._most_s, self._clock)

        def work() -> T:
            with self._chain.moment():
                check(self._chain)
                return how(self._chain, self.rules, wanted, patience)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_cancel, patience)
            ended: outcome.Outcome[T] = await self._run(lambda: outcome.capture(work))
            nursery.cancel_scope.cancel()
        return ended.unwrap()


async def _stop_on_cancel(patience: Patience) -> None:
    """A thread is not cancelled: it has to be told."""
    try:
        await trio.sleep_forever()
    finally:
        patience.stop()
