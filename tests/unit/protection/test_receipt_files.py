"""A receipt log of many files: whole after any crash, verified from the first to the last, a missing one named."""

import shutil

import pytest
import trio
from attestrio.errors import StorageUnusable
from attestrio.kit.blocking import inline
from attestrio.kit.disk import RealDisk
from attestrio.protection.receipts import (
    CommitteeBrief,
    Receipt,
    ReceiptLog,
    ReceiptsAltered,
    line_untrusted,
    read_receipts,
    verify_receipts,
)
from attestrio.roles import Committee, WeightedAttester
from attestrio.sim.disk import Faults, SimDisk
from attestrio.sim.disk_model import Survival
from hypothesis import given, settings
from hypothesis import strategies as st
from protection_kit import KEY, batch_of
from suite import examples

BRIEF = CommitteeBrief.of(Committee([WeightedAttester(KEY.public(), 10)]))
TWO_LINES = 1_200
"""Bytes: a file with two receipts is full, one with one is not."""


def receipt(number):
    return Receipt(KEY.sign_batch(batch_of(number)), 1, BRIEF)


async def append(disk, folder, groups, acknowledged):
    """A process that appends groups of receipts, until the disk is dead."""
    log = ReceiptLog(folder / "receipts.log", disk, inline, segment_bytes=TWO_LINES)
    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)

        async def one(number):
            acknowledged.append(await log.append(receipt(number)))

        for group, size in enumerate(groups):
            async with trio.open_nursery() as callers:
                for index in range(size):
                    callers.start_soon(one, 100 * group + index)
        await log.close()
    return log


def write(folder, groups):
    return trio.run(append, RealDisk(), folder, groups, [])


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def written(tmp_path):
    """The folder of a log with receipts 1 to 7 in four files."""
    write(tmp_path, [1] * 7)
    return tmp_path


def test_a_full_file_is_named_after_its_last_receipt_and_the_next_goes_on_with_the_chain(written):
    assert files(written) == [
        "receipts.log",
        "receipts.log.000000000002",
        "receipts.log.000000000004",
        "receipts.log.000000000006",
    ]
    verdict = verify_receipts(written / "receipts.log")
    assert (verdict.fault, verdict.receipts, verdict.torn) == (None, 7, 0)
    assert verdict.size == sum(path.stat().st_size for path in written.iterdir())
    assert [made.seq for made, _ in read_receipts(written / "receipts.log")] == [1, 2, 3, 4, 5, 6, 7]


def test_a_receipt_noted_down_is_found_in_a_full_file_too(written):
    heads = [head for _, head in read_receipts(written / "receipts.log")]

    assert all(verify_receipts(written / "receipts.log", head=head).ok for head in heads)
    assert not verify_receipts(written / "receipts.log", head=b"\x01" * 32).ok


@pytest.mark.parametrize("before", range(1, 6))
def test_a_restart_goes_on_where_the_log_ended_whatever_file_that_is_in(tmp_path, before):
    write(tmp_path, [1] * before)

    log = write(tmp_path, [1, 1])

    assert log.length == before + 2
    assert verify_receipts(tmp_path / "receipts.log").receipts == before + 2


def test_a_start_goes_on_after_a_crash_between_two_files(written):
    (written / "receipts.log").rename(written / "receipts.log.000000000007")

    log = write(written, [1])

    assert log.length == 8
    assert verify_receipts(written / "receipts.log").ok


def test_a_group_is_not_cut_by_the_end_of_a_file(tmp_path):
    write(tmp_path, [5, 1])

    assert files(tmp_path) == ["receipts.log", "receipts.log.000000000005"]


@pytest.mark.parametrize(
    ("gone", "where"), [(2, "receipts.log.000000000004"), (4, "receipts.log.000000000006"), (6, "receipts.log")]
)
def test_a_missing_file_is_named(written, gone, where):
    (written / f"receipts.log.{gone:012}").unlink()

    fault = verify_receipts(written / "receipts.log").fault

    assert (fault.seq, fault.offset) == (gone - 1, 0)
    assert fault.problem == f"receipt {gone + 1} stands here: receipts are missing (no receipts.log.{gone:012})"
    assert str(ReceiptsAltered(written / "receipts.log", fault)).startswith(f"{written / where}: ")


def test_an_altered_byte_is_named_with_its_file(written):
    path = written / "receipts.log.000000000004"
    raw = path.read_bytes()
    at = raw.index(b'"epoch":1', 700)
    path.write_bytes(raw[: at + 8] + b"2" + raw[at + 9 :])

    fault = verify_receipts(written / "receipts.log").fault

    assert (fault.full, fault.seq, fault.offset, fault.exact) == (4, 4, at + 8, True)
    with pytest.raises(ReceiptsAltered, match=r"receipts\.log\.000000000004: altered"):
        list(read_receipts(written / "receipts.log"))


def test_a_line_replaced_at_the_end_of_a_file_is_blamed_there_and_not_in_the_next(written):
    path, other = written / "receipts.log.000000000004", written / "other"
    other.mkdir()
    shutil.copy(written / "receipts.log.000000000002", other)
    trio.run(append, RealDisk(), other, [2], [])
    replaced = (other / "receipts.log").read_bytes().splitlines(True)
    kept = path.read_bytes().splitlines(True)
    assert line_untrusted(replaced[0][:-1]).seq == 3
    path.write_bytes(replaced[0] + replaced[1])

    fault = verify_receipts(written / "receipts.log").fault

    assert replaced != kept
    assert (fault.full, fault.seq, fault.offset) == (4, 4, len(replaced[0]))
    assert "it was replaced" in fault.problem


@pytest.mark.parametrize(("kept", "problem"), [(-10, "no crash tears a full file"), (None, "not with receipt 4")])
def test_what_was_cut_off_a_full_file_is_noticed(written, kept, problem):
    path = written / "receipts.log.000000000004"
    raw = path.read_bytes()
    first = raw.index(b"\n") + 1
    path.write_bytes(raw[: first if kept is None else kept])

    fault = verify_receipts(written / "receipts.log").fault

    assert (fault.full, fault.seq, fault.offset) == (4, 4, first)
    assert problem in fault.problem


def test_a_log_whose_last_full_file_was_cut_does_not_start(written):
    path = written / "receipts.log.000000000006"
    path.write_bytes(path.read_bytes()[:-700])
    (written / "receipts.log").unlink()

    with pytest.raises(BaseExceptionGroup) as caught:
        write(written, [1])

    assert caught.group_contains(ReceiptsAltered, match=r"000000000006: .* does not end with receipt 6")


def test_a_log_without_its_last_full_file_does_not_start_a_chain_of_its_own(written):
    (written / "receipts.log.000000000006").unlink()
    before = (written / "receipts.log").read_bytes()

    with pytest.raises(BaseExceptionGroup) as caught:
        write(written, [1])

    assert caught.group_contains(ReceiptsAltered)
    assert (written / "receipts.log").read_bytes() == before


def test_older_files_may_be_elsewhere_while_the_node_runs(written):
    for gone in (2, 4):
        (written / f"receipts.log.{gone:012}").unlink()

    assert write(written, [1, 1]).length == 9


def test_a_full_file_is_never_put_in_the_place_of_another(written):
    taken = written / "receipts.log.000000000008"
    trio.run(append, RealDisk(), written, [1], [])
    taken.write_bytes(b"something else")

    # Named like a file of the log, it is the last of them, and is none.
    with pytest.raises(BaseExceptionGroup) as caught:
        write(written, [1])

    assert caught.group_contains(StorageUnusable)
    assert taken.read_bytes() == b"something else"


async def test_a_name_that_was_taken_meanwhile_ends_the_log(tmp_path, nursery):
    log = ReceiptLog(tmp_path / "receipts.log", RealDisk(), inline, segment_bytes=TWO_LINES)
    ended = trio.Event()

    async def run(task_status):
        with pytest.raises(StorageUnusable):
            await log.run(task_status=task_status)
        ended.set()

    await nursery.start(run)
    for number in (1, 2):
        await log.append(receipt(number))
    (tmp_path / "receipts.log.000000000002").write_bytes(b"something else")

    with pytest.raises(StorageUnusable):
        await log.append(receipt(3))

    await ended.wait()
    assert (tmp_path / "receipts.log.000000000002").read_bytes() == b"something else"
    assert len((tmp_path / "receipts.log").read_bytes().splitlines()) == 2


def test_a_log_that_gets_a_new_file_while_it_is_verified_is_read_once(tmp_path, monkeypatch):
    """The newest file gets its number after it was opened and before the others are listed."""
    from attestrio.protection import receipt_segments

    write(tmp_path, [1] * 4)
    listed = receipt_segments.full_files

    def later(path):
        write(tmp_path, [1])
        return listed(path)

    monkeypatch.setattr(receipt_segments, "full_files", later)

    verdict = verify_receipts(tmp_path / "receipts.log")

    assert (verdict.fault, verdict.receipts) == (None, 4)


# --- crashes


def run_until_dead(disk, groups, acknowledged):
    try:
        trio.run(append, disk, disk.folder, groups, acknowledged)
    except BaseExceptionGroup as group:
        if group.split(StorageUnusable)[1] is not None:
            raise
    except StorageUnusable:
        pass


def crashed(folder, crash_at, survival, seed):
    """What a crash at one operation leaves of a log that gets three files, and what had been acknowledged."""
    folder.mkdir()
    acknowledged = []
    disk = SimDisk(folder, seed, Faults(crash_at=crash_at))
    run_until_dead(disk, [1] * 6, acknowledged)
    return disk, acknowledged


@pytest.mark.parametrize("survival", Survival)
def test_a_crash_at_any_operation_between_files_loses_nothing_acknowledged(tmp_path, survival):
    whole, _ = crashed(tmp_path / "whole", None, survival, 0)
    assert len(files(tmp_path / "whole")) == 3
    for crash_at in range(whole.operations):
        disk, acknowledged = crashed(tmp_path / f"{crash_at}", crash_at, survival, crash_at)
        left = disk.crash(tmp_path / f"{crash_at}-after", survival)

        trio.run(append, left, left.folder, [1, 2], acknowledged)

        log = left.folder / "receipts.log"
        verdict = verify_receipts(log)
        assert (verdict.fault, verdict.torn) == (None, 0), crash_at
        assert set(acknowledged) <= {head for _, head in read_receipts(log)}, crash_at


@pytest.mark.slow
@settings(max_examples=examples(200), deadline=None)
@given(
    seed=st.integers(0, 2**32),
    groups=st.lists(st.integers(1, 3), min_size=2, max_size=5),
    crash_at=st.integers(0, 24),
    again_at=st.none() | st.integers(0, 8),
    survival=st.sampled_from(list(Survival)),
)
def test_no_acknowledged_receipt_is_lost_in_two_crashes(tmp_path_factory, seed, groups, crash_at, again_at, survival):
    folder, acknowledged = tmp_path_factory.mktemp("disk"), []
    (folder / "0").mkdir()
    disk = SimDisk(folder / "0", seed, Faults(crash_at=crash_at))
    run_until_dead(disk, groups, acknowledged)
    if again_at is not None:
        disk = SimDisk.surviving(disk.after_crash(survival), folder / "1", seed, Faults(crash_at=again_at))
        run_until_dead(disk, groups, acknowledged)
    disk = SimDisk.surviving(disk.after_crash(survival), folder / "2", seed)

    trio.run(append, disk, disk.folder, [1, 2], acknowledged)

    verdict = verify_receipts(disk.folder / "receipts.log")
    assert (verdict.fault, verdict.torn) == (None, 0)
    assert set(acknowledged) <= {head for _, head in read_receipts(disk.folder / "receipts.log")}


def test_a_new_file_whose_name_is_not_synced_would_be_lost(tmp_path):
    """That the tests above can fail."""

    class Careless(SimDisk):
        def sync_folder(self, path):
            if self.operations < 5:
                super().sync_folder(path)

    lost = 0
    for seed in range(10):
        (tmp_path / str(seed)).mkdir()
        disk, acknowledged = Careless(tmp_path / str(seed), seed), []
        trio.run(append, disk, disk.folder, [1] * 6, acknowledged)
        left = disk.crash(tmp_path / f"{seed}-after", Survival.LOST)
        try:
            trio.run(append, left, left.folder, [1], [])
        except* ReceiptsAltered:
            lost += 1
        else:
            lost += not set(acknowledged) <= {head for _, head in read_receipts(left.folder / "receipts.log")}

    assert lost == 10
