"""How far the clock of somebody we ask anyway is from ours."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

from attestrio.app.doctor.finding import Finding, ok, warn

FAR_S: Final = 2.0  # of a clock, beyond what the header leaves open


@dataclass(slots=True)
class Clock:
    """How far a server's clock is ahead of ours, by the `Date` of its answers, which has whole seconds."""

    offsets: list[float] = field(default_factory=list)
    unsure_s: float = 0.5
    """What is not known: half a second of the header, and half the time the answer took."""

    async def look(self, response: httpx.Response) -> None:
        """For a client's event hooks."""
        now = time.time()
        try:
            told = parsedate_to_datetime(response.headers["date"]).timestamp()
        except (KeyError, ValueError, OverflowError):
            return
        self.offsets.append(told + 0.5 - now)

    def finding(self, about: str, took_s: float) -> Finding:
        if not self.offsets:
            return warn("clock", about, "its answers have no Date that can be read", "compare the clock yourself")
        offset, unsure_s = statistics.median(self.offsets), self.unsure_s + took_s / 2
        values = {"offset_s": offset, "unsure_s": unsure_s}
        if abs(offset) > FAR_S + unsure_s:
            way = "ahead of ours" if offset > 0 else "behind ours"
            text = f"its clock is {abs(offset):.1f} s {way} (give or take {unsure_s:.1f} s)"
            return warn(
                "clock", about, text, "one of the two is wrong: let NTP set it (timedatectl, chronyc)", **values
            )
        return ok(
            "clock", about, f"its clock and ours differ by {abs(offset):.1f} s, give or take {unsure_s:.1f} s", **values
        )
