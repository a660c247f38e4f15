"""`attestrio resequence`: the demonstration, and the audit of any two streams."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from attestrio.sim import resequence_demo
from attestrio.sim.resequence_demo import BOOKMARKS, STREAM
from attestrio.stream.file import StreamFile

pytestmark = pytest.mark.slow  # the chain is built and executed


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "kept"
    folder.mkdir()
    for _ in resequence_demo.play_all(folder):
        pass
    return folder


def stream_of(played, name):
    return played / name / STREAM


def test_the_demonstration_prints_what_was_expected_and_what_was_seen(attestrio, tmp_path):
    ended = attestrio("resequence", "demo", "--keep", tmp_path / "kept")

    lines = ended.out.splitlines()
    assert (ended.code, ended.err) == (0, "")
    assert lines[0].split() == ["expected", "seen"]
    assert [line[0] for line in lines if line[0] != " "] == ["1", "2", "3", "4", "5", "5"]
    assert lines[-1] == "5 scenarios, each as expected"
    assert all(line.endswith("  ok") for line in lines[1:-1] if line[0] == " ")
    assert sorted(path.name for path in (tmp_path / "kept").iterdir())[0] == "original"


def test_the_demonstration_as_json_has_every_fact_and_every_property(attestrio):
    ended = attestrio("resequence", "demo", "--json")

    document = json.loads(ended.out)
    assert ended.code == 0
    assert document["ok"] is True
    assert [one["number"] for one in document["scenarios"]] == [1, 2, 3, 4, 5]
    for one in document["scenarios"]:
        assert [row["property"] for row in one["audit"]["rows"]] == [f"P{number}" for number in range(1, 11)]
        assert all(fact["ok"] for fact in one["facts"])
    assert document["scenarios"][1]["error"]["code"] == "rebuild_batch_overflows"
    assert document["scenarios"][2]["report"]["splits"]


def test_a_demonstration_that_ends_otherwise_is_exit_70(attestrio, monkeypatch):
    first, *others = resequence_demo.SCENARIOS
    wrong = replace(first, expected=(*first.expected, "more batches"))
    monkeypatch.setattr(resequence_demo, "SCENARIOS", (wrong, *others))

    ended = attestrio("resequence", "demo")

    assert ended.code == 70
    assert ended.err == "attestrio: not as expected: scenario 1 [demo_surprised]\n"
    assert "10 for 10  NOT AS EXPECTED" in ended.out


def test_a_folder_that_is_there_is_not_written_to(attestrio, tmp_path):
    ended = attestrio("resequence", "demo", "--keep", tmp_path)

    assert ended.code == 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("scenario-1", ("--strict",), "the streams are the same"),
        ("scenario-2", ("--strict",), "the streams are the same"),
        ("scenario-3", ("--kept", "3"), "the first entry that differs is"),
        ("scenario-5", ("--no-reuse-l1-info-index",), "the first entry that differs is"),
    ],
)
def test_a_faithful_rebuild_passes_the_audit(attestrio, played, name, options, said):
    index = played / name / BOOKMARKS
    ended = attestrio(
        "resequence", "audit", stream_of(played, "original"), stream_of(played, name), "--bookmarks", index, *options
    )

    assert (ended.code, ended.err) == (0, "")
    assert said in ended.out
    assert [line.split()[1] for line in ended.out.splitlines()[1:]] == ["holds"] * 10


@pytest.mark.parametrize(
    ("name", "options", "broken"),
    [("scenario-3", ("--strict",), ["P5"]), ("scenario-5", (), ["P7"])],
)
def test_a_rebuild_that_was_to_be_another_is_exit_4_and_says_what_is_broken(attestrio, played, name, options, broken):
    ended = attestrio("resequence", "audit", stream_of(played, "original"), stream_of(played, name), "--json", *options)

    document = json.loads(ended.out)
    assert ended.code == 4
    assert [row["property"] for row in document["rows"] if not row["ok"]] == broken
    assert document["ok"] is False
    assert ended.error["code"] == "rebuild_unfaithful"


def test_transactions_that_were_left_out_are_named_by_block_and_position(attestrio, played):
    original = stream_of(played, "original")

    wrong = attestrio("resequence", "audit", original, original, "--left-out", "12:0")
    unclear = attestrio("resequence", "audit", original, original, "--left-out", "12")

    assert wrong.code == 4
    assert "P1" in wrong.err
    assert unclear.code == 2
    assert "OLD_BLOCK:POSITION" in unclear.err


def test_batches_are_held_against_the_data_budget_that_is_given(attestrio, played):
    original = stream_of(played, "original")

    small = attestrio("resequence", "audit", original, original, "--data-budget", 64)
    usual = attestrio("resequence", "audit", original, original, "--data-budget", 120_000)
    none = attestrio("resequence", "audit", original, original, "--data-budget", 0)

    assert (small.code, usual.code, none.code) == (4, 0, 2)
    assert "P8: batch 2 has " in small.err
    assert "the budget is 64" in small.err


def test_streams_of_two_chains_cannot_be_audited(attestrio, played, tmp_path):
    StreamFile.create(tmp_path / "other.bin", pages=1).close()

    ended = attestrio("resequence", "audit", stream_of(played, "original"), tmp_path / "other.bin")

    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1


def test_an_index_that_is_not_there_is_not_made(attestrio, played, tmp_path):
    original = stream_of(played, "original")

    ended = attestrio("resequence", "audit", original, original, "--bookmarks", tmp_path / "none")

    assert ended.code == 4
    assert not (tmp_path / "none").exists()
