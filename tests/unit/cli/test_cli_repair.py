"""`attestrio protection repair`: a halt stays until the operator says that its cause is gone."""

import json

import pytest
from attestrio.errors import SafetyError
from attestrio.kit.datadir import DataDir
from attestrio.protection.halt import read_halt, write_halt


@pytest.fixture
def halted(tmp_path):
    write_halt(tmp_path, SafetyError("two nodes, one key"), {"heard": 7}, at=0.0)
    return tmp_path


def test_without_ack_only_the_reason_is_told(attestrio, halted):
    ended = attestrio("protection", "repair", "--data-dir", halted)

    assert ended.code == 70
    assert "two nodes, one key" in ended.err
    assert read_halt(halted) is not None


def test_with_ack_the_note_is_kept_under_another_name(attestrio, halted):
    document = attestrio("protection", "repair", "--ack", "--data-dir", halted, "--json").document

    (kept,) = halted.glob("HALT.*")
    assert document == {"kept": str(kept)}
    assert json.loads(kept.read_text())["evidence"] == {"heard": 7}
    assert read_halt(halted) is None


@pytest.mark.parametrize("name", ["", "elsewhere"])
def test_node_that_is_not_halted_has_nothing_to_repair(attestrio, tmp_path, name):
    ended = attestrio("protection", "repair", "--ack", "--data-dir", tmp_path / name)

    assert ended.code == 2
    assert "[not_halted]" in ended.err
    assert not (tmp_path / "elsewhere").exists()


def test_not_while_a_node_runs_in_the_directory(attestrio, halted):
    with DataDir.open(halted):
        ended = attestrio("protection", "repair", "--ack", "--data-dir", halted)

    assert ended.code == 5
    assert read_halt(halted) is not None
