"""Looking at a whole stream: the Go server's files, a real network's, and files with one thing wrong."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from attestrio.stream import Bookmark, Header
from attestrio.stream.bookmarks import DataStream, MemoryBookmarks, open_index
from attestrio.stream.entries import PAGE
from attestrio.stream.errors import NotAStream, StreamUnreadable
from attestrio.stream.file import StreamFile, StreamReader, recover
from attestrio.stream.verify import MAX_FINDINGS, info, verify
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_kit import NAMES, chain, content, entries_of, numbered, put, streams, write
from suite import examples

CHAIN_779 = Path(__file__).parents[4] / "shared" / "vectors" / "chain-779" / "data-stream.tar.gz"
HAS_779 = pytest.mark.skipif(not CHAIN_779.exists(), reason="the stream of chain 779 is not beside the repository")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "d3"])
def test_a_file_of_the_go_server_is_sound(tmp_path, name):
    index = MemoryBookmarks()
    path = put(name, tmp_path)
    index.put((bytes.fromhex(key), number) for key, number in streams()[name]["bookmarks"].items())

    report = verify(path, index)

    assert report.ok, report.findings
    assert report.counts.entries == report.header.total_entries == len(entries_of(name))
    assert report.bookmarks_checked
    assert report.bookmarks_stale == len(index) - report.counts.bookmarks


def test_a_file_with_made_up_roots_is_told_batch_by_batch(tmp_path):
    report = verify(put("d3", tmp_path))

    assert [finding.number for finding in report.findings] == [76, 84, 92, 100, 108, 116, 124]
    assert {finding.code for finding in report.findings} == {"stream_order_broken"}


def test_a_short_look_tells_the_tip(tmp_path):
    told = info(put("a", tmp_path))

    assert (told.header.total_entries, told.pages, told.pages_used) == (40, 1, 1)
    assert (told.last_batch, told.last_block, told.open_batch) == (3, 6, False)


def test_a_short_look_at_an_empty_stream(tmp_path):
    told = info(put("b", tmp_path))

    assert (told.header, told.pages_used, told.last_batch, told.last_block) == (Header(), 0, None, None)
    assert not told.open_batch


def test_an_open_batch_is_told(tmp_path):
    with StreamFile.create(tmp_path / "s.bin", pages=1) as file:
        write(file, numbered(chain(3))[:-1])

    assert info(tmp_path / "s.bin").open_batch
    assert verify(tmp_path / "s.bin").counts.open_batch


def test_a_file_that_is_no_stream_is_a_finding_and_a_missing_one_an_error(tmp_path):
    (tmp_path / "s.bin").write_bytes(b"something else")

    report = verify(tmp_path / "s.bin")

    assert [finding.code for finding in report.findings] == ["not_a_stream"]
    assert report.header is None
    with pytest.raises(StreamUnreadable):
        verify(tmp_path / "none")


def test_a_header_ahead_of_its_entries_is_one_finding(tmp_path):
    path = put("a", tmp_path)
    path.write_bytes(Header(7700, 41).page() + path.read_bytes()[4096:])

    report = verify(path)

    assert [finding.code for finding in report.findings] == ["stream_header_ahead"]


@pytest.mark.parametrize("length", [(1 << 64) - 1, 4096 + 9 * PAGE])
def test_a_header_that_counts_pages_that_are_not_there_is_told_and_what_is_there_is_walked(tmp_path, length):
    path = put("a", tmp_path)
    path.write_bytes(Header(length, 1 << 63).page() + path.read_bytes()[4096:])

    report = verify(path)

    assert "stream_header_ahead" in {finding.code for finding in report.findings}
    assert report.counts.entries == len(entries_of("a"))
    assert recover(path)[1].total_entries == len(entries_of("a"))


def test_a_damaged_entry_in_the_middle_is_told_where_it_is(tmp_path):
    path = put("c", tmp_path)
    raw = bytearray(path.read_bytes())
    raw[streams()["c"]["entries"][20][2]] = 9
    path.write_bytes(raw)

    report = verify(path)

    assert [finding.code for finding in report.findings] == ["stream_corrupt"]
    assert report.counts.entries < 21


def test_a_bookmark_that_leads_elsewhere_is_told(tmp_path):
    index = MemoryBookmarks()
    with DataStream.open(StreamFile.create(tmp_path / "s.bin", pages=1), index) as stream, stream.atomic():
        for message in chain(2):
            stream.add_message(message)
    index.put([(Bookmark.batch(1).encode(), 3), (b"stale", 4)])

    report = verify(tmp_path / "s.bin", index)

    assert [(finding.code, finding.number) for finding in report.findings] == [("bookmark_unresolved", 6)]
    assert "entry 3" in report.findings[0].text


def test_another_encoding_and_an_unknown_type_are_told(tmp_path):
    with StreamFile.create(tmp_path / "s.bin", pages=1) as file, file.atomic():
        file.add(176, Bookmark.batch(1).encode())
        file.add(1, bytes.fromhex("100108011801"))  # type before number
        file.add(99, b"")

    report = verify(tmp_path / "s.bin")

    codes = [(finding.code, finding.number) for finding in report.findings]
    assert codes == [("not_canonical", 1), ("bad_stream_message", 2)]


def test_a_thousand_findings_are_counted_and_a_hundred_kept(tmp_path):
    with StreamFile.create(tmp_path / "s.bin", pages=1) as file, file.atomic():
        for _ in range(1000):
            file.add(99, b"")

    report = verify(tmp_path / "s.bin")

    assert (report.findings_total, len(report.findings)) == (1000, MAX_FINDINGS)


def test_progress_is_told(tmp_path):
    told = []

    verify(put("c", tmp_path), on_progress=lambda done, total: told.append((done, total)))

    assert told[-1] == (387, 387)


@pytest.fixture(scope="module")
def chain_779(tmp_path_factory):
    folder = tmp_path_factory.mktemp("779")
    with tarfile.open(CHAIN_779) as packed:
        packed.extractall(folder, filter="data")
    (path,) = folder.rglob("data-stream.bin")
    return path


@HAS_779
@pytest.mark.slow
def test_a_real_networks_stream_has_the_counts_it_is_known_for(chain_779):
    report = verify(chain_779)
    told = info(chain_779)

    assert report.ok, report.findings
    counts = report.counts
    assert (counts.entries, counts.blocks, counts.transactions, counts.bookmarks) == (34_723, 11_318, 465, 11_420)
    assert (counts.last_batch, counts.last_block, counts.open_batch) == (101, 11_317, True)
    assert (told.pages_used, told.pages, told.header.total_entries) == (6, 100, 34_723)
    assert (told.last_batch, told.last_block, told.open_batch) == (101, 11_317, True)


@HAS_779
@pytest.mark.slow
def test_a_real_networks_bookmarks_all_resolve(chain_779):
    pytest.importorskip("plyvel", reason="plyvel (extra zkevm) is not installed")
    index = open_index(chain_779.parent / "data-stream.db")

    report = verify(chain_779, index)
    index.close()

    assert report.ok, report.findings
    assert (report.counts.bookmarks, report.bookmarks_stale) == (11_420, 0)


@HAS_779
@pytest.mark.slow
def test_a_real_networks_stream_is_written_again_byte_for_byte(chain_779, tmp_path):
    with StreamReader.open(chain_779) as reader, StreamFile.create(tmp_path / "s.bin") as file:
        with file.atomic():
            for entry in reader.entries():
                file.add(entry.type, entry.data)
        length = reader.header.total_length

    with chain_779.open("rb") as theirs, (tmp_path / "s.bin").open("rb") as ours:
        assert ours.read(length) == theirs.read(length)


@settings(max_examples=examples(30))
@given(
    name=st.sampled_from(["a", "d1"]),
    flips=st.lists(st.tuples(st.integers(0, 8_000), st.binary(min_size=1, max_size=9)), min_size=1, max_size=4),
    size=st.one_of(st.none(), st.integers(0, 9_000)),
)
def test_a_damaged_file_is_reported_and_its_sound_part_recovered(tmp_path_factory, name, flips, size):
    raw = bytearray(content(name))
    for at, value in flips:
        raw[at : at + len(value)] = value
    path = tmp_path_factory.mktemp("damaged") / "s.bin"
    path.write_bytes(raw[:size])

    report = verify(path)

    assert report.counts.entries <= 40
    if report.header is None:
        with pytest.raises(NotAStream):
            recover(path)
        return
    _, left = recover(path)
    with StreamReader.open(path) as reader:
        assert [entry.number for entry in reader.entries()] == list(range(left.total_entries))
        assert reader.entry(2**63) is None
