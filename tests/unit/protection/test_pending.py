"""The note of a rollback that waits."""

import pytest
from attestrio.kit.datadir import DataDirUnwritable
from attestrio.protection.epochs import EpochCause
from attestrio.protection.pending import ROLLBACK, PendingRollback, clear_pending, read_pending, write_pending

WAITS = PendingRollback(3, EpochCause.MOVED_BACKWARDS, "9 -> 7", "genesis_hash:keccak256:00", 2**64 - 1, 12.5)


def test_note_is_there_until_it_is_cleared(tmp_path):
    write_pending(tmp_path, WAITS)
    there = read_pending(tmp_path)

    clear_pending(tmp_path)

    assert there == WAITS
    assert read_pending(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_later_note_takes_the_place_of_the_first(tmp_path):
    write_pending(tmp_path, WAITS)
    later = PendingRollback(4, EpochCause.GENESIS_CHANGED, "", "g", 1, 13.0)

    write_pending(tmp_path, later)

    assert read_pending(tmp_path) == later


def test_clearing_what_is_not_there_does_nothing(tmp_path):
    clear_pending(tmp_path)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b"\xff", b"[" * 60_000, b" " * (1 << 17)])
def test_note_that_cannot_be_read_counts_as_none(tmp_path, caplog, content):
    (tmp_path / ROLLBACK).write_bytes(content)

    assert read_pending(tmp_path) is None
    assert "is not read" in caplog.text


def test_directory_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(DataDirUnwritable, match="ROLLBACK"):
        write_pending(tmp_path / "elsewhere", WAITS)

    (tmp_path / ROLLBACK).mkdir()
    with pytest.raises(DataDirUnwritable, match="ROLLBACK"):
        clear_pending(tmp_path)
