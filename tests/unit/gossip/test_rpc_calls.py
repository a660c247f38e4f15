from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from attestrio.errors import PeerError
from attestrio.gossip.errors import BadMux, FrameTooLarge
from attestrio.gossip.limiter import UNLIMITED
from attestrio.gossip.mux.handshake import encode_hello
from attestrio.gossip.rpc import get_batch, get_block
from attestrio.gossip.rpc.calls import MAX_QUEUED, CallFailed, Calls, Refused, Request, Response
from attestrio.gossip.rpc.errors import CallTimeout, CutShort
from attestrio.gossip.rpc.get_batch import GET_BATCH
from attestrio.gossip.rpc.get_block import GET_BLOCK
from attestrio.gossip.rpc.methods import METHODS
from attestrio.gossip.rpc.parse import VOID
from attestrio.gossip.rpc.ping import PING
from attestrio.gossip.rpc.push_batch_votes import PUSH_BATCH_VOTES
from attestrio.roles import BatchNumber
from hypothesis import given, settings
from hypothesis import strategies as st

ALL = {spec.capability: spec for spec in METHODS}
FAST = {spec.capability: replace(spec, rate=UNLIMITED) for spec in METHODS}
COUNTS = {spec.capability: spec.inflight for spec in METHODS}
VOTES_ID, PING_ID, BATCH_ID = 8, 1, 9  # the first stream of each, with the full set at both ends


def raised(specs=ALL, now=0.0):
    """One end whose peer, which is made of bytes, has the full set too; everything sent so far is forgotten."""
    calls = Calls.build(specs, specs, now)
    calls.feed(encode_hello(COUNTS, COUNTS), now)
    calls.take_output()
    return calls


def joined(specs=ALL, now=0.0):
    client, server = Calls.build(specs, specs, now), Calls.build(specs, specs, now)
    exchange(client, server, now)
    return client, server


def exchange(client, server, now=0.0):
    """Carry bytes until nobody says anything; what the server answered and what the client was told."""
    asked, told = [], []
    while (there := client.take_output()) or (back := server.take_output()):
        if there:
            for event in server.feed(there, now):
                asked.append(event)
                if isinstance(event, Request):
                    server.respond(event.stream, b"re:" + event.body, now)
        else:
            told += client.feed(back, now)
    return asked, told


def client_sends(stream, *parts):
    """What a peer that calls sends on our stream: OPEN, a DATA for each part, CLOSE."""
    frames = b"".join(
        (0x4000 | stream).to_bytes(2, "little") + len(part).to_bytes(2, "little") + part for part in parts
    )
    return stream.to_bytes(2, "little") + frames + (0x8000 | stream).to_bytes(2, "little")


def server_sends(stream, *parts):
    """What a peer that serves sends after our call: a DATA for each part, CLOSE, OPEN."""
    frames = b"".join(
        (0x6000 | stream).to_bytes(2, "little") + len(part).to_bytes(2, "little") + part for part in parts
    )
    close, open_ = 0xA000 | stream, 0x2000 | stream
    return frames + close.to_bytes(2, "little") + open_.to_bytes(2, "little")


def server_opens(stream):
    return (0x2000 | stream).to_bytes(2, "little")


def framed(body):
    return len(body).to_bytes(4, "little") + body


# appendix C of the wire's description


def test_a_server_opens_every_stream_it_serves_after_closing_all():
    calls = Calls.build(ALL, ALL, 0.0)
    hello = calls.take_output()

    events = calls.feed(encode_hello(COUNTS, COUNTS), 0.0)

    out = calls.take_output()
    closes = b"".join(bytes([id_, end]) for end in (0x80, 0xA0) for id_ in range(15))
    assert hello == encode_hello(COUNTS, COUNTS)
    assert events == []
    assert out[:60] == closes
    assert sorted(out[at : at + 2] for at in range(60, len(out), 2)) == [bytes([id_, 0x20]) for id_ in range(15)]


def test_get_block_5_is_the_bytes_of_the_network():
    calls = raised()
    calls.call(GET_BLOCK, get_block.encode_request(5), 0.0)

    calls.feed(server_opens(3), 0.0)

    assert calls.take_output().hex(" ") == "03 00 03 40 06 00 02 00 00 00 08 05 03 80"


def test_a_void_response_is_the_bytes_of_the_network():
    calls = raised()
    (request,) = calls.feed(client_sends(VOTES_ID, framed(b"")), 0.0)

    calls.respond(request.stream, VOID, 0.0)

    assert calls.take_output().hex(" ") == "08 60 04 00 00 00 00 00 08 a0 08 20"


def test_not_available_is_an_empty_response():
    calls = raised()
    (request,) = calls.feed(client_sends(3, framed(get_block.encode_request(0))), 0.0)

    calls.respond(request.stream, get_block.NOT_AVAILABLE, 0.0)

    assert request.body.hex() == "0800"
    assert calls.take_output().hex(" ") == "03 60 04 00 00 00 00 00 03 a0 03 20"


# a call


@pytest.mark.parametrize("spec", METHODS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("body", [b"", b"x", bytes(range(256)) * 3], ids=len)
def test_a_call_comes_back_with_its_answer(spec, body):
    client, server = joined()

    call_id = client.call(spec, body, 0.0)
    asked, told = exchange(client, server)

    assert [(event.spec, event.body) for event in asked] == [(spec, body)]
    assert told == [Response(call_id, b"re:" + body)]


def test_a_whole_call_is_one_write_each_way():
    client, server = joined()
    call_id = client.call(PUSH_BATCH_VOTES, bytes(190), 0.0)

    (request,) = server.feed(client.take_output(), 0.0)
    server.respond(request.stream, VOID, 0.0)
    answer = server.take_output()

    assert client.feed(answer, 0.0) == [Response(call_id, VOID)]
    assert answer[-2:].hex() == "0820", "the next call may come"
    assert client.take_output() == b""
    assert client.ready(PUSH_BATCH_VOTES) == 1


def test_calls_of_both_ends_do_not_meet():
    left, right = joined()
    left_id, right_id = left.call(PING, b"left", 0.0), right.call(PING, b"right", 0.0)

    to_right, to_left = left.take_output(), right.take_output()
    (at_right,), (at_left,) = right.feed(to_right, 0.0), left.feed(to_left, 0.0)
    right.respond(at_right.stream, b"1", 0.0)
    left.respond(at_left.stream, b"2", 0.0)

    assert (at_right.body, at_left.body) == (b"left", b"right")
    assert left.feed(right.take_output(), 0.0) == [Response(left_id, b"1")]
    assert right.feed(left.take_output(), 0.0) == [Response(right_id, b"2")]


def test_five_calls_can_be_reserved_before_one_is_made():
    client, _ = joined()

    assert [client.ready(spec) for spec in METHODS] == [1, 1, 1, 5, 1, 5, 1]


def test_answers_may_come_in_any_order():
    client, server = joined()
    ids = [client.call(GET_BATCH, get_batch.encode_request(BatchNumber(number)), 0.0) for number in range(5)]
    requests = server.feed(client.take_output(), 0.0)

    for request in reversed(requests):
        server.respond(request.stream, request.body, 0.0)

    answers = client.feed(server.take_output(), 0.0)
    assert [answer.call_id for answer in answers] == ids[::-1]
    assert [get_batch.request_untrusted(answer.body) for answer in answers] == [4, 3, 2, 1, 0]


def test_more_calls_than_streams_wait_for_their_turn():
    client, server = joined(FAST)
    ids = [client.call(FAST[6], bytes([number]), 0.0) for number in range(12)]
    waiting = client.ready(FAST[6])

    asked, told = exchange(client, server)

    assert waiting == 0
    assert [event.body for event in asked] == [bytes([number]) for number in range(12)]
    assert [event.call_id for event in told] == ids


def test_the_queue_of_a_method_is_bounded():
    calls = raised()
    for _ in range(MAX_QUEUED):
        calls.call(PING, b"", 0.0)

    with pytest.raises(ValueError, match="queued"):
        calls.call(PING, b"", 0.0)


def test_two_pings_go_at_once_and_one_more_every_second():
    client, server = joined()
    for _ in range(4):
        client.call(PING, b"", 0.0)

    answered = []
    for now in (0.0, 0.5, 1.0, 1.5, 2.0):
        client.tick(now)
        server.tick(now)
        answered.append(len(exchange(client, server, now)[1]))

    assert answered == [2, 0, 1, 0, 1]


def test_a_call_that_waited_for_a_permit_goes_out_whole_when_it_is_there():
    calls = raised()
    calls.feed(server_opens(PING_ID), 0.0)
    for _ in range(3):
        calls.call(PING, b"3", 0.0)
    for _ in range(2):
        calls.feed(server_sends(PING_ID, framed(b"")), 0.0)
    calls.take_output()

    calls.tick(1.0)

    assert calls.take_output() == client_sends(PING_ID, framed(b"3"))


def test_the_deadline_leads_from_permit_to_permit():
    client, server = joined()
    for _ in range(3):
        client.call(PING, b"", 0.0)
    exchange(client, server)

    due = client.deadline(0.0), server.deadline(0.0)

    assert due == (1.0, 1.0)


def test_large_messages_arrive_whole():
    specs = {6: replace(FAST[6], max_req=1 << 20, max_resp=1 << 20)}
    client, server = joined(specs)
    body = Random(1).randbytes(300_001)

    call_id = client.call(specs[6], body, 0.0)
    asked, told = exchange(client, server)

    assert asked[0].body == body
    assert told == [Response(call_id, b"re:" + body)]


def test_the_length_may_be_cut_anywhere():
    calls = raised()
    whole = framed(b"hello")

    events = calls.feed(client_sends(VOTES_ID, *(whole[at : at + 1] for at in range(len(whole)))), 0.0)

    assert [event.body for event in events] == [b"hello"]


def test_an_answer_may_leave_before_the_caller_has_closed():
    calls = raised()
    wire = client_sends(VOTES_ID, framed(b"hello"))

    (request,) = calls.feed(wire[:-2], 0.0)
    calls.respond(request.stream, VOID, 0.0)
    calls.take_output()
    late = calls.feed(wire[-2:], 0.0)
    (second,) = calls.feed(client_sends(VOTES_ID, framed(b"again")), 0.0)

    assert late == []
    assert second.body == b"again"


def test_what_stands_behind_a_message_is_nobodys():
    calls = raised()
    call_id = calls.call(PUSH_BATCH_VOTES, b"", 0.0)
    calls.feed(server_opens(VOTES_ID), 0.0)

    events = calls.feed(
        client_sends(PING_ID, framed(b"req") + b"more", b"and more")
        + server_sends(VOTES_ID, framed(VOID) + b"more", framed(b"and more")),
        0.0,
    )

    assert [event.body for event in events] == [b"req", VOID]
    assert events[1] == Response(call_id, VOID)


def test_requests_that_come_early_are_served_one_after_the_other():
    calls = raised(FAST)
    wire = b"".join(client_sends(VOTES_ID, framed(word)) for word in (b"one", b"two", b"three"))

    events = calls.feed(wire, 0.0)
    bodies = []
    while events:
        bodies.append([event.body for event in events])
        calls.respond(events[0].stream, VOID, 0.0)
        events = calls.take_events()

    assert bodies == [[b"one"], [b"two"], [b"three"]]


# what fails


def test_a_request_over_the_limit_gets_no_answer_and_the_next_one_does():  # R1
    calls = raised()

    (refused,) = calls.feed(client_sends(PING_ID, (1025).to_bytes(4, "little"), bytes(1025)), 0.0)
    closed = calls.take_output()
    (request,) = calls.feed(client_sends(PING_ID, framed(bytes(1024))), 0.0)

    assert isinstance(refused, Refused)
    assert refused.spec == PING
    assert isinstance(refused.error, FrameTooLarge)
    assert closed.hex(" ") == "01 a0 01 20"
    assert len(request.body) == 1024


def test_a_request_that_is_cut_short_gets_no_answer():
    calls = raised()

    (refused,) = calls.feed(client_sends(PING_ID, framed(b"hello")[:-1]), 0.0)
    (empty,) = calls.feed(client_sends(VOTES_ID), 0.0)

    assert isinstance(refused.error, CutShort)
    assert isinstance(empty.error, CutShort)
    assert calls.take_output().hex(" ") == "01 a0 01 20 08 a0 08 20"


def test_thousands_of_bad_requests_in_one_piece_are_refused_one_after_the_other():
    calls = raised(FAST)

    events = calls.feed(client_sends(PING_ID, b"\xff\xff\xff\xff") * 5000, 0.0)

    assert len(events) == 5000
    assert {type(event) for event in events} == {Refused}


def test_a_refused_request_is_closed_without_an_answer():
    calls = raised()
    (request,) = calls.feed(client_sends(PING_ID, framed(b"bad")), 0.0)

    calls.refuse(request.stream, 0.0)

    assert calls.take_output().hex(" ") == "01 a0 01 20"


def test_the_caller_of_a_refused_request_is_told():
    client, server = joined()
    call_id = client.call(PING, b"bad", 0.0)
    (request,) = server.feed(client.take_output(), 0.0)

    server.refuse(request.stream, 0.0)
    (failed,) = client.feed(server.take_output(), 0.0)

    assert failed.call_id == call_id
    assert isinstance(failed.error, CutShort)


def test_a_second_answer_is_a_bug_of_ours():
    calls = raised()
    (request,) = calls.feed(client_sends(PING_ID, framed(b"")), 0.0)
    calls.respond(request.stream, b"", 0.0)

    with pytest.raises(ValueError, match="has one"):
        calls.refuse(request.stream, 0.0)


@pytest.mark.parametrize("size", [1025, 2**32 - 1])
def test_a_response_over_the_limit_fails_the_call_before_it_is_kept(size):  # R2
    calls = raised()
    call_id = calls.call(PUSH_BATCH_VOTES, b"", 0.0)
    calls.feed(server_opens(VOTES_ID), 0.0)

    (failed,) = calls.feed(server_sends(VOTES_ID, size.to_bytes(4, "little"), bytes(1025)), 0.0)

    assert failed.call_id == call_id
    assert isinstance(failed.error, FrameTooLarge)
    assert (failed.error.size, failed.error.limit) == (size, 1024)


def test_a_response_of_exactly_the_limit_is_taken():
    calls = raised()
    call_id = calls.call(PUSH_BATCH_VOTES, b"", 0.0)
    calls.feed(server_opens(VOTES_ID), 0.0)

    events = calls.feed(server_sends(VOTES_ID, framed(bytes(1024))), 0.0)

    assert events == [Response(call_id, bytes(1024))]


@pytest.mark.parametrize("offered", [True, False], ids=["unanswered", "not offered"])
def test_a_call_is_given_up_in_time_even_when_no_stream_is_offered(offered):
    calls = raised()
    call_id = calls.call(PING, b"", 5.0)
    if offered:
        calls.feed(server_opens(PING_ID), 5.0)

    due = calls.deadline(5.0)
    early = calls.tick(14.9)
    (failed,) = calls.tick(due)

    assert due == 15.0
    assert early == []
    assert failed.call_id == call_id
    assert isinstance(failed.error, CallTimeout)
    assert failed.error.limit_s == 10.0
    assert calls.deadline(20.0) is None


def test_calls_that_are_late_together_end_together():
    calls = raised(FAST)
    ids = [calls.call(FAST[2], b"", 0.0) for _ in range(3)]
    calls.feed(server_opens(PING_ID), 0.0)
    calls.take_output()

    ended = calls.tick(10.0)
    nothing = calls.feed(server_sends(PING_ID, framed(b"late")), 10.0)
    last = calls.call(FAST[2], b"last", 10.0)

    assert [event.call_id for event in ended] == ids
    assert nothing == []
    assert calls.take_output() == client_sends(PING_ID, framed(b"last"))
    assert calls.feed(server_sends(PING_ID, framed(b"x")), 10.0) == [Response(last, b"x")]


def test_an_answer_that_comes_too_late_disturbs_nobody():
    calls = raised()
    calls.call(PING, b"1", 0.0)
    calls.feed(server_opens(PING_ID), 0.0)
    calls.tick(10.0)

    second = calls.call(PING, b"2", 10.0)
    late = calls.feed(server_sends(PING_ID, framed(b"1")), 10.0)
    answered = calls.feed(server_sends(PING_ID, framed(b"2")), 10.0)

    assert late == []
    assert answered == [Response(second, b"2")]


def test_a_push_waits_as_long_as_it_takes():
    calls = raised()
    calls.call(PUSH_BATCH_VOTES, b"", 0.0)

    assert calls.deadline(0.0) is None
    assert calls.tick(1e9) == []


def test_a_cancelled_call_is_never_heard_of_again():
    calls = raised(FAST)
    running, queued = calls.call(FAST[2], b"1", 0.0), None
    calls.feed(server_opens(PING_ID), 0.0)
    queued = calls.call(FAST[2], b"2", 0.0)
    kept = calls.call(FAST[2], b"3", 0.0)
    calls.take_output()

    for call_id in (running, queued, running):
        calls.cancel(call_id, 0.0)
    events = calls.feed(server_sends(PING_ID, framed(b"1")), 0.0)
    sent = calls.take_output()
    events += calls.feed(server_sends(PING_ID, framed(b"3")), 0.0)

    assert sent == client_sends(PING_ID, framed(b"3"))
    assert events == [Response(kept, b"3")]
    assert calls.deadline(0.0) is None


def test_a_permit_and_a_timeout_at_the_same_moment_make_one_end():
    slow = {2: replace(PING, timeout_s=1.0)}
    client, server = joined(slow)
    ids = [client.call(slow[2], b"", 0.0) for _ in range(3)]
    exchange(client, server)

    server.tick(1.0)
    client.feed(server.take_output(), 1.0)
    ended = client.tick(1.0)

    assert [type(event) for event in ended] == [CallFailed]
    assert ended[0].call_id == ids[2]


def test_a_broken_frame_ends_the_connection():
    calls = raised()

    with pytest.raises(BadMux):
        calls.feed(b"\x00\xc0", 0.0)


def test_a_peer_that_parks_too_much_is_not_read_from():
    calls = raised()
    (request,) = calls.feed(client_sends(PING_ID, framed(b"")), 0.0)

    calls.feed(client_sends(PING_ID) * 60, 0.0)

    assert calls.paused
    calls.respond(request.stream, b"", 0.0)
    assert calls.paused, "the rate allows two"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=100), max_size=30))
def test_random_bytes_end_in_a_peer_error_or_in_nothing(pieces):
    calls = raised(FAST)

    try:
        for piece in pieces:
            for event in calls.feed(piece, 0.0):
                if isinstance(event, Request):
                    calls.respond(event.stream, VOID, 0.0)
    except PeerError:
        pass


WORDS = st.lists(
    st.sampled_from([b"", b"\x00", b"\x05\x00\x00\x00hello", b"\xff\xff\xff\x00", b"\x04\x00"]), max_size=4
)
TALK = st.lists(st.tuples(st.booleans(), st.integers(0, 14), WORDS), max_size=30)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(TALK, st.integers(1, 40))
def test_well_formed_nonsense_is_answered_or_refused_and_every_call_ends_once(talk, step):
    calls = raised(FAST)
    ids = [calls.call(spec, b"", 0.0) for spec in FAST.values() for _ in range(2)]
    wire = b"".join(
        server_opens(stream) + server_sends(stream, *words) if serves else client_sends(stream, *words)
        for serves, stream, words in talk
    )
    events = []

    for at in range(0, len(wire), step):
        if calls.paused:
            break
        events += calls.feed(wire[at : at + step], 0.0)
    for event in events:
        if isinstance(event, Request):
            calls.refuse(event.stream, 0.0)
            events += calls.take_events()
    for call_id in ids:
        calls.cancel(call_id, 0.0)

    ended = [event.call_id for event in events if isinstance(event, Response | CallFailed)]
    assert len(set(ended)) == len(ended)
    assert set(ended) <= set(ids)
    assert calls._calls == {}
    assert calls._answering == {}
