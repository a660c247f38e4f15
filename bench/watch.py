"""Status fan-out: one update reaching 10,000 subscribers of AttestationStatusWatch, against a bare trio.Event.

Both are timed from the call that wakes (`update`, `set`) until the last of the waiting tasks has run. Rounds of both
are interleaved, the ratio is that of the medians. Target: at most 1.5. Exit 1 if it is missed.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from statistics import median

import trio
import trio.testing
from attestrio.roles import BatchNumber, GenesisHash
from attestrio.status import AttestationStatus, AttestationStatusWatch

GENESIS = GenesisHash(bytes(32))
TARGET = 1.5


class Countdown:
    """Done when every one of `waiters` has called in."""

    def __init__(self, waiters: int) -> None:
        self.left = waiters
        self.done = trio.Event()

    def arrived(self) -> None:
        self.left -= 1
        if not self.left:
            self.done.set()


async def time_event(waiters: int) -> float:
    """Seconds from `set` until 10,000 tasks in `Event.wait` have run."""
    event, countdown = trio.Event(), Countdown(waiters)

    async def wait() -> None:
        await event.wait()
        countdown.arrived()
        await trio.sleep_forever()  # subscribers wait on as well; a task that ended here would cost more

    async with trio.open_nursery() as nursery:
        for _ in range(waiters):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        began = time.perf_counter()
        event.set()
        await countdown.done.wait()
        took = time.perf_counter() - began
        nursery.cancel_scope.cancel()
    return took


async def time_watch(waiters: int) -> tuple[float, float]:
    """Seconds until 10,000 subscribers have seen the update, and of that, how long `update` itself took."""
    watch, countdown = AttestationStatusWatch(GENESIS), Countdown(waiters)

    async def wait() -> None:
        async for status in watch.subscribe():
            if status.next_batch is not None:
                countdown.arrived()

    async with trio.open_nursery() as nursery:
        for _ in range(waiters):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        began = time.perf_counter()
        watch.update(AttestationStatus(GENESIS, BatchNumber(1)))
        updated = time.perf_counter() - began
        await countdown.done.wait()
        took = time.perf_counter() - began
        nursery.cancel_scope.cancel()
    return took, updated


async def measure(waiters: int, rounds: int) -> dict[str, float]:
    """Medians in milliseconds, and their ratio."""
    bare: list[float] = []
    watched: list[float] = []
    updates: list[float] = []
    for turn in range(2 * rounds):
        gc.collect()
        if turn % 4 in (0, 3):  # event, watch, watch, event: neither always runs on what the other left behind
            bare.append(await time_event(waiters))
        else:
            took, updated = await time_watch(waiters)
            watched.append(took)
            updates.append(updated)
    return {
        "subscribers": waiters,
        "rounds": rounds,
        "event_ms": median(bare) * 1e3,
        "watch_ms": median(watched) * 1e3,
        "update_ms": median(updates) * 1e3,
        "ratio": median(watched) / median(bare),
        "target": TARGET,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subscribers", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    result = trio.run(measure, asked.subscribers, asked.rounds)
    if asked.json:
        print(json.dumps(result))
    else:
        print(
            f"{result['subscribers']:,} subscribers, median of {result['rounds']}: bare trio.Event"
            f" {result['event_ms']:.1f} ms, status watch {result['watch_ms']:.1f} ms"
            f" (of it update() {result['update_ms']:.1f} ms)"
        )
        print(f"ratio {result['ratio']:.2f}, target at most {TARGET}")
    return 0 if result["ratio"] <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
