"""A file of sealed batches, followed while it grows, is cut, rotated and damaged."""

import os

import pytest
from attestrio.batches import BatchFileMalformed, BatchFileUnreadable, BatchFileUnusable, LocalBatches
from attestrio.batches.file import MAX_LINE, STRIDE, BatchFile, batch_of_line
from attestrio.kit.blocking import in_thread, inline
from attestrio.roles import Batch, BatchHash, BatchNumber, GenesisHash
from hypothesis import given
from hypothesis import strategies as st

GENESIS = GenesisHash(b"\x11" * 32)


def batch(number, seed=0):
    return Batch(BatchNumber(number), BatchHash(number.to_bytes(8, "big") * 3 + bytes([seed]) * 8), GENESIS)


def line(number, seed=0):
    return b'{"number": %d, "hash": "%s"}\n' % (number, batch(number, seed).hash.to_text().encode())


def lines(first, end, seed=0):
    return b"".join(line(number, seed) for number in range(first, end))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "batches.jsonl"


@pytest.fixture
def source(path):
    return LocalBatches(path, GENESIS, inline)


async def ask(source, number):
    return await source.batch_to_sign(BatchNumber(number))


def append(path, raw):
    with path.open("ab") as file:
        file.write(raw)


async def test_batches_are_found_by_number(path, source):
    path.write_bytes(lines(5, 8))

    assert [await ask(source, number) for number in range(4, 9)] == [None, batch(5), batch(6), batch(7), None]
    assert await source.first_number() == 5


async def test_any_batch_of_a_long_file_is_found_with_one_offset_for_many_lines(path, source):
    count = 5 * STRIDE + 3
    path.write_bytes(lines(100, 100 + count))

    found = [await ask(source, number) for number in range(100, 100 + count)]

    assert found == [batch(number) for number in range(100, 100 + count)]
    assert len(source._file._offsets) == 6


async def test_the_real_node_reads_in_a_thread(path):
    path.write_bytes(lines(5, 8))

    assert await ask(LocalBatches(path, GENESIS, in_thread), 6) == batch(6)


async def test_a_line_that_is_still_being_written_waits_for_its_end(path, source):
    path.write_bytes(line(5) + line(6)[:40])
    before = await ask(source, 6)

    append(path, line(6)[40:])

    assert before is None
    assert await ask(source, 6) == batch(6)


async def test_a_file_that_does_not_exist_yet_is_empty(path, source):
    await source.check()
    before = await ask(source, 5), await source.first_number()

    path.write_bytes(line(5))

    assert before == (None, None)
    assert await ask(source, 5) == batch(5)


async def test_empty_lines_and_a_line_written_twice_are_harmless(path, source):
    path.write_bytes(line(5) + b"\n" + line(6) + line(6) + b"  \n" + line(7))

    assert [await ask(source, number) for number in (5, 6, 7)] == [batch(5), batch(6), batch(7)]


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"batch six\n", "malformed"),
        (b'{"number": 6}\n', "missing required field"),
        (b'{"number": "6", "hash": "x"}\n', "Expected `int`"),
        (line(6).replace(b"}", b', "weight": 1}'), "unknown field"),
        (b'{"number": 6, "hash": "0x00"}\n', "does not start with"),
        (line(6).replace(b'"}', b'ff"}'), "33 B"),
        (b'{"number": -1, "hash": "batch:keccak256:%s"}\n' % (b"00" * 32), "batch number is -1"),
        (b"\xff\xfe\n", ""),
        (line(8), "batch 8 after batch 5"),
        (line(4), "batch 4 after batch 5"),
        (line(5, seed=1), "another hash for batch 5"),
        (b" " * MAX_LINE + line(6), "longer than 1024 bytes"),
    ],
    ids=str,
)
async def test_a_bad_line_is_named_and_what_stands_before_it_is_still_served(path, source, raw, problem):
    path.write_bytes(line(5) + raw)

    with pytest.raises(BatchFileUnusable, match=r"batches\.jsonl, line 2: ") as at_start:
        await source.check()
    with pytest.raises(BatchFileMalformed) as later:
        await ask(source, 6)

    assert problem in str(at_start.value)
    assert (later.value.line, later.value.path) == (2, path)
    assert await ask(source, 5) == batch(5)


async def test_reading_goes_on_when_a_bad_line_is_repaired(path, source):
    path.write_bytes(line(5) + b"oops\n" + line(7))
    with pytest.raises(BatchFileMalformed):
        await ask(source, 7)

    path.write_bytes(lines(5, 8))

    assert await ask(source, 7) == batch(7)


@pytest.mark.parametrize(
    "rewritten",
    [lines(5, 6, seed=1), lines(5, 9, seed=1), lines(5, 30, seed=1)],
    ids=["shorter", "same-size", "longer"],
)
async def test_a_file_that_was_rewritten_is_read_from_its_beginning(path, source, rewritten):
    path.write_bytes(lines(5, 9))
    await ask(source, 8)

    path.write_bytes(rewritten)

    assert await ask(source, 5) == batch(5, seed=1)


async def test_a_rotated_file_is_followed_where_the_new_one_begins(path, source):
    path.write_bytes(lines(5, 9))
    await ask(source, 8)

    path.rename(path.with_suffix(".1"))
    between = await ask(source, 8)
    path.write_bytes(lines(9, 12))

    assert between is None
    assert await ask(source, 11) == batch(11)
    assert await source.first_number() == 9


async def test_a_file_swapped_between_looking_and_reading_gives_no_wrong_batch(path):
    file = BatchFile(path, GENESIS)
    path.write_bytes(lines(5, 9))
    file.refresh()

    path.write_bytes(b"x" * 1000)
    garbled = file.find(BatchNumber(6))
    path.unlink()

    assert garbled is None
    assert file.find(BatchNumber(6)) is None


async def test_a_path_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "batches.jsonl").mkdir()
    source = LocalBatches(tmp_path / "batches.jsonl", GENESIS, inline)

    with pytest.raises(BatchFileUnreadable, match=r"batches\.jsonl cannot be read: Is a directory"):
        await ask(source, 5)
    with pytest.raises(BatchFileUnusable, match="cannot be read"):
        await source.check()


async def test_a_directory_that_does_not_exist_is_a_mistake_of_the_operator(tmp_path):
    source = LocalBatches(tmp_path / "absent" / "batches.jsonl", GENESIS, inline)

    with pytest.raises(BatchFileUnusable, match="absent is not a directory"):
        await source.check()


def test_a_line_is_read_as_its_batch():
    assert batch_of_line(line(7), GENESIS) == batch(7)


@given(st.integers(0, 2**40), st.integers(1, 100), st.lists(st.integers(1, 900), max_size=12), st.data())
def test_however_the_file_grows_every_complete_line_is_found(tmp_path_factory, first, count, cuts, data):
    path = tmp_path_factory.mktemp("grow") / "batches.jsonl"
    whole, file, written = lines(first, first + count), BatchFile(path, GENESIS), 0
    for cut in [*cuts, len(whole)]:
        append(path, whole[written : written + cut])
        written = min(written + cut, len(whole))
        file.refresh()
        complete = whole[:written].count(b"\n")
        number = data.draw(st.integers(first, first + count - 1))

        expected = batch(number) if number - first < complete else None
        assert file.find(BatchNumber(number)) == expected

    assert os.path.getsize(path) == len(whole)
