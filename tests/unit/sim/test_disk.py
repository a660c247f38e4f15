import errno
from contextlib import contextmanager

import apsw
import pytest
from attestrio.errors import StorageUnusable
from attestrio.kit.disk import Disk, write_whole
from attestrio.kit.sqlite import StorageFailed, StorageFull, open_database, storage_errors
from attestrio.sim.disk import Faults, SimDisk
from attestrio.sim.disk_model import Create, Remove, Survival, Sync, SyncFolder, Write

SCHEMA = ("CREATE TABLE t(a INTEGER PRIMARY KEY)",)
CUTS = [Survival.LOST, Survival.TORN, Survival.REORDERED]


@pytest.fixture
def folders(tmp_path):
    """New folders, one after the other."""

    def fresh():
        fresh.made += 1
        return tmp_path / str(fresh.made)

    fresh.made = 0
    return fresh


@pytest.fixture
def disk(folders):
    return disk_in(folders())


def disk_in(folder, **faults):
    folder.mkdir()
    return SimDisk(folder, faults=Faults(**faults))


@contextmanager
def opened(disk, name="x.db"):
    connection = open_database(disk.folder / name, application_id=7, schema=SCHEMA, vfs=disk.vfs)
    try:
        yield connection
    finally:
        # What is raised while closing: a crash that came before, which SQLite itself would not tell of.
        try:
            connection.close(True)
        except apsw.Error:
            assert disk.dead or disk.faults != Faults()


def rows_after(disk, folder, survival):
    with opened(disk.crash(folder, survival)) as connection:
        return [a for (a,) in connection.execute("SELECT a FROM t ORDER BY a")]


# --- SQLite


@pytest.mark.parametrize("survival", Survival)
def test_a_committed_row_survives(disk, folders, survival):
    with opened(disk) as connection:
        connection.execute("INSERT INTO t VALUES (1)")

        assert rows_after(disk, folders(), survival) == [1]


@pytest.mark.parametrize("survival", CUTS)
def test_a_row_committed_without_a_sync_may_be_lost(disk, folders, survival):
    with opened(disk) as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("INSERT INTO t VALUES (2)")

        left = [rows_after(disk, folders(), survival) for _ in range(8)]

    assert [1] in left
    assert rows_after(disk, folders(), Survival.KILLED) == [1, 2]


def test_every_crash_of_two_connections_leaves_what_was_committed(folders):
    """The whole of SQLite's doing, from the first file to the last checkpoint, with a second connection that reads."""
    operations = life(disk_in(folders()))[1].operations
    assert operations > 40

    for index in range(operations):
        committed, disk = life(disk_in(folders(), crash_at=index))
        left = rows_after(disk, folders(), Survival.REORDERED)
        assert left[: len(committed)] == committed, index
        assert len(left) <= len(committed) + 1, index


def life(disk):
    committed = []
    try:
        with opened(disk) as writer, opened(disk) as reader:
            for row in range(4):
                with storage_errors("x.db"):
                    writer.execute("INSERT INTO t VALUES (?)", (row,))
                committed.append(row)
                if row == 2:
                    writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            assert reader.execute("SELECT count(*) FROM t").get == 4
    except (StorageUnusable, apsw.Error):
        assert disk.dead
    return committed, disk


def test_the_wal_and_its_name_are_synced_with_the_first_commit(disk):
    with opened(disk):
        names = {operation.file: operation.name for operation in disk.done if isinstance(operation, Create)}
        synced = [
            names[before.file]
            for before, operation in zip(disk.done, disk.done[1:], strict=False)
            if isinstance(operation, SyncFolder) and isinstance(before, Sync)
        ]

    assert synced == ["x.db-journal", "x.db-wal"]


def test_the_shared_memory_is_not_on_the_disk(disk):
    with opened(disk):
        assert (disk.folder / "x.db-shm").exists()
        assert set(disk.tree.names()) == {"x.db", "x.db-wal"}


def test_what_processes_see_is_what_the_model_says(disk):
    with opened(disk) as connection:
        for row in range(20):
            connection.execute("INSERT INTO t VALUES (?)", (row,))
        view = disk.tree.view()
        assert view == {name: (disk.folder / name).read_bytes() for name in ("x.db", "x.db-wal")}

    assert disk.tree.view() == {"x.db": (disk.folder / "x.db").read_bytes()}


def test_after_the_crash_everything_fails_and_nothing_changes(folders):
    disk = disk_in(folders())
    with opened(disk) as connection:
        disk.faults.crash_at = disk.operations
        before = disk.tree.view()

        for _ in range(2):
            with pytest.raises(StorageFailed), storage_errors("x.db"):
                connection.execute("INSERT INTO t VALUES (1)")

    assert disk.dead
    assert disk.tree.view() == before


def test_a_full_disk_is_told_as_full_and_reads_go_on(folders):
    disk = disk_in(folders())
    with opened(disk) as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        disk.faults.full_at = disk.operations

        with pytest.raises(StorageFull), storage_errors("x.db"):
            connection.execute("INSERT INTO t VALUES (2)")

        assert connection.execute("SELECT a FROM t").get == 1


def test_a_failed_sync_is_told_once_and_what_it_had_may_be_lost(folders):
    left = set()
    for seed in range(20):
        disk = disk_in(folders())
        disk = SimDisk(disk.folder, seed)
        with opened(disk) as connection:
            connection.execute("INSERT INTO t VALUES (1)")
            writes = count_until_sync(disk, connection)
            disk.faults.error_at = disk.operations + writes
            with pytest.raises(StorageFailed), storage_errors("x.db"):
                connection.execute("INSERT INTO t VALUES (3)")
            assert isinstance(disk.done[-1], Write)
            left.add(tuple(rows_after(disk, folders(), Survival.LOST)))

    assert left == {(1, 2), (1, 2, 3)}


def count_until_sync(disk, connection):
    """How many operations a one-row commit makes before its sync."""
    before = disk.operations
    connection.execute("INSERT INTO t VALUES (2)")
    return next(at for at, operation in enumerate(disk.done[before:]) if isinstance(operation, Sync))


def test_a_disk_that_lies_about_syncs_loses_committed_rows(folders):
    disk = disk_in(folders(), ignore_syncs_of=["x.db"])
    with opened(disk) as connection:
        connection.execute("INSERT INTO t VALUES (1)")

        assert rows_after(disk, folders(), Survival.LOST) == []


def test_a_slow_disk_takes_its_time_for_every_sync(folders):
    slept = []
    disk = disk_in(folders(), sync_s=0.002, sleep=slept.append)
    with opened(disk) as connection:
        del slept[:]

        connection.execute("INSERT INTO t VALUES (1)")

    assert slept[:1] == [0.002]
    assert len([each for each in slept if each != 0.002]) == 0


def test_temporary_files_are_no_business_of_the_disk(disk):
    with opened(disk) as connection:
        connection.execute("PRAGMA temp_store = FILE")
        before = disk.operations

        connection.execute("CREATE TEMP TABLE u(a)")
        connection.execute("PRAGMA temp.cache_size = 1")
        connection.execute("BEGIN")
        for _ in range(50):
            connection.execute("INSERT INTO u VALUES (randomblob(4000))")
        assert connection.status(apsw.SQLITE_DBSTATUS_CACHE_SPILL)[0] > 0
        connection.execute("COMMIT")

        assert disk.operations == before


def test_the_same_seed_leaves_the_same_disk(folders):
    def one():
        disk = disk_in(folders())
        file = disk.open(disk.folder / "log")
        for index in range(20):
            file.append(bytes([index]) * 700)
        file.close()
        disk.sync_folder(disk.folder)
        return disk.crash(folders()).tree.view()

    assert one() == one() != {}


# --- plain files


def test_a_log_keeps_what_was_synced(disk, folders):
    file = disk.open(disk.folder / "log")
    file.append(b"one\n")
    file.sync()
    disk.sync_folder(disk.folder)
    file.append(b"two\n")

    assert (file.size(), file.read(0, 100), file.read(4, 2)) == (8, b"one\ntwo\n", b"tw")
    left = disk.crash(folders(), Survival.LOST)
    assert left.read(left.folder / "log", 100) == b"one\n"
    file.close()


def test_a_log_without_a_synced_folder_is_gone(disk, folders):
    file = disk.open(disk.folder / "log")
    file.append(b"one\n")
    file.sync()
    file.close()

    assert disk.crash(folders(), Survival.LOST).tree.view() == {}


def test_a_truncated_log_may_have_its_end_back(disk, folders):
    file = disk.open(disk.folder / "log")
    file.append(b"one\ntw")
    file.sync()
    disk.sync_folder(disk.folder)

    file.truncate(4)

    assert file.read(0, 100) == b"one\n"
    assert disk.crash(folders(), Survival.LOST).tree.view() == {"log": b"one\ntw"}
    file.sync()
    assert disk.crash(folders(), Survival.LOST).tree.view() == {"log": b"one\n"}
    file.close()


def test_a_file_written_whole_is_the_old_or_the_new_one_after_every_crash(folders):
    def writing(**faults):
        disk = disk_in(folders())
        write_whole(disk, disk.folder / "HALT", b"old" * 400)
        first = disk.operations
        if "after" in faults:
            disk.faults.crash_at = first + faults["after"]
        try:
            write_whole(disk, disk.folder / "HALT", b"new" * 400)
        except OSError:
            assert disk.dead
        return disk, disk.operations - first

    operations = writing()[1]
    seen = set()
    for index in range(operations + 1):
        for survival in Survival:
            disk, _ = writing(after=index)
            left = disk.crash(folders(), survival)
            seen.add(left.read(left.folder / "HALT", 10_000))
            if index == operations:
                assert left.tree.view()["HALT"] == b"new" * 400

    assert seen == {b"old" * 400, b"new" * 400}


def test_removed_and_renamed_files_are_refused_when_they_are_not_there(disk):
    for act in (
        lambda: disk.remove(disk.folder / "none"),
        lambda: disk.rename(disk.folder / "none", disk.folder / "x"),
    ):
        with pytest.raises(FileNotFoundError):
            act()

    assert disk.operations == 0


def test_a_removed_file_is_gone_once_the_folder_is_synced(disk, folders):
    write_whole(disk, disk.folder / "HALT", b"x")

    disk.remove(disk.folder / "HALT")

    assert isinstance(disk.done[-1], Remove)
    assert disk.crash(folders(), Survival.LOST).tree.view() == {"HALT": b"x"}
    disk.sync_folder(disk.folder)
    assert disk.crash(folders(), Survival.LOST).tree.view() == {}


def test_a_file_that_is_too_long_is_not_read(disk):
    write_whole(disk, disk.folder / "HALT", b"12345")

    with pytest.raises(OSError) as refused:  # noqa: PT011  the number is looked at
        disk.read(disk.folder / "HALT", 4)

    assert refused.value.errno == errno.EFBIG
    assert disk.read(disk.folder / "HALT", 5) == b"12345"


def test_an_append_on_a_full_disk_changes_nothing(folders):
    disk = disk_in(folders(), full_at=3)
    file = disk.open(disk.folder / "log")
    file.append(b"one")
    file.sync()

    with pytest.raises(OSError) as refused:  # noqa: PT011  the number is looked at
        file.append(b"two")

    assert refused.value.errno == errno.ENOSPC
    assert file.read(0, 10) == b"one"
    file.truncate(1)  # what does not grow still works
    file.close()


def test_what_is_not_on_the_disk_is_refused(disk, tmp_path):
    with pytest.raises(ValueError, match="elsewhere"):
        disk.open(tmp_path / "elsewhere")


def test_a_closed_file_says_so(disk):
    file = disk.open(disk.folder / "log")
    file.close()
    file.close()

    with pytest.raises(ValueError, match="closed"):
        file.append(b"x")


def typed(disk: SimDisk) -> Disk:
    """For mypy: a SimDisk is a Disk."""
    return disk
