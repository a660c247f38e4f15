from __future__ import annotations

import pytest
from attestrio.gossip.errors import BadMux
from attestrio.gossip.limiter import Rate
from attestrio.gossip.mux.handshake import encode_hello
from attestrio.gossip.mux.header import End
from attestrio.gossip.mux.machine import MAX_DATA, Mux
from attestrio.gossip.mux.parking import MAX_PARKED_BYTES, MAX_PARKED_FRAMES
from mux_kit import NEVER, events_of, fed, halves, raised_mux, told

# What a peer sends on stream 0. As our streams' CONNECT end it speaks to our ACCEPT end, and the other way round.
CONNECT_OPEN, CONNECT_CLOSE = bytes.fromhex("0020"), bytes.fromhex("00a0")
ACCEPT_OPEN, ACCEPT_CLOSE = bytes.fromhex("0000"), bytes.fromhex("0080")


def connect_data(data, stream=0):
    return (0x6000 | stream).to_bytes(2, "little") + len(data).to_bytes(2, "little") + data


def accept_data(data, stream=0):
    return (0x4000 | stream).to_bytes(2, "little") + len(data).to_bytes(2, "little") + data


def test_every_connection_begins_with_a_close_of_every_stream():
    mux = Mux(halves({1: 1, 4: 2}), halves({1: 1, 4: 2}), 0.0)
    hello = mux.take_output()

    mux.feed(encode_hello({1: 1, 4: 1}, {1: 1, 4: 2}), 0.0)

    assert hello == encode_hello({1: 1, 4: 2}, {1: 1, 4: 2})
    assert mux.take_output().hex() == "008001800280" + "00a001a0"


def test_nothing_is_read_into_streams_before_the_handshake_is_whole():
    mux = Mux(halves({1: 1}), {}, 0.0)
    mux.want(End.ACCEPT, 1, 0.0)
    wire = encode_hello({}, {1: 1}) + CONNECT_OPEN

    before = [event for at in range(len(wire) - 1) for event in fed(mux, wire[at : at + 1])]
    after = fed(mux, wire[-1:])

    assert before == []
    assert told(after) == ["opened"]


def test_the_connect_end_opens_first_and_begins_with_the_answer():
    mux = raised_mux(connect={5: 1})

    mux.want(End.CONNECT, 5, 0.0)
    opened = mux.take_output()
    unanswered = events_of(mux)
    answered = fed(mux, ACCEPT_OPEN)

    assert opened.hex() == "0020"
    assert unanswered == []
    assert told(answered) == ["opened"]


def test_the_accept_end_opens_only_when_the_peer_has_and_somebody_wants():
    mux = raised_mux(accept={5: 1})

    mux.want(End.ACCEPT, 5, 0.0)
    too_early = mux.take_output()
    answered = fed(mux, CONNECT_OPEN)
    opened = mux.take_output()

    assert too_early == b""
    assert told(answered) == ["opened"]
    assert opened.hex() == "0000"


def test_an_offered_stream_waits_for_somebody_who_wants_it():
    mux = raised_mux(accept={5: 1})

    unwanted = fed(mux, CONNECT_OPEN)
    ready = mux.ready(End.ACCEPT, 5)
    silent = mux.take_output()
    mux.want(End.ACCEPT, 5, 0.0)

    assert unwanted == []
    assert ready == 1
    assert silent == b""
    assert told(events_of(mux)) == ["opened"]
    assert mux.take_output().hex() == "0000"
    assert mux.ready(End.ACCEPT, 5) == 0


def test_a_peer_that_opens_before_us_is_given_one_round_for_it():
    mux = raised_mux(connect={5: 1})
    early = fed(mux, ACCEPT_OPEN)

    for _ in range(2):
        mux.want(End.CONNECT, 5, 0.0)

    assert early == []
    assert told(events_of(mux)) == ["opened"]
    assert mux.take_output().hex() == "0020"


def test_a_wish_that_was_taken_back_opens_nothing():
    mux = raised_mux(accept={5: 1})

    mux.want(End.ACCEPT, 5, 0.0)
    in_time = mux.unwant(End.ACCEPT, 5)
    events = fed(mux, CONNECT_OPEN)
    mux.want(End.ACCEPT, 5, 0.0)

    assert in_time
    assert events == []
    assert not mux.unwant(End.ACCEPT, 5)


def test_a_peer_that_never_offers_the_capability_keeps_the_wish_waiting():
    mux = Mux(halves({5: 1}), {}, 0.0)
    mux.feed(encode_hello({}, {}), 0.0)

    mux.want(End.ACCEPT, 5, 0.0)

    assert events_of(mux) == []
    assert mux.deadline(0.0) is None


def test_data_and_close_behind_the_peers_open_are_kept_until_ours():
    mux = raised_mux(accept={5: 1})
    early = fed(mux, CONNECT_OPEN + connect_data(b"hel") + connect_data(b"lo") + CONNECT_CLOSE)

    mux.want(End.ACCEPT, 5, 0.0)

    assert early == []
    assert told(events_of(mux)) == ["opened", b"hello", "ended"]


def test_whole_rounds_that_come_early_are_told_one_after_the_other():
    mux = raised_mux(accept={5: 1})
    for word in (b"one", b"two", b"three"):
        mux.feed(CONNECT_OPEN + connect_data(word) + CONNECT_CLOSE, 0.0)

    rounds = []
    for _ in range(3):
        mux.want(End.ACCEPT, 5, 0.0)
        events = events_of(mux)
        mux.finish(events[0].stream, 0.0)
        mux.release(events[0].stream, 0.0)
        rounds.append(told(events))

    assert rounds == [["opened", word, "ended"] for word in (b"one", b"two", b"three")]
    assert not mux.paused


def test_the_peer_may_open_again_before_its_last_round_is_read():
    mux = raised_mux(accept={5: 1})
    mux.want(End.ACCEPT, 5, 0.0)
    (opened, *rest) = fed(mux, CONNECT_OPEN + connect_data(b"a") + CONNECT_CLOSE + CONNECT_OPEN + connect_data(b"b"))
    mux.want(End.ACCEPT, 5, 0.0)
    mux.finish(opened.stream, 0.0)
    unread = events_of(mux)

    mux.release(opened.stream, 0.0)

    assert told(rest) == [b"a", "ended"]
    assert unread == []
    assert told(events_of(mux)) == ["opened", b"b"]


def test_the_connect_end_opens_again_although_its_reader_and_the_peer_are_not_through():
    mux = raised_mux(connect={5: 1})
    mux.want(End.CONNECT, 5, 0.0)
    (opened,) = fed(mux, ACCEPT_OPEN)
    mux.take_output()

    mux.want(End.CONNECT, 5, 0.0)
    mux.finish(opened.stream, 0.0)
    sent = mux.take_output()
    late = fed(mux, accept_data(b"late") + ACCEPT_CLOSE + ACCEPT_OPEN)
    mux.release(opened.stream, 0.0)

    assert sent.hex() == "00a0" + "0020"
    assert told(late) == [b"late", "ended"]
    assert told(events_of(mux)) == ["opened"]


def test_what_comes_after_the_reader_has_let_go_is_discarded_up_to_the_next_open():
    mux = raised_mux(connect={5: 1})
    mux.want(End.CONNECT, 5, 0.0)
    (opened, *_) = fed(mux, ACCEPT_OPEN + accept_data(b"a") + accept_data(b"bcdef")[:5])

    mux.release(opened.stream, 0.0)
    mux.finish(opened.stream, 0.0)
    mux.want(End.CONNECT, 5, 0.0)
    nothing = fed(mux, accept_data(b"bcdef")[5:] + accept_data(b"g") + ACCEPT_CLOSE + ACCEPT_CLOSE)

    assert nothing == []
    assert told(fed(mux, ACCEPT_OPEN + accept_data(b"h"))) == ["opened", b"h"]


def test_events_of_an_old_round_do_not_speak_of_the_new_one():
    mux = raised_mux(connect={5: 1})
    for _ in range(2):
        mux.want(End.CONNECT, 5, 0.0)
    (first, data, end) = fed(mux, ACCEPT_OPEN + accept_data(b"a") + ACCEPT_CLOSE)
    mux.finish(first.stream, 0.0)
    mux.release(first.stream, 0.0)

    (second,) = fed(mux, ACCEPT_OPEN)

    assert data.stream is end.stream is first.stream
    assert second.stream is not first.stream


def test_a_stream_tells_its_end_and_capability():
    mux = raised_mux(accept={5: 1}, connect={6: 1})
    mux.want(End.ACCEPT, 5, 0.0)
    mux.want(End.CONNECT, 6, 0.0)

    streams = [event.stream for event in fed(mux, CONNECT_OPEN + ACCEPT_OPEN)]

    assert [(stream.end, stream.capability) for stream in streams] == [(End.ACCEPT, 5), (End.CONNECT, 6)]


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(ACCEPT_CLOSE + ACCEPT_OPEN + accept_data(b"abc") + ACCEPT_CLOSE, id="close before open"),
        pytest.param(accept_data(b"x") + ACCEPT_OPEN + accept_data(b"abc") + ACCEPT_CLOSE, id="data before open"),
        pytest.param(ACCEPT_OPEN + accept_data(b"abc") + ACCEPT_CLOSE * 2, id="double close"),
        pytest.param(
            ACCEPT_OPEN + accept_data(b"a") + ACCEPT_OPEN + accept_data(b"bc") + ACCEPT_CLOSE, id="open inside"
        ),
        pytest.param(ACCEPT_OPEN * 2 + accept_data(b"abc") + ACCEPT_CLOSE, id="double open"),
        pytest.param(ACCEPT_OPEN + accept_data(b"") + accept_data(b"abc") + ACCEPT_CLOSE, id="empty data"),
        pytest.param(ACCEPT_OPEN + accept_data(b"abc") + ACCEPT_CLOSE + accept_data(b"x"), id="data after close"),
        pytest.param(
            ACCEPT_OPEN + b"".join(accept_data(bytes([byte])) for byte in b"abc") + ACCEPT_CLOSE, id="one by one"
        ),
    ],
)
@pytest.mark.parametrize("in_time", [True, False], ids=["awaited", "parked"])
@pytest.mark.parametrize("step", [1, 2, 3, 1000])
def test_what_is_strange_and_harmless_is_tolerated(wire, in_time, step):
    mux = raised_mux(connect={5: 1})
    if in_time:
        mux.want(End.CONNECT, 5, 0.0)

    events = [event for at in range(0, len(wire), step) for event in fed(mux, wire[at : at + step])]
    if not in_time:
        mux.want(End.CONNECT, 5, 0.0)
        events += events_of(mux)

    assert told(events) == ["opened", b"abc", "ended"]


def test_the_longest_data_frame_is_taken():
    mux = raised_mux(connect={5: 1})
    mux.want(End.CONNECT, 5, 0.0)
    data = bytes(range(256)) * 255 + bytes(255)

    events = fed(mux, ACCEPT_OPEN + accept_data(data))

    assert len(data) == 65535
    assert told(events) == ["opened", data]


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param("0200", id="M4 beyond our CONNECT streams"),
        pytest.param("0320", id="M4 beyond our ACCEPT streams"),
        pytest.param("ff1f", id="M4 the last id"),
        pytest.param("00c0", id="M5 kind 3 on a valid id"),
        pytest.param("00e0", id="M5 kind 3 of the other end"),
        pytest.param("ffff", id="M4 and M5"),
    ],
)
def test_frames_against_the_rules_end_the_connection(wire):
    mux = raised_mux(accept={5: 3}, connect={5: 2})

    with pytest.raises(BadMux):
        mux.feed(bytes.fromhex(wire), 0.0)


def test_a_frame_cannot_precede_an_agreement_on_streams():
    mux = raised_mux()

    with pytest.raises(BadMux):
        mux.feed(ACCEPT_OPEN, 0.0)


def test_data_is_sent_in_frames_of_16_kb_and_never_empty():
    mux = raised_mux(connect={5: 1})
    mux.want(End.CONNECT, 5, 0.0)
    (opened,) = fed(mux, ACCEPT_OPEN)
    mux.take_output()
    data = bytes(2 * MAX_DATA)

    mux.write(opened.stream, b"")
    mux.write(opened.stream, data, b"head")
    mux.finish(opened.stream, 0.0)
    mux.finish(opened.stream, 0.0)

    out = mux.take_output()
    full = bytes.fromhex("0060 0040")
    assert out[: 4 + MAX_DATA] == full + b"head" + data[: MAX_DATA - 4]
    assert out[4 + MAX_DATA : 2 * (4 + MAX_DATA)] == full + data[:MAX_DATA]
    assert out[2 * (4 + MAX_DATA) :].hex() == "0060" + "0400" + "00000000" + "00a0"


def test_writing_to_a_finished_stream_is_a_bug_of_ours():
    mux = raised_mux(connect={5: 1})
    mux.want(End.CONNECT, 5, 0.0)
    (opened,) = fed(mux, ACCEPT_OPEN)
    mux.finish(opened.stream, 0.0)

    with pytest.raises(ValueError, match="finished"):
        mux.write(opened.stream, b"x")


# the rate


def round_of(mux, now):
    """One round of a CONNECT stream in which the peer says nothing; whether it began."""
    mux.want(End.CONNECT, 5, now)
    mux.tick(now)
    events = fed(mux, ACCEPT_OPEN + ACCEPT_CLOSE, now)
    if not events:
        assert mux.unwant(End.CONNECT, 5)
        return False
    mux.finish(events[0].stream, now)
    mux.release(events[0].stream, now)
    return True


def test_a_burst_of_rounds_and_then_one_every_tick():
    mux = raised_mux(connect={5: 1}, rate=Rate(burst=2, refresh_s=1.0))

    began = [round_of(mux, now) for now in (0.0, 0.0, 0.5, 1.0, 1.5, 2.0)]

    assert began == [True, True, False, True, False, True]
    assert mux.deadline(2.5) == 3.0


def test_no_more_streams_are_offered_than_the_burst_allows():
    mux = raised_mux(connect={6: 5}, rate=Rate(burst=2, refresh_s=1.0))
    for _ in range(5):
        mux.want(End.CONNECT, 6, 0.0)
    offered = mux.take_output()

    mux.tick(10.0)
    reserved = mux.take_output()
    mux.feed(bytes.fromhex("0000"), 10.0)
    mux.tick(10.5)
    early = mux.take_output()
    mux.tick(mux.deadline(10.5))

    assert offered.hex() == "0020" + "0120"
    assert reserved == early == b""
    assert mux.take_output().hex() == "0220"
    assert mux.deadline(11.0) is None


def test_a_method_with_a_burst_of_0_is_never_offered():
    mux = raised_mux(connect={5: 1}, rate=NEVER)
    mux.want(End.CONNECT, 5, 0.0)

    mux.tick(1000.0)

    assert mux.take_output() == b""
    assert mux.deadline(1000.0) is None


def test_the_accept_end_keeps_its_own_rate():
    mux = raised_mux(accept={5: 1}, rate=Rate(burst=1, refresh_s=1.0), now=0.0)
    mux.want(End.ACCEPT, 5, 0.1)
    (first,) = fed(mux, CONNECT_OPEN, 0.1)
    mux.finish(first.stream, 0.1)
    mux.release(first.stream, 0.1)
    mux.want(End.ACCEPT, 5, 0.2)

    early = fed(mux, CONNECT_CLOSE + CONNECT_OPEN, 0.2)
    due = mux.deadline(0.2)
    mux.tick(due)

    assert early == []
    assert due == 1.0
    assert told(events_of(mux)) == ["opened"]


# the budget


def test_a_peer_that_parks_too_many_frames_is_not_read_from_until_they_are_wanted():
    mux = raised_mux(connect={5: 1})
    one = accept_data(b"x")

    mux.feed(ACCEPT_OPEN + one * MAX_PARKED_FRAMES, 0.0)
    within = mux.paused
    mux.feed(one, 0.0)
    beyond = mux.paused
    mux.want(End.CONNECT, 5, 0.0)

    assert (within, beyond, mux.paused) == (False, True, False)
    assert told(events_of(mux)) == ["opened", b"x" * (MAX_PARKED_FRAMES + 1)]


def test_a_peer_that_parks_too_many_bytes_is_not_read_from_until_they_are_wanted():
    mux = raised_mux(connect={5: 1})
    frames = [accept_data(bytes(MAX_DATA))] * 10

    mux.feed(ACCEPT_OPEN + b"".join(frames), 0.0)
    within = mux.paused
    mux.feed(accept_data(bytes(2))[:5], 0.0)
    beyond = mux.paused
    mux.want(End.CONNECT, 5, 0.0)

    assert MAX_PARKED_BYTES == 10 * MAX_DATA
    assert (within, beyond, mux.paused) == (False, True, False)


def test_a_frame_that_comes_in_many_pieces_is_one_frame():
    mux = raised_mux(connect={5: 1})
    wire = ACCEPT_OPEN + accept_data(bytes(range(200)))

    for at in range(len(wire)):
        mux.feed(wire[at : at + 1], 0.0)
    paused = mux.paused
    mux.want(End.CONNECT, 5, 0.0)

    assert not paused
    assert told(events_of(mux)) == ["opened", bytes(range(200))]


def test_the_budget_is_one_for_all_streams():
    mux = raised_mux(connect={5: 1, 6: 5})
    for stream in range(6):
        mux.feed(bytes([stream, 0]) + accept_data(b"x", stream) * 17, 0.0)

    assert mux.paused


def test_what_belongs_to_no_round_costs_nothing():
    mux = raised_mux(connect={5: 1})
    parked = ACCEPT_OPEN + accept_data(b"a") + ACCEPT_CLOSE
    stray = ACCEPT_CLOSE + accept_data(b"stray") + accept_data(b"")

    mux.feed(stray * 1000 + parked + stray * 1000, 0.0)

    assert not mux.paused
    mux.want(End.CONNECT, 5, 0.0)
    assert told(events_of(mux)) == ["opened", b"a", "ended"]


def test_early_rounds_count_until_they_begin():
    mux = raised_mux(connect={5: 1})

    mux.feed((ACCEPT_OPEN + ACCEPT_CLOSE) * 60, 0.0)
    paused = mux.paused
    for _ in range(10):
        assert round_of_parked(mux)

    assert paused
    assert not mux.paused


def round_of_parked(mux):
    mux.want(End.CONNECT, 5, 0.0)
    events = events_of(mux)
    mux.finish(events[0].stream, 0.0)
    mux.release(events[0].stream, 0.0)
    return told(events) == ["opened", "ended"]
