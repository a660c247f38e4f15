"""The Go server's files: read entry by entry, and written again byte for byte."""

from __future__ import annotations

import hashlib

import pytest
from attestrio.stream.entries import PAGE, header_untrusted
from attestrio.stream.file import StreamFile, StreamReader
from stream_kit import NAMES, content, entries_of, given, put, read_all, streams, write


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_is_where_the_go_server_says(tmp_path, name):
    told = streams()[name]

    with StreamReader.open(put(name, tmp_path)) as reader:
        assert tuple(reader.entries()) == entries_of(name)
        assert reader.header.total_entries == told["header"]["total_entries"]
        assert reader.pages == len(told["pages"])
        for number, _, offset, _ in told["entries"]:
            assert reader.locate(number) == offset
            assert reader.entry(number) == entries_of(name)[number]
        for page in told["pages"]:
            numbers = [entry.number for entry in reader.page_entries(page["page"])]
            assert numbers == list(range(page["first_entry"], page["last_entry"] + 1))


@pytest.mark.parametrize("name", NAMES)
def test_a_header_is_read_and_written_as_it_stands(name):
    raw = bytes.fromhex(streams()[name]["header_hex"])

    header = header_untrusted(raw)

    assert header.encode() == raw
    assert header.page() == content(name)[:4096]


def begun(tmp_path, name):
    """An empty stream of ours with as many pages as the golden file is stored with."""
    version = streams()[name]["header"]["version"]
    pages = (len(content(name)) - 4096) // PAGE
    return StreamFile.create(tmp_path / "ours.bin", version=version, pages=pages)


def ours(tmp_path):
    return (tmp_path / "ours.bin").read_bytes()


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_a_stream_written_in_one_operation_has_the_go_servers_bytes(tmp_path, name):
    with begun(tmp_path, name) as file:
        write(file, entries_of(name))

    assert ours(tmp_path) == content(name)


def test_a_stream_written_in_the_go_servers_operations_has_its_bytes(tmp_path):
    entries = entries_of("a")

    with begun(tmp_path, "a") as file:
        for operation in streams()["a"]["atomic_ops"]:
            first, count = operation["first_entry"], operation["count"]
            write(file, entries[first : first + count])

    assert ours(tmp_path) == content("a")


def test_page_boundaries_stand_in_the_header_as_in_the_go_servers(tmp_path):
    entries = entries_of("c")
    seen = []

    with begun(tmp_path, "c") as file:
        for note in streams()["c"]["notes"]:
            write(file, entries[file.header.total_entries : note["total_entries"]])
            seen.append((file.header.total_length, note["total_length"]))
        write(file, entries[file.header.total_entries :])

    assert [got for got, _ in seen] == [want for _, want in seen]
    assert ours(tmp_path) == content("c")


def test_a_rolled_back_operation_leaves_the_go_servers_stale_bytes(tmp_path):
    with begun(tmp_path, "d1") as file:
        write(file, entries_of("d1"))
        file.begin()
        for entry in given(streams()["d1"]["rolled_back_entries"]):
            file.add(entry.type, entry.data)
        file.rollback()

    assert ours(tmp_path) == content("d1")


def test_a_crash_inside_an_operation_leaves_the_go_servers_bytes_and_is_overwritten(tmp_path):
    lost = given(streams()["d4"]["uncommitted_entries"])
    with begun(tmp_path, "d4") as file:
        write(file, entries_of("d4"))
        file.begin()
        for entry in lost:
            file.add(entry.type, entry.data)  # and no commit
    assert ours(tmp_path) == content("d4")

    with StreamFile.open(tmp_path / "ours.bin") as file:
        assert file.next_number == 13
        write(file, lost)

    assert read_all(tmp_path / "ours.bin") == [*entries_of("d4"), *lost]


def test_a_truncation_leaves_the_go_servers_bytes(tmp_path):
    path = put("a", tmp_path)

    with StreamFile.open(path) as file:
        file.truncate(streams()["d2"]["truncate_entry"])

    assert path.read_bytes() == content("d2")


def test_rewriting_over_stale_bytes_gives_the_go_servers_bytes(tmp_path):
    """The file before is not known; on its own rest the same entries leave the same bytes, the pad of one byte too."""
    path = put("d3", tmp_path)
    again = streams()["d3"]["truncate_entry"]

    with StreamFile.open(path) as file:
        file.truncate(again)
        shorter = file.header.total_length
        write(file, entries_of("d3")[again:])

    assert shorter == 639_567  # as the Go server had it
    assert path.read_bytes() == content("d3")


def test_an_update_gives_the_go_servers_bytes(tmp_path):
    (old,) = given([streams()["d5"]["old_entry"]])
    new = entries_of("d5")[-1]
    with begun(tmp_path, "d5") as file:
        write(file, [*entries_of("d5")[:-1], old])

        file.update(new.number, new.type, new.data)

    assert ours(tmp_path) == content("d5")


@pytest.mark.parametrize("name", ["a", "b", "c", "d5"])
def test_a_whole_file_has_the_go_servers_hash(tmp_path, name):
    told = streams()[name]
    with StreamFile.create(tmp_path / "ours.bin", version=told["header"]["version"]) as file:
        write(file, entries_of(name))

    assert (tmp_path / "ours.bin").stat().st_size == told["full_size"]
    assert hashlib.sha256(ours(tmp_path)).hexdigest() == told["sha256"]
