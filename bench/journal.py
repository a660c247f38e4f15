"""The journal: appends a second in a file and on a Redis server, one after the other and by 100 callers at once.

The floor of the file is a bare connection to a database with the same settings: one row and one commit, through the
same thread hop. The floor of the server is a bare XADD to a server with `appendfsync always`, through the same client.
Runs of floor and journal take turns; ratios are of medians. `start` is a leader's: everything a journal holds is read.

The server is started here and killed at the end; without the program its figures are left out. Exit 1 if a target is
missed.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median

import trio
from _floor import Figure, arguments, report
from attestrio.journal import Item, Journal, Put, SqliteJournal
from attestrio.journal.redis import RedisJournal
from attestrio.kit.blocking import in_thread
from attestrio.kit.sqlite import open_database
from coredis import Redis

CALLERS = 100
BODY = bytes(200)
SCHEMA = ("CREATE TABLE bare(position INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL, body BLOB NOT NULL)",)

Call = Callable[[bytes], Awaitable[object]]


@dataclass(slots=True)
class Sample:
    """Seconds per append, of each run."""

    floor: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    many: list[float] = field(default_factory=list)
    thousand: list[float] = field(default_factory=list)
    handed_on: list[float] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    """Seconds to read 1,000 values."""


@dataclass(frozen=True, slots=True)
class Bench:
    """A journal and its floor."""

    journal: Journal
    bare: Call
    rows: int
    sample: Sample = field(default_factory=Sample)
    numbers: count[int] = field(default_factory=count)

    def keys(self, wanted: int) -> list[bytes]:
        return [b"%032d" % next(self.numbers) for _ in range(wanted)]

    async def append(self, key: bytes) -> None:
        await self.journal.append("jobs", [Item(key, BODY)], put=[Put("state", key[-3:], BODY)])

    async def turn(self) -> None:
        sample, rows = self.sample, self.rows
        sample.floor.append(await alone(self.bare, self.keys(rows)))
        sample.alone.append(await alone(self.append, self.keys(rows)))
        sample.many.append(await at_once(self.append, self.keys(10 * rows)))
        sample.floor.append(await alone(self.bare, self.keys(rows)))
        sample.thousand.append(await self.time_thousand())
        sample.handed_on.append(await self.time_handed_on())
        sample.start.append(await self.time_start())

    async def time_thousand(self) -> float:
        """Seconds per item where a thousand are one transaction."""
        items = [Item(key, BODY) for key in self.keys(1_000)]
        began = time.perf_counter()
        await self.journal.append("jobs", items)
        return (time.perf_counter() - began) / len(items)

    async def time_handed_on(self) -> float:
        """Seconds per item: leased a hundred at a time, and acknowledged so."""
        began, done = time.perf_counter(), 0
        while leased := await self.journal.lease("jobs", "bench", 100, 600.0):
            done += await self.journal.ack("jobs", [work.key for work in leased])
        return (time.perf_counter() - began) / done

    async def time_start(self) -> float:
        began = time.perf_counter()
        assert len(await self.journal.scan("state", 1_000)) <= 1_000
        return time.perf_counter() - began


async def alone(call: Call, keys: list[bytes]) -> float:
    """Seconds per call, one after the other."""
    began = time.perf_counter()
    for key in keys:
        await call(key)
    return (time.perf_counter() - began) / len(keys)


async def at_once(call: Call, keys: list[bytes]) -> float:
    """Seconds per call, of 100 callers, each of whom calls again as soon as it can."""

    async def caller(mine: list[bytes]) -> None:
        for key in mine:
            await call(key)

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for at in range(CALLERS):
            nursery.start_soon(caller, keys[at::CALLERS])
    return (time.perf_counter() - began) / len(keys)


async def run_bench(journal: Journal, bare: Call, rounds: int, rows: int) -> Sample:
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        await Bench(journal, bare, 10).turn()  # warms up
        bench = Bench(journal, bare, rows, numbers=count(1_000_000))
        for _ in range(rounds):
            await bench.turn()
        await journal.close()
    return bench.sample


async def in_a_file(folder: Path, rounds: int, rows: int) -> Sample:
    bare = open_database(folder / "bare.db", application_id=1, schema=SCHEMA)

    def write(key: bytes) -> None:
        bare.execute("BEGIN IMMEDIATE")
        bare.execute("INSERT INTO bare(key, body) VALUES (?, ?)", (key, BODY))
        bare.execute("COMMIT")

    async def append(key: bytes) -> None:
        await in_thread(lambda: write(key))

    try:
        return await run_bench(SqliteJournal(folder / "journal.db"), append, rounds, rows)
    finally:
        bare.close()


async def on_a_server(port: int, rounds: int, rows: int) -> Sample:
    async with Redis(host="127.0.0.1", port=port) as client:

        async def append(key: bytes) -> None:
            await client.xadd("bare", field_values={"k": key, "b": BODY})

        journal = RedisJournal(f"redis://127.0.0.1:{port}", "bench")
        return await run_bench(journal, append, rounds, rows)


@contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    """The port of a server with `appendfsync always`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    settings = {"port": port, "bind": "127.0.0.1", "dir": folder, "save": "", "appendonly": "yes"}
    settings |= {"appendfsync": "always"}
    words = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    process = subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL)
    try:
        for _ in range(1_000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.01)
        yield port
    finally:
        process.kill()
        process.wait()


def figures_of(what: str, floor: str, sample: Sample, targets: tuple[float, float]) -> list[Figure]:
    bare, single, many = median(sample.floor), median(sample.alone), median(sample.many)
    return [
        Figure(f"{what}: one caller, against {floor}", single / bare, "times", targets[0], at_least=False),
        Figure(f"{what}: one of {CALLERS} callers, against {floor}", bare / many, "times faster", targets[1]),
        Figure(f"{what}: {floor} (floor)", 1 / bare, "a second"),
        Figure(f"{what}: appends of one caller", 1 / single, "a second"),
        Figure(f"{what}: appends of {CALLERS} callers", 1 / many, "a second"),
        Figure(f"{what}: items, a thousand in a transaction", 1 / median(sample.thousand), "a second"),
        Figure(f"{what}: items leased and acknowledged by hundreds", 1 / median(sample.handed_on), "a second"),
        Figure(f"{what}: 1,000 values read", median(sample.start) * 1e3, "ms"),
    ]


def main() -> int:
    asked = arguments(__doc__ or "")
    rounds, rows = (1, 50) if asked.quick else (asked.rounds, 300)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sample = trio.run(in_a_file, folder, rounds, rows)
        found = figures_of("file", "one row a commit", sample, (4.0, 1.0))
        if shutil.which("redis-server") is not None:
            with redis_server(folder) as port:
                sample = trio.run(on_a_server, port, rounds, rows)
            found += figures_of("server", "a bare XADD", sample, (3.0, 1.0))
    return report("journal", found, as_json=asked.json)


if __name__ == "__main__":
    sys.exit(main())
