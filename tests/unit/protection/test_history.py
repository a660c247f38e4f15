"""When a key may sign without a past: a first start, or the operator's word; a crash in between changes nothing."""

import os

import apsw
import pytest
from attestrio.errors import SetupError, StorageUnusable
from attestrio.protection import history
from attestrio.protection.history import (
    HISTORY,
    HistoryMissing,
    MarkerStuck,
    mark_unused,
    marker_of,
    open_history,
)
from protection_kit import GENESIS, KEY, OTHER_KEY, batch_of, opened

PUBLIC = KEY.public()


@pytest.fixture
def data_dir(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def key_file(tmp_path):
    """Of a key as `keys generate` leaves it."""
    file = tmp_path / "attester.key"
    file.write_text(KEY.to_text())
    mark_unused(file, PUBLIC)
    return file


def test_the_first_start_begins_the_history_and_uses_the_marker_up(data_dir, key_file):
    assert marker_of(key_file).name == "attester.key.unused"

    path = open_history(data_dir, PUBLIC, key_file=key_file)

    assert path == data_dir / HISTORY
    assert path.exists()
    assert not marker_of(key_file).exists()
    assert key_file.exists()


def test_later_starts_need_no_marker(data_dir, key_file):
    for _ in range(3):
        open_history(data_dir, PUBLIC, key_file=key_file)


async def test_the_record_signs_with_the_key_after_the_history_is_open(data_dir, key_file):
    async with opened(open_history(data_dir, PUBLIC, key_file=key_file), keys=()) as record:
        await record.open_epoch(GENESIS, 0, "start")

        (await record.sign(KEY, batch_of(1), epoch=1)).verify()


def test_a_lost_history_ends_the_start_with_71_and_nothing_is_made(data_dir, key_file):
    open_history(data_dir, PUBLIC, key_file=key_file).unlink()

    with pytest.raises(HistoryMissing) as refused:
        open_history(data_dir, PUBLIC, key_file=key_file)

    assert isinstance(refused.value, SetupError)
    assert refused.value.exit_code == 71
    assert "--init-protection" in str(refused.value)
    assert "second hash" in str(refused.value)
    assert KEY.to_bytes().hex() not in str(refused.value)
    assert list(data_dir.iterdir()) == []


def test_a_history_that_does_not_know_the_key_counts_as_missing(data_dir, key_file):
    open_history(data_dir, OTHER_KEY.public(), init=True)
    marker_of(key_file).unlink()

    with pytest.raises(HistoryMissing, match="does not know"):
        open_history(data_dir, PUBLIC, key_file=key_file)


def test_a_second_key_with_its_marker_joins_the_history(data_dir, key_file):
    open_history(data_dir, OTHER_KEY.public(), init=True)

    open_history(data_dir, PUBLIC, key_file=key_file)

    for key in (PUBLIC, OTHER_KEY.public()):
        open_history(data_dir, key)


def test_the_operators_word_is_needed_once(data_dir):
    with pytest.raises(HistoryMissing):
        open_history(data_dir, PUBLIC)  # a key from the environment has no marker

    open_history(data_dir, PUBLIC, init=True)

    open_history(data_dir, PUBLIC)


def test_a_flag_that_was_left_on_is_told(data_dir, caplog):
    open_history(data_dir, PUBLIC, init=True)
    assert caplog.text == ""

    open_history(data_dir, PUBLIC, init=True)

    assert "take --init-protection out" in caplog.text


def test_a_marker_of_another_key_says_nothing(data_dir, key_file):
    marker_of(key_file).write_text(OTHER_KEY.public().to_text() + "\n")

    with pytest.raises(HistoryMissing):
        open_history(data_dir, PUBLIC, key_file=key_file)

    assert marker_of(key_file).exists()


def test_a_marker_that_cannot_be_read_says_nothing(data_dir, key_file):
    marker_of(key_file).unlink()
    marker_of(key_file).mkdir()

    with pytest.raises(HistoryMissing):
        open_history(data_dir, PUBLIC, key_file=key_file)


def test_a_new_key_gets_its_own_marker_over_a_stale_one(data_dir, key_file):
    mark_unused(key_file, OTHER_KEY.public())

    open_history(data_dir, OTHER_KEY.public(), key_file=key_file)

    assert not marker_of(key_file).exists()


def test_a_marker_that_cannot_be_removed_ends_the_start(data_dir, key_file, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(history.os, "unlink", refuse)

    for _ in range(2):  # and the next one, although the history knows the key by now
        with pytest.raises(MarkerStuck) as stuck:
            open_history(data_dir, PUBLIC, key_file=key_file)
    assert stuck.value.marker == marker_of(key_file)


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize(
    ("owner", "name"),
    [(history, "open_database"), (history.rows, "add_attester"), (history, "sync_folder"), (os, "unlink")],
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_step_of_the_first_start_is_made_good_by_the_next(
    data_dir, key_file, monkeypatch, owner, name, after
):
    real = getattr(owner, name)

    def crash(*args, **kwargs):
        if after:
            real(*args, **kwargs)
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, crash)
        with pytest.raises(Crash):
            open_history(data_dir, PUBLIC, key_file=key_file)
    marked = marker_of(key_file).exists()

    path = open_history(data_dir, PUBLIC, key_file=key_file)

    assert not marker_of(key_file).exists()
    assert apsw.Connection(str(path)).execute("SELECT count(*) FROM attesters").get == 1
    assert marked or (owner, name, after) == (os, "unlink", True)


def test_a_marker_goes_only_after_the_history_is_committed(data_dir, key_file, monkeypatch):
    committed = []
    unlink = os.unlink

    def look(path):
        with apsw.Connection(str(data_dir / HISTORY)) as reader:
            committed.append(reader.execute("SELECT attester FROM attesters").get)
        unlink(path)

    monkeypatch.setattr(history.os, "unlink", look)

    open_history(data_dir, PUBLIC, key_file=key_file)

    assert committed == [PUBLIC.raw]


def test_a_file_that_is_no_history_is_left_alone(data_dir, key_file):
    (data_dir / HISTORY).write_bytes(b"notes of the operator" * 100)

    with pytest.raises(StorageUnusable):
        open_history(data_dir, PUBLIC, key_file=key_file)

    assert (data_dir / HISTORY).read_bytes().startswith(b"notes")
    assert marker_of(key_file).exists()


def test_the_history_is_looked_for_on_the_disk_it_is_on(data_dir, key_file):
    disk = apsw.VFS("same-disk", "")

    open_history(data_dir, PUBLIC, key_file=key_file, vfs="same-disk").unlink()

    with pytest.raises(HistoryMissing):
        open_history(data_dir, PUBLIC, key_file=key_file, vfs="same-disk")
    disk.unregister()
