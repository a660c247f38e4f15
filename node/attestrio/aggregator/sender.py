"""Brings the answers that are ready onto the chain: oldest first, several at a time, each on its own.

One loop looks at the chain, once for each block, and starts what is due: one step for one batch, in a task of its own,
so that a batch that is stuck, refused, or waits for a slow endpoint holds nobody up. What a batch that cannot go on
leaves open is its nonce; others take it over, or it is filled.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, NoReturn

import trio
from trio_util import AsyncValue

from attestrio.aggregator.answer import NOTHING, ON_ITS_WAY, PUT_OFF, Why, may_be_sent_again
from attestrio.aggregator.ethereum import EthereumPort
from attestrio.aggregator.fillers import Fillers
from attestrio.aggregator.nonces import filler_key
from attestrio.aggregator.pacing import View
from attestrio.aggregator.quote import Aggregates
from attestrio.aggregator.rows import Answer, Phase
from attestrio.aggregator.sender_metrics import SenderMetrics
from attestrio.aggregator.settings import SenderSettings
from attestrio.aggregator.spending import Balance
from attestrio.aggregator.state import AggregatorState
from attestrio.aggregator.steps import Steps
from attestrio.errors import SourceError

log = logging.getLogger("attestrio.aggregator")

Step = Callable[[bytes], Awaitable[None]]

OLD_BLOCKS: Final = 2
"""Without a new block the chain is looked at again after so many of them."""
FILL_AFTER_BLOCKS: Final = 1
"""A gap is left for the next batch, while one is being prepared, for so long."""


class Sender:
    """For one term of a leader: `run` it once, on a loaded state, under its fence."""

    def __init__(
        self,
        state: AggregatorState,
        collector: Aggregates,
        port: EthereumPort,
        settings: SenderSettings,
        confirmations: int,
        metrics: SenderMetrics,
    ) -> None:
        self.steps = Steps(state, collector, port, settings, confirmations, metrics)
        self.fillers = Fillers(state, port, settings, metrics, self.steps.nonces, self.steps.far, self.steps.order)
        self._state, self._collector, self._port, self._settings = state, collector, port, settings
        self._metrics = metrics
        self._wake = trio.Event()
        self._gap_since: dict[int, float] = {}

    async def run(self) -> NoReturn:
        """Send for ever. Raises what the journal raises, in groups; the chain's faults cost time only."""
        self.steps.load()
        await self.fillers.load()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Balance(self._port, self._metrics, self._settings.block_s).run)
            nursery.start_soon(self._wake_at, self._state.head)
            nursery.start_soon(self._wake_at, self._collector.changed)
            while True:
                self._wake = trio.Event()
                if self._has_business():
                    try:
                        await self._look()
                    except SourceError as exc:
                        log.info("the chain was not looked at: %s (%s)", exc, exc.code)
                    else:
                        self._start(nursery)
                self._count()
                with trio.move_on_after(self._settings.poll_s):
                    await self._wake.wait()
        raise AssertionError("unreachable: a sender runs until cancelled")

    async def _wake_at(self, value: AsyncValue[int]) -> None:
        async for _ in value.eventual_values():
            self._wake.set()

    def _has_business(self) -> bool:
        return bool(self.steps.open or self._collector.ready or self.fillers.rows)

    async def _look(self) -> None:
        """Price and nonces, once for each block. Raises SourceError."""
        steps, now = self.steps, trio.current_time()
        view, head = steps.pace.view, self._state.head.value
        if view is not None and view.head == head and now - view.at < OLD_BLOCKS * self._settings.block_s:
            await trio.lowlevel.checkpoint()
            return
        steps.pace.view = None
        price = await self._port.gas_price()
        steps.nonces.used = await self._port.used_nonces()
        steps.far.looked()
        steps.pace.view = View(price, now, head)

    # --- choosing

    def _start(self, nursery: trio.Nursery) -> None:
        """Start everything that is due and not under way."""
        for identifier in list(self.steps.open):
            if identifier in self._state.busy:
                continue
            row = self._state.answers.get(identifier)
            if row is None or row.phase is Phase.CONFIRMED:
                self.steps.forget(identifier)
            elif (step := self._due(identifier, row)) is not None and self._may(step):
                self._begin(nursery, identifier, step)
        for identifier, step in self._next():
            if self._may(step):
                self._begin(nursery, identifier, step)
        self._fill(nursery)

    def _due(self, identifier: bytes, row: Answer) -> Step | None:
        """What an answer needs that has been begun; None: nothing, or its turn among the next."""
        steps, task, head = self.steps, self._state.tasks.get(identifier), self._state.head.value
        if not steps.pace.is_due(identifier):
            return None
        if row.phase is Phase.MINED:
            assert row.mined is not None
            gone = head >= row.mined[0] and task is not None and task.verified is None
            return steps.confirm if gone or head >= row.mined[0] + steps.confirmations else None
        if row.nonce is not None and steps.nonces.is_over(row.nonce):
            return steps.find
        if row.nonce is not None and steps.far.is_over(row.nonce):
            return steps.leave
        if task is None:
            return None
        if task.verified is not None:
            return steps.find
        if row.phase not in ON_ITS_WAY:
            return None
        if task.void:
            return steps.let_go
        if identifier not in steps.pace.sent_at:
            return steps.send_again
        return steps.bump if steps.pace.is_late(identifier) else None

    def _next(self) -> Iterator[tuple[bytes, Step]]:
        """The oldest batches whose answer can be begun, or taken up again, as far as there is room."""
        answers, busy, tasks = self._state.answers, self._state.busy, self._state.tasks
        out = sum(1 for one in self.steps.open if answers.get(one, NOTHING).phase in ON_ITS_WAY)
        preparing = sum(1 for one in busy if answers.get(one, NOTHING).phase in PUT_OFF)
        room = self._settings.in_flight - out - preparing
        if room <= 0 or self.steps.pace.view is None:
            return
        price = self.steps.pace.view.price
        again = {one for one in self.steps.open if may_be_sent_again(answers.get(one, NOTHING), price)}
        wanted = (one for one in again.union(self._collector.ready) if self._can_begin(one))
        for identifier in heapq.nsmallest(room, wanted, key=lambda one: tasks[one].place):
            yield identifier, self.steps.send_again if identifier in again else self.steps.prepare

    def _can_begin(self, identifier: bytes) -> bool:
        task, row = self._state.tasks.get(identifier), self._state.answers.get(identifier, NOTHING)
        return (
            task is not None and task.is_open and self._state.head.value > task.created
            and (row.phase in PUT_OFF or row.phase is Phase.CONFIRMED) and row.reason != Why.DROPPED
            and identifier not in self._state.busy and self.steps.pace.is_due(identifier)
        )  # fmt: skip

    def _may(self, step: Step) -> bool:
        """Whether this is done now: while nothing may be sent, one batch at a time is tried."""
        hold, steps = self.steps.pace.hold, self.steps
        if hold is None or step not in (steps.prepare, steps.send_again, steps.bump):
            return True
        return trio.current_time() >= hold.until and not self._state.busy

    def _fill(self, nursery: trio.Nursery) -> None:
        """See to nonces that nobody needs. A gap is for the next batch, if there is one at hand."""
        view, busy, now = self.steps.pace.view, self._state.busy, trio.current_time()
        if view is None or self.steps.pace.hold is not None:
            return
        gaps = self.steps.nonces.gaps()
        self._gap_since = {nonce: self._gap_since.get(nonce, now) for nonce in gaps}
        patient = FILL_AFTER_BLOCKS * self._settings.block_s if busy else 0.0
        due = [nonce for nonce, since in self._gap_since.items() if now - since >= patient]
        for nonce in {*due, *self.fillers.due()}:
            if filler_key(nonce) not in busy:
                nursery.start_soon(self._filled, nonce, view.price)
                busy.add(filler_key(nonce))

    # --- doing

    def _begin(self, nursery: trio.Nursery, identifier: bytes, step: Step) -> None:
        self._state.busy.add(identifier)
        nursery.start_soon(self._done, identifier, step)

    async def _done(self, identifier: bytes, step: Step) -> None:
        try:
            await self.steps.do(identifier, step)
        finally:
            self._state.busy.discard(identifier)
            self._wake.set()

    async def _filled(self, nonce: int, price: int) -> None:
        try:
            await self.fillers.step(nonce, price)
        finally:
            self._state.busy.discard(filler_key(nonce))  # and no wake: a filler that is refused is not tried at once

    def _count(self) -> None:
        answers = self._state.answers
        parked = sum(1 for one in self.steps.open if one in answers and answers[one].phase is Phase.PARKED)
        self._metrics.parked.set(parked)
        self._metrics.held.set(0 if self.steps.pace.hold is None else 1)
