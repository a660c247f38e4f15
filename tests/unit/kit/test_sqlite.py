import errno
import os
import resource
import sqlite3
import threading

import apsw
import pytest
from attestrio.errors import OutOfDescriptors, StorageUnusable
from attestrio.kit import sqlite
from attestrio.kit.sqlite import (
    StorageBusy,
    StorageCorrupt,
    StorageFailed,
    StorageForeign,
    StorageFull,
    StorageNewer,
    StorageUnwritable,
    open_database,
    open_read_only,
    storage_errors,
)
from faulty_disk import FaultyDisk

APP = 0x41545452
SCHEMA = ("CREATE TABLE t(x INTEGER NOT NULL)",)


def opened(path, schema=SCHEMA, application_id=APP, vfs=None):
    return open_database(path, application_id=application_id, schema=schema, vfs=vfs)


def test_a_new_database_is_marked_and_durable(tmp_path):
    connection = opened(tmp_path / "a.db")

    pragmas = {
        name: connection.execute(f"PRAGMA {name}").get
        for name in ("application_id", "user_version", "journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    }
    assert pragmas == {
        "application_id": APP,
        "user_version": 1,
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": sqlite.BUSY_TIMEOUT_MS,
    }


def test_a_reopened_database_gets_only_the_scripts_it_lacks(tmp_path):
    first = opened(tmp_path / "a.db")
    first.execute("INSERT INTO t VALUES (1)")
    first.close()

    second = opened(tmp_path / "a.db", (*SCHEMA, "ALTER TABLE t ADD COLUMN y DEFAULT 9"))

    assert second.execute("SELECT x, y FROM t").get == (1, 9)
    assert second.execute("PRAGMA user_version").get == 2


def test_a_migration_that_fails_leaves_the_former_version(tmp_path):
    opened(tmp_path / "a.db").close()

    with pytest.raises(apsw.SQLError):
        opened(tmp_path / "a.db", (*SCHEMA, "CREATE TABLE u(x); CREATE TABLE u(x)"))

    again = opened(tmp_path / "a.db")
    assert again.execute("PRAGMA user_version").get == 1
    assert again.execute("SELECT count(*) FROM sqlite_schema").get == 1


def test_two_openers_at_once_migrate_once(tmp_path):
    errors = []

    def work():
        try:
            opened(tmp_path / "a.db").close()
        except (StorageUnusable, apsw.Error) as exc:
            errors.append(exc)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert opened(tmp_path / "a.db").execute("SELECT count(*) FROM sqlite_schema").get == 1


@pytest.mark.parametrize("application_id", [0, 77], ids=["unmarked", "marked"])
def test_a_database_of_another_program_is_refused_and_left_as_it_was(tmp_path, application_id):
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA application_id = {application_id}")
    other.execute("CREATE TABLE theirs(x)")
    other.commit()
    other.close()
    before = path.read_bytes()

    with pytest.raises(StorageForeign, match=r"other\.db") as caught:
        opened(path)

    assert (caught.value.got, caught.value.want, caught.value.exit_code) == (application_id, APP, 4)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["other.db"]


def test_a_database_of_a_later_release_is_refused(tmp_path):
    opened(tmp_path / "a.db", (*SCHEMA, "CREATE TABLE u(x)")).close()

    with pytest.raises(StorageNewer, match="schema version 2, this release knows 1"):
        opened(tmp_path / "a.db")


def test_a_text_file_is_refused(tmp_path):
    (tmp_path / "a.db").write_text("listen = 1\n" * 500)

    with pytest.raises(StorageCorrupt, match=r"a\.db"):
        opened(tmp_path / "a.db")


def test_a_damaged_page_is_found_at_opening(tmp_path):
    path = tmp_path / "a.db"
    connection = opened(path)
    connection.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(5000)])
    connection.close()
    raw = bytearray(path.read_bytes())
    raw[2 * 4096 : 3 * 4096] = b"\xa5" * 4096
    path.write_bytes(raw)

    with pytest.raises(StorageCorrupt):
        opened(path)


def test_a_file_cut_short_is_found_at_opening_however_large_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "QUICK_CHECK_MAX_BYTES", 0)
    path = tmp_path / "a.db"
    connection = opened(path)
    connection.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(5000)])
    connection.close()
    path.write_bytes(path.read_bytes()[:8192])

    with pytest.raises(StorageCorrupt):
        opened(path)


@pytest.mark.parametrize("name", ["missing/a.db", "."], ids=["missing-directory", "is-a-directory"])
def test_a_path_that_cannot_hold_a_file_is_refused(tmp_path, name):
    with pytest.raises(StorageUnwritable, match="check the directory and its rights"):
        opened(tmp_path / name)


def test_a_read_only_directory_is_refused():
    with pytest.raises(StorageUnwritable):  # nobody, not even root, makes files there
        opened("/proc/attestrio.db")


def test_everything_read_and_written_goes_through_the_given_disk(tmp_path):
    disk = FaultyDisk()

    connection = opened(tmp_path / "a.db", vfs=disk.name)
    connection.execute("INSERT INTO t VALUES (1)")

    assert disk.calls["sync", "-wal"] >= 2  # the migration and the row: each on disk before it is reported
    assert disk.calls["write", "-wal"] > 0
    assert disk.calls["read", ""] > 0


@pytest.mark.parametrize(
    ("raised", "reported"),
    [
        (apsw.IOError("flush"), StorageFailed),
        (apsw.FullError("full"), StorageFull),
        (OSError(errno.ENOSPC, "full"), StorageFull),
        (OSError(errno.EIO, "flush"), StorageFailed),
        (OSError(errno.EROFS, "read-only"), StorageUnwritable),
        (apsw.ReadOnlyError("read-only"), StorageUnwritable),
        (apsw.CorruptError("bad page"), StorageCorrupt),
        (apsw.BusyError("locked"), StorageBusy),
    ],
    ids=lambda value: str(value) if isinstance(value, BaseException) else value.__name__,
)
def test_a_failing_disk_is_reported_as_what_it_is(raised, reported):
    with pytest.raises(reported, match=r"votes\.db") as caught, storage_errors("votes.db"):
        raise raised

    assert caught.value.__cause__ is raised
    assert caught.value.exit_code == 4


def test_a_mistake_in_the_sql_is_not_taken_for_a_bad_disk(tmp_path):
    connection = opened(tmp_path / "a.db")

    with pytest.raises(apsw.SQLError), storage_errors("a.db"):
        connection.execute("SELECT nothing FROM nowhere")
    with pytest.raises(apsw.ConstraintError), storage_errors("a.db"):
        connection.execute("INSERT INTO t VALUES (NULL)")


def test_a_disk_that_fails_during_the_first_start_leaves_nothing_half_made(tmp_path):
    disk = FaultyDisk()
    disk.fail["sync", "-wal"] = apsw.IOError("flush")
    with pytest.raises(StorageFailed):
        opened(tmp_path / "a.db", vfs=disk.name)
    disk.fail.clear()

    again = opened(tmp_path / "a.db", vfs=disk.name)

    assert again.execute("SELECT count(*) FROM t").get == 0


def test_a_database_locked_by_another_process_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 1)
    first = opened(tmp_path / "a.db")
    first.execute("BEGIN IMMEDIATE")

    with pytest.raises(StorageBusy, match="locked by another process"):
        opened(tmp_path / "a.db", (*SCHEMA, "CREATE TABLE u(x)"))


def test_reading_only_changes_nothing_and_refuses_an_empty_file(tmp_path):
    opened(tmp_path / "a.db").close()
    (tmp_path / "empty.db").touch()

    connection = open_read_only(tmp_path / "a.db", application_id=APP, version=1)

    with pytest.raises(apsw.ReadOnlyError):
        connection.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(StorageCorrupt, match="it is empty"):
        open_read_only(tmp_path / "empty.db", application_id=APP, version=1)
    with pytest.raises(StorageUnwritable):
        open_read_only(tmp_path / "absent.db", application_id=APP, version=1)
    connection.close()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "directory"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, make):
    make(tmp_path / "a.db")

    with pytest.raises(StorageUnwritable, match="no regular file"):
        opened(tmp_path / "a.db")
    with pytest.raises(StorageUnwritable, match="no regular file"):
        open_read_only(tmp_path / "a.db", application_id=APP, version=1)


def test_an_application_id_of_zero_is_a_mistake(tmp_path):
    with pytest.raises(ValueError, match="application_id"):
        opened(tmp_path / "a.db", application_id=0)


class CrowdedDisk(apsw.VFS):
    """A disk on which, just before a file is opened, somebody else takes every descriptor that is left."""

    def __init__(self):
        self.taken = []
        super().__init__("crowded", "")

    def xOpen(self, name, flags):
        used = os.open(os.devnull, os.O_RDONLY)
        self.taken.append(used)
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        try:
            while True:
                self.taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            return super().xOpen(name, flags)


def test_descriptors_that_go_away_while_a_database_is_opened_are_named(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    disk = CrowdedDisk()

    try:
        with pytest.raises(OutOfDescriptors, match=r"a\.db cannot be opened"):
            opened(tmp_path / "a.db", vfs="crowded")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for handle in disk.taken:
            os.close(handle)
        disk.unregister()
