"""The vote record: what durability costs, alone and shared by many, on this disk and on one whose flush takes 2 ms.

Votes are made beforehand: a signature is 40 µs of computing whoever waits for the disk, and is told apart in the last
figures. Callers are tasks that wait already; a round is timed from the moment they may ask until the last has its vote.
The floor is the record with one caller: one row a transaction through the same thread hop. A bare connection that only
inserts, without tasks to wake and without looking at what was signed before, is told for comparison. Rounds are
interleaved; ratios are of medians. Exit 1 if a target is missed.
"""

from __future__ import annotations

import sys
import tempfile
import time
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
from attestrio.roles import AttesterPublicKey, AttesterSecretKey, Batch, SignedBatch

CALLERS = 100
FLUSH_S = 0.002
CHAIN = 270


class SlowFlush(apsw.VFS):
    """The system's disk, with flushes that take 2 ms."""

    NAME = "slow-flush"

    def __init__(self) -> None:
        self.flushes: list[float] = []  # seconds each took: a sleep is never shorter than asked for, often longer
        super().__init__(self.NAME, "")

    def xOpen(self, name, flags):
        return _SlowFile(self, name, flags)


class _SlowFile(apsw.VFSFile):
    def __init__(self, disk: SlowFlush, name, flags) -> None:
        self.disk = disk
        super().__init__("", name, flags)

    def xSync(self, flags):
        began = time.perf_counter()
        time.sleep(FLUSH_S)
        self.disk.flushes.append(time.perf_counter() - began)


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
class Sample:
    """Seconds per vote of each round, and what each caller waited in rounds of many."""

    bare: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    many: list[float] = field(default_factory=list)
    waits: list[list[float]] = field(default_factory=list)

    def ratio(self) -> float:
        return median(self.alone) / median(self.many)

    def p99(self) -> float:
        """Seconds: median over the rounds of each one's 99th percentile.

        What other programs do to the machine is in some rounds, what the record does is in all of them.
        """
        return median(quantiles(waits, n=100)[98] for waits in self.waits)

    def p99_of_all(self) -> float:
        return quantiles(list(chain(*self.waits)), n=100)[98]


@dataclass(frozen=True, slots=True)
class Bench:
    """A record and a bare table on the same disk."""

    record: VoteRecord
    bare: apsw.Connection
    epoch: int
    numbers: count = field(default_factory=count)

    def batches(self, wanted: int) -> list[Batch]:
        made = [batch(next(self.numbers)) for _ in range(wanted)]
        for each in made:
            each.message_hash()
        return made

    async def time_bare(self, votes: list[SignedBatch]) -> float:
        """Seconds per row: each through its own hop and its own transaction."""

        def write(vote: SignedBatch) -> None:
            self.bare.execute("BEGIN IMMEDIATE")
            row = RecordedVote(vote.batch.number, vote.batch.hash, vote.signature)
            rows.insert_vote(self.bare, 1, row, self.epoch, 0.0)
            self.bare.execute("COMMIT")

        began = time.perf_counter()
        for vote in votes:
            await in_thread(lambda vote=vote: write(vote))
        return (time.perf_counter() - began) / len(votes)

    async def time_alone(self, secret, batches: list[Batch]) -> float:
        """Seconds per vote: one caller, one vote after the other."""
        began = time.perf_counter()
        for each in batches:
            await self.record.sign(secret, each, epoch=self.epoch)
        return (time.perf_counter() - began) / len(batches)

    async def time_many(self, secret, batches: list[Batch]) -> tuple[float, list[float]]:
        """Seconds per vote with as many callers as batches, and how long each waited for its own."""
        go, ready, waits = trio.Event(), trio.Event(), []

        async def caller(mine: Batch) -> None:
            await go.wait()
            asked = time.perf_counter()
            await self.record.sign(secret, mine, epoch=self.epoch)
            waits.append(time.perf_counter() - asked)
            if len(waits) == len(batches):
                ready.set()
            await trio.sleep_forever()  # a caller goes on to something else; a task that ends would be timed as well

        async with trio.open_nursery() as nursery:
            for each in batches:
                nursery.start_soon(caller, each)
            await trio.testing.wait_all_tasks_blocked(0.001)
            began = time.perf_counter()
            go.set()
            await ready.wait()
            took = time.perf_counter() - began
            nursery.cancel_scope.cancel()
        return took / len(batches), waits


async def run_bench(folder: Path, vfs: str | None, rounds: int, alone: int, *, presigned: bool) -> Sample:
    """Interleaved rounds on a new record and a new bare table."""
    real = secrets(1, "durable")[0]
    key = ReadyKey(real) if presigned else real
    record = VoteRecord(folder / "record.db", CHAIN, vfs=vfs)
    bare = open_database(folder / "bare.db", application_id=rows.APPLICATION_ID, schema=rows.SCHEMA, vfs=vfs)
    rows.add_attester(bare, real.public(), "bench", 0.0)
    rows.history_id(bare, CHAIN, GENESIS, real.public())
    rows.open_epoch(bare, CHAIN, GENESIS, 0, "start", "", 0.0)
    sample = Sample()
    async with trio.open_nursery() as nursery:
        await nursery.start(record.run)
        await record.add_key(real.public())
        bench = Bench(record, bare, (await record.open_epoch(GENESIS, 0, "start")).id)
        for turn in range(rounds + 1):
            taken = Sample() if turn == 0 else sample  # the first round only warms up
            for kind in ("bare", "alone", "many", "many", "alone", "bare"):
                batches = bench.batches(CALLERS if kind == "many" else alone)
                if isinstance(key, ReadyKey):
                    key.prepare(batches)
                if kind == "bare":
                    taken.bare.append(await bench.time_bare([real.sign_batch(each) for each in batches]))
                elif kind == "alone":
                    taken.alone.append(await bench.time_alone(key, batches))
                else:
                    each, waits = await bench.time_many(key, batches)
                    taken.many.append(each)
                    taken.waits.append(waits)
        await record.close()
    bare.close()
    return sample


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
    connection = open_database(path, application_id=rows.APPLICATION_ID, schema=rows.SCHEMA)
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


def figures(folder: Path, disk: SlowFlush, rounds: int, votes_stored: int) -> list[Figure]:
    """Everything that is told, targets first."""

    def run(vfs: str | None, turns: int, alone: int, presigned: bool = True) -> Sample:
        # What only pretends to be a disk lies in memory where that is possible: the other one's queue is not its own.
        memory = Path("/dev/shm") if vfs is not None and Path("/dev/shm").is_dir() else folder
        with tempfile.TemporaryDirectory(dir=memory) as place:
            return trio.run(lambda: run_bench(Path(place), vfs, turns, alone, presigned=presigned))

    here = run(None, 10 * rounds, 25)
    slow = run(SlowFlush.NAME, 10 * rounds, 10)
    signed = run(None, 5 * rounds, 25, presigned=False)
    signed_slow = run(SlowFlush.NAME, 5 * rounds, 10, presigned=False)
    flush = median(disk.flushes)
    full, empty = cold_start(folder, votes_stored, 3 * rounds)
    return [
        Figure(f"{CALLERS} callers, against one row a commit", here.ratio(), "times", 8.0),
        Figure("with flushes of 2 ms, against one row a commit", slow.ratio(), "times", 20.0),
        Figure("wait of a caller there, 99th percentile", slow.p99() / flush, "flushes", 3.0, at_least=False),
        Figure(f"start with {votes_stored:,} votes, against an empty one", full / empty, "times", 1.5, at_least=False),
        Figure("wait over all rounds, 99th percentile", slow.p99_of_all() / flush, "flushes"),
        Figure(
            f"{CALLERS} callers, against a bare insert and its commit", median(here.bare) / median(here.many), "times"
        ),
        Figure("a bare insert and its commit", median(here.bare) * 1e6, "µs"),
        Figure("one caller of the record", median(here.alone) * 1e6, "µs"),
        Figure(f"one of {CALLERS} callers of the record", median(here.many) * 1e6, "µs"),
        Figure("a flush of 2 ms, as it was", flush * 1e3, "ms"),
        Figure("start, empty", empty * 1e3, "ms"),
        Figure(f"signatures made inside: {CALLERS} callers against one", signed.ratio(), "times"),
        Figure("signatures made inside: the same with flushes of 2 ms", signed_slow.ratio(), "times"),
        Figure("signatures made inside: wait, 99th percentile", signed_slow.p99() / flush, "flushes"),
    ]


def main() -> int:
    asked = arguments(__doc__ or "")
    disk = SlowFlush()
    with tempfile.TemporaryDirectory() as folder:
        found = figures(Path(folder), disk, 1 if asked.quick else asked.rounds, 100_000 if asked.quick else 1_000_000)
    disk.unregister()
    return report("durable", found, as_json=asked.json)


if __name__ == "__main__":
    sys.exit(main())
