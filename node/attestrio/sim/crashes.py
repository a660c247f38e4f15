"""A crash at every write and sync, in every way a disk has of losing what was not synced, and the life after it.

One life of a node is recorded (`crash_world`). For each of its disk operations the explorer makes the disks that a
crash there may leave, starts each part again on its files (`crash_parts`), and looks whether a promise was broken.
That is the same as running to the operation and dying there, because a life follows from its seed alone.

    python -m attestrio.sim.crashes --points 2000
    python -m attestrio.sim.crashes --replay "CrashPoint(index=57, fault=torn, seed=3)"
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count, islice
from pathlib import Path
from time import perf_counter

from attestrio.sim.crash_parts import PARTS, Part
from attestrio.sim.crash_world import Broken, Diary, Event, first_life, live
from attestrio.sim.disk import Faults, SimDisk
from attestrio.sim.disk_model import Create, FileTree, Operation, Remove, Rename, Survival, Sync, SyncFolder


class Fault(StrEnum):
    """How a life ends, and what is left of it."""

    LOST = "lost"  # the power is cut: nothing survives that was not synced
    KILLED = "killed"  # kill -9: everything survives, unsynced; the power is cut in the life after it
    TORN = "torn"  # the power is cut while a write is under way
    REORDERED = "reordered"  # the power is cut: unsynced writes survive in any choice
    TWICE = "twice"  # as reordered, and once more in the life after it
    EIO = "eio"  # the operation fails, a sync with loss; the life goes on as it can, then the power is cut
    FULL = "full"  # no file grows from the operation on; the life goes on as it can, then the power is cut


CRASHES = (Fault.LOST, Fault.KILLED, Fault.TORN, Fault.REORDERED, Fault.TWICE)
FAILURES = (Fault.EIO, Fault.FULL)
FAILURES_EVERY = 8
"""A failure needs a whole life of its own, so a seed tries every eighth operation, and eight seeds try all."""


@dataclass(frozen=True, slots=True, order=True)
class CrashPoint:
    """Everything that decides a crash: number of the operation, kind, seed of the life and of what survives."""

    index: int
    fault: Fault
    seed: int

    def __str__(self) -> str:
        return f"CrashPoint(index={self.index}, fault={self.fault}, seed={self.seed})"

    @classmethod
    def from_text(cls, text: str) -> CrashPoint:
        """Raises ValueError."""
        found = re.fullmatch(r"CrashPoint\(index=(\d+), fault=(\w+), seed=(\d+)\)", text.strip())
        if found is None:
            raise ValueError(f"not a crash point: {text}")
        return cls(int(found[1]), Fault(found[2]), int(found[3]))


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken promise."""

    point: CrashPoint
    what: str

    def __str__(self) -> str:
        return f"{self.point}: {self.what}"


@dataclass(slots=True)
class Exploration:
    """What was tried. `disks` counts lives on different disks: some crashes leave a part the same files."""

    points: int = 0
    disks: int = 0
    findings: list[Finding] = field(default_factory=list)


class Explorer:
    """The crash points of one seed.

    Args:
      folder: for the files of the disks; cleaned up behind each life. In memory if speed matters.
      forget: databases and logs that are never synced, to see whether that is found.
    """

    def __init__(self, seed: int, folder: Path, *, forget: Collection[str] = ()) -> None:
        self.seed = seed
        self.disks = 0
        self._folder = folder
        self._forget = forget
        self._serial = count()
        self._diary, ended = self._first_life(Faults(ignore_syncs_of=forget))
        if ended is not None:
            raise ended
        self._operations = self._diary.disk.done
        self._walks = [_Walk(part, self._operations) for part in PARTS]
        self._known: dict[tuple[object, ...], str | None] = {}

    def points(self, faults: Collection[Fault] = tuple(Fault)) -> Iterator[CrashPoint]:
        """Every point of this seed with one of the faults, in the order of the operations."""
        for index in range(len(self._operations) + 1):
            for fault in Fault:
                if fault in faults and (fault in CRASHES or (index + self.seed) % FAILURES_EVERY == 0):
                    yield CrashPoint(index, fault, self.seed)

    def operation(self, point: CrashPoint) -> Operation | None:
        """What is under way when the crash comes; None after the last one."""
        return self._operations[point.index] if point.index < len(self._operations) else None

    def find(self, point: CrashPoint) -> Finding | None:
        """Crash there, live on, and tell of a broken promise."""
        if point.fault in FAILURES:
            what = self._fail(point)
        else:
            found = (self._crash(point, walk) for walk in self._walks)
            what = next((each for each in found if each is not None), None)
        return None if what is None else Finding(point, what)

    def _crash(self, point: CrashPoint, walk: _Walk) -> str | None:
        walk.go_to(point.index)
        in_flight = walk.in_flight(point.index)
        events = _of(walk.part, self._diary.until(point.index))
        twice = point.fault in (Fault.KILLED, Fault.TWICE)
        settled = point.fault is Fault.LOST or (walk.tree.clean and in_flight is None)
        if not settled:
            return self._live_on(point, walk.part, walk.tree, in_flight, events, f"{point}")
        # What is left follows from the last sync: no need to try it for every operation of another part.
        key = (walk.part.files, walk.synced, len(events), twice)
        if key not in self._known:
            self._known[key] = self._live_on(point, walk.part, walk.tree, None, events, f"{self.seed} {key}")
        return self._known[key]

    def _live_on(
        self,
        point: CrashPoint,
        part: Part,
        tree: FileTree,
        in_flight: Operation | None,
        events: Sequence[Event],
        seed: str,
    ) -> str | None:
        """The lives of one part after a crash. What was broken, None if all is well."""
        rng = random.Random(seed)
        left = tree.after(_SURVIVAL[point.fault], rng, in_flight)
        try:
            if point.fault not in (Fault.KILLED, Fault.TWICE):
                self._live_once(part, left, events, rng, seed)
                return None
            begun = left.copied()
            diary = self._live_once(part, left, events, rng, seed)
            done = diary.disk.done
            # Half of them at the very beginning: what was only read there has been promised without a sync.
            second = rng.randint(0, rng.choice((min(2, len(done)), len(done))))
            for operation in done[:second]:
                begun.do(operation)
            survival = rng.choice((Survival.LOST, Survival.REORDERED))
            left = begun.after(survival, rng, done[second] if second < len(done) else None)
            events = [*events, *_of(part, diary.until(second))]
            self._live_once(part, left, events, rng, f"{seed}, then at {second}")
        except Broken as exc:
            return str(exc)
        return None

    def _live_once(self, part: Part, tree: FileTree, events: Sequence[Event], rng: random.Random, seed: str) -> Diary:
        """Raises Broken."""
        self.disks += 1
        folder = self._fresh()
        try:
            disk = SimDisk.surviving(tree, folder, self.seed, Faults(ignore_syncs_of=self._forget))
            diary, ended = live(disk, part.later_life(events, rng), seed)
            if ended is not None:
                why = str(ended).replace(f"{folder}/", "")  # the same words whenever it is had again
                raise Broken(f"{part.files} cannot be used after the crash: {why}")
            part.check([*events, *(event for _, event in diary.events)])
            return diary
        finally:
            shutil.rmtree(folder)

    def _fail(self, point: CrashPoint) -> str | None:
        """A whole life with a failing disk, and the lives after it."""
        rng = random.Random(f"{point}")
        faults = Faults(ignore_syncs_of=self._forget)
        if point.fault is Fault.EIO:
            faults.error_at = point.index
        else:
            faults.full_at = point.index
        diary, _ended = self._first_life(faults)
        disk = diary.disk
        survival = rng.choice((Survival.LOST, Survival.REORDERED))
        for walk in self._walks:
            tree = disk.tree.only(walk.part.files).after(survival, rng)
            events = _of(walk.part, diary.until(disk.operations))
            try:
                walk.part.check(events)
                self._live_once(walk.part, tree, events, rng, f"{point}")
            except Broken as exc:
                return str(exc)
        return None

    def _first_life(self, faults: Faults) -> tuple[Diary, BaseException | None]:
        folder = self._fresh()
        folder.mkdir()
        try:
            return live(SimDisk(folder, self.seed, faults), first_life(self.seed), f"{self.seed} first")
        finally:
            shutil.rmtree(folder)

    def _fresh(self) -> Path:
        return self._folder / f"{self.seed}-{next(self._serial)}"


class _Walk:
    """The files of one part, operation by operation."""

    def __init__(self, part: Part, operations: Sequence[Operation]) -> None:
        self.part = part
        self._operations = [
            operation if ours else None for operation, ours in zip(operations, _ours(operations, part), strict=True)
        ]
        self._restart()

    def _restart(self) -> None:
        self.tree = FileTree()
        self.synced = 0  # the operation after the last that made something durable
        self._at = 0

    def go_to(self, index: int) -> None:
        """All before `index` done."""
        if index < self._at:
            self._restart()
        while self._at < index:
            operation = self._operations[self._at]
            self._at += 1
            if operation is not None:
                self.tree.do(operation)
                if isinstance(operation, Sync | SyncFolder):
                    self.synced = self._at

    def in_flight(self, index: int) -> Operation | None:
        return self._operations[index] if index < len(self._operations) else None


def explore(
    seeds: Iterable[int],
    folder: Path,
    *,
    points: int | None = None,
    every: int = 1,
    faults: Collection[Fault] = tuple(Fault),
    forget: Collection[str] = (),
    stop_at_first: bool = False,
) -> Exploration:
    """Try `points` crash points of the seeds (None: all), from the first operation of the first seed on.

    Args:
      every: of how many points one is tried.
      forget: see `Explorer`.
    """
    told = Exploration()
    for seed in seeds:
        explorer = Explorer(seed, folder, forget=forget)
        for point in islice(explorer.points(faults), seed % every, None, every):
            if told.points == points or (told.findings and stop_at_first):
                return told
            before = explorer.disks
            finding = explorer.find(point)
            told.points += 1
            told.disks += explorer.disks - before
            if finding is not None:
                told.findings.append(finding)
    return told


_SURVIVAL = {
    Fault.LOST: Survival.LOST,
    Fault.KILLED: Survival.KILLED,
    Fault.TORN: Survival.TORN,
    Fault.REORDERED: Survival.REORDERED,
    Fault.TWICE: Survival.REORDERED,
}


def _of(part: Part, events: Iterable[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, part.promises)]


def _ours(operations: Iterable[Operation], part: Part) -> Iterator[bool]:
    """Whether each operation belongs to the part; a synced folder belongs to all of them."""
    files: set[int] = set()
    for operation in operations:
        match operation:
            case Create(name, file) if name.startswith(part.files):
                files.add(file)
                yield True
            case Create():
                yield False
            case Remove(name) | Rename(name):
                yield name.startswith(part.files)
            case SyncFolder():
                yield True
            case _:
                yield operation.file in files


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m attestrio.sim.crashes", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--points", type=int, default=2_000, help="how many crash points (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default: %(default)s)")
    parser.add_argument("--replay", type=CrashPoint.from_text, metavar="POINT", help="try one point, as it was printed")
    parser.add_argument("--forget", action="append", default=[], metavar="FILE", help="never sync this file")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="attestrio-crashes-") as folder:
        began = perf_counter()
        if given.replay is not None:
            finding = Explorer(given.replay.seed, Path(folder), forget=given.forget).find(given.replay)
            told = Exploration(1, 1, [finding] if finding else [])
        else:
            told = explore(count(given.seed), Path(folder), points=given.points, forget=given.forget)
        took = perf_counter() - began
    for finding in told.findings:
        print(finding)
    rate = f"{told.points / took:.0f} a second"
    print(f"{told.points} crash points ({rate}), {told.disks} disks, {len(told.findings)} promises broken")
    return 1 if told.findings else 0


if __name__ == "__main__":
    sys.exit(main())
