"""Batches to attest, taken from a data stream: what their hash stands for, and streams that are cut and rebuilt."""

import pytest
from attestrio.batches.stream import StreamBatches, batch_hash
from attestrio.kit.blocking import inline
from attestrio.roles import BatchNumber, GenesisHash
from attestrio.store.api import BatchConflict
from attestrio.stream.bookmarks import DataStream, MemoryBookmarks
from attestrio.stream.file import StreamFile
from attestrio.stream.live import LiveStream
from attestrio.stream.messages import BatchEnd, BatchStart, Bookmark, L2Block, L2BlockEnd, Transaction

GENESIS, FORK = GenesisHash(b"\x11" * 32), GenesisHash(b"\x22" * 32)


def batch(number, blocks, salt=0, *, ended=True, roots=0, transactions=1):
    made = [Bookmark.batch(number), BatchStart(number)]
    for block in blocks:
        made += [Bookmark.block(block), L2Block(block, number, 1000 + block, hash=bytes([salt, block]) * 16)]
        made += [Transaction(block, encoded=bytes([index % 256]) * 9) for index in range(transactions)]
        made.append(L2BlockEnd(block))
    end = [BatchEnd(number, local_exit_root=b"\5" * 32, state_root=bytes([roots]) * 32)]
    return [(one.TYPE, one.encode()) for one in made + (end if ended else [])]


@pytest.fixture
async def live(tmp_path):
    with DataStream(StreamFile.create(tmp_path / "s.bin", pages=1), MemoryBookmarks()) as stream:
        made = LiveStream(stream, inline)
        for number in range(4):
            await made.append(batch(number, [2 * number, 2 * number + 1]))
        yield made


async def hashes(source, numbers):
    found = [await source.batch_to_sign(BatchNumber(number)) for number in numbers]
    return [one and one.hash for one in found]


async def cut(live, number):
    await live.truncate(await live.find(Bookmark.batch(number).encode()))


async def test_a_batch_is_given_once_it_has_ended_with_a_hash_of_its_last_block_and_its_roots(live):
    await live.append(batch(4, [8], ended=False))
    source = StreamBatches(live, GENESIS)

    third, fourth, fifth = [await source.batch_to_sign(BatchNumber(number)) for number in (3, 4, 5)]

    assert (third.number, third.genesis) == (3, GENESIS)
    assert third.hash == batch_hash(3, bytes([0, 7]) * 16, bytes(32), b"\5" * 32)
    assert fourth is None
    assert fifth is None


@pytest.mark.parametrize(
    "other",
    [batch(3, [6, 7], salt=1), batch(3, [6, 7, 8]), batch(3, [6, 7], roots=1), batch(3, [])],
    ids=["other blocks", "one more", "other root", "no blocks"],
)
async def test_any_other_content_is_another_hash(live, other):
    (before,) = await hashes(StreamBatches(live, GENESIS), [3])
    await cut(live, 3)
    await live.append(other)

    (after,) = await hashes(StreamBatches(live, GENESIS), [3])

    assert before != after


async def test_a_batch_of_many_entries_and_one_without_blocks_are_read_whole(live):
    await live.append(batch(4, [8, 9], transactions=400))
    await live.append(batch(5, []))

    found = await hashes(StreamBatches(live, GENESIS), [4, 5])

    last = bytes([0, 9]) * 16
    assert found == [batch_hash(number, last, bytes(32), b"\5" * 32) for number in (4, 5)]


async def test_the_first_batch_that_was_rebuilt_ends_the_epoch_and_the_next_one_gets_the_new_hashes(live):
    source = StreamBatches(live, GENESIS)
    before = await hashes(source, range(4))
    await cut(live, 2)
    await live.append(batch(2, [4, 5], salt=7))
    await live.append(batch(3, [6, 7], salt=7))

    with pytest.raises(BatchConflict) as caught:
        await source.batch_to_sign(BatchNumber(4))
    after = await hashes(source, range(4))

    assert (caught.value.number, caught.value.stored) == (2, before[2])
    assert caught.value.got == after[2]
    assert after[:2] == before[:2]
    assert set(after[2:]).isdisjoint(before)


async def test_batches_that_come_back_as_they_were_end_nothing(live):
    source = StreamBatches(live, GENESIS)
    before = await hashes(source, range(4))
    await cut(live, 2)

    while_gone = await hashes(source, [1, 2, 3])
    await live.append(batch(2, [4, 5]))
    await live.append(batch(3, [6, 7]))

    assert while_gone == [before[1], None, None]
    assert await hashes(source, range(4)) == before


async def test_a_difference_is_found_also_when_nobody_asked_between_the_cut_and_the_end_of_the_rebuild(live):
    source = StreamBatches(live, GENESIS)
    await hashes(source, range(4))
    await cut(live, 1)
    assert await hashes(source, [3]) == [None]
    await live.append(batch(1, [2, 3]))
    await live.append(batch(2, [4, 5], salt=3))

    with pytest.raises(BatchConflict) as caught:
        await source.batch_to_sign(BatchNumber(3))

    assert caught.value.number == 2


async def test_under_another_genesis_batches_begin_where_it_does_and_contradict_nothing(live):
    source = StreamBatches(live, GENESIS)
    await hashes(source, range(4))
    await cut(live, 2)
    await live.append(batch(2, [4, 5], salt=7))

    source.follow(FORK, 2)

    assert await source.first_batch(FORK) == 2
    assert await source.first_batch(GENESIS) is None
    assert await source.batch_to_sign(BatchNumber(1)) is None
    assert (await source.batch_to_sign(BatchNumber(2))).genesis == FORK
