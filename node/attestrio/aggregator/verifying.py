"""Signatures are verified in groups, one batch at a time, so that junk costs its sender and nobody else.

Two queues: of connections that a good signature has come from, and of strangers. They take turns, and a group is of one
queue only, since a bad member makes a group expensive for all of it. Strangers go in small groups, and after each bad
signature they wait: whatever they send, half of the time is left for everything else. A connection's first good
signature takes all that waits of it into the other queue, where several batches are one turn: after an absence there
are many of them, with few signatures each.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NoReturn

import trio

from attestrio.aggregator.memory import Accepted
from attestrio.aggregator.server_metrics import ServerMetrics
from attestrio.aggregator.turns import Turns
from attestrio.bls import G1, G2, verify_group
from attestrio.kit.blocking import RunBlocking

PROVEN_GROUP: Final = 64  # 4 ms, which is about how long the trio thread may have to wait for the library
PROVEN_BATCHES: Final = 8  # in one turn, each a product of 1.3 ms
STRANGERS_GROUP: Final = 8  # all of them bad: 16 products of 1.3 ms
JUNK_PAUSE_S: Final = 0.003  # for each bad one, which costs two products at most
BAD_REMEMBERED: Final = 4_096  # keys, of 200 bytes

Key = tuple[bytes, bytes, bytes]
"""Identifier, operator id, point."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A signature that is well formed, and not verified yet."""

    claimed: Accepted
    """What it will be if it is good."""
    signature: G1

    @property
    def key(self) -> Key:
        """What makes two candidates one. The point is in it, so that junk cannot stand in for the honest one."""
        return self.claimed.identifier, self.claimed.operator_id, self.claimed.point


@dataclass(eq=False, slots=True)
class Lane:
    """One connection's place in the queues."""

    host: str
    proven: bool = False
    """The last signature verified for it was good."""


class _Ticket:
    """A candidate whose verdict is awaited."""

    def __init__(self, candidate: Candidate, key: G2) -> None:
        self.candidate, self.key = candidate, key
        self.lanes: list[Lane] = []  # of those who wait
        self.done = trio.Event()
        self.good = False

    @property
    def wanted(self) -> bool:
        return bool(self.lanes)


class Verifying:
    """Says of signatures whether they are good. `run` does the work; asked without it, everybody waits.

    Bounds: one ticket for each call that waits; `BAD_REMEMBERED` verdicts on bad ones, so that the same junk is paid
    for once. A verdict holds for ever: an operator id is the hash of its key.
    """

    def __init__(self, run_blocking: RunBlocking, metrics: ServerMetrics) -> None:
        self._run_blocking, self._metrics = run_blocking, metrics
        self._tickets: dict[Key, _Ticket] = {}
        self._proven: Turns[_Ticket] = Turns(lambda ticket: ticket.wanted)
        self._strangers: Turns[_Ticket] = Turns(lambda ticket: ticket.wanted)
        self._strangers_at = -math.inf  # when they may go on
        self._more = trio.Event()
        self._bad: OrderedDict[Key, None] = OrderedDict()

    async def check(self, candidate: Candidate, key: G2, lane: Lane) -> bool:
        """Whether it is the signature of the owner of `key`. Raises MissingExtra.

        Calls with the same candidate share one verification. Cancelled: nothing is verified that nobody waits for.
        """
        if candidate.key in self._bad:
            self._bad.move_to_end(candidate.key)
            lane.proven = False
            await trio.lowlevel.checkpoint()
            return False
        ticket = self._tickets.get(candidate.key)
        if ticket is None or not ticket.wanted:
            ticket = self._tickets[candidate.key] = _Ticket(candidate, key)
            queue = self._proven if lane.proven else self._strangers
            queue.add(lane.host, lane, candidate.claimed.identifier, ticket)
            self._more.set()
        else:
            self._metrics.joined.inc()
        ticket.lanes.append(lane)
        try:
            await ticket.done.wait()
        finally:
            ticket.lanes.remove(lane)
            if not ticket.wanted and self._tickets.get(candidate.key) is ticket:
                del self._tickets[candidate.key]
        return ticket.good

    async def run(self) -> NoReturn:
        """Verify what waits, for ever. Raises MissingExtra."""
        while True:
            await self._work()
            await self._turn(self._proven, PROVEN_GROUP, PROVEN_BATCHES)
            if trio.current_time() >= self._strangers_at:
                bad = await self._turn(self._strangers, STRANGERS_GROUP, 1)
                self._strangers_at = trio.current_time() + bad * JUNK_PAUSE_S

    async def _work(self) -> None:
        """Wait until there is something that may be verified now."""
        while not self._proven:
            if self._strangers and trio.current_time() >= self._strangers_at:
                break
            self._more = trio.Event()
            with trio.move_on_at(self._strangers_at if self._strangers else math.inf):
                await self._more.wait()
        await trio.lowlevel.checkpoint()

    async def _turn(self, queue: Turns[_Ticket], most: int, batches: int) -> int:
        """Verify the next groups of a queue, together `most` signatures; how many were bad."""
        groups: list[tuple[bytes, list[_Ticket]]] = []
        room = most
        while room and len(groups) < batches and (found := queue.take(room)) is not None:
            groups.append(found)
            room -= len(found[1])
        if not groups:
            return 0
        work = [(batch, [(one.candidate.signature, one.key) for one in group]) for batch, group in groups]
        verdicts = await self._run_blocking(lambda: [verify_group(*one) for one in work])
        self._metrics.groups.inc(len(groups))
        told = [(ticket, good) for (_, group), of in zip(groups, verdicts, strict=True)
                for ticket, good in zip(group, of, strict=True)]  # fmt: skip
        for ticket, good in told:
            self._end(ticket, good=good)
        self._metrics.waiting.set(len(self._tickets))
        return sum(not good for _, good in told)

    def _end(self, ticket: _Ticket, *, good: bool) -> None:
        self._metrics.verified.labels("good" if good else "bad").inc()
        key = ticket.candidate.key
        if not good:
            self._bad[key] = None
            if len(self._bad) > BAD_REMEMBERED:
                self._bad.popitem(last=False)
        if self._tickets.get(key) is ticket:
            del self._tickets[key]
        for lane in ticket.lanes:
            if good and not lane.proven:
                self._promote(lane)
            lane.proven = good
        ticket.good = good
        ticket.done.set()

    def _promote(self, lane: Lane) -> None:
        for batch, ticket in self._strangers.leave(lane.host, lane):
            self._proven.add(lane.host, lane, batch, ticket)
