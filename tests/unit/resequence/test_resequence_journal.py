"""The copy of what was removed, and the record: whole or not there, and never taken for something else."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from attestrio.resequence.errors import JournalUnusable
from attestrio.resequence.journal import Journal, prefix_digest
from attestrio.resequence.record import Phase, Record
from attestrio.sim.disk import SimDisk
from attestrio.sim.disk_model import Survival
from attestrio.stream import PAGE, Entry
from attestrio.stream.file import StreamFile
from resequence_kit import site_a

RECORD = Record(
    phase=Phase.RECORDED,
    kept_batch=1,
    kept_block=1,
    kept_hash="11" * 32,
    kept_time=5,
    kept_progress=2,
    first_entry=13,
    whole=3,
    strict=True,
    reuse_l1_info_index=False,
    recipe="22" * 32,
    batches=1,
    blocks=1,
    last_batch=2,
    entries=3,
    size=60,
    sha256="33" * 32,
    prefix_sha256="44" * 32,
)


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "stream.bin")


def some_entries(count=3, size=100, first=13):
    return [Entry(first + at, 3, bytes([at % 256]) * size) for at in range(count)]


def recorded(journal, entries, first=13):
    """A record that fits the copy."""
    count, size, digest = journal.copy(iter(entries))
    return journal.put(replace(RECORD, first_entry=first, entries=count, whole=count - 1, size=size, sha256=digest))


def test_without_a_rebuild_there_is_no_record(journal):
    assert journal.record() is None
    assert journal.unfinished() is None


@pytest.mark.parametrize("phase", Phase)
def test_a_record_is_read_as_it_was_written(journal, phase):
    record = journal.put(replace(RECORD, phase=phase, why="because"))

    assert journal.record() == record
    assert (journal.unfinished() == record) is (phase in ("recorded", "rebuilding", "restoring"))


def test_the_copy_gives_the_entries_back_all_of_them_or_the_whole_ones(journal):
    entries = some_entries()
    record = recorded(journal, entries)

    journal.check(record)
    assert list(journal.removed(record)) == entries
    assert list(journal.removed(record, whole=True)) == entries[:2]


def test_entries_as_long_as_a_page_and_more_of_them_than_a_chunk_come_back(journal):
    entries = some_entries(12_000, 200)
    entries[7] = Entry(20, 3, bytes(PAGE - 17))
    record = recorded(journal, entries)

    assert list(journal.removed(record)) == entries


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw + b"\0", lambda raw: b"\3" + raw[1:]])
def test_a_copy_that_was_changed_is_refused(journal, damage):
    record = recorded(journal, some_entries())
    journal.removed_path.write_bytes(damage(journal.removed_path.read_bytes()))

    with pytest.raises(JournalUnusable, match="not the copy"):
        journal.check(record)
    with pytest.raises(JournalUnusable):
        list(journal.removed(record))


def test_a_copy_that_is_gone_is_refused(journal):
    record = recorded(journal, some_entries())
    journal.removed_path.unlink()

    with pytest.raises(JournalUnusable, match="No such file"):
        journal.check(record)


@pytest.mark.parametrize(
    "damage",
    [
        lambda told: told | {"phase": "asleep"},
        lambda told: told | {"format": "attestrio rebuild 2"},
        lambda told: told | {"kept_batch": "1"},
        lambda told: told | {"kept_batch": True},
        lambda told: told | {"strict": 1},
        lambda told: told | {"more": 1},
        lambda told: {name: value for name, value in told.items() if name != "why"},
        lambda told: [told],
    ],
)
def test_a_record_that_is_none_is_refused(journal, damage):
    journal.put(RECORD)
    told = json.loads(journal.record_path.read_text())
    journal.record_path.write_text(json.dumps(damage(told)))

    with pytest.raises(JournalUnusable, match="not the record"):
        journal.record()


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[" * 50_000])
def test_a_record_that_is_no_json_is_refused(journal, raw):
    journal.record_path.write_bytes(raw)

    with pytest.raises(JournalUnusable, match="not the record"):
        journal.record()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    journal = Journal(tmp_path / "gone" / "stream.bin")

    with pytest.raises(JournalUnusable, match="gone"):
        journal.put(RECORD)
    with pytest.raises(JournalUnusable, match="gone"):
        journal.copy(iter(some_entries()))


def test_a_journal_is_forgotten_but_not_while_it_is_needed(journal):
    record = recorded(journal, some_entries())
    with pytest.raises(RuntimeError, match="under way"):
        journal.forget()

    journal.put(replace(record, phase=Phase.DONE))
    journal.forget()
    journal.forget()

    assert journal.record() is None
    assert not journal.removed_path.exists()


def test_the_journal_is_beside_the_file_whatever_link_leads_there(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "s.bin").touch()
    (tmp_path / "link.bin").symlink_to(tmp_path / "disk" / "s.bin")

    assert Journal(tmp_path / "link.bin").record_path == tmp_path / "disk" / "s.bin.resequence"


def test_the_digest_of_what_stands_before_an_entry_tells_every_change_there(tmp_path):
    with StreamFile.create(tmp_path / "s.bin", pages=2) as file:
        with file.atomic():
            for size in (100, PAGE // 2, PAGE // 2, 100):
                file.add(3, bytes(size))
        before = [prefix_digest(file, number) for number in range(5)]
        file.update(2, 3, b"\1" * (PAGE // 2))

        after = [prefix_digest(file, number) for number in range(5)]

        file.truncate(2)
        with file.atomic():
            file.add(3, b"\2" * (PAGE // 2))
        again = [prefix_digest(file, number) for number in range(3)]

    assert len(set(before)) == 5
    assert again == before[:3]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, True, True, False, False]


# --- a crash


def after_crash(disk, index, survival, seed, folder):
    """The disk that a crash in operation `index` leaves."""
    tree = type(disk.tree)()
    for operation in disk.done[:index]:
        tree.do(operation)
    left = tree.after(survival, random.Random(f"{index} {survival} {seed}"), disk.done[index])
    return SimDisk.surviving(left, folder)


@pytest.mark.parametrize("survival", Survival)
def test_after_a_power_cut_a_record_always_has_its_copy(tmp_path, survival):
    (tmp_path / "begun").mkdir()
    disk = SimDisk(tmp_path / "begun")
    journal = Journal(disk.folder / "s.bin", disk=disk)
    first = recorded(journal, some_entries())
    done = journal.put(replace(first, phase=Phase.DONE))
    second = recorded(journal, some_entries(5, first=20), first=20)
    promised = {first, done, second}

    for index in range(len(disk.done)):
        for seed in range(3):
            left = after_crash(disk, index, survival, seed, tmp_path / f"{index}-{seed}")
            found = Journal(left.folder / "s.bin", disk=left)
            record = found.record()
            assert record is None or record in promised
            if record is not None and record.unfinished:
                found.check(record)


# --- a stream that is not the one


def test_a_journal_of_another_stream_is_refused_and_nothing_is_touched(tmp_path):
    with site_a(tmp_path) as site:
        before = site.state()
        recorded(site.journal, some_entries())

        with pytest.raises(JournalUnusable, match="another stream"):
            site.run()

        assert site.state() == before
