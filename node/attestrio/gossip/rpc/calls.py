"""Calls over a mux, both ways, as a machine: each transient stream carries one request and one response.

The client is the ACCEPT end of a stream, the server the CONNECT end. The server's OPEN says that there is room for a
call, the client's OPEN starts it:

    server  OPEN
    client  OPEN, DATA (length | request), CLOSE
    server  DATA (length | response), CLOSE, and OPEN again as soon as the rate allows

A server that refuses a request closes without DATA. What a client cannot read fails the call; the rest is not touched.

Source: era-consensus d1d3b51e, network/rpc. There the client is called "accept" as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Final, NewType

from attestrio.errors import PeerError
from attestrio.gossip.errors import FrameTooLarge
from attestrio.gossip.frame import LENGTH
from attestrio.gossip.mux.header import End
from attestrio.gossip.mux.machine import Mux
from attestrio.gossip.mux.stream import Data, Opened, Transient
from attestrio.gossip.rpc.errors import CallTimeout, CutShort
from attestrio.gossip.rpc.message import Message
from attestrio.gossip.rpc.spec import RpcSpec

MAX_QUEUED: Final = 32  # calls of one method that wait for a stream; callers look at `ready` long before

CallId = NewType("CallId", int)


@dataclass(frozen=True, slots=True)
class Request:
    """The peer calls: answer by `respond` or `refuse`, once, whenever there is an answer."""

    stream: Transient
    spec: RpcSpec
    body: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """The peer called wrongly and was refused already. Nothing has to be done; it may say something about the peer."""

    spec: RpcSpec
    error: PeerError


@dataclass(frozen=True, slots=True)
class Response:
    """The peer answered."""

    call_id: CallId
    body: bytes


@dataclass(frozen=True, slots=True)
class CallFailed:
    """The peer did not answer, or not what can be read."""

    call_id: CallId
    error: PeerError


Event = Request | Refused | Response | CallFailed


def earliest(one: float | None, other: float | None) -> float | None:
    """The earlier of two deadlines; None is never."""
    if one is None or (other is not None and other < one):
        return other
    return one


class _Serving:
    """A request that is coming in."""

    __slots__ = ("message", "spec")

    def __init__(self, spec: RpcSpec) -> None:
        self.spec = spec
        self.message = Message(spec.max_req)


class _Calling:
    """A call of ours, queued as long as it has no stream."""

    __slots__ = ("body", "deadline", "id", "message", "spec", "stream")

    def __init__(self, id_: CallId, spec: RpcSpec, body: bytes, deadline: float | None) -> None:
        self.id, self.spec, self.body, self.deadline = id_, spec, body, deadline
        self.message = Message(spec.max_resp)
        self.stream: Transient | None = None


class Calls:
    """Everything one connection calls and serves.

    Args:
      mux: fresh, with the halves of `calls` as its ACCEPT end and those of `serves` as its CONNECT end (see `build`).
      serves, calls: capability to method, with the numbers of this end.

    `feed` and `tick` return what happened; what a command lets happen is there at the next `take_events`. Output is
    gathered for `take_output`. Never holds more than a message per stream, the mux's own limit, and MAX_QUEUED calls
    of each method.
    """

    def __init__(self, mux: Mux, serves: Mapping[int, RpcSpec], calls: Mapping[int, RpcSpec]) -> None:
        self._mux = mux
        self._serves = dict(serves)
        self._ids = count()
        self._queued: dict[int, deque[_Calling]] = {capability: deque() for capability in calls}
        self._calls: dict[CallId, _Calling] = {}  # those without an end
        self._reading: dict[Transient, _Serving | _Calling] = {}  # streams whose message is not whole
        self._answering: dict[Transient, RpcSpec] = {}  # requests that were handed out
        self._events: list[Event] = []
        for capability, spec in self._serves.items():
            for _ in range(spec.inflight):
                mux.want(End.CONNECT, capability, mux.since)

    @classmethod
    def build(cls, serves: Mapping[int, RpcSpec], calls: Mapping[int, RpcSpec], now: float) -> Calls:
        """Calls on a mux of their own. Raises ValueError for more than 8192 streams at one end."""
        accept = {capability: spec.half for capability, spec in calls.items()}
        connect = {capability: spec.half for capability, spec in serves.items()}
        return cls(Mux(accept, connect, now), serves, calls)

    @property
    def is_up(self) -> bool:
        """Whether the peer's mux handshake is through."""
        return self._mux.is_up

    @property
    def paused(self) -> bool:
        """Whether the peer must not be read from for now; look again after every command."""
        return self._mux.paused

    def feed(self, plaintext: bytes, now: float) -> list[Event]:
        """Take bytes of the peer; what they mean, in order. Raises BadMux, FrameTooLarge: the connection is over."""
        self._mux.feed(plaintext, now)
        self._drain(now)
        return self.take_events()

    def take_events(self) -> list[Event]:
        """What commands have let happen since, in order, taken out."""
        events, self._events = self._events, []
        return events

    def respond(self, stream: Transient, body: bytes, now: float) -> None:
        """Answer a request. Raises ValueError unless it was handed out and has no answer yet."""
        self._take_request(stream)
        self._mux.write(stream, body, LENGTH.pack(len(body)))
        self._serve_again(stream, now)
        self._drain(now)

    def refuse(self, stream: Transient, now: float) -> None:
        """Close a request without an answer. Raises ValueError as `respond` does."""
        self._take_request(stream)
        self._serve_again(stream, now)
        self._drain(now)

    def call(self, spec: RpcSpec, body: bytes, now: float) -> CallId:
        """Call the peer, as soon as it offers a stream and the rate allows one; it ends in one event, or in `cancel`.

        `spec.timeout_s` counts from now. Raises ValueError when MAX_QUEUED calls of the method wait already.
        """
        queue = self._queued[spec.capability]
        if len(queue) >= MAX_QUEUED:
            raise ValueError(f"{len(queue)} calls of {spec.name} are queued, limit {MAX_QUEUED}")
        deadline = None if spec.timeout_s is None else now + spec.timeout_s
        call = _Calling(CallId(next(self._ids)), spec, body, deadline)
        self._calls[call.id] = call
        queue.append(call)
        self._mux.want(End.ACCEPT, spec.capability, now)
        self._drain(now)
        return call.id

    def ready(self, spec: RpcSpec) -> int:
        """How many calls would start at once."""
        return self._mux.ready(End.ACCEPT, spec.capability)

    def spare_at(self, spec: RpcSpec, now: float) -> float | None:
        """When the rate allows one call more than `ready` has; None: not before one of those is made."""
        return self._mux.spare_at(End.ACCEPT, spec.capability, now)

    def cancel(self, call_id: CallId, now: float) -> None:
        """Forget a call; no event will tell of it. One that has ended already is left alone."""
        if (call := self._calls.get(call_id)) is not None:
            self._end_call(call, now)

    def tick(self, now: float) -> list[Event]:
        """Do what is due: open streams that the rates allow again, end calls that took too long."""
        self._mux.tick(now)
        self._drain(now)
        for call in [call for call in self._calls.values() if call.deadline is not None and call.deadline <= now]:
            self._end_call(call, now)
            self._events.append(CallFailed(call.id, CallTimeout(call.spec.name, call.spec.timeout_s or 0.0)))
        return self.take_events()

    def deadline(self, now: float) -> float | None:
        """When `tick` has something to do; None: only other events can change anything."""
        due = self._mux.deadline(now)
        for call in self._calls.values():
            due = earliest(due, call.deadline)
        return due

    @property
    def has_output(self) -> bool:
        """Whether `take_output` has something."""
        return self._mux.has_output

    def take_output(self) -> bytes:
        """What has to be sent now, taken out."""
        return self._mux.take_output()

    def _drain(self, now: float) -> None:
        reading = self._reading
        while (event := self._mux.next_event()) is not None:
            stream = event.stream
            if isinstance(event, Opened):
                self._on_opened(stream, now)
            elif (reader := reading.get(stream)) is None:
                continue  # behind the message, or of a call that was given up
            elif isinstance(event, Data):
                try:
                    body = reader.message.feed(event.data)
                except FrameTooLarge as exc:
                    self._fail(stream, reader, exc, now)
                else:
                    if body is not None:
                        self._on_message(stream, reader, body, now)
            else:
                self._fail(stream, reader, CutShort(reader.spec.name), now)

    def _on_opened(self, stream: Transient, now: float) -> None:
        if stream.end is End.CONNECT:
            self._reading[stream] = _Serving(self._serves[stream.capability])
            return
        call = self._queued[stream.capability].popleft()
        call.stream = stream
        self._reading[stream] = call
        self._mux.write(stream, call.body, LENGTH.pack(len(call.body)))
        self._mux.finish(stream, now)

    def _on_message(self, stream: Transient, reader: _Serving | _Calling, body: bytes, now: float) -> None:
        if isinstance(reader, _Serving):
            del self._reading[stream]
            self._mux.release(stream, now)
            self._answering[stream] = reader.spec
            self._events.append(Request(stream, reader.spec, body))
        else:
            self._end_call(reader, now)
            self._events.append(Response(reader.id, body))

    def _fail(self, stream: Transient, reader: _Serving | _Calling, error: PeerError, now: float) -> None:
        if isinstance(reader, _Serving):
            del self._reading[stream]
            self._mux.release(stream, now)
            self._serve_again(stream, now)
            self._events.append(Refused(reader.spec, error))
        else:
            self._end_call(reader, now)
            self._events.append(CallFailed(reader.id, error))

    def _take_request(self, stream: Transient) -> None:
        if self._answering.pop(stream, None) is None:
            raise ValueError("an answer to a request that has one")

    def _serve_again(self, stream: Transient, now: float) -> None:
        self._mux.finish(stream, now)
        self._mux.want(End.CONNECT, stream.capability, now)

    def _end_call(self, call: _Calling, now: float) -> None:
        """Forget `call`. If it is queued, no event of the mux may be pending: a stream for it could be among them."""
        del self._calls[call.id]
        if call.stream is not None:
            del self._reading[call.stream]
            self._mux.release(call.stream, now)
        else:
            self._queued[call.spec.capability].remove(call)
            self._mux.unwant(End.ACCEPT, call.spec.capability)
