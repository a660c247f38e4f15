"""The vote record: what durability costs, alone and shared by 100, on this disk and on one whose flush takes 2 ms.

The floor is a bare connection: one row and one commit through the same thread hop, without tasks to wake and without
looking at what was signed before. The 100 callers are tasks in a closed loop: each asks for its next vote as soon as it
has one. A wait is from a caller's call to its return, over all calls; it is told in flushes, as long as they were on
that disk in that run (`sim.disk`: a sleep is never shorter than asked for, often longer). Its own floor are the same
callers where a round is one flush in the same thread and nothing else: the tasks, the hop and the disk.

Votes are made beforehand, for the floor as for the record: a signature is 25 µs of computing, one after the other,
whoever waits for the disk. What the same figures are with signatures made inside is told last.

Runs are interleaved, ratios are of medians, a 99th percentile is the median of those of each run. On a machine that has
something else to do, one wake-up in a hundred comes milliseconds late, whoever is woken. So a run counts for the target
of the wait if the floor, which has nothing of the record in it, stayed below two flushes right before and right after
it; runs are added, within a limit, until there are enough. If there are not, all count. Exit 1 if a target is missed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from statistics import median, quantiles

import apsw
import trio
import trio.testing
from _floor import GENESIS, Figure, arguments, batch, report, secrets
from attestrio.kit.blocking import in_thread
from attestrio.kit.sqlite import open_database
from attestrio.protection import rows
from attestrio.protection.record import RecordedVote, VoteRecord
from attestrio.protection.rounds import Rounds
from attestrio.protection.schema import APPLICATION_ID, SCHEMA
from attestrio.roles import AttesterPublicKey, AttesterSecretKey, Batch, SignedBatch
from attestrio.sim.disk import Faults, SimDisk

CALLERS = 100
FLUSH_S = 0.002
CHAIN = 270
QUIET = 2.0  # flushes: 99th percentile of the floor; 1.4 where nothing else runs
FEWEST_QUIET = 3
TRIES = 5  # times as many runs as were asked for, at most

HERE = ("bare", "alone", "many", "many", "alone", "bare")
SLOW = ("bare", "alone", "flush only", "many", "flush only", "many", "flush only", "alone", "bare")

Call = Callable[[Batch], Awaitable[object]]


@dataclass(slots=True)
class SlowFlush:
    """How a disk takes its time, and how long that was."""

    seconds: list[float] = field(default_factory=list)

    def sleep(self, asked: float) -> None:
        began = time.perf_counter()
        time.sleep(asked)
        self.seconds.append(time.perf_counter() - began)


@dataclass(frozen=True, slots=True)
class ReadyKey:
    """A secret key whose votes have been made before."""

    secret: AttesterSecretKey
    votes: dict[int, SignedBatch] = field(default_factory=dict)

    def public(self) -> AttesterPublicKey:
        return self.secret.public()

    def sign_batch(self, batch: Batch) -> SignedBatch:
        return self.votes[batch.number]

    def prepare(self, batches: list[Batch]) -> None:
        self.votes.clear()
        self.votes.update((each.number, self.secret.sign_batch(each)) for each in batches)


@dataclass(slots=True)
class Runs:
    """Of each run of one kind: seconds per vote, and what each call took where many called."""

    each: list[float] = field(default_factory=list)
    waits: list[list[float]] = field(default_factory=list)

    def add(self, each: float, waits: list[float]) -> None:
        self.each.append(each)
        self.waits.append(waits)

    def middle(self) -> float:
        return median(self.each)

    def p99s(self) -> list[float]:
        """Seconds, of each run."""
        return [percentile(waits, 99) for waits in self.waits]

    def of_all(self, percent: int) -> float:
        """Seconds: over the calls of all runs."""
        return percentile(list(chain(*self.waits)), percent)


def percentile(waits: Sequence[float], percent: int) -> float:
    return quantiles(waits, n=100)[percent - 1]


@dataclass(slots=True)
class Sample:
    """What was measured on one disk."""

    bare: Runs = field(default_factory=Runs)
    alone: Runs = field(default_factory=Runs)
    many: Runs = field(default_factory=Runs)
    flush_only: Runs = field(default_factory=Runs)
    flushes: list[float] = field(default_factory=list)
    """Seconds, of the calls of many."""

    def ratio(self) -> float:
        return self.bare.middle() / self.many.middle()

    def in_flushes(self, seconds: float) -> float:
        return seconds / median(self.flushes)

    def quiet(self) -> list[float]:
        """Seconds: the 99th percentiles of the runs that the machine left alone, as the floors beside them tell."""
        floors = [self.in_flushes(floor) < QUIET for floor in self.flush_only.p99s()]
        # Each turn has a floor more than it has runs: SLOW.
        beside = [floors[turn * 3 + at : turn * 3 + at + 2] for turn in range(len(floors) // 3) for at in range(2)]
        return [p99 for p99, told in zip(self.many.p99s(), beside, strict=True) if all(told)]

    def floor(self) -> float:
        """Seconds: what `p99` is where a round is a flush and nothing else; of the quiet runs, or of all."""
        floors = self.flush_only.p99s()
        quiet = [floor for floor in floors if self.in_flushes(floor) < QUIET]
        return median(quiet if len(self.quiet()) >= FEWEST_QUIET else floors)

    def p99(self) -> float:
        """Seconds: the median over the quiet runs, or over all if those are too few."""
        quiet = self.quiet()
        return median(quiet if len(quiet) >= FEWEST_QUIET else self.many.p99s())


@dataclass(frozen=True, slots=True)
class Plan:
    """How often what is done."""

    kinds: tuple[str, ...]
    """Of a turn."""
    turns: int
    votes: int
    """Of each of the 100 callers in a run."""
    rows: int
    """Of a run of one row a commit."""

    def done(self, turns: int, sample: Sample) -> bool:
        if "flush only" not in self.kinds or turns < self.turns:
            return turns == self.turns
        return turns == self.turns * TRIES or len(sample.quiet()) >= self.turns


@dataclass(frozen=True, slots=True)
class Bench:
    """A record and a bare table on the same disk."""

    record: VoteRecord
    bare: apsw.Connection
    epoch: int
    secret: AttesterSecretKey | ReadyKey
    flushes: SlowFlush
    numbers: count = field(default_factory=count)

    def batches(self, wanted: int) -> list[Batch]:
        made = [batch(next(self.numbers)) for _ in range(wanted)]
        for each in made:
            each.message_hash()
        if isinstance(self.secret, ReadyKey):
            self.secret.prepare(made)
        return made

    async def sign(self, wanted: Batch) -> None:
        await self.record.sign(self.secret, wanted, epoch=self.epoch)

    async def time_bare(self, batches: list[Batch]) -> float:
        """Seconds per row: each through its own hop and its own transaction."""

        def write(wanted: Batch) -> None:
            vote = self.secret.sign_batch(wanted)
            self.bare.execute("BEGIN IMMEDIATE")
            rows.insert_vote(self.bare, 1, RecordedVote(wanted.number, wanted.hash, vote.signature), self.epoch, 0.0)
            self.bare.execute("COMMIT")

        began = time.perf_counter()
        for each in batches:
            await in_thread(lambda each=each: write(each))
        return (time.perf_counter() - began) / len(batches)

    async def time_alone(self, batches: list[Batch]) -> float:
        """Seconds per vote: one caller, one vote after the other."""
        began = time.perf_counter()
        for each in batches:
            await self.sign(each)
        return (time.perf_counter() - began) / len(batches)

    async def time_flush_only(self, batches: list[Batch]) -> tuple[float, list[float]]:
        """What `time_many` gives where a round is a flush and nothing else."""

        async def flush(asked: Sequence[Batch]) -> Sequence[Batch]:
            await in_thread(lambda: self.flushes.sleep(FLUSH_S))
            return asked

        rounds = Rounds(flush)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rounds.run)
            told = await time_many(rounds.ask, batches)
            nursery.cancel_scope.cancel()
        return told


async def time_many(call: Call, batches: list[Batch]) -> tuple[float, list[float]]:
    """Seconds per vote with 100 callers in a closed loop, and what each call took."""
    go, waits = trio.Event(), []

    async def caller(mine: list[Batch]) -> None:
        await go.wait()
        for each in mine:
            asked = time.perf_counter()
            await call(each)
            waits.append(time.perf_counter() - asked)

    async with trio.open_nursery() as nursery:
        for at in range(CALLERS):
            nursery.start_soon(caller, batches[at::CALLERS])
        await trio.testing.wait_all_tasks_blocked(0.001)
        began = time.perf_counter()
        go.set()
    return (time.perf_counter() - began) / len(batches), waits


async def measure(bench: Bench, plan: Plan, sample: Sample) -> None:
    """One turn."""
    for kind in plan.kinds:
        batches = bench.batches(plan.rows if kind in ("bare", "alone") else plan.votes * CALLERS)
        if kind == "bare":
            sample.bare.add(await bench.time_bare(batches), [])
        elif kind == "alone":
            sample.alone.add(await bench.time_alone(batches), [])
        elif kind == "flush only":
            sample.flush_only.add(*await bench.time_flush_only(batches))
        else:
            bench.flushes.seconds.clear()
            sample.many.add(*await time_many(bench.sign, batches))
            sample.flushes += bench.flushes.seconds


async def run_bench(folder: Path, plan: Plan, vfs: str | None, flushes: SlowFlush, *, presigned: bool) -> Sample:
    """Interleaved runs on a new record and a new bare table."""
    real = secrets(1, "durable")[0]
    record = VoteRecord(folder / "record.db", CHAIN, vfs=vfs)
    bare = open_database(folder / "bare.db", application_id=APPLICATION_ID, schema=SCHEMA, vfs=vfs)
    rows.add_attester(bare, real.public(), "bench", 0.0)
    rows.history_id(bare, CHAIN, GENESIS, real.public())
    rows.open_epoch(bare, CHAIN, GENESIS, 0, "start", "", 0.0)
    sample = Sample()
    async with trio.open_nursery() as nursery:
        await nursery.start(record.run)
        await record.add_key(real.public())
        epoch = (await record.open_epoch(GENESIS, 0, "start")).id
        bench = Bench(record, bare, epoch, ReadyKey(real) if presigned else real, flushes)
        await measure(bench, Plan(plan.kinds, 1, 1, 1), Sample())  # warms up
        turns = 0
        while not plan.done(turns, sample):
            await measure(bench, plan, sample)
            turns += 1
        await record.close()
    bare.close()
    return sample


def on_this_disk(folder: Path, plan: Plan, *, presigned: bool = True) -> Sample:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        return trio.run(lambda: run_bench(Path(place), plan, None, SlowFlush(), presigned=presigned))


def on_slow_flush(folder: Path, plan: Plan, *, presigned: bool = True) -> Sample:
    """On a simulated disk, which lies in memory where that is possible: the queue of the real one is not its own."""
    memory = Path("/dev/shm") if Path("/dev/shm").is_dir() else folder
    flushes = SlowFlush()
    with tempfile.TemporaryDirectory(dir=memory) as place:
        disk = SimDisk(Path(place), faults=Faults(sync_s=FLUSH_S, sleep=flushes.sleep))
        return trio.run(lambda: run_bench(Path(place), plan, disk.vfs, flushes, presigned=presigned))


async def time_start(path: Path) -> float:
    """Seconds from opening the record to ready."""
    record = VoteRecord(path, CHAIN)
    async with trio.open_nursery() as nursery:
        began = time.perf_counter()
        await nursery.start(record.run)
        record.current_epoch()
        took = time.perf_counter() - began
        await record.close()
    return took


def fill(path: Path, votes: int) -> None:
    """A record with `votes` votes of one key."""
    key = secrets(1, "durable")[0]
    connection = open_database(path, application_id=APPLICATION_ID, schema=SCHEMA)
    with connection:
        rows.add_attester(connection, key.public(), "bench", 0.0)
        rows.open_epoch(connection, CHAIN, GENESIS, 0, "start", "", 0.0)
        history = rows.history_id(connection, CHAIN, GENESIS, key.public())
        signature = key.sign_batch(batch(0)).signature.raw
        connection.executemany(
            "INSERT INTO votes(history, number, hash, signature, epoch, at) VALUES (?, ?, ?, ?, 1, 0.0)",
            ((history, number, number.to_bytes(32, "big"), signature) for number in range(votes)),
        )
    connection.close()


def cold_start(folder: Path, votes: int, rounds: int) -> tuple[float, float]:
    """Median seconds to ready: with `votes` votes, and with none."""
    fill(folder / "full.db", votes)
    fill(folder / "empty.db", 0)
    full: list[float] = []
    empty: list[float] = []
    for turn in range(2 * rounds):
        order: list[tuple[str, list[float]]] = [("full.db", full), ("empty.db", empty)]
        for name, times in order if turn % 2 else order[::-1]:
            times.append(trio.run(time_start, folder / name))
    return median(full), median(empty)


def figures(folder: Path, rounds: int, votes: int, votes_stored: int) -> list[Figure]:
    """Everything that is told, targets first."""
    here = on_this_disk(folder, Plan(HERE, 2 * rounds, votes, 50))
    slow = on_slow_flush(folder, Plan(SLOW, rounds, votes, 20))
    signed = on_this_disk(folder, Plan(HERE, rounds, votes, 50), presigned=False)
    signed_slow = on_slow_flush(folder, Plan(SLOW, rounds, votes, 20), presigned=False)
    full, empty = cold_start(folder, votes_stored, 3 * rounds)
    return [
        Figure(f"{CALLERS} callers, against one row a commit", here.ratio(), "times", 8.0),
        Figure("with flushes of 2 ms, against one row a commit", slow.ratio(), "times", 20.0),
        Figure("wait there, 99th percentile", slow.in_flushes(slow.p99()), "flushes", 3.0, at_least=False),
        Figure(f"start with {votes_stored:,} votes, against an empty one", full / empty, "times", 1.5, at_least=False),
        Figure("one row a commit (floor)", here.bare.middle() * 1e6, "µs"),
        Figure("one caller of the record", here.alone.middle() * 1e6, "µs"),
        Figure(f"one of {CALLERS} callers", here.many.middle() * 1e6, "µs"),
        Figure("flushes of 2 ms: one row a commit (floor)", slow.bare.middle() * 1e6, "µs"),
        Figure("flushes of 2 ms: one caller of the record", slow.alone.middle() * 1e6, "µs"),
        Figure(f"flushes of 2 ms: one of {CALLERS} callers", slow.many.middle() * 1e6, "µs"),
        Figure("a flush of 2 ms, as it was", median(slow.flushes) * 1e3, "ms"),
        Figure("wait for a flush and nothing else (floor)", slow.in_flushes(slow.floor()), "flushes"),
        Figure("runs that count for the wait", len(slow.quiet()), f"of {len(slow.many.each)}"),
        Figure("wait over all calls, median", slow.in_flushes(slow.many.of_all(50)), "flushes"),
        Figure("wait over all calls, 90th percentile", slow.in_flushes(slow.many.of_all(90)), "flushes"),
        Figure("wait over all calls, 99th percentile", slow.in_flushes(slow.many.of_all(99)), "flushes"),
        Figure("start, empty (floor)", empty * 1e3, "ms"),
        Figure("signed inside: against one row a commit", signed.ratio(), "times"),
        Figure("signed inside: the same with flushes of 2 ms", signed_slow.ratio(), "times"),
        Figure("signed inside: wait, 99th percentile", signed_slow.in_flushes(signed_slow.p99()), "flushes"),
    ]


def main() -> int:
    asked = arguments(__doc__ or "")
    with tempfile.TemporaryDirectory() as folder:
        if asked.quick:
            found = figures(Path(folder), 1, 20, 100_000)
        else:
            found = figures(Path(folder), asked.rounds, 100, 1_000_000)
    return report("durable", found, as_json=asked.json)


if __name__ == "__main__":
    sys.exit(main())
