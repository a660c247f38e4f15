"""An aggregator as one process that measures itself; nothing in it is another than in `attestrio aggregator run`.

    python bench/_measured.py CONFIG.json

Figures go to stdout, one line for each line on stdin: calls of the chain by method, times of handlers, lag of the
event loop, memory, groups of signatures. `reset` begins the times anew. The first line comes when it listens.
"""

from __future__ import annotations

import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import trio
from attestrio.aggregator.server_metrics import ServerMetrics
from attestrio.app.aggregator import run_aggregator
from attestrio.app.aggregator_config import AggregatorConfig
from attestrio.kit.metrics import Metrics
from attestrio.l1.endpoint import Endpoint

TICK_S = 0.01


class Measured(msgspec.Struct):
    """What it says of itself. Seconds, bytes."""

    calls: dict[str, int]
    """Of the chain, since the start."""
    handled: int
    handler_p50: float
    handler_p99: float
    lag_p99: float
    lag_max: float
    memory: int
    peak: int
    good: int
    """Signatures that were verified and found good."""
    groups: int
    """Of signatures that were verified together: as long as all are good, each is one product of pairings."""
    records: int
    """Transactions that recorded signatures."""
    operators: int
    """Whose keys it knows."""
    cpu: float
    """Of all its threads, without the start of Python."""


class Gauges:
    """Instruments around the parts."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.handlers, self.lags = array("d"), array("d")
        self.began = time.process_time()

    def watch_chain(self) -> None:
        """Count each request to an endpoint."""
        asked, calls = Endpoint.ask, self.calls

        async def ask(self: Endpoint, method: str, params: tuple[object, ...], read: Callable[..., Any]) -> object:
            calls[method] += 1
            return await asked(self, method, params, read)

        Endpoint.ask = ask

    def watch_handlers(self, metrics: Metrics) -> None:
        """Keep each time, since buckets say little about a percentile."""
        histogram = ServerMetrics(metrics).call_s
        observe, handlers = histogram.observe, self.handlers

        def keep(seconds: float) -> None:
            observe(seconds)
            handlers.append(seconds)

        histogram.observe = keep

    async def watch_loop(self) -> None:
        """How much later than asked for a task wakes up."""
        while True:
            due = trio.current_time() + TICK_S
            await trio.sleep_until(due)
            self.lags.append(trio.current_time() - due)

    def told(self, metrics: Metrics) -> Measured:
        memory, peak = memory_now()
        return Measured(
            dict(self.calls), len(self.handlers), percentile(self.handlers, 50), percentile(self.handlers, 99),
            percentile(self.lags, 99), max(self.lags, default=0.0), memory, peak,
            int(metrics.value("attestrio_aggregator_verified_signatures_total", result="good")),
            int(metrics.value("attestrio_aggregator_groups_total")),
            int(metrics.value("attestrio_aggregator_records_total")),
            int(metrics.value("attestrio_aggregator_operator_keys")), time.process_time() - self.began,
        )  # fmt: skip

    def reset(self) -> None:
        del self.handlers[:], self.lags[:]


def percentile(values: array[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] if ordered else 0.0


def memory_now() -> tuple[int, int]:
    """Of this process, resident: now, and the most there ever was."""
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("VmRSS", "VmHWM"):
            found[name] = int(rest.split()[0]) * 1024
    return found["VmRSS"], found["VmHWM"]


async def main(config: AggregatorConfig) -> None:
    gauges = Gauges()
    gauges.watch_chain()
    async with trio.open_nursery() as nursery:
        running = await nursery.start(run_aggregator, config)
        gauges.watch_handlers(running.metrics)
        nursery.start_soon(gauges.watch_loop)
        print(msgspec.json.encode(gauges.told(running.metrics)).decode(), flush=True)
        async for line in trio.wrap_file(sys.stdin.buffer):
            print(msgspec.json.encode(gauges.told(running.metrics)).decode(), flush=True)
            if line.strip() == b"reset":
                gauges.reset()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=AggregatorConfig))
