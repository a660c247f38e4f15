"""Whoever floods the page of a node does not keep its votes waiting.

A main node and one attester in one process, a batch every half second; another process asks every address of the
attester's page 1,000 times, 64 at once, with a connection for each request. The loop that answers is the one that
votes. Measured is its lag: the longest round it makes while that lasts, in its own time of the processor, for a task
that is ready waits for no longer than the rest of a round. Of several rounds of the bench, the median of the worst.
Target: at most 50 ms at every address, and votes go on. Exit 1 if it is missed. The same for the longest piece of the
first document of a committee of 10,000, in which all batches at hand are new, and for judging who missed one of them.

For information: the lag on the clock, in which the flood itself and all else on the machine has its part (a task that
wants to run every 5 ms, how late it does), the same when nobody asks, and answers a second.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import trio
from _floor import Figure, arguments, report
from attestrio.app import RunningNode
from attestrio.duty import DutyLog, EpochOf, Step
from attestrio.kit.settle import settle
from attestrio.roles import (
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    Committee,
    GenesisHash,
    SignedBatch,
    WeightedAttester,
)
from attestrio.sim.cluster import Cluster, ClusterSpec
from attestrio.web.attendance import Attendance
from attestrio.web.names import Names
from attestrio.web.view import BatchViews, committee_view

REQUESTS, QUICK_REQUESTS = 1_000, 100
AT_ONCE = 64
PATHS = (
    "/",
    "/page/page.js",
    "/status.json",
    "/events",
    "/batches/1.json",
    "/livez",
    "/readyz",
    "/metrics",
    "/nothing",
)
TICK_S = 0.005
QUIET_S = 2.0
TARGET_MS = 50.0
MEMBERS, NUMBERS = 10_000, 9
FLOOD = Path(__file__).with_name("_flood.py")


class Lag(trio.abc.Instrument):
    """How late the loop is, and how long its rounds are. Seconds."""

    def __init__(self) -> None:
        self.late, self.longest = 0.0, 0.0
        self._began = time.thread_time()

    def after_io_wait(self, timeout: float) -> None:
        self._began = time.thread_time()

    def before_io_wait(self, timeout: float) -> None:
        self.longest = max(self.longest, time.thread_time() - self._began)

    def begin(self) -> None:
        self.late, self.longest = 0.0, 0.0

    async def run(self) -> None:
        while True:
            due = trio.current_time() + TICK_S
            await trio.sleep_until(due)
            self.late = max(self.late, trio.current_time() - due)


@dataclass(frozen=True, slots=True)
class Flooded:
    """One flood. Seconds; answers by class."""

    late: float
    longest: float
    rate: float
    answers: dict[str, int]


async def flood(lag: Lag, url: str, path: str, requests: int) -> Flooded:
    parts = urlsplit(url)
    command = [sys.executable, str(FLOOD), str(parts.hostname), str(parts.port), path, str(requests), str(AT_ONCE)]
    lag.begin()
    done = await trio.run_process(command, capture_stdout=True)
    told = json.loads(done.stdout)
    return Flooded(lag.late, lag.longest, requests / told["took_s"], told["answers"])


async def measure(rounds: int, requests: int) -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder), ClusterSpec(attesters=1, batch_every_s=0.5, web=("127.0.0.1", 0)))
        async with trio.open_nursery() as nursery:
            nodes = await nursery.start(cluster.run)
            settle()  # as `attestrio node run` does
            lag = Lag()
            trio.lowlevel.add_instrument(lag)
            nursery.start_soon(lag.run)
            await trio.sleep(QUIET_S)
            lag.begin()
            await trio.sleep(QUIET_S)
            figures.append(Figure("longest round, nobody asks", lag.longest * 1e3, "ms"))
            figures.append(Figure("lag on the clock, nobody asks", lag.late * 1e3, "ms"))
            url, node = cluster.pages["attester-1"], nodes["attester-1"]
            before = signed(node)
            for path in PATHS:
                found = [await flood(lag, url, path, requests) for _ in range(rounds)]
                longest = median(one.longest for one in found) * 1e3
                text = ", ".join(f"{count} {name}" for name, count in sorted(found[-1].answers.items()))
                figures.append(Figure(f"longest round, {path}", longest, "ms", TARGET_MS, at_least=False))
                figures.append(Figure("  lag on the clock", median(one.late for one in found) * 1e3, "ms"))
                figures.append(Figure(f"  answered: {text}", median(one.rate for one in found), "1/s"))
            await trio.sleep(QUIET_S)
            figures.append(Figure("batches signed meanwhile", signed(node) - before, "", 1.0))
            nursery.cancel_scope.cancel()
    return figures


def large_committee() -> list[Figure]:
    """Pieces of the first document, and of what each new number costs, with 10,000 members of whom 9,000 vote."""
    secrets = [AttesterSecretKey.from_bytes(one.to_bytes(32, "big")) for one in range(1, MEMBERS + 1)]
    keys = [secret.public() for secret in secrets]
    committee, genesis = Committee([WeightedAttester(key, 1) for key in keys]), GenesisHash(bytes(32))
    duty = DutyLog(time.time)
    duty.begin_epoch(EpochOf(1, genesis, committee, keys[0]))
    attendance, views = Attendance(duty.story, time.time), BatchViews(duty, Names())
    pieces: dict[str, float] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        began = time.thread_time()
        work()
        pieces[name] = max(pieces.get(name, 0.0), time.thread_time() - began)

    for number in map(BatchNumber, range(NUMBERS)):
        duty.record(number, Step.TOLD)
        timed("who missed a batch", lambda number=number: attendance.told(number))  # type: ignore[misc]
        batch = Batch(number, BatchHash(bytes(32)), genesis)
        signature = secrets[0].sign_batch(batch).signature  # nobody looks at it here
        duty.heard([SignedBatch(batch, key, signature) for key in keys[: MEMBERS * 9 // 10]])
    wanted = duty.story(BatchNumber(NUMBERS - 1))
    timed("the committee", lambda: committee_view(committee, attendance, wanted, Names(), keys[0]))
    renewal = views.renew()
    for _ in range(NUMBERS):
        timed("a batch", lambda: next(renewal))
    return [
        Figure(f"longest piece, {MEMBERS} members: {name}", took * 1e3, "ms", TARGET_MS, at_least=False)
        for name, took in pieces.items()
    ]


def signed(node: RunningNode) -> float:
    """The batch it signed last."""
    return node.metrics.value("attestrio_batch_signed_number")


if __name__ == "__main__":
    given = arguments(str(__doc__))
    rounds, requests = (1, QUICK_REQUESTS) if given.quick else (min(given.rounds, 3), REQUESTS)
    sys.exit(report("web", [*large_committee(), *trio.run(measure, rounds, requests)], as_json=given.json))
