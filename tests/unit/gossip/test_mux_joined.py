"""Two machines joined by a wire that cuts bytes anywhere, and a machine with a stranger at the other end."""

from __future__ import annotations

from collections import deque
from random import Random

import pytest
from attestrio.errors import PeerError
from attestrio.gossip.limiter import UNLIMITED, Rate
from attestrio.gossip.mux.handshake import encode_hello
from attestrio.gossip.mux.header import End
from attestrio.gossip.mux.machine import Mux
from attestrio.gossip.mux.parking import MAX_PARKED_BYTES, MAX_PARKED_FRAMES
from attestrio.gossip.mux.stream import Data, Ended, Opened
from hypothesis import event as note_case
from hypothesis import given, settings
from hypothesis import strategies as st
from mux_kit import events_of, halves

RATES = [UNLIMITED, Rate(1, 0.5), Rate(2, 0.25), Rate(3, 1.0)]


class Talker:
    """One end: wants streams, says its scripted pieces on each, and writes down what it hears."""

    def __init__(self, accept, connect, rate, script):
        self.mux = Mux(halves(accept, rate), halves(connect, rate), 0.0)
        self.wire = deque()  # bytes on their way to the peer
        self.script = script
        self.speaking = {}  # transient stream to the pieces it has yet to say
        self.hearing = {}  # to what was heard so far
        self.live = {}  # reusable stream to its transient one
        self.said = {}  # (end, stream, round) to what was said
        self.heard = {}  # the same with what was heard
        self.names = {}
        self.rounds = {}

    def name(self, transient):
        key = transient.end, transient.stream.data & 0x1FFF
        self.rounds[key] = self.rounds.get(key, -1) + 1
        return (*key, self.rounds[key])

    def note(self):
        for event in events_of(self.mux):
            if isinstance(event, Opened):
                assert self.live.get(event.stream.stream) is None
                self.live[event.stream.stream] = event.stream
                self.names[event.stream] = self.name(event.stream)
                self.speaking[event.stream] = deque(next(self.script))
                self.said[self.names[event.stream]] = b""
                self.hearing[event.stream] = b""
            elif isinstance(event, Data):
                assert event.data
                self.hearing[event.stream] += event.data
            elif isinstance(event, Ended):
                self.heard[self.names[event.stream]] = self.hearing.pop(event.stream)
                self.let_go(event.stream)

    def let_go(self, transient):
        if transient not in self.speaking and transient not in self.hearing:
            self.live[transient.stream] = None

    def speak(self, pick, now):
        if not self.speaking:
            return
        transient = list(self.speaking)[pick % len(self.speaking)]
        if self.speaking[transient]:
            piece = self.speaking[transient].popleft()
            self.mux.write(transient, piece)
            self.said[self.names[transient]] += piece
        else:
            del self.speaking[transient]
            self.let_go(transient)
            self.mux.finish(transient, now)
        self.note()

    def release(self, pick, now):
        done = [transient for transient in self.names if transient.is_reading and transient not in self.hearing]
        if done:
            self.mux.release(done[pick % len(done)], now)
            self.note()

    def is_moving(self, now):
        self.send()
        return bool(self.wire) or self.mux.deadline(now) is not None

    def send(self):
        self.wire.extend(self.mux.take_output())

    def receive(self, peer, size, now):
        self.mux.feed(bytes(peer.wire.popleft() for _ in range(min(size, len(peer.wire)))), now)
        self.note()


def offer(random):
    return {id_: random.randint(1, 3) for id_ in (1, 2, 3) if random.random() < 0.8}


def script(random):
    """What is said on each round: up to 4 pieces of up to 40 bytes."""
    while True:
        yield [random.randbytes(random.randint(0, 40)) for _ in range(random.randint(0, 4))]


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**64 - 1))
def test_every_round_arrives_whole_and_in_order_at_both_ends(seed):
    random = Random(seed)
    ends = [Talker(offer(random), offer(random), random.choice(RATES), script(random)) for _ in range(2)]
    now = 0.0

    for _ in range(random.randint(200, 2000)):
        me, peer = random.sample(ends, 2)
        pick = random.randrange(60)
        match random.choice(("want", "speak", "speak", "speak", "release", "wait", "send", "receive", "receive")):
            case "want" if me.mux._lanes:
                me.mux.want(*list(me.mux._lanes)[pick % len(me.mux._lanes)], now)
                me.note()
            case "speak":
                me.speak(pick, now)
            case "release":
                me.release(pick, now)
            case "wait":
                now += pick / 100
                me.mux.tick(now)
                me.note()
            case "send":
                me.send()
            case "receive":
                me.receive(peer, pick, now)
    for _ in range(1000):  # everybody says the rest, reads all, and the wire runs dry
        for me, peer in (ends, ends[::-1]):
            now += 1.0
            me.speak(0, now)
            me.release(0, now)
            me.mux.tick(now)
            me.note()
            me.send()
            me.receive(peer, 1 << 20, now)
        if not any(end.speaking or end.hearing or end.is_moving(now) for end in ends):
            break

    left, right = ends
    note_case(f"{len(left.said) // 10 * 10} rounds or more")
    assert left.said.keys() == {(end.other, *rest) for end, *rest in right.said}, "both ends saw the same rounds"
    for me, peer in (ends, ends[::-1]):
        assert me.speaking == me.hearing == {}
        assert me.heard == {(end.other, *rest): said for (end, *rest), said in peer.said.items()}
        assert not me.mux.paused
        assert me.mux.take_output() == b""


@settings(max_examples=80, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=20), st.booleans())
def test_random_bytes_end_in_a_peer_error_or_in_nothing(pieces, greet):
    mux = Mux(halves({1: 2, 2: 3}), halves({1: 2, 2: 3}), 0.0)
    mux.want(End.CONNECT, 1, 0.0)
    if greet:
        mux.feed(encode_hello({1: 2, 2: 3}, {1: 2, 2: 3}), 0.0)

    try:
        for piece in pieces:
            mux.feed(piece, 0.0)
            events_of(mux)
    except PeerError:
        pass

    assert held(mux) <= 20 * 300 + 10 * 1024


FRAME = st.tuples(
    st.sampled_from([0x0000, 0x2000, 0x4000, 0x6000, 0x8000, 0xA000]), st.integers(0, 1), st.binary(max_size=600)
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(FRAME, max_size=300), st.integers(1, 700), st.data())
def test_valid_frames_in_any_order_are_taken_and_stay_within_the_budget(frames, size, data):
    mux = Mux(halves({1: 2}), halves({1: 2}), 0.0)
    mux.feed(encode_hello({1: 2}, {1: 2}), 0.0)
    wire = b"".join(
        (bits | id_).to_bytes(2, "little") + (len(body).to_bytes(2, "little") + body if bits & 0x4000 else b"")
        for bits, id_, body in frames
    )
    live = []

    for at in range(0, len(wire), size):
        if mux.paused:
            break
        mux.feed(wire[at : at + size], 0.0)
        if data.draw(st.booleans()):
            mux.want(data.draw(st.sampled_from(list(End))), 1, 0.0)
        live += [event.stream for event in events_of(mux) if isinstance(event, Opened)]
        if live and data.draw(st.booleans()):
            stream = live.pop(0)
            mux.finish(stream, 0.0)
            mux.release(stream, 0.0)

    parked = [frame for streams in mux._streams.values() for stream in streams for frame in stream.parked]
    assert len(parked) == mux._parking._frames <= MAX_PARKED_FRAMES + size
    assert held(mux) - len(mux._rest) == mux._parking._bytes <= MAX_PARKED_BYTES + size
    assert mux.paused == (len(parked) > MAX_PARKED_FRAMES or mux._parking._bytes > MAX_PARKED_BYTES)


def held(mux):
    """Bytes of the peer that the machine keeps."""
    hello = 0 if mux._hello is None else len(mux._hello._buffer)
    streams = [stream for streams in mux._streams.values() for stream in streams]
    frames = [frame for stream in streams for frame in stream.parked if isinstance(frame, bytearray)]
    return hello + len(mux._rest) + sum(map(len, frames))
