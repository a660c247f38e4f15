"""How a stream ends, wherever it was cut."""

from __future__ import annotations

import pytest
from attestrio.sequencer.tail import Tail, tail_of, tail_of_entries
from attestrio.stream import BatchEnd, BatchStart, Bookmark, Entry, L2Block, L2BlockEnd, Transaction, message_untrusted
from sequencer_kit import blocks_a, entries_a, open_stream


def read(*messages):
    entries = [Entry(number, message.TYPE, message.encode()) for number, message in enumerate(messages)]
    return tail_of_entries(reversed(entries))


@pytest.mark.parametrize("count", range(len(entries_a()) + 1))
def test_a_stream_cut_anywhere_ends_with_its_last_whole_thing(count):
    entries = entries_a()[:count]
    messages = [message_untrusted(entry.type, entry.data) for entry in entries]
    ends = [at for at, message in enumerate(messages) if isinstance(message, L2BlockEnd)]

    tail = tail_of_entries(reversed(entries))

    if not ends:
        assert tail is None
        return
    block = blocks_a()[messages[ends[-1]].number].block
    after = messages[ends[-1] + 1 :]
    started = [message.number for message in after[-1:] if isinstance(message, BatchStart)]
    closed = any(isinstance(message, BatchEnd) for message in after) and not started
    whole = count if started else ends[-1] + 1 + closed
    batch = started[0] if started else block.batch_number
    assert tail == Tail(batch, closed, block.number, block.batch_number, block.hash, whole)


def test_a_batch_without_blocks_is_the_last_one_and_the_block_is_of_one_before():
    before = [L2Block(7, batch_number=3, hash=b"\7" * 32), L2BlockEnd(7), BatchEnd(3)]
    begun = [*before, Bookmark.batch(4), BatchStart(4)]

    assert read(*begun) == Tail(4, False, 7, 3, b"\7" * 32, 5)
    assert read(*begun, BatchEnd(4)) == Tail(4, True, 7, 3, b"\7" * 32, 6)
    assert read(*begun, BatchEnd(4), Bookmark.batch(5), BatchStart(5)) == Tail(5, False, 7, 3, b"\7" * 32, 8)


def test_the_genesis_block_of_old_streams_ends_with_its_batch():
    block = L2Block(0, hash=b"\7" * 32)

    assert read(Bookmark.batch(0), BatchStart(0), Bookmark.block(0), block, BatchEnd(0)) == Tail(
        0, True, 0, 0, b"\7" * 32, 5
    )


def test_a_file_is_read_from_its_last_page_backwards(tmp_path):
    with open_stream(tmp_path / "stream.bin") as stream:
        empty = tail_of(stream.file)
        with stream.atomic():
            for entry in entries_a()[:-1]:
                stream.add(entry.type, entry.data)
        with stream.atomic():
            stream.add_message(L2Block(7, batch_number=3))
            for _ in range(9):  # it fills pages and never ends
                stream.add_message(Transaction(7, encoded=bytes(1 << 18)))

        tail = tail_of(stream.file)

    assert empty is None
    assert (tail.batch, tail.closed, tail.block, tail.entries) == (3, False, 6, 39)
