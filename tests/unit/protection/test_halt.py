"""The HALT file: a safety stop outlives every restart until somebody acknowledges it."""

import json
import stat

import pytest
from attestrio.errors import SafetyError, SetupError, StorageUnusable
from attestrio.protection.halt import (
    HALT,
    RESERVE,
    Halted,
    NotHalted,
    read_halt,
    refuse_if_halted,
    repair,
    reserve,
    write_halt,
)
from attestrio.sim.disk import Faults, SimDisk
from attestrio.sim.disk_model import Survival


class CloneSeen(SafetyError):
    """A reason to halt."""

    code = "clone_seen"


REASON = CloneSeen("a vote of ours for batch 7 that is not on record")
EVIDENCE = {"vote": "00ff", "number": 7}


def test_a_node_without_a_halt_file_may_start(tmp_path):
    refuse_if_halted(tmp_path)

    assert read_halt(tmp_path) is None


def test_a_halted_node_is_refused_each_time_and_told_why(tmp_path):
    write_halt(tmp_path, REASON, EVIDENCE, at=12.5)

    for _ in range(2):
        with pytest.raises(Halted) as refused:
            refuse_if_halted(tmp_path)
    assert refused.value.exit_code == 70
    assert "a vote of ours for batch 7" in str(refused.value)
    assert "clone_seen" in str(refused.value)
    assert "protection repair --ack" in str(refused.value)


def test_the_file_is_json_with_the_evidence_and_only_the_operator_reads_it(tmp_path):
    path = write_halt(tmp_path, REASON, EVIDENCE, at=12.5)

    assert json.loads(path.read_text()) == {
        "code": "clone_seen", "sentence": str(REASON), "evidence": EVIDENCE, "at": 12.5,
    }  # fmt: skip
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [HALT]


def test_the_first_reason_stays(tmp_path):
    write_halt(tmp_path, REASON, EVIDENCE, at=1.0)

    write_halt(tmp_path, CloneSeen("another"), {}, at=2.0)

    assert read_halt(tmp_path).sentence == str(REASON)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"{}", b"[" * 100_000, b" " * (2 << 20)])
def test_a_halt_file_that_cannot_be_read_halts_too(tmp_path, content):
    (tmp_path / HALT).write_bytes(content)

    with pytest.raises(Halted) as refused:
        refuse_if_halted(tmp_path)
    assert refused.value.note is None
    assert repair(tmp_path, ack=True).read_bytes() == content


def test_a_halt_file_that_leads_nowhere_halts_too(tmp_path):
    (tmp_path / HALT).symlink_to(tmp_path / "gone")

    with pytest.raises(Halted):
        refuse_if_halted(tmp_path)


def test_an_acknowledged_halt_is_kept_under_its_date(tmp_path):
    write_halt(tmp_path, REASON, EVIDENCE, at=1.0)

    kept = repair(tmp_path, ack=True, at=0.0)

    refuse_if_halted(tmp_path)
    assert kept.name == "HALT.19700101T000000Z"
    assert json.loads(kept.read_text())["code"] == "clone_seen"


def test_an_older_archive_is_never_overwritten(tmp_path):
    names = []
    for at in (1.0, 2.0, 3.0):
        write_halt(tmp_path, REASON, EVIDENCE, at=at)
        names.append(repair(tmp_path, ack=True, at=0.0).name)

    assert names == [f"HALT.19700101T000000Z{more}" for more in ("", ".1", ".2")]
    assert [json.loads((tmp_path / name).read_text())["at"] for name in names] == [1.0, 2.0, 3.0]


def test_without_acknowledgement_nothing_changes(tmp_path):
    write_halt(tmp_path, REASON, EVIDENCE)

    with pytest.raises(Halted, match="clone_seen"):
        repair(tmp_path, ack=False)
    with pytest.raises(Halted):
        refuse_if_halted(tmp_path)


def test_a_node_that_is_not_halted_cannot_be_repaired(tmp_path):
    with pytest.raises(NotHalted) as refused:
        repair(tmp_path, ack=True)
    assert isinstance(refused.value, SetupError)


# The disk below


@pytest.mark.parametrize("survival", Survival)
@pytest.mark.parametrize("seed", range(8))
def test_a_crash_right_after_the_stop_does_not_undo_it(tmp_path, survival, seed):
    disk = SimDisk(tmp_path / "before", seed)
    disk.folder.mkdir()
    write_halt(disk.folder, REASON, EVIDENCE, at=1.0, disk=disk)

    disk.crash(tmp_path / "after", survival)

    assert read_halt(tmp_path / "after").sentence == str(REASON)


@pytest.mark.parametrize("survival", Survival)
@pytest.mark.parametrize("full_after", range(3), ids=["create", "write", "later"])
def test_a_full_disk_does_not_undo_the_stop(tmp_path, survival, full_after, caplog):
    disk = SimDisk(tmp_path / "before")
    disk.folder.mkdir()
    reserve(disk.folder, disk)
    disk.faults = Faults(full_at=disk.operations + full_after)

    write_halt(disk.folder, REASON, EVIDENCE, disk=disk)
    disk.crash(tmp_path / "after", survival)

    with pytest.raises(Halted, match="stopped for safety"):
        refuse_if_halted(tmp_path / "after")
    assert [path.name for path in disk.folder.iterdir() if path.name != RESERVE] == [HALT]
    assert full_after == 2 or str(REASON) in caplog.text


@pytest.mark.parametrize("fails_after", range(5))
def test_a_disk_that_fails_once_does_not_undo_the_stop(tmp_path, fails_after):
    disk = SimDisk(tmp_path / "before")
    disk.folder.mkdir()
    reserve(disk.folder, disk)
    disk.faults = Faults(error_at=disk.operations + fails_after)

    write_halt(disk.folder, REASON, EVIDENCE, disk=disk)
    disk.crash(tmp_path / "after")

    with pytest.raises(Halted):
        refuse_if_halted(tmp_path / "after")


def test_a_full_disk_without_a_reserve_is_told(tmp_path):
    disk = SimDisk(tmp_path, faults=Faults(full_at=0))

    with pytest.raises(OSError, match="no space"):
        write_halt(tmp_path, REASON, EVIDENCE, disk=disk)
    assert list(tmp_path.iterdir()) == []


def test_the_reserve_is_made_once_and_again_after_it_was_used(tmp_path):
    reserve(tmp_path)
    first = (tmp_path / RESERVE).stat()
    reserve(tmp_path)
    again = (tmp_path / RESERVE).stat()
    (tmp_path / RESERVE).rename(tmp_path / HALT)
    repair(tmp_path, ack=True)
    reserve(tmp_path)

    assert (first.st_size, first.st_ino) == (4096, again.st_ino)
    assert (tmp_path / RESERVE).stat().st_size == 4096


def test_a_reserve_that_cannot_be_made_ends_the_start(tmp_path):
    with pytest.raises(StorageUnusable, match="cannot be written"):
        reserve(tmp_path, SimDisk(tmp_path, faults=Faults(full_at=0)))
