"""A crash at every write and sync of record, sign, publish, certificate and store, and the life after it.

A finding is printed as `CrashPoint(index=.., fault=.., seed=..)`; `python -m attestrio.sim.crashes --replay` with that
text has it again.
"""

import os
import subprocess
import sys

import attestrio.kit.sqlite
import attestrio.protection.record
import attestrio.store.sqlite
import pytest
from attestrio.sim.crashes import CRASHES, CrashPoint, Exploration, Explorer, Fault, explore, main
from attestrio.sim.disk_model import Sync

LONG = os.environ.get("ATTESTRIO_PROFILE") == "long"
SHARES = 16 if LONG else 8
"""The seeds are shared out, so that workers have something to share and no test takes minutes."""
POINTS = 1_300 if LONG else 40
EVERY = 1 if LONG else 23
"""The short run looks at one point in 23, or it would never get past the opening of the first seed."""


def seeds(share):
    return range(share, 10_000, SHARES)


@pytest.mark.parametrize("share", range(SHARES))
def test_no_crash_breaks_a_promise(tmp_path, share):
    told = explore(seeds(share), tmp_path, points=POINTS, every=EVERY)

    assert [str(finding) for finding in told.findings] == []
    assert told.points == POINTS
    assert list(tmp_path.iterdir()) == []


def test_points_are_distinct_and_every_operation_has_some(tmp_path):
    explorer = Explorer(0, tmp_path)

    points = list(explorer.points())

    assert len(set(points)) == len(points)
    assert {(point.index, point.fault) for point in points} >= {
        (index, fault) for index in range(max(points).index + 1) for fault in CRASHES
    }
    assert max(points).index > 80


def test_eight_seeds_fail_every_operation_on_a_disk_that_lives_on(tmp_path):
    failed = {point.index for seed in range(8) for point in Explorer(seed, tmp_path).points([Fault.EIO])}

    assert failed >= set(range(80))


# --- what the explorer finds when a promise is not kept


def finds(tmp_path, files, **how):
    """All findings of two seeds about a part, in words without the point."""
    told = explore([0, 1], tmp_path, faults=[Fault.LOST], **how)
    return [finding.what for finding in told.findings if about(files, finding.what)]


def about(files, what):
    words = {"protection.db": ("two votes", "the record has lost"), "store.db": ("the store has lost",)}
    return what.startswith((files, *words.get(files, ("receipts lost",))))


@pytest.mark.parametrize("level", ["OFF", "NORMAL"])
def test_a_record_that_does_not_sync_its_commits_votes_twice(tmp_path, monkeypatch, level):
    weaken(monkeypatch, attestrio.protection.record, level)

    found = finds(tmp_path, "protection.db")

    assert any(what.startswith("two votes for one number") for what in found)


@pytest.mark.parametrize("level", ["OFF", "NORMAL"])
def test_a_store_that_does_not_sync_its_commits_loses_what_it_kept(tmp_path, monkeypatch, level):
    weaken(monkeypatch, attestrio.store.sqlite, level)

    found = finds(tmp_path, "store.db")

    assert any("lost Kept" in what for what in found)


def test_what_a_killed_process_left_unsynced_is_promised_in_vain_unless_opening_syncs_it(tmp_path, monkeypatch):
    monkeypatch.setattr(attestrio.kit.sqlite, "_settle", lambda _connection: None)

    missing = {"protection.db", "store.db"}
    for seed in range(20):
        explorer = Explorer(seed, tmp_path)
        for point in explorer.points([Fault.KILLED]):
            if isinstance(explorer.operation(point), Sync) and (finding := explorer.find(point)) is not None:
                missing -= {file for file in missing if about(file, finding.what)}
        if not missing:
            break

    assert missing == set()


def weaken(monkeypatch, module, level):
    """The databases that `module` opens sync less."""
    honest = module.open_database

    def careless(*args, **kwargs):
        connection = honest(*args, **kwargs)
        connection.execute(f"PRAGMA synchronous = {level}")
        return connection

    monkeypatch.setattr(module, "open_database", careless)


@pytest.mark.parametrize("file", ["protection.db", "store.db", "receipts.log"])
def test_a_disk_that_only_says_it_has_synced_is_found(tmp_path, file):
    assert finds(tmp_path, file, forget=[file])


# --- having a crash again


def test_a_finding_is_had_again_by_its_point_alone(tmp_path):
    told = explore([3], tmp_path, forget=["protection.db"], every=5, stop_at_first=True)
    (finding,) = told.findings

    again = Explorer(3, tmp_path, forget=["protection.db"]).find(CrashPoint.from_text(str(finding.point)))

    assert again == finding


def test_the_command_tells_what_it_found_and_how_to_have_it_again(capsys):
    failed = main(["--points", "150", "--seed", "1", "--forget", "protection.db"])
    told = capsys.readouterr().out.splitlines()

    assert failed == 1
    point, what = told[0].split(": ", 1)
    assert main(["--replay", point, "--forget", "protection.db"]) == 1
    assert capsys.readouterr().out.splitlines()[0] == f"{point}: {what}"
    assert main(["--replay", point]) == 0
    assert "0 promises broken" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["", "CrashPoint(index=1, fault=none, seed=1)", "CrashPoint(index=-1, fault=lost, seed=1)"]
)
def test_what_is_no_point_is_refused(text):
    with pytest.raises(ValueError, match=r"point|Fault"):
        CrashPoint.from_text(text)


@pytest.mark.slow
def test_the_same_seed_is_the_same_life_in_another_process(tmp_path):
    """Also when Python orders its sets otherwise."""

    def run(hash_seed):
        command = [sys.executable, "-m", "attestrio.sim.crashes", "--points", "400", "--forget", "store.db"]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=False
        )
        return [line.split(": ")[0] for line in done.stdout.splitlines()[:-1]]

    first = run("1")

    assert first == run("2")
    assert len(first) > 10


def test_nothing_is_tried_when_nothing_is_asked_for(tmp_path):
    assert explore([], tmp_path) == Exploration()
