"""Bytes to requests, and bytes to packets; no socket."""

from itertools import pairwise

import pytest
from attestrio.errors import PeerError
from attestrio.stream.dialogue import Answer, Dialogue
from attestrio.stream.entries import NOT_FOUND, PAGE, Entry, Header
from attestrio.stream.protocol import (
    RESULTS,
    Command,
    PacketReader,
    Request,
    RequestReader,
    Response,
    Result,
    Status,
    encode_response,
)
from attestrio.stream.wire_errors import BadStreamPacket, BadStreamRequest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_net_kit import TRANSCRIPTS
from suite import examples

REQUESTS = st.one_of(
    st.builds(
        Request, st.sampled_from([Command.START, Command.ENTRY]), number=st.integers(min_value=0, max_value=2**64 - 1)
    ),
    st.sampled_from([Request(Command.STOP), Request(Command.HEADER)]),
    st.builds(
        Request,
        st.sampled_from([Command.START_BOOKMARK, Command.BOOKMARK]),
        bookmark=st.binary(min_size=1, max_size=16),
    ),
)
ENTRIES = st.builds(
    Entry, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 2), st.binary(max_size=40)
)  # 2**32 - 1 stands for no entry


def pieces(raw, cuts):
    edges = [0, *sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]
    return [raw[start:end] for start, end in pairwise(edges)]


def read_all(reader, parts, take):
    found = []
    for part in parts:
        reader.feed(part)
        while (one := take()) is not None:
            found.append(one)
    return found


def head(command, stream_type=1):
    return command.to_bytes(8, "big") + stream_type.to_bytes(8, "big")


# --- requests


@given(REQUESTS, st.lists(st.integers(0, 100)))
@settings(max_examples=examples(60))
def test_a_request_is_read_however_it_is_cut(request_, cuts):
    reader = RequestReader()

    raw = request_.encode()
    started = request_.command == Command.STOP
    found = read_all(reader, pieces(raw, cuts), lambda: reader.next_request(started=started))

    assert found == [request_]


def test_the_parameters_of_a_refused_command_are_the_next_command():
    reader = RequestReader()
    reader.feed(Request(Command.START, 0).encode() + bytes(7) + b"\1")  # 0, then 1: command 0 of the right stream type

    found = [reader.next_request(started=True) for _ in range(3)]

    assert found == [Status.ALREADY_STARTED, Status.INVALID_COMMAND, None]


def test_a_stop_without_a_start_is_refused():
    reader = RequestReader()
    reader.feed(Request(Command.STOP).encode())

    assert reader.next_request(started=False) is Status.ALREADY_STOPPED


@pytest.mark.parametrize("number", [0, 7, 2**64 - 1])
@pytest.mark.parametrize("started", [False, True])
def test_a_command_that_does_not_exist_is_refused(number, started):
    reader = RequestReader()
    reader.feed(head(number))

    assert reader.next_request(started=started) is Status.INVALID_COMMAND


@pytest.mark.parametrize("command", [*Command, 0, 99])
def test_another_stream_type_ends_the_connection(command):
    reader = RequestReader()
    reader.feed(head(int(command), stream_type=2))

    with pytest.raises(BadStreamRequest, match="stream type 2"):
        reader.next_request(started=False)


@pytest.mark.parametrize("command", [Command.START_BOOKMARK, Command.BOOKMARK])
@pytest.mark.parametrize("size", [17, 2**32 - 1])
def test_a_bookmark_that_is_too_long_ends_the_connection_before_it_is_there(command, size):
    reader = RequestReader()
    reader.feed(head(command) + size.to_bytes(4, "big"))

    with pytest.raises(BadStreamRequest, match=f"bookmark of {size} bytes, limit 16"):
        reader.next_request(started=False)


def test_an_empty_bookmark_is_passed_over():
    reader = RequestReader()
    reader.feed(head(Command.BOOKMARK) + bytes(4) + head(Command.HEADER))

    assert reader.next_request(started=False) == Request(Command.HEADER)


def test_a_start_at_an_empty_bookmark_ends_the_connection():
    reader = RequestReader()
    reader.feed(head(Command.START_BOOKMARK) + bytes(4))

    with pytest.raises(BadStreamRequest):
        reader.next_request(started=False)


@given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
@settings(max_examples=examples(60))
def test_strangers_bytes_are_requests_or_a_named_error(parts, started):
    reader = RequestReader()

    try:
        found = read_all(reader, parts, lambda: reader.next_request(started=started))
    except PeerError:
        return

    assert all(isinstance(one, Request | Status) for one in found)


# --- packets


@given(st.lists(ENTRIES, max_size=4), st.lists(st.integers(0, 400)))
@settings(max_examples=examples(60))
def test_packets_are_read_however_they_are_cut(entries, cuts):
    header = Header(8192, 7)
    raw = RESULTS[Status.OK] + header.encode() + b"".join(entry.encode() for entry in entries)
    raw += b"".join(encode_response(entry) for entry in entries) + NOT_FOUND
    reader = PacketReader()

    found = read_all(reader, pieces(raw, cuts), reader.next_packet)

    answers = [Response(entry) for entry in entries]
    assert found == [Result(0, "OK"), header, *entries, *answers, Response(None)]
    assert not reader.partial


def test_seventeen_bytes_are_an_entry_without_data_when_streamed_and_none_when_asked_for():
    reader = PacketReader()
    reader.feed(Entry(4, 6, b"").encode() + NOT_FOUND)

    assert reader.next_packet() == Entry(4, 6, b"")
    assert reader.next_packet() == Response(None)


def test_an_entry_of_a_whole_page_is_read():
    entry = Entry(1, 3, bytes(PAGE - 17))
    reader = PacketReader()
    reader.feed(entry.encode())

    assert reader.next_packet() == entry


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\x02" + (PAGE + 1).to_bytes(4, "big"), f"with {PAGE + 1} bytes"),
        (b"\xfe" + (2**32 - 1).to_bytes(4, "big"), "with 4294967295 bytes"),
        (b"\x02" + (16).to_bytes(4, "big"), "with 16 bytes"),
        (b"\xff" + (8).to_bytes(4, "big"), "with 8 bytes"),
        (b"\xff" + (9 + 257).to_bytes(4, "big"), "with 266 bytes"),
        (b"\x01" + (29).to_bytes(4, "big"), "with 29 bytes"),
        (b"\x00", "packet type 0x00"),
        (b"\x03", "packet type 0x03"),
    ],
)
def test_what_cannot_be_a_packet_is_refused_before_it_is_waited_for(raw, said):
    reader = PacketReader()
    reader.feed(raw)

    with pytest.raises(BadStreamPacket, match=said):
        reader.next_packet()


@given(st.lists(st.binary(max_size=60), max_size=6))
@settings(max_examples=examples(60))
def test_a_strange_servers_bytes_are_packets_or_a_named_error(parts):
    reader = PacketReader()

    try:
        read_all(reader, parts, reader.next_packet)
    except PeerError:
        return


# --- which answer belongs to which request


def heard(dialogue, raw):
    dialogue.feed(raw)
    found = []
    while (event := dialogue.next_event()) is not None:
        found.append(event)
    return found


def test_requests_sent_together_get_their_answers_in_order():
    dialogue = Dialogue()
    asked = [Request(Command.HEADER), Request(Command.ENTRY, 9), Request(Command.BOOKMARK, bookmark=b"\x08\x01")]
    for one in asked:
        dialogue.request(one)
    ok = RESULTS[Status.OK]

    found = heard(dialogue, ok + Header().encode() + ok + NOT_FOUND + ok + encode_response(Entry(1, 1, b"x")))

    answers = [Header(), Response(None), Response(Entry(1, 1, b"x"))]
    assert found == [Answer(one, Result(0, "OK"), body) for one, body in zip(asked, answers, strict=True)]


def test_entries_in_flight_come_before_the_answer_to_a_stop():
    dialogue = Dialogue()
    dialogue.request(Request(Command.START, 0))
    dialogue.request(Request(Command.STOP))
    entry, ok = Entry(0, 176, b"\x08\x01"), RESULTS[Status.OK]

    found = heard(dialogue, ok + entry.encode() + ok)

    assert [one.request.command if isinstance(one, Answer) else one for one in found] == [
        Command.START,
        entry,
        Command.STOP,
    ]


@pytest.mark.parametrize("command", [Command.START, Command.HEADER, Command.ENTRY])
def test_a_client_never_sends_what_a_streaming_server_would_misread(command):
    dialogue = Dialogue()
    dialogue.request(Request(Command.START, 0))

    with pytest.raises(ValueError, match="while entries are streamed"):
        dialogue.request(Request(command))


def test_after_a_refused_start_another_can_be_sent():
    dialogue = Dialogue()
    dialogue.request(Request(Command.START, 99))

    (answer,) = heard(dialogue, RESULTS[Status.BAD_FROM_ENTRY])

    assert answer.result == Result(3, "Bad from entry")
    assert dialogue.request(Request(Command.START, 0))


@pytest.mark.parametrize("raw", [RESULTS[Status.OK], Header().encode(), Entry(0, 1, b"").encode(), NOT_FOUND])
def test_what_nobody_asked_for_ends_the_connection(raw):
    dialogue = Dialogue()

    with pytest.raises(BadStreamPacket, match="nobody asked for"):
        heard(dialogue, raw)


def test_an_entry_in_the_place_of_a_header_ends_the_connection():
    dialogue = Dialogue()
    dialogue.request(Request(Command.HEADER))

    with pytest.raises(BadStreamPacket, match="not the answer to HEADER"):
        heard(dialogue, RESULTS[Status.OK] + NOT_FOUND)


def test_a_streamed_entry_is_taken_for_the_answer_too():
    dialogue = Dialogue()
    dialogue.request(Request(Command.ENTRY, 0))

    (answer,) = heard(dialogue, RESULTS[Status.OK] + Entry(0, 1, b"x").encode())

    assert answer.body == Response(Entry(0, 1, b"x"))


def test_nothing_found_is_nothing_in_either_kind_of_answer():
    dialogue = Dialogue()
    dialogue.request(Request(Command.ENTRY, 7))

    (answer,) = heard(dialogue, RESULTS[Status.OK] + b"\2" + NOT_FOUND[1:])

    assert answer.body == Response(None)


# --- what the reference has written

# Requests of the transcripts that our client never makes, so that their answers have nothing to belong to.
NEVER_SENT = {
    "invalid_command": "commands that do not exist",
    "wrong_stream_type": "another stream type",
    "start_while_started_desync": "a start behind a start",
    "start_while_started_full": "a start behind a start",
    "bookmark_too_long": "a bookmark of 17 bytes",
    "bookmark_zero_length": "a bookmark without bytes",
    "start_bad_entry_leaves_client_wedged": "a second command behind a refused start, which would be refused as well",
    "start_bookmark_missing": "a second command behind a refused start, which would be refused as well",
    "start_stop": "a Header while entries are streamed, and a second Stop",
}


def requests_of(raw):
    """What a client has sent, taken apart again; as if entries were streamed exactly when it sends a Stop."""
    reader, found = RequestReader(), []
    reader.feed(raw)
    while True:
        started = raw[sum(len(one.encode()) for one in found) :].startswith(head(Command.STOP))
        if (one := reader.next_request(started=started)) is None:
            return found
        found.append(one)


@pytest.mark.parametrize("name", sorted(TRANSCRIPTS.keys() - NEVER_SENT.keys()))
def test_the_dialogues_of_the_reference_are_ours_as_a_client(name):
    """Every request is byte for byte what we send, every byte of the answers is taken, and an answer each."""
    dialogue = Dialogue()
    sent, got = b"", b""
    answers = []
    for step in TRANSCRIPTS[name]["steps"]:
        sent += bytes.fromhex(step["send"])
        got += bytes.fromhex(step["recv"])

    asked = requests_of(sent)
    said = b"".join(dialogue.request(one) for one in asked)
    for step in TRANSCRIPTS[name]["steps"]:
        answers += [one for one in heard(dialogue, bytes.fromhex(step["recv"])) if isinstance(one, Answer)]

    assert said == sent
    assert [one.request for one in answers] == asked[: len(answers)]
    assert all(one.result.ok for one in answers)
    if got:
        assert len(answers) == len(asked)
        assert not dialogue.partial


def as_sent(event):
    """What stood on the wire for one packet."""
    match event:
        case Result():
            text = event.text.encode()
            return b"\xff" + (9 + len(text)).to_bytes(4, "big") + event.status.to_bytes(4, "big") + text
        case Response():
            return encode_response(event.entry)
        case _:
            return event.encode()


@pytest.mark.parametrize("name", sorted(TRANSCRIPTS))
def test_every_byte_the_reference_sends_is_understood(name):
    """All 22, those our client would not have caused too: read as packets and written again, they are the same."""
    reader = PacketReader()
    said = b"".join(bytes.fromhex(step["recv"]) for step in TRANSCRIPTS[name]["steps"])

    packets = read_all(reader, [said], reader.next_packet)

    assert b"".join(map(as_sent, packets)) == said
