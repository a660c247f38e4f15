"""The order of entries: what may follow what, and which numbers count on."""

from __future__ import annotations

import pytest
from attestrio.stream import (
    BatchEnd,
    BatchStart,
    BatchType,
    Bookmark,
    Entry,
    L2Block,
    L2BlockEnd,
    OrderChecker,
    Transaction,
    UpdateGER,
)
from attestrio.stream.errors import BadMessage, OrderBroken
from stream_kit import chain, entries_of, numbered

ROOT = b"\x07" * 32
GENESIS = [
    Bookmark.batch(0),
    BatchStart(0),
    Bookmark.block(0),
    L2Block(0, state_root=ROOT),
    L2BlockEnd(0),
    BatchEnd(0, state_root=ROOT),
]


def check(messages):
    checker = OrderChecker()
    for entry in numbered(messages):
        checker.feed(entry)
    return checker.counts


@pytest.mark.parametrize("name", ["a", "c", "d1", "d2", "d4", "d5"])
def test_streams_of_the_go_server_are_in_order(name):
    checker = OrderChecker()

    for entry in entries_of(name):
        checker.feed(entry)

    assert checker.counts.entries == len(entries_of(name))


def test_a_stream_made_with_wrong_roots_is_told_so():
    """Stream d3 has seven batches whose second half was made up: the root at the end is not that of the last block."""
    checker, broken = OrderChecker(), []

    for entry in entries_of("d3"):
        try:
            checker.feed(entry)
        except OrderBroken as exc:
            broken.append(exc.number)

    assert broken == [76, 84, 92, 100, 108, 116, 124]


def test_what_went_by_is_counted():
    counts = check([*chain(3, blocks=2), Bookmark.batch(3), BatchStart(3)])

    assert (counts.batches, counts.blocks, counts.transactions, counts.bookmarks) == (4, 6, 0, 10)
    assert (counts.last_batch, counts.last_block, counts.open_batch) == (3, 5, True)


@pytest.mark.parametrize("end", range(len(GENESIS) + 1))
def test_a_stream_may_end_anywhere(end):
    assert check(GENESIS[:end]).entries == end


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([*GENESIS[:4], GENESIS[5]], id="genesis of chain 779 without the end of its block"),
        pytest.param([*GENESIS[:4], Transaction(0), Transaction(0), *GENESIS[4:]], id="transactions"),
        pytest.param([*GENESIS, Bookmark.batch(1), BatchStart(1), BatchEnd(1, state_root=b"\1" * 32)], id="gap batch"),
        pytest.param([*GENESIS, Bookmark.batch(1), BatchStart(1, BatchType.INVALID), BatchEnd(1)], id="invalid batch"),
        pytest.param([*GENESIS[:5], UpdateGER(0), UpdateGER(0), GENESIS[5]], id="exit roots before the end"),
        pytest.param([*GENESIS[:2], UpdateGER(0), BatchEnd(0)], id="exit root of a gap batch"),
        pytest.param(list(chain(2, first=7, block=40)), id="a stream that begins later"),
    ],
)
def test_what_networks_have_written_is_in_order(messages):
    assert check(messages).entries == len(messages)


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([*GENESIS[:5], Bookmark.batch(1)], "bookmark of a batch after L2BlockEnd"),
        ([BatchStart(0)], "BatchStart after the beginning"),
        ([*GENESIS, BatchStart(1)], "BatchStart after BatchEnd"),
        ([*GENESIS, Bookmark.block(1)], "bookmark of a block after BatchEnd"),
        ([*GENESIS[:4], Bookmark.block(1)], "bookmark of a block after L2Block"),
        ([*GENESIS[:2], L2Block(0)], "L2Block after BatchStart"),
        ([*GENESIS[:5], Transaction(0)], "Transaction after L2BlockEnd"),
        ([*GENESIS[:2], L2BlockEnd(0)], "L2BlockEnd after BatchStart"),
        ([*GENESIS, BatchEnd(0, state_root=ROOT)], "BatchEnd after BatchEnd"),
        ([*GENESIS, UpdateGER(0)], "UpdateGER after BatchEnd"),
        ([*GENESIS, Bookmark.batch(2), BatchStart(2)], "batch 2 after batch 0"),
        ([*GENESIS, Bookmark.batch(1), BatchStart(2)], "batch 2 behind the bookmark of 1"),
        ([*GENESIS[:5], Bookmark.block(2), L2Block(2)], "block 2 after block 0"),
        ([*GENESIS[:5], Bookmark.block(1), L2Block(2)], "block 2 behind the bookmark of 1"),
        ([*GENESIS[:5], Bookmark.block(1), L2Block(1, batch_number=1)], "batch 1 inside batch 0"),
        ([*GENESIS[:4], Transaction(1)], "block 1 inside block 0"),
        ([*GENESIS[:4], L2BlockEnd(1)], "block 1 inside block 0"),
        ([*GENESIS[:5], BatchEnd(1, state_root=ROOT)], "batch 1 inside batch 0"),
        ([*GENESIS[:5], BatchEnd(0, state_root=bytes(32))], "state root"),
        ([*GENESIS[:5], UpdateGER(1)], "batch 1 inside batch 0"),
    ],
)
def test_what_stands_in_the_wrong_place_is_told_with_its_number(messages, why):
    with pytest.raises(OrderBroken, match=why) as told:
        check(messages)

    assert told.value.number == len(messages) - 1


def test_a_gap_between_entries_is_noticed_and_the_rest_goes_on():
    entries = numbered(GENESIS)
    checker = OrderChecker()
    checker.feed(entries[0])

    with pytest.raises(OrderBroken, match="entry 2: its number is not 1"):
        checker.feed(entries[2])

    assert checker.next_number == 3


def test_an_entry_that_carries_nothing_known_is_no_matter_of_order():
    with pytest.raises(BadMessage):
        OrderChecker().feed(Entry(0, 99, b""))
