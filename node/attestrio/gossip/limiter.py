"""The network's rate limiter, with time as an argument: permits on a tick grid, reserved first and consumed later.

A bucket starts full with `burst` permits. At every tick of the grid (anchored at construction) one permit comes back,
up to `burst`. A permit is reserved when it is acquired and consumed when it is released; as long as it is reserved
nothing comes back for it.

Source: era-consensus d1d3b51e, libs/concurrency `limiter`, for one permit at a time; who waits first is the caller's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SHORTEST_S = 1e-9  # what the network's durations can express; anything below is zero


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once, then one every `refresh_s` seconds; no limit at 0 or below. `burst` 0 is never."""

    burst: int
    refresh_s: float

    def __post_init__(self) -> None:
        if self.burst < 0 or math.isnan(self.refresh_s):
            raise ValueError(f"{self.burst} every {self.refresh_s} s is no rate")

    @property
    def unlimited(self) -> bool:
        return self.refresh_s < SHORTEST_S and self.burst > 0


UNLIMITED = Rate(1, 0.0)


class Limiter:
    """Permits of one rate. Times in seconds of any one clock; a time before an earlier one counts as that one."""

    __slots__ = ("_anchor", "_consumed", "_rate", "_reserved", "_ticks")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._anchor = now
        self._ticks = 0  # of the grid, up to which permits have come back
        self._reserved = 0
        self._consumed = 0

    def try_reserve(self, now: float) -> bool:
        """Take a permit if there is one."""
        if not self._available(now):
            return False
        self._reserved += 1
        return True

    def release(self, now: float) -> None:
        """A reserved permit has been used: from here on it can come back. Raises ValueError when none is reserved."""
        if not self._reserved:
            raise ValueError("a permit was released that nobody holds")
        self._refresh(now)
        self._reserved -= 1
        if not self._rate.unlimited:
            self._consumed += 1

    def next_at(self, now: float) -> float | None:
        """When `try_reserve` will succeed: `now` if it would at once, else later; None if only a release can help."""
        if self._available(now):
            return now
        if not self._consumed:
            return None
        return max(self._tick_at(self._ticks + 1), math.nextafter(now, math.inf))

    def _available(self, now: float) -> bool:
        self._refresh(now)
        return self._rate.unlimited or self._reserved + self._consumed < self._rate.burst

    def _refresh(self, now: float) -> None:
        if self._rate.refresh_s < SHORTEST_S:
            return
        ticks = int((now - self._anchor) / self._rate.refresh_s)
        # the division may round down at a tick that `next_at` named: whoever slept until then must find a permit
        if self._tick_at(ticks + 1) <= now:
            ticks += 1
        if ticks > self._ticks:
            self._consumed = max(0, self._consumed - (ticks - self._ticks))
            self._ticks = ticks

    def _tick_at(self, tick: int) -> float:
        return self._anchor + tick * self._rate.refresh_s
