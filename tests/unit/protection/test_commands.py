"""The letter box of a node: each word once, oldest first, and nothing a stranger leaves there does harm."""

import json
import os
import resource
import stat
import tempfile
import time

import pytest
from attestrio.protection.commands import FOLDER, MAX_BYTES, Command, CommandBox, CommandNotPosted, Verb


@pytest.fixture
def box(tmp_path):
    return CommandBox(tmp_path)


def test_empty_box_gives_nothing_and_is_not_made(box, tmp_path):
    assert box.take() is None
    assert list(tmp_path.iterdir()) == []


def test_command_is_taken_once(box):
    box.post(Verb.CONSENT, "announced")

    first, second = box.take(), box.take()

    assert (first.verb, first.why) == (Verb.CONSENT, "announced")
    assert second is None


def test_commands_are_taken_in_the_order_they_were_left(box):
    for why in ("one", "two", "three"):
        box.post(Verb.END_EPOCH, why)

    assert [box.take().why for _ in range(3)] == ["one", "two", "three"]


def test_another_process_finds_what_was_left(box, tmp_path):
    box.post(Verb.END_EPOCH, "später, \n mit Umlaut")

    assert CommandBox(tmp_path).take().why == "später, \n mit Umlaut"


def test_only_the_operator_reads_and_writes_it(box, tmp_path):
    box.post(Verb.END_EPOCH, "why")

    (file,) = (tmp_path / FOLDER).iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / FOLDER).stat().st_mode) == 0o700


def test_command_that_is_being_written_is_not_seen(box, tmp_path):
    (tmp_path / FOLDER).mkdir()
    draft = tmp_path / FOLDER / f".{1:020d}-1.json"
    draft.write_text('{"verb": "end-')

    assert box.take() is None
    assert draft.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"7", b"\xff\xfe", b"{}", b'{"verb": "halt", "why": "", "at": 1}',
        b'{"verb": "end-epoch", "why": ""}', b'{"verb": "end-epoch", "why": "", "at": "soon"}',
        b'{"verb": ["end-epoch"], "why": "", "at": 1}', b"[" * 4096, b" " * (1 << 20),
    ],
    ids=range(13),
)  # fmt: skip
def test_what_is_no_command_is_thrown_away_and_the_next_is_taken(box, tmp_path, caplog, content):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / f"{1:020d}-1.json").write_bytes(content)
    box.post(Verb.CONSENT, "real")

    assert box.take().why == "real"
    assert list((tmp_path / FOLDER).iterdir()) == []
    assert "is no command" in caplog.text


def test_command_that_cannot_be_taken_away_is_not_obeyed(box, tmp_path, caplog):
    (tmp_path / FOLDER / f"{1:020d}-1.json").mkdir(parents=True)
    box.post(Verb.CONSENT, "real")

    assert [box.take(), box.take()] == [Command(Verb.CONSENT, "real", pytest.approx(time.time(), abs=60)), None]
    assert "cannot be taken away" in caplog.text


def test_reason_that_would_be_cut_is_refused(box, tmp_path):
    with pytest.raises(CommandNotPosted, match="too long"):
        box.post(Verb.CONSENT, "x" * MAX_BYTES)

    assert box.take() is None


def test_other_files_are_left_alone(box, tmp_path):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "README").write_text("notes")

    assert box.take() is None
    assert (tmp_path / FOLDER / "README").exists()


def test_directory_that_is_none_is_named_and_not_made(tmp_path):
    with pytest.raises(CommandNotPosted, match="is no data directory"):
        CommandBox(tmp_path / "elsewhere").post(Verb.CONSENT, "")

    assert not (tmp_path / "elsewhere").exists()


def test_folder_that_cannot_be_written_is_named(box, tmp_path):
    (tmp_path / FOLDER).write_text("a file in its place")

    with pytest.raises(CommandNotPosted, match="cannot be written"):
        box.post(Verb.CONSENT, "")


def test_text_that_is_posted_comes_back_as_json(box, tmp_path):
    box.post(Verb.END_EPOCH, "why")

    (file,) = (tmp_path / FOLDER).iterdir()
    table = json.loads(file.read_text())
    assert (table["verb"], table["why"]) == ("end-epoch", "why")
    assert str(os.getpid()) in file.name


def test_a_process_without_descriptors_has_no_command_now_and_finds_it_later(box, caplog):
    box.post(Verb.CONSENT, "announced")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with tempfile.TemporaryFile() as highest:  # no number above it is given out
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest.fileno(), limits[1]))
        try:
            taken = box.take()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert taken is None
    assert "not looked into: Too many open files" in caplog.text
    assert box.take().why == "announced"
