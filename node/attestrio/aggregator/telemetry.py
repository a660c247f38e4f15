"""Telling a telemetry server of Aligned what becomes of each batch. Off where no address is configured.

Whoever has something to tell never waits and never learns whether it arrived: messages stand in a bounded queue, one
more than it holds is dropped and counted, and a server that is away costs its messages and nothing else.

Source: aligned_layer v0.14 (2025-01-28), aggregator/pkg/telemetry.go: paths and field names; there the calls are made
by whoever adds a task, without a timeout.
"""

from __future__ import annotations

import logging
from typing import Final, NoReturn

import httpx
import msgspec
import trio

from attestrio.errors import SourceError
from attestrio.kit.http import client, post_bounded
from attestrio.kit.metrics import Metrics

log = logging.getLogger("attestrio.aggregator")

ROOM: Final = 1_000  # messages; a batch has about 15 with 8 operators
POST_S: Final = 5.0
MAX_ANSWER: Final = 1 << 16  # bytes; nobody reads it
FINISH_S: Final = 10.0
"""Between the end of a task and telling of it: operators that answer late are told of before."""
MAX_ERROR: Final = 500  # characters

Message = tuple[str, dict[str, str]]
"""Path and fields."""


class Telemetry:
    """What is told goes out in order, from `run`. Of one process: messages do not survive it."""

    def __init__(
        self, address: str | None, metrics: Metrics, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """`address`: HOST:PORT, or a URL; None: nothing is told. `transport`: for tests. Raises BadUrl."""
        self._client: httpx.AsyncClient | None = None
        self._url = ""
        if address:
            self._url = (address if "://" in address else f"http://{address}").rstrip("/")
            self._client = client(self._url, timeout_s=POST_S, max_connections=1, transport=transport)
        self._put, self._get = trio.open_memory_channel[Message](ROOM)
        self._put_late, self._get_late = trio.open_memory_channel[tuple[float, Message]](ROOM)
        self._messages = metrics.counter(
            "attestrio_aggregator_telemetry_total",
            "Messages for the telemetry server. dropped: the queue was full; failed: it did not take them.",
            {"result": ("told", "failed", "dropped")},
        )

    @property
    def on(self) -> bool:
        return self._client is not None

    async def run(self) -> NoReturn:
        """Tell for ever. Nothing comes out of it; without an address it only sleeps."""
        if self._client is None:
            await trio.sleep_forever()
        async with self._client, trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_late)
            while True:
                await self._tell(self._client, await self._get.receive())
        raise AssertionError("unreachable: telemetry runs until cancelled")

    # --- what can be told

    def task_begun(self, root: bytes) -> None:
        self._take("initTaskTrace", root)

    def operator_answered(self, root: bytes, operator_id: bytes) -> None:
        self._take("operatorResponse", root, operator_id=_hex(operator_id))

    def quorum_reached(self, root: bytes) -> None:
        self._take("quorumReached", root)

    def task_failed(self, root: bytes, error: str) -> None:
        self._take("taskError", root, error=error[:MAX_ERROR])

    def price_chosen(self, root: bytes, wei: int) -> None:
        self._take("aggregatorTaskSetGasPrice", root, gas_price=str(wei))

    def answer_sent(self, root: bytes, transaction: bytes, wei: int) -> None:
        self._take("aggregatorTaskSent", root, tx_hash=_hex(transaction), effective_gas_price=str(wei))

    def task_ended(self, root: bytes) -> None:
        """Told after `FINISH_S`."""
        if self._client is not None:
            self._later((trio.current_time() + FINISH_S, ("finishTaskTrace", {"merkle_root": _hex(root)})))

    def _take(self, path: str, root: bytes, **fields: str) -> None:
        if self._client is not None:
            self._now((path, {"merkle_root": _hex(root), **fields}))

    def _now(self, message: Message) -> None:
        try:
            self._put.send_nowait(message)
        except trio.WouldBlock:
            self._messages.labels("dropped").inc()

    def _later(self, message: tuple[float, Message]) -> None:
        try:
            self._put_late.send_nowait(message)
        except trio.WouldBlock:
            self._messages.labels("dropped").inc()

    # --- telling

    async def _tell(self, http: httpx.AsyncClient, message: Message) -> None:
        path, fields = message
        body = msgspec.json.encode(fields)
        try:
            await post_bounded(http, f"{self._url}/api/{path}", body, MAX_ANSWER, timeout_s=POST_S)
        except SourceError as exc:
            self._messages.labels("failed").inc()
            log.debug("telemetry: %s (%s)", exc, exc.code)
        else:
            self._messages.labels("told").inc()

    async def _tell_late(self) -> NoReturn:
        while True:
            due, message = await self._get_late.receive()  # all wait equally long, so the first is due first
            await trio.sleep_until(due)
            self._now(message)


def _hex(raw: bytes) -> str:
    return f"0x{raw.hex()}"
