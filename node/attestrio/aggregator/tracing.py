"""What a telemetry server is told, found by looking at the state: whoever changes it need not know of telemetry."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Final, NoReturn

import trio

from attestrio.aggregator.rows import Phase, Task
from attestrio.aggregator.state import AggregatorState
from attestrio.aggregator.telemetry import Telemetry

LOOK_S: Final = 1.0
FAILED: Final = (Phase.PARKED, Phase.REVERTED)


@dataclass(slots=True)
class _Told:
    """What was told of one batch."""

    operators: set[bytes] = field(default_factory=set)
    quorum: bool = False
    transactions: int = 0
    failure: str = ""


class Tracing:
    """Follows batches for one term of a leader. `run` it beside `telemetry.run`; each look is O(batches).

    What is there when it begins was told by whoever led before, and is not told again.
    """

    def __init__(self, state: AggregatorState, ready: Container[bytes], telemetry: Telemetry) -> None:
        """`ready`: batches with a quorum, as the collector has them once their window is over."""
        self._state, self._ready, self._telemetry = state, ready, telemetry
        self._open: dict[bytes, _Told] = {}
        self._over: set[bytes] = set()

    async def run(self) -> NoReturn:
        if not self._telemetry.on:
            await trio.sleep_forever()
        for identifier, task in self._state.tasks.items():
            if task.is_open:
                self._open[identifier] = self._as_it_is(identifier)
            else:
                self._over.add(identifier)
        while True:
            await trio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Tell what has changed since the last look."""
        for identifier, task in self._state.tasks.items():
            if task.void:
                continue
            told = self._open.get(identifier)
            if told is None:
                if identifier in self._over and not task.is_open:
                    continue
                told = self._open[identifier] = _Told()
                if identifier not in self._over:  # else a reorg took the answer back
                    self._telemetry.task_begun(task.root)
            self._tell(identifier, task, told)
            if not task.is_open:
                self._telemetry.task_ended(task.root)
                del self._open[identifier]
                self._over.add(identifier)
        self._over &= self._state.tasks.keys()
        for identifier in self._open.keys() - self._state.tasks.keys():
            del self._open[identifier]

    def _tell(self, identifier: bytes, task: Task, told: _Told) -> None:
        now, telemetry, answer = self._as_it_is(identifier), self._telemetry, self._state.answers.get(identifier)
        for operator_id in sorted(now.operators - told.operators):
            telemetry.operator_answered(task.root, operator_id)
        if now.quorum and not told.quorum:
            telemetry.quorum_reached(task.root)
        if answer is not None:
            for one in answer.attempts[told.transactions :]:
                telemetry.price_chosen(task.root, one.price)
                telemetry.answer_sent(task.root, one.hash, one.price)
        if now.failure and now.failure != told.failure:
            telemetry.task_failed(task.root, now.failure)
        told.operators |= now.operators
        told.quorum |= now.quorum
        told.transactions, told.failure = now.transactions, now.failure

    def _as_it_is(self, identifier: bytes) -> _Told:
        answer = self._state.answers.get(identifier)
        return _Told(
            set(self._state.signed.get(identifier, ())),
            identifier in self._ready or answer is not None,
            0 if answer is None else len(answer.attempts),
            answer.reason if answer is not None and answer.phase in FAILED else "",
        )
