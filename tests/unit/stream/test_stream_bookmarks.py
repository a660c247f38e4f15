"""Bookmarks: found, verified, kept through truncations, rolled-back operations and lost indexes."""

from __future__ import annotations

import sys
import tarfile

import pytest
from attestrio.errors import MissingExtra, StorageUnusable
from attestrio.stream import Bookmark, EntryType, L2BlockEnd
from attestrio.stream.bookmarks import DataStream, MemoryBookmarks, SqliteBookmarks, open_index
from attestrio.stream.file import StreamFile
from stream_kit import GOLDEN, chain, filler, put, streams


def leveldb(path):
    pytest.importorskip("plyvel", reason="plyvel (extra zkevm) is not installed")
    path.mkdir()
    return open_index(path)


INDEXES = {"memory": lambda path: MemoryBookmarks(), "sqlite": SqliteBookmarks, "leveldb": leveldb}


@pytest.fixture(params=INDEXES)
def index(request, tmp_path):
    made = INDEXES[request.param](tmp_path / "index")
    yield made
    made.close()


@pytest.fixture
def stream(tmp_path, index):
    return DataStream.open(StreamFile.create(tmp_path / "s.bin", pages=1), index)


def add(stream, messages):
    with stream.atomic():
        return [stream.add_message(message) for message in messages]


BATCH, BLOCK = Bookmark.batch, Bookmark.block


def test_an_index_keeps_what_was_put_last(index):
    index.put([(b"a", 1), (b"b", 2**64 - 1)])
    index.put([(b"a", 3)])
    index.put([])

    assert (index.get(b"a"), index.get(b"b"), index.get(b"c"), len(index)) == (3, 2**64 - 1, None, 2)
    index.clear()
    assert (index.get(b"a"), len(index)) == (None, 0)


def test_a_bookmark_leads_to_its_entry(stream):
    add(stream, chain(2))

    assert stream.find(BATCH(1).encode()) == 6
    assert stream.find(BLOCK(1).encode()) == 8
    assert stream.find(BATCH(2).encode()) is None


def test_a_bookmark_is_known_once_it_is_committed(stream):
    stream.begin()
    stream.add_message(BATCH(0))
    assert stream.find(BATCH(0).encode()) is None
    stream.rollback()
    assert stream.find(BATCH(0).encode()) is None

    add(stream, [L2BlockEnd(0), BATCH(0)])
    assert stream.find(BATCH(0).encode()) == 1


def test_a_bookmark_that_was_truncated_is_not_found_until_it_is_added_again(stream):
    add(stream, chain(3))
    stream.truncate(6)

    assert stream.find(BATCH(1).encode()) is None  # beyond the end
    add(stream, [L2BlockEnd(9)] * 5)
    assert stream.find(BATCH(1).encode()) is None  # another entry
    assert add(stream, [BATCH(1)]) == [11]
    assert stream.find(BATCH(1).encode()) == 11


def test_what_follows_a_bookmark_is_the_first_entry_that_is_none(stream):
    add(stream, [BATCH(0), BLOCK(0), L2BlockEnd(0), BATCH(1)])

    assert stream.after(BATCH(0).encode()).number == 2
    assert stream.after(BATCH(1).encode()).number == 3  # itself: nothing follows
    assert stream.after(BATCH(2).encode()) is None


def test_an_updated_bookmark_is_found_by_its_new_bytes(stream):
    add(stream, [BATCH(1)])

    stream.update(0, EntryType.BOOKMARK, BATCH(2).encode())

    assert (stream.find(BATCH(1).encode()), stream.find(BATCH(2).encode())) == (None, 0)


def test_an_index_that_was_lost_is_rebuilt(stream):
    add(stream, chain(4))
    stream.index.clear()
    stream.index.put([(b"stale", 1)])

    assert stream.rebuild() == 8
    assert stream.find(BATCH(3).encode()) == 18
    assert stream.index.get(b"stale") is None


def test_an_index_that_fell_behind_catches_up_at_the_next_opening(tmp_path, stream, index):
    for batch in range(5):
        with stream.atomic():
            stream.add_message(BATCH(batch))
            stream.add(*filler(600_000))  # a page each
    index.clear()
    index.put([(BATCH(0).encode(), 0), (BATCH(1).encode(), 2), (BATCH(3).encode(), 1)])
    stream.file.close()

    again = DataStream(StreamFile.open(tmp_path / "s.bin"), index)

    assert again.catch_up() == 3
    assert [again.find(BATCH(batch).encode()) for batch in range(5)] == [0, 2, 4, 6, 8]
    assert again.catch_up() == 0
    again.file.close()


def test_an_index_that_cannot_be_written_fails_the_operation(tmp_path):
    class Full(MemoryBookmarks):
        def put(self, pairs):
            if list(pairs):
                raise StorageUnusable("full")

    stream = DataStream.open(StreamFile.create(tmp_path / "s.bin", pages=1), Full())

    with pytest.raises(StorageUnusable, match="full"):
        add(stream, [BATCH(0)])

    assert stream.header.total_entries == 0
    assert add(stream, [L2BlockEnd(0)]) == [0]
    stream.close()


@pytest.mark.parametrize("name", ["a", "d2"])
def test_a_folder_of_the_go_server_is_read_and_verified(tmp_path, name):
    pytest.importorskip("plyvel", reason="plyvel (extra zkevm) is not installed")
    told, gone = streams()[name]["bookmarks"], streams()[name]["header"]["total_entries"]
    folder = tmp_path / "db"
    with tarfile.open(GOLDEN / f"{name}.db.tar.gz") as packed:
        packed.extractall(folder, filter="data")
    (inside,) = {current.parent for current in folder.rglob("CURRENT")}

    with DataStream.open(StreamFile.open(put(name, tmp_path)), open_index(inside)) as stream:
        assert len(stream.index) == len(told)
        for key, number in told.items():
            assert stream.index.get(bytes.fromhex(key)) == number
            assert stream.find(bytes.fromhex(key)) == (number if number < gone else None)


def test_a_folder_that_another_process_has_is_told(tmp_path):
    index = leveldb(tmp_path / "db")

    with pytest.raises(StorageUnusable, match="rebuilt from the stream"):
        open_index(tmp_path / "db")

    index.close()


def test_without_leveldb_one_sentence_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "attestrio.stream.leveldb", raising=False)
    monkeypatch.setitem(sys.modules, "plyvel", None)

    with pytest.raises(MissingExtra, match=r"pip install 'attestrio\[zkevm\]'"):
        open_index(tmp_path)


def test_a_file_of_something_else_is_no_index(tmp_path):
    path = tmp_path / "index"
    path.write_bytes(b"not a database, but long enough to be one" * 40)

    with pytest.raises(StorageUnusable):
        open_index(path)
