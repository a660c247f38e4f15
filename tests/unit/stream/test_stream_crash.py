"""A crash at every write and sync of a stream file, in every way a disk has of losing what was not synced.

One life is recorded; for each of its operations the disks that a crash there may leave are made, and the stream is
opened on them: what it holds has to be what was promised last, or what was being promised.
"""

from __future__ import annotations

import random
import shutil
from itertools import count

import pytest
from attestrio.errors import StorageUnusable
from attestrio.sim.disk_model import Survival
from attestrio.stream import PAGE
from attestrio.stream.errors import StreamUnreadable
from attestrio.stream.file import StreamFile
from stream_kit import SimStreamDisk, filler

NAME = "s.bin"
BIG = PAGE // 3


class Life:
    """What was promised, each with the number of operations done by then; the numbers are those of the disk."""

    def __init__(self, folder):
        self.disk = SimStreamDisk(folder)
        self.promises = [(0, None)]
        self.file = None

    def promise(self):
        self.promises.append((self.disk.operations, list(self.file.entries())))

    def create(self):
        self.file = StreamFile.create(self.disk.folder / NAME, pages=1, more_pages=1, disk=self.disk)
        self.promise()

    def add(self, *sizes, kind=3):
        with self.file.atomic():
            for size in sizes:
                self.file.add(kind, filler(size)[1])
        self.promise()

    def allowed(self, index):
        """The states that may be found after a crash in operation `index`."""
        done = [state for at, state in self.promises if at <= index]
        return [done[-1], *[state for at, state in self.promises if at > index][:1]]


def whole_life(folder):
    """An atomic operation within a page, one over a page's end with growth, a rollback, truncations, an update."""
    life = Life(folder)
    life.create()
    life.add(100, 700)
    life.add(BIG, BIG, BIG)  # a pad, and a new page
    life.file.begin()
    life.file.add(*filler(BIG))
    life.file.add(*filler(BIG))
    life.file.rollback()
    life.file.truncate(3)
    life.promise()
    life.add(BIG, 600, kind=2)  # over what was truncated
    life.file.update(3, 2, bytes(BIG - 17))
    life.promise()
    life.file.truncate(0)
    life.promise()
    life.add(1000)
    life.file.close()
    return life


def found(disk):
    """What the stream holds after a crash; None where there is none yet."""
    try:
        with StreamFile.open(disk.folder / NAME, disk=disk, more_pages=1) as file:
            return list(file.entries())
    except StreamUnreadable:
        return None


def short_life(folder):
    """One atomic operation."""
    life = Life(folder)
    life.create()
    life.add(100, 700)
    life.file.close()
    return life


class Explorer:
    def __init__(self, tmp_path, live=whole_life):
        self._folder, self._serial = tmp_path, count()
        begun = tmp_path / "begun"
        begun.mkdir()
        self.life = live(begun)
        self.operations = self.life.disk.done

    def after(self, index, survival, seed):
        """The disk that a crash in operation `index` leaves."""
        tree = type(self.life.disk.tree)()
        for operation in self.operations[:index]:
            tree.do(operation)
        under_way = self.operations[index] if index < len(self.operations) else None
        left = tree.after(survival, random.Random(f"{index} {survival} {seed}"), under_way)
        return SimStreamDisk.surviving(left, self._folder / str(next(self._serial)))

    def check(self, index, survival, seed=0):
        allowed = self.life.allowed(index)
        disk = self.after(index, survival, seed)

        held = found(disk)
        assert held in allowed, (index, survival, seed)

        # What was told is kept, also when the power is cut right after.
        again = SimStreamDisk.surviving(
            disk.after_crash(Survival.LOST), self._folder / str(next(self._serial)), disk.seed
        )
        assert found(again) == held, (index, survival, seed)
        if held is not None:
            self._go_on(again, held)
        shutil.rmtree(disk.folder)
        shutil.rmtree(again.folder)

    def _go_on(self, disk, held):
        with StreamFile.open(disk.folder / NAME, disk=disk, more_pages=1) as file:
            with file.atomic():
                file.add(*filler(BIG))
                file.add(*filler(BIG))
            assert list(file.entries())[: len(held)] == held
            assert file.header.total_entries == len(held) + 2


@pytest.mark.slow
@pytest.mark.parametrize("survival", Survival)
def test_a_crash_anywhere_leaves_a_committed_state(tmp_path, survival):
    explorer = Explorer(tmp_path)
    seeds = 4 if survival in (Survival.REORDERED, Survival.TORN) else 1

    for index in range(len(explorer.operations) + 1):
        for seed in range(seeds):
            explorer.check(index, survival, seed)

    assert len(explorer.operations) > 40


@pytest.mark.parametrize("survival", [Survival.LOST, Survival.REORDERED])
def test_a_crash_in_a_commit_leaves_it_whole_or_not_there(tmp_path, survival):
    """The quick part."""
    explorer = Explorer(tmp_path, short_life)

    for index in range(len(explorer.operations) - 5, len(explorer.operations) + 1):
        explorer.check(index, survival)


def test_the_explorer_notices_what_was_not_synced(tmp_path, monkeypatch):
    monkeypatch.setattr("stream_kit.SimPagedFile.sync", lambda self: None)
    explorer = Explorer(tmp_path, short_life)

    with pytest.raises((AssertionError, StorageUnusable)):
        explorer.check(len(explorer.operations), Survival.LOST)


@pytest.mark.slow
def test_the_explorer_notices_a_header_that_goes_before_its_entries(tmp_path, monkeypatch):
    """As it is upstream, where nothing is synced and the disk decides."""

    def commit(file):
        file._write_header(file._draft)
        file._draft = None
        file._file.sync()

    monkeypatch.setattr(StreamFile, "commit", commit)
    explorer = Explorer(tmp_path, short_life)

    def explore():
        for index in range(len(explorer.operations) + 1):
            for seed in range(10):
                explorer.check(index, Survival.REORDERED, seed)

    with pytest.raises((AssertionError, StorageUnusable)):
        explore()
