"""`attestrio stream` in this process: what is printed, and the exit codes."""

import json
import random
import zlib
from pathlib import Path

import pytest
from attestrio.cli import main
from attestrio.stream import redo
from attestrio.stream.backup import backup, read_backup, restore
from attestrio.stream.bookmarks import DataStream, SqliteBookmarks
from attestrio.stream.entries import Entry
from attestrio.stream.errors import StreamInUse
from attestrio.stream.file import StreamFile
from attestrio.stream.wire_errors import BackupUnusable
from stream_net_kit import batch, block, chain, entries_of_a, make_stream, pairs


@pytest.fixture
def run(capsys):
    """Run a command: exit code, stdout, stderr."""

    def call(*tokens):
        with pytest.raises(SystemExit) as ended:
            main(["stream", *map(str, tokens)])
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return call


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.bin"
    make_stream(path, pairs(entries_of_a())).close()
    return path


def quiet(_done, _total):
    """No progress wanted."""


def contents(path):
    with StreamFile.open(path) as file:
        return pairs(file.entries())


def test_info_tells_what_a_file_holds(run, file):
    code, out, _ = run("info", file)

    assert code == 0
    assert out.splitlines() == [
        "40 entries, 7621 bytes in 1 of 1 pages",
        "last batch 3",
        "last block 6",
        "version 2, system 1",
    ]
    assert json.loads(run("info", "--json", file)[1])["header"]["total_length"] == 7621


def test_info_of_an_empty_stream_says_none(run, tmp_path):
    make_stream(tmp_path / "b.bin").close()

    assert "last block none" in run("info", tmp_path / "b.bin")[1]


def test_a_sound_file_is_verified_without_an_index(run, file):
    code, out, _ = run("verify", "--json", file)

    document = json.loads(out)
    assert (code, document["ok"], document["findings"]) == (0, True, [])
    assert document["counts"]["blocks"] == 7
    assert run("verify", file)[1].startswith("40 entries verified on 1 pages: 4 batches, 7 blocks, 7 transactions")


def test_a_faulty_file_is_exit_4_and_says_where(run, tmp_path):
    path = tmp_path / "s.bin"
    make_stream(path, [*batch(0, [0]), *block(7, 0)]).close()

    code, out, err = run("verify", "--json", path)

    document = json.loads(out)
    assert code == 4
    assert not document["ok"]
    assert document["findings_total"] == len(document["findings"]) > 0
    assert json.loads(err)["error"]["code"] == "stream_faulty"


def test_what_is_no_stream_is_exit_4(run, tmp_path):
    (tmp_path / "x").write_bytes(b"no stream")

    for verb in ("info", "cat", "verify"):
        assert run(verb, tmp_path / "x")[0] == 4
        assert run(verb, tmp_path / "missing")[0] == 4


def test_verify_looks_into_an_index_that_is_named(run, file, tmp_path):
    index = tmp_path / "index"
    with DataStream.open(StreamFile.open(file), SqliteBookmarks(index)):
        pass  # which has caught up
    assert run("verify", file, "--bookmarks", index)[0] == 0

    empty = SqliteBookmarks(tmp_path / "empty")
    empty.close()
    code, out, _ = run("verify", "--json", file, "--bookmarks", tmp_path / "empty")

    assert code == 4
    assert {one["code"] for one in json.loads(out)["findings"]} == {"bookmark_unresolved"}
    assert run("verify", file, "--bookmarks", tmp_path / "missing")[0] == 4


def test_cat_prints_entries_as_messages(run, file):
    _, out, _ = run("cat", file, "--from", 14, "--to", 17)

    lines = out.splitlines()
    assert lines[0] == "14  batch_start  batch_start_number=2 batch_start_type=1 fork_id=9 chain_id=1001"
    assert lines[1] == "15  bookmark  bookmark_type=2 value=2"
    assert lines[2].startswith("16  l2_block  l2_block_number=2 batch_number=2 ")
    documents = [json.loads(line) for line in run("cat", "--json", file)[1].splitlines()]
    assert [one["number"] for one in documents] == list(range(40))


def test_cat_shows_what_it_cannot_read_as_bytes(run, tmp_path):
    make_stream(tmp_path / "s.bin", [(99, b"\xff\0")]).close()

    assert run("cat", tmp_path / "s.bin")[1] == "0  99  data=ff00\n"


def test_truncate_removes_from_a_number_on(run, file):
    code, out, _ = run("truncate", file, 30)

    assert (code, out) == (0, "10 entries removed, 30 are left, 6788 bytes\n")
    assert contents(file) == pairs(entries_of_a()[:30])
    assert run("truncate", file, 31)[0] == 2


def test_a_file_that_is_served_is_not_truncated(run, file):
    with StreamFile.open(file):
        code, _, err = run("truncate", file, 30)

    assert code == 5
    assert "stream_in_use" in err


def test_a_backup_is_put_back_as_it_was(run, file, tmp_path):
    code, out, _ = run("backup", "--json", file, tmp_path / "kept")
    before = contents(file)
    run("truncate", file, 10)

    refused = run("restore", tmp_path / "kept", file)
    done = run("restore", tmp_path / "kept", file, "--replace")

    assert code == 0
    assert json.loads(out)["header"]["total_entries"] == 40
    assert (refused[0], done[0]) == (2, 0)
    assert contents(file) == before
    assert run("verify", file, "--bookmarks", f"{file}.bookmarks")[0] == 0


def test_a_backup_is_taken_while_the_file_is_written(tmp_path):
    with make_stream(tmp_path / "s.bin", chain(3)) as stream:
        calls = []

        def write(_done, _total):  # between two reads of the copy
            calls.append(stream.header.total_entries)
            with stream.atomic():
                stream.add(99, b"later")

        manifest = backup(tmp_path / "s.bin", tmp_path / "kept", write)

    assert calls
    assert manifest.header.total_entries == len(chain(3))
    assert contents(tmp_path / "kept" / "stream.bin") == chain(3)


def test_a_stream_that_is_rewritten_during_a_backup_is_copied_again(tmp_path):
    other = chain(2, salt=1)
    with make_stream(tmp_path / "s.bin", chain(2)) as stream:
        calls = []

        def rewrite(_done, _total):
            if not calls:
                stream.truncate(0)
                with stream.atomic():
                    for one in other:
                        stream.add(*one)
            calls.append(1)

        backup(tmp_path / "s.bin", tmp_path / "kept", rewrite)

    assert contents(tmp_path / "kept" / "stream.bin") == other


def test_a_backup_goes_into_a_new_folder(run, file, tmp_path):
    (tmp_path / "kept").mkdir()

    code, _, err = run("backup", file, tmp_path / "kept")

    assert code == 2
    assert "exists already" in err


@pytest.mark.parametrize("name", ["stream.bin", "bookmarks.sqlite", "manifest.json"])
def test_a_backup_with_a_changed_or_missing_file_is_not_put_back(file, tmp_path, name):
    backup(file, tmp_path / "kept", quiet)
    target = tmp_path / "kept" / name
    raw = bytearray(target.read_bytes())
    raw[random.Random(5).randrange(len(raw) // 2)] ^= 0x20
    target.write_bytes(raw)

    with pytest.raises(BackupUnusable):
        restore(tmp_path / "kept", tmp_path / "back.bin", tmp_path / "index", quiet)
    target.unlink()
    with pytest.raises(BackupUnusable):
        read_backup(tmp_path / "kept", quiet)

    assert not (tmp_path / "back.bin").exists()


def test_nothing_is_put_in_the_place_of_a_stream_that_is_written(file, tmp_path):
    backup(file, tmp_path / "kept", quiet)
    with StreamFile.open(file), pytest.raises(StreamInUse):
        restore(tmp_path / "kept", file, tmp_path / "index", quiet, replace=True)


def test_a_backup_of_nothing_leaves_no_folder(run, tmp_path):
    assert run("backup", tmp_path / "nope.bin", tmp_path / "kept")[0] == 4
    assert not (tmp_path / "kept").exists()


def test_a_link_to_a_stream_stays_one_when_a_backup_is_put_back(file, tmp_path):
    backup(file, tmp_path / "kept", quiet)
    link = tmp_path / "link.bin"
    make_stream(tmp_path / "elsewhere.bin").close()
    link.symlink_to("elsewhere.bin")

    restore(tmp_path / "kept", link, tmp_path / "index", quiet, replace=True)

    assert link.is_symlink()
    assert contents(tmp_path / "elsewhere.bin") == contents(file)


def test_an_update_that_a_crash_cut_short_does_not_reach_a_stream_put_back_later(file, tmp_path):
    backup(file, tmp_path / "kept", quiet)
    wanted = contents(file)
    with StreamFile.open(file) as stream:
        position, found = stream.locate(3), stream.entry(3)
    entry = Entry(3, found.type, bytes(len(found.data))).encode()
    redo.side_file(file).write_bytes(redo.HEAD.pack(redo.MAGIC, position, zlib.crc32(entry)) + entry)
    file.unlink()

    restore(tmp_path / "kept", file, tmp_path / "index", quiet)

    assert contents(file) == wanted


def test_a_folder_that_is_no_index_is_not_made_one_by_a_check(run, file, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()

    code, _, err = run("verify", file, "--bookmarks", folder)

    assert code == 4
    assert "no_bookmarks" in err
    assert list(folder.iterdir()) == []


def test_a_manifest_that_is_too_deep_to_read_is_no_backup(file, tmp_path):
    backup(file, tmp_path / "kept", quiet)
    (tmp_path / "kept" / "manifest.json").write_text("[" * 60_000)

    with pytest.raises(BackupUnusable):
        read_backup(tmp_path / "kept", quiet)


def test_links_in_a_circle_are_no_stream(run, file, tmp_path):
    link = tmp_path / "circle.bin"
    link.symlink_to(link)
    assert run("backup", file, tmp_path / "kept")[0] == 0

    assert [run(verb, *tokens)[0] for verb, *tokens in (("info", link), ("truncate", link, 1))] == [4, 4]
    assert run("restore", tmp_path / "kept", link)[0] == 0
    assert contents(link) == contents(file)


@pytest.mark.parametrize("verb", ["info", "cat", "verify", "serve", "follow", "truncate", "backup", "restore"])
def test_help_of_every_verb_shows_an_example(run, verb):
    code, out, _ = run(verb, "--help")

    assert code == 0
    assert f"Example: attestrio stream {verb} " in " ".join(out.split())
    assert "--json" in out


def test_a_server_address_that_is_none_is_exit_2(run, tmp_path):
    assert run("follow", "nowhere", tmp_path / "c.bin", "--once")[0] == 2
    assert not Path(tmp_path / "c.bin").exists()
