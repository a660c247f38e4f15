"""Is the process alive, and is it ready: named checks, each with a reason and since when. Pure.

A check is a question asked of the parts whenever somebody looks; readiness is that all are well, and goes back to
"not ready" as soon as one is not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from attestrio.kit.events import EventName, named
from attestrio.kit.metrics import Metrics

log = logging.getLogger("attestrio.web")


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. `reason` is one sentence for people, also when all is well."""

    ok: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found last, and since when (Unix time in seconds) it has been ok, or not."""

    name: str
    ok: bool
    reason: str
    since: float


Ask = Callable[[], Finding]
"""A question to the parts of a process: reads values, neither waits nor raises."""


class Health:
    """The checks of one process.

    Args:
      now: the wall clock, in seconds since 1970.
      metrics: shows each check as `attestrio_check_ok`.
    """

    def __init__(self, now: Callable[[], float], metrics: Metrics | None = None) -> None:
        self._now = now
        self._asks: dict[str, Ask] = {}
        self._found: dict[str, Check] = {}
        self.version = 0
        """Grows when a check finds something else."""
        self._shown = None
        if metrics is not None:
            self._shown = metrics.gauge(
                "attestrio_check_ok", "Checks of readiness: 1 when all is well, else 0.", {"check": ()}
            )

    def add(self, name: str, ask: Ask) -> None:
        """One more check, asked at once. Raises ValueError for a name that is taken."""
        if name in self._asks:
            raise ValueError(f"there is a check {name} already")
        self._asks[name] = ask
        if self._shown is not None:  # asked when it is scraped, so it is true without a page too
            self._shown.labels(check=name).set_function(lambda: float(ask().ok))
        self.look()

    def look(self) -> tuple[Check, ...]:
        """Ask all checks; what they found, in the order in which they were added. O(checks)."""
        for name, ask in self._asks.items():
            found, before = ask(), self._found.get(name)
            since = self._now() if before is None or before.ok != found.ok else before.since
            self._found[name] = check = Check(name, found.ok, found.reason, since)
            if before is not None and before.ok != found.ok:
                log.log(
                    logging.INFO if found.ok else logging.WARNING, "check %s: %s", name, found.reason,
                    extra=named(EventName.READINESS_CHANGED, check=name, reason="ok" if found.ok else "not_ok"),
                )  # fmt: skip
            self.version += check != before
        return self.checks()

    def checks(self) -> tuple[Check, ...]:
        """What was found last."""
        return tuple(self._found.values())

    @property
    def ready(self) -> bool:
        """Whether every check was well when it was asked last."""
        return all(check.ok for check in self._found.values())
