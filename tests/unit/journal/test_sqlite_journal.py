"""The SQLite journal below its contract: a disk that is full or dies, and kill -9."""

import random
import signal
import subprocess
import sys

import pytest
import trio
from attestrio.errors import StorageUnusable, leaves
from attestrio.journal import FencedOff, Item, Limits, Put, SqliteJournal, TopicCount, Work, rows
from attestrio.journal.sqlite import StorageEmptied
from attestrio.kit.blocking import inline
from attestrio.kit.sqlite import StorageForeign, open_database
from attestrio.sim.disk import SimDisk
from attestrio.sim.disk_model import Survival
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples


def item(number: int) -> Item:
    return Item(number.to_bytes(4, "big"), b"body %d" % number)


async def test_a_full_disk_is_named_and_what_was_promised_is_still_there(tmp_path):
    (tmp_path / "disk").mkdir()
    disk = SimDisk(tmp_path / "disk")
    journal = SqliteJournal(disk.folder / "journal.db", inline, vfs=disk.vfs)
    promised = 0

    with pytest.RaisesGroup(StorageUnusable, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await nursery.start(journal.run)
            for number in range(5):
                await journal.append("jobs", [item(number)], cursor=("c", b"%d" % number))
                promised += 1
            disk.faults.full_at = disk.operations
            with pytest.raises(StorageUnusable):
                await journal.append("jobs", [Item(b"big", bytes(100_000))], cursor=("c", b"never"))

    disk.faults.full_at = None
    again = SqliteJournal(disk.folder / "journal.db", inline, vfs=disk.vfs)
    async with trio.open_nursery() as nursery:
        await nursery.start(again.run)
        assert await again.count("jobs") == TopicCount(promised, 0)
        assert await again.cursor("c") == b"4"
        await again.close()


async def test_a_disk_that_fails_to_sync_ends_the_journal(tmp_path):
    (tmp_path / "disk").mkdir()
    disk = SimDisk(tmp_path / "disk")
    journal = SqliteJournal(disk.folder / "journal.db", inline, vfs=disk.vfs)

    with pytest.RaisesGroup(StorageUnusable, StorageUnusable, flatten_subgroups=True) as group:
        async with trio.open_nursery() as nursery:
            await nursery.start(journal.run)
            disk.faults.error_at = disk.operations
            await journal.append("jobs", [item(1)])

    assert {type(leaf).code for leaf in leaves(group.value)} == {"storage_failed"}


async def test_the_database_of_another_part_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "other.db"
    open_database(path, application_id=77, schema=("CREATE TABLE theirs(x)",)).close()
    before = path.read_bytes()

    with pytest.raises(StorageForeign):
        await SqliteJournal(path, inline).run()

    assert path.read_bytes() == before


async def test_an_emptied_file_is_not_taken_for_a_new_journal(tmp_path, nursery):
    path = tmp_path / "journal.db"
    journal = SqliteJournal(path, inline)
    await nursery.start(journal.run)
    assert path.stat().st_size > 0
    await journal.append("jobs", [item(1)])
    await journal.close()
    path.write_bytes(b"")

    with pytest.raises(StorageEmptied, match="was a journal and is empty: restore it from a backup, or remove it"):
        await SqliteJournal(path, inline).run()

    assert path.read_bytes() == b""


@pytest.mark.parametrize("what", ["killed while it was made", "moved away"])
async def test_a_file_that_is_new_or_was_moved_away_is_begun_anew(tmp_path, nursery, what):
    path = tmp_path / "journal.db"
    if what == "moved away":
        before = SqliteJournal(path, inline)
        await nursery.start(before.run)
        await before.close()
        path.rename(tmp_path / "kept.db")
    else:
        path.touch()

    journal = SqliteJournal(path, inline)
    await nursery.start(journal.run)

    assert await journal.count("jobs") == TopicCount(0, 0)
    await journal.close()


async def test_a_file_from_before_there_were_leads_is_brought_up_to_date_with_everything_in_it(tmp_path):
    path = tmp_path / "journal.db"
    old = open_database(path, application_id=rows.APPLICATION_ID, schema=rows.SCHEMA[:1])
    with old:
        rows.append(old, Work("jobs", [item(1)]), Limits())
        rows.set_cursor(old, ("c", b"7"))
    old.close()

    journal = SqliteJournal(path, inline)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        fence = await journal.lead("sender", "me", 60.0)

        assert await journal.append("jobs", [item(2)], fence=fence) == 1
        assert await journal.count("jobs") == TopicCount(2, 0)
        assert await journal.cursor("c") == b"7"
        await journal.close()


async def test_two_processes_with_one_file_agree_on_who_leads(tmp_path, autojump_clock):
    one, two = (SqliteJournal(tmp_path / "journal.db", inline, clock=trio.current_time) for _ in range(2))
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await nursery.start(two.run)
        old = await one.lead("sender", "one", 10.0)
        assert await two.lead("sender", "two", 10.0) is None
        await trio.sleep(11)
        new = await two.lead("sender", "two", 10.0)

        with pytest.raises(FencedOff):
            await one.append("jobs", [item(1)], fence=old)

        assert await two.append("jobs", [item(2)], fence=new) == 1
        assert not await one.knows("jobs", item(1).key)
        await one.close()
        await two.close()


async def pipeline(journal: SqliteJournal, told: list[int], upto: int) -> None:
    """Numbers go from `in` to `out`, the cursor beside them; `told` is what was promised to have arrived."""
    begin = int(await journal.cursor("source") or b"0")
    for number in range(begin, upto):
        await journal.append("in", [item(number)], cursor=("source", b"%d" % (number + 1)))
        for work in await journal.lease("in", "me", 2, 60.0):
            put = [Put("seen", work.key, b"%d" % work.attempt)]
            await journal.ack("in", [work.key], append=[Work("out", [Item(work.key, work.body)])], put=put)
            told.append(int.from_bytes(work.key, "big"))


@pytest.mark.slow
@settings(max_examples=examples(40))
@given(crashes=st.lists(st.integers(1, 150), min_size=1, max_size=4), seed=st.integers(0, 2**32))
async def test_a_crash_at_any_operation_of_the_disk_loses_nothing_promised_and_doubles_nothing(
    tmp_path_factory, crashes, seed
):
    folder, rng = tmp_path_factory.mktemp("crash"), random.Random(seed)
    (folder / "0").mkdir()
    disk, told = SimDisk(folder / "0", seed=seed), []
    for life, after in enumerate(crashes, 1):
        disk.faults.crash_at = disk.operations + after
        try:
            async with trio.open_nursery() as nursery:
                journal = SqliteJournal(disk.folder / "journal.db", inline, vfs=disk.vfs)
                await nursery.start(journal.run)
                await journal.abandon("me")
                await pipeline(journal, told, 12)
                await journal.close()
        except* (OSError, StorageUnusable):
            pass
        disk = disk.crash(folder / str(life), rng.choice(list(Survival)))

    async with trio.open_nursery() as nursery:
        journal = SqliteJournal(disk.folder / "journal.db", inline, vfs=disk.vfs)
        await nursery.start(journal.run)
        await journal.abandon("me")
        await pipeline(journal, told, 12)
        while left := await journal.lease("in", "me", 9, 60.0):
            for work in left:
                await journal.ack("in", [work.key], append=[Work("out", [Item(work.key, work.body)])])
        out = [int.from_bytes(one.key, "big") for one in await journal.listed("out", 99)]
        await journal.close()

    assert sorted(out) == list(range(12))
    assert set(told) <= set(out)


CHILD = """
import sys, trio
from attestrio.journal import Item, SqliteJournal

async def main():
    journal = SqliteJournal(sys.argv[1])
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        number = int(await journal.cursor("c") or b"0")
        while True:
            number += 1
            await journal.append("jobs", [Item(b"%d" % number)], cursor=("c", b"%d" % number))
            print(number, flush=True)

trio.run(main)
"""


def run_and_kill(path) -> int:
    """The last number that the child said was on disk."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        last = [int(child.stdout.readline()) for _ in range(20)][-1]
    finally:
        child.send_signal(signal.SIGKILL)
        rest = child.communicate()[0].rpartition("\n")[0].split()
    return int(rest[-1]) if rest else last


@pytest.mark.slow
async def test_kill_9_loses_nothing_that_was_promised(tmp_path):
    path = tmp_path / "journal.db"
    last = max([run_and_kill(path) for _ in range(3)])

    journal = SqliteJournal(path)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        count, cursor = await journal.count("jobs"), int(await journal.cursor("c"))
        await journal.close()

    assert cursor >= last >= 60
    assert count == TopicCount(cursor, 0)
