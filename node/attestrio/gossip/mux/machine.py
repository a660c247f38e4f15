"""Many reusable streams over one byte stream: bytes in, events and bytes out. `stream.py` tells what a round is.

Source: era-consensus d1d3b51e, network/mux. A frame of kind 3 aborts the process there; here it ends the connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from attestrio.gossip.errors import BadMux
from attestrio.gossip.frame import FrameDecoder
from attestrio.gossip.limiter import Limiter
from attestrio.gossip.mux.handshake import MAX_HANDSHAKE, encode_hello, hello_untrusted, stream_ids
from attestrio.gossip.mux.header import END_MASK, HEADER, ID_MASK, KIND_MASK, End, Kind
from attestrio.gossip.mux.parking import Parking
from attestrio.gossip.mux.stream import (
    CLOSE,
    DATA,
    OPEN,
    Data,
    Ended,
    Event,
    Half,
    Lane,
    Opened,
    Reading,
    Sending,
    Stream,
    Transient,
)

# The states by names of this file: Python 3.11 looks up a member of an enumeration in five times the time.
_ARMED_OUT: Final = Sending.ARMED
_ENDED_IN: Final = Reading.ENDED
_OPENED_IN: Final = Reading.OPENED
_OPENED_OUT: Final = Sending.OPENED
_RUNNING_IN: Final = Reading.RUNNING
_RUNNING_OUT: Final = Sending.RUNNING
_STARVED_OUT: Final = Sending.STARVED
_WAITING_IN: Final = Reading.WAITING

MAX_DATA: Final = 16 * 1024  # bytes of one DATA frame we send; up to 65535 are taken


class Mux:
    """One connection's streams.

    Args:
      accept: the capabilities this end calls; connect: those it serves. At most 8192 streams each, else ValueError.
      now: seconds of the clock that every other `now` comes from; the rates' tick grid begins here.

    `feed` what arrives, tell wishes by `want`, call `tick` when `deadline` has come; after each of these take every
    `next_event` and send `take_output`. Nothing is dropped for coming early or for being slow. What comes for rounds
    that have not begun is parked; `paused` says that too much is, and that the peer must not be read from for now.
    So at most the two limits and one `feed` are ever held.
    """

    def __init__(self, accept: Mapping[int, Half], connect: Mapping[int, Half], now: float) -> None:
        self.since = now
        self._offers = {
            End.ACCEPT: {id_: half.max_streams for id_, half in accept.items()},
            End.CONNECT: {id_: half.max_streams for id_, half in connect.items()},
        }
        self._lanes = {
            (end, id_): Lane(end, id_, Limiter(half.rate, now))
            for end, halves in ((End.ACCEPT, accept), (End.CONNECT, connect))
            for id_, half in halves.items()
        }
        self._starving: dict[Lane, None] = {}  # the lanes in which somebody waits for a permit, in order of arrival
        self._hello: FrameDecoder | None = FrameDecoder(MAX_HANDSHAKE)
        self._streams: dict[int, list[Stream]] = {End.ACCEPT: [], End.CONNECT: []}
        self._rest = b""  # the beginning of a header: at most 3 bytes
        self._current: Stream | None = None  # the stream whose DATA frame is being read
        self._left = 0  # bytes that this frame still has to bring
        self._is_continued = False  # whether bytes of this frame were seen already
        self._events: deque[Event] = deque()
        self._out: list[bytes | memoryview] = [encode_hello(self._offers[End.ACCEPT], self._offers[End.CONNECT])]
        self._parking = Parking()

    @property
    def is_up(self) -> bool:
        """Whether the peer's handshake is through."""
        return self._hello is None

    @property
    def paused(self) -> bool:
        """Whether so much is parked that the peer must not be read from until rounds begin."""
        return self._parking.is_full

    def feed(self, data: bytes, now: float) -> None:
        """Take bytes of the peer. Raises BadMux, FrameTooLarge: the connection is over. Linear in the bytes."""
        if self._hello is not None:
            self._hello.feed(data)
            body = self._hello.next_frame()
            if body is None:
                return
            data = self._hello.rest()
            self._hello = None
            self._begin(body, now)
        self._read_frames(self._rest + data if self._rest else data, now)

    def next_event(self) -> Event | None:
        """What happened, oldest first; None: nothing more."""
        return self._events.popleft() if self._events else None

    def want(self, end: End, capability: int, now: float) -> None:
        """Wish for one transient stream more. `Opened` comes when the peer, the rate and a free stream allow it."""
        lane = self._lanes[end, capability]
        lane.wanted += 1
        self._open_wanted(lane, now)

    def unwant(self, end: End, capability: int) -> bool:
        """Take a wish back; False: it is too late, our OPEN is on its way."""
        lane = self._lanes[end, capability]
        if not lane.wanted:
            return False
        lane.wanted -= 1
        return True

    def ready(self, end: End, capability: int) -> int:
        """How many streams would be opened at once if they were wanted. At the ACCEPT end the peer waits for them."""
        return len(self._lanes[end, capability].ready)

    def spare_at(self, end: End, capability: int, now: float) -> float | None:
        """When the rate has a permit beside those of the ready streams; None: not before one of them is used."""
        return self._lanes[end, capability].limiter.next_at(now)

    def write(self, stream: Transient, data: bytes, head: bytes = b"") -> None:
        """Send `head` (at most a few bytes) and `data`. Large data is not copied before `take_output`."""
        if not stream.is_writing:
            raise ValueError("written to a stream that is finished")
        out, bits, end = self._out, stream.stream.data, MAX_DATA - len(head)
        if len(data) <= end:
            if size := len(head) + len(data):
                out.append(HEADER.pack(bits) + HEADER.pack(size) + head)
                out.append(data)
            return
        view, header = memoryview(data), HEADER.pack(bits)
        out.append(header + HEADER.pack(MAX_DATA) + head)
        out.append(view[:end])
        for start in range(end, len(data), MAX_DATA):
            piece = view[start : start + MAX_DATA]
            out.append(header + HEADER.pack(len(piece)))
            out.append(piece)

    def finish(self, stream: Transient, now: float) -> None:
        """Nothing more is sent on `stream`. Again does nothing."""
        if not stream.is_writing:
            return
        stream.is_writing = False
        self._close(stream.stream)
        self._arm(stream.stream.lane, now)

    def release(self, stream: Transient, now: float) -> None:
        """Nothing more is read from `stream`; what still comes of it is discarded. Again does nothing."""
        if not stream.is_reading:
            return
        stream.is_reading = False
        reusable = stream.stream
        reusable.reading = _WAITING_IN
        if reusable.parked:
            self._parking.take(reusable)  # an OPEN: only whole rounds are parked behind the end of one
            self._peer_opened(reusable, now)

    def tick(self, now: float) -> None:
        """Hand out the permits that have come back."""
        for lane in tuple(self._starving):
            self._arm(lane, now)

    def deadline(self, now: float) -> float | None:
        """When `tick` has something to do; None: only other events can change anything."""
        if not self._starving:
            return None
        times = [lane.limiter.next_at(now) for lane in self._starving]
        return min((time for time in times if time is not None), default=None)

    @property
    def has_output(self) -> bool:
        """Whether `take_output` has something."""
        return bool(self._out)

    def take_output(self) -> bytes:
        """What has to be sent now, taken out."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    # reading

    def _begin(self, body: bytes, now: float) -> None:
        accept, connect = hello_untrusted(body)
        for end, theirs in ((End.ACCEPT, connect), (End.CONNECT, accept)):
            for id_, capability in enumerate(stream_ids(self._offers[end], theirs)):
                self._streams[end].append(Stream(self._lanes[end, capability], id_))
        for streams in self._streams.values():
            for stream in streams:
                self._close(stream)  # nothing was open; the reference begins every connection with these too
        for lane in self._lanes.values():
            self._arm(lane, now)

    def _read_frames(self, data: bytes, now: float) -> None:
        at, size = 0, len(data)
        if self._left:
            at = self._read_data(data, 0)
        while size - at >= 2:
            bits = data[at] | data[at + 1] << 8
            # Bit 13 is the sender's end, so the stream is one of our other end.
            streams = self._streams[(bits & END_MASK) ^ END_MASK]
            if (id_ := bits & ID_MASK) >= len(streams):
                raise BadMux(f"frame for stream {id_}, there are {len(streams)}")
            kind = bits & KIND_MASK
            if kind == DATA:
                if size - at < 4:
                    break
                self._current, self._is_continued = streams[id_], False
                self._left = data[at + 2] | data[at + 3] << 8
                at = self._read_data(data, at + 4)
            elif kind == OPEN:
                self._on_open(streams[id_], now)
                at += 2
            elif kind == CLOSE:
                self._on_close(streams[id_])
                at += 2
            else:
                raise BadMux("frame of a kind that does not exist")
        self._rest = data[at:]

    def _read_data(self, data: bytes, at: int) -> int:
        """Take what is there of the current DATA frame; where it stops."""
        piece = data[at : at + self._left]
        if piece and (stream := self._current) is not None:
            self._left -= len(piece)
            if stream.reading is _RUNNING_IN and stream.round is not None:
                self._events.append(Data(stream.round, piece))
            elif stream.reading is not _WAITING_IN and not stream.is_cut:
                if self._is_continued and stream.parked:
                    self._parking.extend(stream, piece)
                else:
                    self._parking.add(stream, bytearray(piece))
            self._is_continued = True
        return at + len(piece)

    def _on_open(self, stream: Stream, now: float) -> None:
        if stream.reading is _WAITING_IN:
            self._peer_opened(stream, now)
        elif stream.reading is not _RUNNING_IN and stream.is_cut:
            self._parking.add(stream, Kind.OPEN)
        # Otherwise it is an OPEN inside a round, which says nothing.

    def _on_close(self, stream: Stream) -> None:
        if stream.reading is _RUNNING_IN and stream.round is not None:
            stream.reading = _ENDED_IN
            self._events.append(Ended(stream.round))
        elif stream.reading is not _WAITING_IN and not stream.is_cut:
            self._parking.add(stream, Kind.CLOSE)

    # the steps of a round

    def _close(self, stream: Stream) -> None:
        """A."""
        self._out.append(stream.close)
        stream.sending = _STARVED_OUT
        stream.lane.starved.append(stream)

    def _arm(self, lane: Lane, now: float) -> None:
        """B, for as many as there are permits; first come, first served."""
        starved, limiter = lane.starved, lane.limiter
        while starved and limiter.try_reserve(now):
            stream = starved.popleft()
            stream.sending = _ARMED_OUT
            if lane.end is End.CONNECT or stream.reading is _OPENED_IN:
                lane.ready.append(stream)
        if starved:
            self._starving[lane] = None
        else:
            self._starving.pop(lane, None)
        self._open_wanted(lane, now)

    def _peer_opened(self, stream: Stream, now: float) -> None:
        """C."""
        stream.reading = _OPENED_IN
        if stream.sending is _OPENED_OUT:
            self._hand_out(stream, now)
        elif stream.sending is _ARMED_OUT and stream.lane.end is End.ACCEPT:
            stream.lane.ready.append(stream)
            self._open_wanted(stream.lane, now)

    def _open_wanted(self, lane: Lane, now: float) -> None:
        """D and E, for as many as are wanted."""
        while lane.wanted and lane.ready:
            lane.wanted -= 1
            stream = lane.ready.popleft()
            stream.sending = _OPENED_OUT
            self._out.append(stream.open)
            if stream.reading is _OPENED_IN:
                self._hand_out(stream, now)

    def _hand_out(self, stream: Stream, now: float) -> None:
        """F, and what is parked of this round."""
        stream.lane.limiter.release(now)
        stream.sending, stream.reading = _RUNNING_OUT, _RUNNING_IN
        stream.round = Transient(stream)
        self._events.append(Opened(stream.round))
        while stream.parked and stream.reading is _RUNNING_IN:
            frame = self._parking.take(stream)
            if isinstance(frame, bytearray):
                self._events.append(Data(stream.round, bytes(frame)))
            else:
                stream.reading = _ENDED_IN
                self._events.append(Ended(stream.round))
