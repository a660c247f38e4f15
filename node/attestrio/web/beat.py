"""How late the event loop is: a task that wants to run four times a second, and how long it has to wait for it."""

from __future__ import annotations

from collections import deque
from typing import Final, NoReturn

import trio

from attestrio.kit.metrics import Metrics
from attestrio.web.health import Finding

EVERY_S: Final = 0.25
REMEMBERED: Final = 40  # beats: 10 s
LATE_S: Final = 1.0  # a vote and its certificate take tens of milliseconds: with more the node misses batches
DEAD_S: Final = 10.0


class Beat:
    """The beat of one process, started with its web server."""

    def __init__(self, metrics: Metrics) -> None:
        self._seen = metrics.histogram(
            "attestrio_event_loop_lag_seconds", "How late a task of this process runs; asked four times a second."
        )
        self._lags: deque[float] = deque(maxlen=REMEMBERED)
        self._last: float | None = None

    async def run(self) -> NoReturn:
        """Beat until cancelled."""
        while True:
            due = trio.current_time() + EVERY_S
            await trio.sleep_until(due)
            self._last = trio.current_time()
            self._lags.append(self._last - due)
            self._seen.observe(self._last - due)

    @property
    def worst_s(self) -> float:
        """The longest wait of the last ten seconds."""
        return max(self._lags, default=0.0)

    def is_alive(self) -> bool:
        """Whether it has beaten lately; before the first beat too."""
        return self._last is None or trio.current_time() - self._last < DEAD_S

    def finding(self) -> Finding:
        """For readiness."""
        worst = self.worst_s
        if worst < LATE_S:
            return Finding(True, "tasks run on time")
        return Finding(False, f"a task waited {worst:.1f} s to run: the process has too little of its machine")
