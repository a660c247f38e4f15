"""Old batches are read from a stream, and what no builder can build is refused before anything is cut."""

from __future__ import annotations

import pytest
from attestrio.resequence import Cursor, read_batches
from attestrio.resequence.errors import RebuildRefused
from attestrio.resequence.plan import facts_of, old_batches
from attestrio.stream import BatchEnd, BatchStart, Bookmark, Entry, L2Block, L2BlockEnd, Transaction, UpdateGER

TAG = b"12345678"


def batch(number, *blocks, kind=1, end=True):
    """Messages; a block is (number, time, how many transactions)."""
    yield Bookmark.batch(number)
    yield BatchStart(number, type=kind, fork_id=9)
    for block, at, txs in blocks:
        yield Bookmark.block(block)
        yield L2Block(block, batch_number=number, timestamp=at)
        yield from (Transaction(block, encoded=bytes([tx])) for tx in range(txs))
        yield L2BlockEnd(block)
    if end:
        yield BatchEnd(number)


def entries(*batches):
    messages = [message for one in batches for message in one]
    return [Entry(number, one.TYPE, one.encode()) for number, one in enumerate(messages)]


def read(*batches):
    """As the batches behind batch 4, whose last block is 7 of time 100."""
    return list(old_batches(entries(*batches), 5, 7, 100))


def test_batches_come_with_their_blocks_and_transactions():
    found = read(batch(5, (8, 100, 2), (9, 100, 0)), batch(6, kind=4), batch(7, (10, 101, 1), end=False))

    assert [(one.number, one.kind, one.open, one.transactions) for one in found] == [
        (5, 1, False, 2),
        (6, 4, False, 0),
        (7, 1, True, 1),
    ]
    assert [block.number for one in found for block in one.blocks] == [8, 9, 10]
    assert found[0].blocks[0].encoded == (b"\0", b"\1")
    facts = facts_of(found)
    assert (facts.batches, facts.blocks, facts.transactions, facts.last_batch) == (3, 3, 3, 7)


def test_nothing_at_all_is_no_batch():
    assert list(read_batches([])) == []
    assert facts_of([]).batches == 0


@pytest.mark.parametrize(
    ("batches", "why"),
    [
        ([batch(6, (8, 100, 0))], "batch 6 stands where batch 5 is due"),
        ([batch(5), batch(7)], "batch 7 stands where batch 6 is due"),
        ([batch(5, (9, 100, 0))], "block 9 of time 100 after block 7 of time 100"),
        ([batch(5, (8, 99, 0))], "block 8 of time 99 after block 7 of time 100"),
        ([batch(5, (8, 102, 0)), batch(6, (9, 101, 0))], "block 9 of time 101 after block 8 of time 102"),
        ([batch(5, kind=9)], "batch 5 is of a kind"),
        ([[*batch(5, end=False), UpdateGER(5), BatchEnd(5)]], "batch 5 is of a kind, or of a fork"),
    ],
)
def test_what_cannot_be_built_is_refused(batches, why):
    with pytest.raises(RebuildRefused, match=why):
        read(*batches)


def test_a_cursor_is_read_by_the_rebuild_that_wrote_it_alone():
    cursor = Cursor(9, 3, 2)

    assert Cursor.decode(cursor.encode(TAG), TAG) == cursor
    assert Cursor.decode(cursor.encode(TAG), b"87654321") is None
    assert Cursor.decode(None, TAG) is None
    assert Cursor.decode(b"short", TAG) is None
