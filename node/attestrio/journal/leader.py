"""Doing something in one process of several: wait for the lead, work under it, stop when it is lost."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NoReturn

import trio

from attestrio.errors import SourceError, leaves
from attestrio.journal.api import Fence, FencedOff, Journal, JournalAway
from attestrio.kit.events import EventName, named

log = logging.getLogger(__name__)

LEAD_S = 10.0
RESIGN_S = 2.0
AGAIN = (0.2, 0.5, 1.0, 2.0)
"""Seconds before the next try, after one that did not last; the last one from then on."""

OnNone = Callable[[bool], None]
"""Called after a try that brought no lead: True when another leads, False when the journal is away."""


def _nobody(_another_leads: bool) -> None:
    """The default."""


async def while_leading(
    journal: Journal,
    name: str,
    owner: str,
    run: Callable[[Fence], Awaitable[NoReturn]],
    *,
    for_s: float = LEAD_S,
    on_none: OnNone = _nobody,
) -> NoReturn:
    """Run `run` whenever this process leads, each time under a new token, until cancelled.

    Args:
      owner: one life of one process; two processes with one owner would both lead.
      run: gets the lead, and carries it in every write (`Fenced`). It is cancelled when the lead cannot be renewed
        within `for_s` seconds of this machine's clock, and ended by FencedOff and JournalAway, also in groups; then it
        is called afresh once the lead is there again, and should take nothing from its life before.
      for_s: how long others wait for a leader that is silent. The lead is renewed three times as often.

    Cancelled: `run` ends first, then the lead is resigned. All other errors of `run` and of the journal come out, those
    of `run` in groups.
    """
    fence: Fence | None = None
    short = 0  # terms and tries, one after the other, that led to nothing
    try:
        while True:
            began = trio.current_time()
            try:
                if fence is not None:
                    # A write of the life before may still be on its way: a larger token refuses it.
                    await journal.resign(fence)
                asked = trio.current_time()
                fence = await journal.lead(name, owner, for_s)
                if fence is None:
                    on_none(True)
                else:
                    log.info("%s leads %s, token %d", owner, name, fence.token, extra=named(EventName.LEAD_TAKEN))
                    await _term(journal, fence, owner, run, asked + for_s, for_s)
            except JournalAway:  # logged where the lead is lost; tried again until the journal is back
                on_none(False)
            if trio.current_time() - began > for_s:
                short = 0
            await trio.sleep(min(AGAIN[min(short, len(AGAIN) - 1)], for_s / 3))
            short += 1
    finally:
        if fence is not None:
            with trio.move_on_after(RESIGN_S, shield=True), suppress(SourceError):
                await journal.resign(fence)


async def _term(
    journal: Journal,
    fence: Fence,
    owner: str,
    run: Callable[[Fence], Awaitable[NoReturn]],
    until: float,
    for_s: float,
) -> None:
    """Returns when the lead is lost, or may be."""
    with trio.CancelScope(deadline=until) as term:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_renew, journal, fence, owner, for_s, term)
                await run(fence)
                raise AssertionError("unreachable: what is run under a lead runs until cancelled")
        except* (FencedOff, JournalAway) as group:
            for exc in leaves(group):
                log.warning("%s: the lead is given up: %s", fence.name, exc, extra=named(EventName.LEAD_LOST))
    if term.cancelled_caught:
        log.warning("%s: the lead with token %d is lost", fence.name, fence.token, extra=named(EventName.LEAD_LOST))


async def _renew(journal: Journal, fence: Fence, owner: str, for_s: float, term: trio.CancelScope) -> NoReturn:
    """Moves the deadline of `term`, and cancels it when another leads."""
    pause = for_s / 3
    while True:
        await trio.sleep(pause)
        asked = trio.current_time()
        try:
            held = await journal.lead(fence.name, owner, for_s)
        except JournalAway as exc:
            log.warning("%s: the lead is not renewed: %s", fence.name, exc)
            pause = for_s / 10
        else:
            pause = for_s / 3
            if held == fence:
                term.deadline = asked + for_s
            else:
                term.cancel()
