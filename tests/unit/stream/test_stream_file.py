"""A stream file: what is refused, where reading ends, what a reader sees while the file changes."""

from __future__ import annotations

import errno

import pytest
from attestrio.stream import MAX_DATA, PAGE, Entry, EntryType, Header
from attestrio.stream.errors import (
    EntryTooLong,
    HeaderAhead,
    NotAStream,
    StreamChangeRefused,
    StreamCorrupt,
    StreamInUse,
    StreamRewritten,
    StreamUnreadable,
    StreamUnwritable,
)
from attestrio.stream.file import StreamFile, StreamReader, recover
from stream_kit import SimStreamDisk, chain, content, entries_of, filler, numbered, put, read_all, write

TX = EntryType.TRANSACTION


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s.bin"


@pytest.fixture
def file(path):
    with StreamFile.create(path, pages=2, more_pages=1) as opened:
        yield opened


def add(file, *sizes):
    """Entries that take so many bytes, in one operation."""
    with file.atomic():
        return [file.add(*filler(size)) for size in sizes]


def patch(path, position, raw):
    with path.open("r+b") as out:
        out.seek(position)
        out.write(raw)


def set_header(path, **changes):
    patch(path, 0, Header(**changes).page()[:54])


# --- opening ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("position", "raw", "why"),
    [
        (0, b"P", "does not begin as one"),
        (16, b"\2", "packet type 2"),
        (20, b"\x1d", "header length 29"),
        (37, b"\2", "stream type 2"),
    ],
)
def test_a_file_that_is_another_thing_is_refused_and_left_alone(path, file, position, raw, why):
    file.close()
    patch(path, position, raw)
    before = path.read_bytes()

    for kind in (StreamReader, StreamFile):
        with pytest.raises(NotAStream, match=why):
            kind.open(path)

    assert path.read_bytes() == before


@pytest.mark.parametrize("size", [0, 15, 54, 4095, 4097, 4096 + PAGE - 1, 4096 + PAGE + 1])
def test_a_file_that_was_cut_is_refused(path, file, size):
    file.close()
    with path.open("r+b") as out:
        out.truncate(size)

    with pytest.raises(NotAStream):
        StreamReader.open(path)


def test_a_file_without_pages_that_are_not_in_use_is_fine_and_grows(path):
    path.write_bytes(content("a"))  # one data page
    with StreamFile.open(path, more_pages=1) as file:
        add(file, PAGE)

        assert file.size() == 4096 + 2 * PAGE
        assert file.header.total_entries == 41


def test_version_and_system_are_those_on_disk(path):
    StreamFile.create(path, version=3, system_id=7, pages=0).close()

    with StreamFile.open(path) as file:
        write(file, numbered(chain(1)))

    with StreamReader.open(path) as reader:
        assert (reader.header.version, reader.header.system_id) == (3, 7)


def test_a_missing_file_and_a_folder_are_unreadable(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(StreamUnreadable):
            StreamReader.open(path)


def test_a_stream_is_not_created_over_a_file(path, file):
    with pytest.raises(StreamChangeRefused, match="exists"):
        StreamFile.create(path)


def test_two_writers_do_not_meet(path, file):
    with pytest.raises(StreamInUse):
        StreamFile.open(path)

    StreamReader.open(path).close()  # readers may


# --- a header ahead of its data -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "entries", "left"),
    [
        pytest.param(4096 + 3 * PAGE, 9, 9, id="beyond the file"),
        pytest.param(2**64 - 1, 2**64 - 1, 40, id="beyond everything"),
        pytest.param(7621, 41, 40, id="one entry too many"),
        pytest.param(7622, 40, 40, id="one byte too many"),
        pytest.param(7620, 40, 39, id="one byte too few"),
        pytest.param(4096 + PAGE + 17, 41, 40, id="on a page that is empty"),
        pytest.param(5000, 0, 0, id="length without entries"),
        pytest.param(4096, 1, 0, id="entries without length"),
        pytest.param(0, 0, 0, id="shorter than its own page"),
    ],
)
def test_a_header_that_counts_what_is_not_there_is_refused_and_can_be_recovered(path, length, entries, left):
    path.write_bytes(content("a") + bytes(PAGE))
    set_header(path, total_length=length, total_entries=entries)
    for kind in (StreamReader, StreamFile):
        with pytest.raises(StreamCorrupt):
            kind.open(path)

    before, after = recover(path)

    assert (before.total_length, before.total_entries) == (length, entries)
    assert after.total_entries == left
    assert read_all(path) == list(entries_of("a")[:left])


def test_a_lost_page_costs_what_came_after_it(path):
    path.write_bytes(content("c"))
    patch(path, 4096 + PAGE, bytes(PAGE))  # data page 1 never reached the disk

    _, after = recover(path)

    assert (after.total_entries, after.total_length) == (125, 4096 + PAGE)
    assert read_all(path) == list(entries_of("c")[:125])


@pytest.mark.parametrize("name", ["a", "b", "c", "d1", "d2", "d3", "d4", "d5"])
def test_recovery_leaves_a_sound_file_alone(tmp_path, name):
    path = put(name, tmp_path)

    before, after = recover(path)

    assert before == after
    assert path.read_bytes() == content(name)


# --- where reading ends -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["d1", "d2", "d4"])
def test_stale_bytes_behind_the_end_are_no_entry(tmp_path, name):
    """Upstream reads one more: its number is the one expected next."""
    total = len(entries_of(name))

    with StreamReader.open(put(name, tmp_path)) as reader:
        assert content(name)[reader.header.total_length] == 2  # it looks like an entry
        assert [entry.number for entry in reader.entries(total - 2)] == [total - 2, total - 1]
        assert list(reader.entries(total)) == []
        assert reader.entry(total) is None
        assert reader.read_bytes(reader.header.total_length, 100).data == b""


def test_what_is_not_committed_is_not_seen(path, file):
    add(file, 100)
    file.begin()
    file.add(*filler(50))

    assert file.entry(1) is None
    assert len(list(file.entries())) == 1
    assert file.read_bytes(4096, PAGE).data == file.entry(0).encode()
    assert read_all(path) == [file.entry(0)]
    assert (file.header.total_entries, file.next_number) == (1, 2)


def test_a_file_that_is_exactly_full_is_read_to_its_end(path, file):
    add(file, PAGE, PAGE)
    assert file.header.total_length == file.size()

    assert [entry.number for entry in file.entries()] == [0, 1]
    assert [entry.number for entry in file.entries(1)] == [1]
    file.close()
    assert len(read_all(path)) == 2


def test_a_pad_is_one_byte_and_what_is_behind_it_does_not_matter(path, file):
    add(file, PAGE - 40)
    file.close()
    patch(path, 4096 + PAGE - 40, b"\xff" * 40)

    with StreamFile.open(path) as file:
        add(file, 50)

    assert path.read_bytes()[4096 + PAGE - 40 : 4096 + PAGE] == b"\0" + b"\xff" * 39
    assert [entry.number for entry in read_all(path)] == [0, 1]


def test_a_page_without_a_first_entry_is_told_and_not_skipped(path):
    path.write_bytes(content("c"))
    patch(path, 4096 + PAGE, b"\0")

    with StreamReader.open(path) as reader:
        with pytest.raises(StreamCorrupt, match="does not begin with an entry"):
            list(reader.entries())
        with pytest.raises(StreamCorrupt, match="does not begin with an entry"):
            reader.entry(200)


def test_a_page_that_upstream_has_spoiled_is_told(path):
    """It writes an entry longer than a page across the boundary."""
    long = Entry(0, 3, bytes(MAX_DATA)).encode() + bytes(16)
    long = b"\2" + len(long).to_bytes(4, "big") + long[5:]
    last = Entry(1, 3, b"").encode()
    path.write_bytes((Header(4096 + len(long + last), 2).page() + long + last).ljust(4096 + 2 * PAGE, b"\0"))

    with pytest.raises(StreamCorrupt):
        StreamReader.open(path)
    with StreamReader.open(path, check_tail=False) as reader:
        with pytest.raises(StreamCorrupt, match=f"entry of {len(long)} B"):
            list(reader.entries())
        with pytest.raises(StreamCorrupt, match="does not begin with an entry"):
            reader.entry(1)


def test_an_entry_goes_to_the_page_where_it_fits(path, file):
    add(file, PAGE - 20, 21, PAGE - 21, 17)

    assert [file.locate(number) for number in range(4)] == [4096, 4096 + PAGE, 4096 + PAGE + 21, 4096 + 2 * PAGE]
    assert file.size() == 4096 + 3 * PAGE


def test_a_full_file_grows_by_ten_pages(path):
    with StreamFile.create(path, pages=1) as file:
        add(file, PAGE, 17)

        assert file.size() == 4096 + 11 * PAGE


def test_an_entry_longer_than_a_page_is_refused_and_the_operation_goes_on(file):
    with file.atomic():
        file.add(TX, b"before")
        with pytest.raises(EntryTooLong):
            file.add(TX, bytes(MAX_DATA + 1))
        file.add(TX, b"after")

    assert [entry.data for entry in file.entries()] == [b"before", b"after"]


@pytest.mark.parametrize("size", [999, 77_777, PAGE])
def test_slices_are_the_entries_without_pads(tmp_path, size):
    with StreamReader.open(put("c", tmp_path)) as reader:
        parts, position = [], reader.locate(120)
        while (cut := reader.read_bytes(position, size)).data:
            parts.append(cut.data)
            position = cut.next

    assert b"".join(parts) == b"".join(entry.encode() for entry in entries_of("c")[120:])
    assert max(map(len, parts)) <= size


# --- atomic operations --------------------------------------------------------------------------------------------


def test_an_operation_is_told_what_it_has_added(file):
    file.begin()
    assert [file.add(*filler(100)), file.add(*filler(PAGE))] == [0, 1]
    done = file.commit()

    assert (done.first, done.entries, done.start, done.end) == (0, 2, 4096, 4096 + 2 * PAGE)


def test_an_empty_operation_can_be_committed(path, file):
    before = path.read_bytes()

    with file.atomic():
        pass

    assert path.read_bytes() == before


def test_states_of_an_operation_are_kept_apart(file):
    for verb in (file.commit, file.rollback, lambda: file.add(TX, b"")):
        with pytest.raises(RuntimeError, match="no atomic operation"):
            verb()
    add(file, 100)
    file.begin()
    for verb in (file.begin, lambda: file.truncate(0), lambda: file.update(0, *filler(100))):
        with pytest.raises(RuntimeError, match="an atomic operation is open"):
            verb()


def test_an_error_inside_rolls_back(file):
    def work():
        with file.atomic():
            file.add(TX, b"lost")
            raise KeyError

    with pytest.raises(KeyError):
        work()

    assert file.next_number == 0
    assert add(file, 100) == [0]


def test_a_rolled_back_operation_that_grew_the_file_leaves_numbers_and_entries(path, file):
    add(file, 100)
    file.begin()
    for _ in range(3):
        file.add(*filler(PAGE))
    file.rollback()

    add(file, 200)

    assert [len(entry.encode()) for entry in read_all(path)] == [100, 200]


# --- truncation and update ----------------------------------------------------------------------------------------


def test_a_truncation_removes_entries_and_nothing_else(path, file):
    add(file, PAGE - 100, 200, 300)
    size = file.size()

    file.truncate(1)
    assert file.header.total_length == 4096 + PAGE  # the pad stays
    file.truncate(0)

    assert file.header == Header()
    assert file.size() == size
    assert add(file, 100) == [0]
    assert len(read_all(path)) == 1


def test_a_truncation_to_the_beginning_of_a_page_can_be_opened_and_written_on(path, file):
    add(file, PAGE - 100, 200)
    file.truncate(1)
    file.close()

    with StreamFile.open(path) as file:
        assert [entry.number for entry in file.entries()] == [0]
        assert file.read_bytes(4096 + PAGE - 100, 100).data == b""
        add(file, 300)

    assert [len(entry.encode()) for entry in read_all(path)] == [PAGE - 100, 300]
    assert recover(path)[0] == recover(path)[1]


@pytest.mark.parametrize("number", [-1, 1, 2**64])
def test_a_truncation_where_there_is_no_entry_is_refused(file, number):
    add(file, 100)

    with pytest.raises(StreamChangeRefused, match="no entry"):
        file.truncate(number)


def test_an_update_keeps_type_and_length(path, file):
    add(file, 100, 50)

    for number, kind, data in [(0, TX, bytes(82)), (0, TX, bytes(84)), (0, 1, bytes(83)), (2, TX, b"")]:
        with pytest.raises(StreamChangeRefused):
            file.update(number, kind, data)
    file.update(0, TX, bytes(83))

    assert [entry.data for entry in read_all(path)] == [bytes(83), filler(50)[1]]
    assert sorted(each.name for each in path.parent.iterdir()) == ["s.bin"]


def test_a_reader_under_way_is_told_of_a_truncation(file):
    add(file, PAGE, 300)
    reading = file.entries()
    next(reading)
    position = file.read_bytes(file.locate(1), 10).next

    file.truncate(1)
    add(file, 300)

    with pytest.raises(StreamRewritten):
        list(reading)
    file.truncate(1)
    with pytest.raises(StreamRewritten):
        file.read_bytes(position, 10)
    with pytest.raises(StreamRewritten):
        file.locate(2)


def test_another_process_is_followed_by_looking_again(path, file):
    with StreamReader.open(path) as reader:
        add(file, PAGE, 100)
        assert list(reader.entries()) == []

        reader.refresh()
        assert [entry.number for entry in reader.entries()] == [0, 1]

        file.truncate(1)
        reader.refresh()
        assert [entry.number for entry in reader.entries()] == [0]


# --- a disk that fails --------------------------------------------------------------------------------------------


def on_disk(tmp_path, faults):
    folder = tmp_path / "disk"
    folder.mkdir()
    disk = SimStreamDisk(folder)
    file = StreamFile.create(folder / "s.bin", pages=1, more_pages=1, disk=disk)
    add(file, 1000)
    for name, after in faults.items():
        setattr(disk.faults, name, disk.operations + after)
    return file, disk


def test_a_write_that_fails_fails_the_operation_and_not_the_file(tmp_path):
    file, _ = on_disk(tmp_path, {"error_at": 1})
    file.begin()
    file.add(*filler(100))

    with pytest.raises(StreamUnwritable):
        file.add(*filler(100))  # upstream: entry 0, and no error
    with pytest.raises(StreamUnwritable, match="an entry before"):
        file.add(*filler(100))
    with pytest.raises(StreamUnwritable, match="an entry before"):
        file.commit()
    file.rollback()

    assert add(file, 100) == [1]


@pytest.mark.parametrize("after", [1, 2, 3], ids=["sync of the data", "header", "sync of the header"])
def test_a_commit_that_fails_ends_writing(tmp_path, after):
    file, _ = on_disk(tmp_path, {"error_at": after})

    with pytest.raises(StreamUnwritable):
        add(file, 100)
    with pytest.raises(StreamUnwritable, match="an earlier write failed"):
        file.begin()
    with pytest.raises(StreamUnwritable, match="an earlier write failed"):
        file.truncate(0)

    assert file.header.total_entries == 1
    assert file.entry(0) is not None
    assert not file.in_operation


def test_a_disk_without_room_for_pages_leaves_what_was_committed(tmp_path):
    file, disk = on_disk(tmp_path, {"full_at": 0})

    with pytest.raises(StreamUnwritable):
        add(file, PAGE)

    file.close()
    disk.faults.full_at = None
    with StreamFile.open(file.path, disk=disk) as again:
        assert again.header.total_entries == 1


def test_a_disk_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    file, _ = on_disk(tmp_path, {})

    def broken(offset, size):
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(file._file, "read", broken)

    with pytest.raises(StreamUnreadable, match="I/O error"):
        file.entry(0)


def test_a_header_without_its_entries_is_told_by_name(path, file):
    file.close()
    set_header(path, total_length=4196, total_entries=1)

    with pytest.raises(HeaderAhead):
        StreamFile.open(path)
