"""Headers, entries and messages as bytes; what strangers send ends in one named error."""

from __future__ import annotations

import json

import pytest
from attestrio.stream import (
    MAX_DATA,
    NOT_FOUND,
    PAGE,
    BatchStart,
    Bookmark,
    Entry,
    EntryType,
    Header,
    L2Block,
    L2BlockEnd,
    Packet,
    Transaction,
    bookmark_untrusted,
    entries_untrusted,
    entry_untrusted,
    header_untrusted,
    length_untrusted,
    message_untrusted,
)
from attestrio.stream.entries import header_page_untrusted
from attestrio.stream.errors import BadEntry, BadMessage, BadStreamHeader, EntryTooLong
from attestrio.stream.messages import KINDS, MAX_BOOKMARK
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_kit import GOLDEN
from suite import examples

MESSAGES = json.loads((GOLDEN / "messages.json").read_text())
U64 = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize("told", MESSAGES, ids=lambda told: told["name"])
def test_a_message_is_read_and_written_as_go_does(told):
    raw = bytes.fromhex(told["hex"])

    message = message_untrusted(told["entry_type"], raw)

    assert message.encode() == raw
    for name, value in told["fields"].items():
        got = getattr(message, name)
        assert got == (int(value) if isinstance(got, int) and isinstance(value, str) else _bytes(value, got))


def _bytes(value, like):
    return bytes.fromhex(value) if isinstance(like, bytes) else value


@pytest.mark.parametrize(
    ("bookmark", "raw"),
    [
        (Bookmark.batch(0), "0801"),
        (Bookmark.batch(2), "08011002"),
        (Bookmark.block(0), "0802"),
        (Bookmark.block(11318), "080210b658"),
    ],
)
def test_a_bookmark_has_one_encoding(bookmark, raw):
    assert bookmark.encode().hex() == raw
    assert bookmark_untrusted(bytes.fromhex(raw)) == bookmark


@pytest.mark.parametrize("raw", ["08011000", "10020801", "0801108200", "080110021a00", "0803", "", "08", "ff" * 40])
def test_any_other_bookmark_is_refused(raw):
    with pytest.raises(BadMessage):
        bookmark_untrusted(bytes.fromhex(raw))


def test_the_longest_bookmark_is_one_that_servers_take():
    assert len(Bookmark.block(2**64 - 1).encode()) <= MAX_BOOKMARK


def test_what_upstream_always_writes_is_written_when_it_is_zero():
    assert len(L2Block(1).encode()) == 2 + 5 * 34 + 22
    assert len(Transaction(1).encode()) == 2 + 2 + 34
    assert L2BlockEnd(0).encode() == b""


def test_a_debug_text_that_is_empty_is_not_one_that_is_absent():
    assert BatchStart(1, debug="").encode() != BatchStart(1).encode()
    assert message_untrusted(1, BatchStart(1, debug="").encode()) == BatchStart(1, debug="")


@pytest.mark.parametrize(
    ("kind", "raw", "why"),
    [
        (7, b"", "not known"),
        (EntryType.L2_BLOCK, bytes([0x42, 31]) + bytes(31), "31 B instead of 32"),
        (EntryType.L2_BLOCK, bytes([0x5A, 21]) + bytes(21), "21 B instead of 20"),
        (EntryType.BATCH_START, b"\x08", "not a BatchStart"),
        (EntryType.BATCH_START, bytes.fromhex("2a030a01ff"), "not a BatchStart"),
    ],
)
def test_a_message_that_is_none_is_refused_by_name(kind, raw, why):
    with pytest.raises(BadMessage, match=why):
        message_untrusted(kind, raw)


@given(kind=st.sampled_from([*KINDS, 0, 7, 0xFFFFFFFF]), raw=st.binary(max_size=200))
def test_data_of_strangers_is_a_message_or_one_error(kind, raw):
    try:
        message = message_untrusted(kind, raw)
    except BadMessage:
        return
    assert message_untrusted(kind, message.encode()) == message


@given(length=U64, entries=U64, version=st.integers(0, 255), system=U64)
def test_a_header_survives_its_bytes(length, entries, version, system):
    header = Header(length, entries, version, system)

    assert header_untrusted(header.encode()) == header
    assert header_page_untrusted(header.page(), 4096) == header


@pytest.mark.parametrize(
    ("raw", "size", "why"),
    [
        (b"", 0, "does not begin"),
        (Header().page().replace(b"DAT", b"dat"), 4096, "does not begin"),
        (Header().page()[:54], 54, "no header page"),
        (Header().page(), 4096 + PAGE - 1, "cut"),
        (Header().page()[:16] + b"\2" + Header().page()[17:], 4096, "packet type 2"),
        (Header().page()[:20] + b"\x1d" + Header().page()[21:], 4096, "header length 29"),
        (Header().page()[:37] + b"\2" + Header().page()[38:], 4096, "stream type 2"),
    ],
)
def test_a_file_that_is_no_stream_is_refused_by_name(raw, size, why):
    with pytest.raises(BadStreamHeader, match=why):
        header_page_untrusted(raw, size)


def test_the_short_header_of_old_servers_is_refused():
    with pytest.raises(BadStreamHeader, match="29 B"):
        header_untrusted(bytes(29))


@given(raw=st.binary(max_size=60))
def test_any_other_header_is_one_error(raw):
    with pytest.raises(BadStreamHeader):
        header_untrusted(raw)


@given(number=U64, kind=st.integers(0, 2**32 - 2), data=st.binary(max_size=100))
def test_an_entry_survives_its_bytes(number, kind, data):
    entry = Entry(number, kind, data)

    assert entry_untrusted(entry.encode()) == entry
    assert entry_untrusted(entry.encode(Packet.RESPONSE)) == entry
    assert entries_untrusted(entry.encode(), number) == ([entry], 17 + len(data))


def test_the_answer_that_nothing_was_found_is_17_bytes_and_no_entry():
    assert NOT_FOUND.hex() == "fe00000011ffffffff0000000000000000"
    assert entry_untrusted(NOT_FOUND) is None


def test_an_entry_may_fill_a_page_and_no_more():
    assert len(Entry(0, 3, bytes(MAX_DATA)).encode()) == PAGE

    with pytest.raises(EntryTooLong) as told:
        Entry(0, 3, bytes(MAX_DATA + 1)).encode()

    assert (told.value.size, told.value.limit) == (PAGE + 1, PAGE)


@pytest.mark.parametrize("entry", [Entry(-1, 1, b""), Entry(2**64, 1, b""), Entry(0, 2**32, b""), Entry(0, -1, b"")])
def test_a_number_that_does_not_fit_is_our_own_mistake(entry):
    with pytest.raises(ValueError, match="not an entry"):
        entry.encode()


@pytest.mark.parametrize("length", [0, 16, PAGE + 1, 2**32 - 1])
def test_an_impossible_length_is_refused_before_anything_is_buffered(length):
    head = b"\2" + length.to_bytes(4, "big")

    with pytest.raises(BadEntry, match=str(length)):
        length_untrusted(head)


@pytest.mark.parametrize("raw", [b"", b"\2\0\0\0", b"\0" * 17, b"\xff" + bytes(16), NOT_FOUND + b"x", NOT_FOUND[:-1]])
def test_bytes_that_are_no_entry_are_one_error(raw):
    with pytest.raises(BadEntry):
        entry_untrusted(raw)


def test_entries_end_at_a_pad_and_before_one_that_is_cut():
    first, second = Entry(5, 1, b"one"), Entry(6, 2, b"two")
    raw = first.encode() + second.encode()

    assert entries_untrusted(raw + b"\0" + b"stale", 5) == ([first, second], len(raw))
    for end in range(len(first.encode()), len(raw)):
        assert entries_untrusted(raw[:end], 5) == ([first], len(first.encode()))


def test_an_entry_with_another_number_is_refused():
    with pytest.raises(BadEntry, match="entry 6 where entry 5"):
        entries_untrusted(Entry(6, 1, b"").encode(), 5)


@settings(max_examples=examples(200))
@given(raw=st.binary(max_size=80), flips=st.lists(st.tuples(st.integers(0, 79), st.integers(0, 255)), max_size=3))
def test_bytes_of_strangers_are_entries_or_one_error(raw, flips):
    whole = bytearray(Entry(0, 1, raw[:20]).encode() + Entry(1, 2, raw[20:]).encode() + raw[:5])
    for at, value in flips:
        whole[at % len(whole)] = value
    try:
        entries, used = entries_untrusted(bytes(whole), 0)
    except BadEntry:
        return
    assert b"".join(entry.encode() for entry in entries) == whole[:used]
