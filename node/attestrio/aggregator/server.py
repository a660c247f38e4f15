"""The server operators send their signatures to. It always listens; whether it can record is the desk's to say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import trio

from attestrio.aggregator.desk import Desk
from attestrio.aggregator.intake import Intake
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.recording import Recording
from attestrio.aggregator.refusals import ResponseRefused
from attestrio.aggregator.server_metrics import ServerMetrics
from attestrio.aggregator.verifying import Lane, Verifying
from attestrio.gorpc.errors import HangUp
from attestrio.gorpc.gob import GobLimits
from attestrio.gorpc.handling import Handler, Peer, Repeats
from attestrio.gorpc.messages import PROCESS_SIGNED_TASK_RESPONSE, SERVER_RUNNING, Nothing, SignedTaskResponse
from attestrio.gorpc.server import ServerLimits, serve
from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.kit.metrics import Metrics

MAX_REFUSED: Final = 32  # responses of one connection that are refused for good, on balance; then it is closed
RUNNING: Final = 1

LIMITS: Final = ServerLimits(gob=GobLimits(max_message_bytes=16_384))
"""A call has 265 bytes, the first of a stream 670."""


@dataclass(frozen=True, slots=True)
class AggregatorServer:
    """Go RPC as an aggregator of Aligned speaks it, on `bind`, HOST:PORT."""

    desk: Desk[Any]
    bind: str
    limits: ServerLimits = LIMITS
    metrics: Metrics = field(default_factory=Metrics)
    run_blocking: RunBlocking = in_thread

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Serve until cancelled; `started` gives the address with the real port.

        Raises AddressInUse, BadAddress, MissingExtra; what a journal on this machine raises when its disk fails; in
        groups.
        """
        counted = ServerMetrics(self.metrics)
        verifying, recording = Verifying(self.run_blocking, counted), Recording(counted)
        intake = Intake(self.desk, verifying, recording, AggregatorMetrics(self.metrics))

        def handlers(peer: Peer) -> Iterable[Handler[Any, Any]]:
            return Visitor(peer, intake, counted).handlers()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(verifying.run)
            nursery.start_soon(recording.run)
            await serve(handlers, self.bind, self.limits, task_status=task_status)
        raise AssertionError("unreachable: a server runs until cancelled")


class Visitor:
    """One connection, as the handlers see it."""

    def __init__(self, peer: Peer, intake: Intake, metrics: ServerMetrics) -> None:
        self._peer, self._intake, self._metrics = peer, intake, metrics
        self._lane = Lane(peer.host)
        self._refused = 0

    def handlers(self) -> list[Handler[Any, Any]]:
        """What can be called."""
        repeats = Repeats(self._intake.key, self._intake.again)
        timed = self._metrics.call_s.observe
        return [
            Handler(PROCESS_SIGNED_TASK_RESPONSE, self.process, repeats, timed),
            Handler(SERVER_RUNNING, self.running),
        ]

    async def process(self, response: SignedTaskResponse) -> int:
        """Take a signature in. Raises ResponseRefused, Unavailable; HangUp for one refusal too many."""
        try:
            reply = await self._intake.take(response, self._lane, self._peer.address)
        except ResponseRefused as exc:
            self._refused += 1
            if self._refused < MAX_REFUSED:
                raise
            self._metrics.hung_up.inc()
            raise HangUp(str(exc)) from exc
        self._refused = max(self._refused - 1, 0)
        return reply

    async def running(self, _: Nothing) -> int:
        """Whether the process is there; also while it cannot record."""
        await trio.lowlevel.checkpoint()
        return RUNNING
