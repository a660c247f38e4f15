"""The server: calls of one connection run side by side, answers go out one at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import trio

from attestrio.errors import PeerError, SourceError, leaves
from attestrio.gorpc.errors import BadGobValue, HangUp, PeerStalled
from attestrio.gorpc.exchange import CONNECTED, HeadReader, Pair, PairReader, refusal_of
from attestrio.gorpc.gob import GobEncoder, GobLimits, Shape
from attestrio.gorpc.handling import Handler, Handlers, Peer, Remembered
from attestrio.gorpc.messages import EMPTY, REQUEST, RESPONSE, Nothing, RequestHeader, ResponseHeader
from attestrio.gorpc.wire import prepare, receive, send
from attestrio.kit.seldom import Seldom
from attestrio.kit.tcp import accept, bind_socket, shown_address

log = logging.getLogger("attestrio.gorpc")

MAX_TEXT: Final = 256  # characters of a method name or an error that is sent back
NOTHING: Final = Nothing()
GOB_LIMITS: Final = GobLimits()
PIECE: Final = 1 << 14  # bytes read at once: about 60 calls, so that one peer does not keep the others waiting


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What strangers may take.

    All of them together: `max_connections` times the bytes of `gob`, twice, and 300 bytes for each of `max_repeats`.
    """

    gob: GobLimits = GOB_LIMITS
    max_connections: int = 256
    max_calls: int = 64  # of one connection at the same time; beyond them it is not read from
    max_host_connections: int = 64  # from one address; a fleet behind one proxy has only one
    max_host_calls: int = 512  # of all connections from one address at the same time
    max_repeats: int = 2048  # answered calls that are remembered, of one connection
    stall_s: float = 30.0  # for the rest of a message that has begun, for an answer to be taken, for the CONNECT
    drain_s: float = 10.0  # for calls under way when the peer has ended the stream


DEFAULT_LIMITS: Final = ServerLimits()

Work = tuple[Handler[Any, Any], Any, bytes] | str
"""A handler, its argument and the bytes that it was; or the error text that is the answer already."""


async def serve(
    handlers: Handlers,
    bind: str,
    limits: ServerLimits = DEFAULT_LIMITS,
    *,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve Go RPC on HOST:PORT until cancelled; `started` gives the address with the real port.

    A fault of a connection ends that connection only. With as many connections as allowed, from everywhere or from one
    address, one more ends the one of them that has been idle longest, first of those that never had a call answered.
    Without any idle one it takes the place of one from the address that has the most, as long as its own has at least
    two fewer; otherwise it is closed.

    Raises AddressInUse, BadAddress; what a handler raises that is neither PeerError nor SourceError.
    """
    shared = None if callable(handlers) else _by_name(handlers)

    def methods_for(peer: Peer) -> Mapping[str, Handler[Any, Any]]:
        return _by_name(handlers(peer)) if callable(handlers) else shared or {}

    sock = trio.socket.from_stdlib_socket(await bind_socket(bind))
    with sock:
        sock.listen(128)
        task_status.started(shown_address(sock.getsockname()))
        crowd, refused, closed = Crowd(limits), Seldom(log, logging.WARNING), Seldom(log, logging.INFO)
        async with trio.open_nursery() as connections:
            while True:
                stream, address = await accept(sock, log, prepare=prepare)
                peer = Peer(address)
                if not crowd.has_room(peer.host):
                    refused.say("connection from %s refused: %d are open and busy", address, len(crowd.connections))
                    await trio.aclose_forcefully(stream)
                    continue
                host = crowd.host(peer.host)
                connection = Connection(stream, methods_for(peer), limits, host.places, closed)
                crowd.add(connection, host)
                connections.start_soon(_hold, connection, crowd)


def _by_name(handlers: Iterable[Handler[Any, Any]]) -> dict[str, Handler[Any, Any]]:
    return {handler.method.name: handler for handler in handlers}


async def _hold(connection: Connection, crowd: Crowd) -> None:
    try:
        await connection.run()
    finally:
        crowd.discard(connection)


@dataclass(eq=False, slots=True)
class Host:
    """What the connections from one address have in common. `places` are for calls of all of them."""

    name: str
    places: trio.Semaphore
    connections: set[Connection] = field(default_factory=set)


class Crowd:
    """All connections, and which of them come from one address."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self.connections: dict[Connection, Host] = {}
        self._hosts: dict[str, Host] = {}

    def has_room(self, name: str) -> bool:
        """Whether there is a place for one more from there, now that perhaps an idle one has been ended for it."""
        host = self._hosts.get(name)
        if host is not None and len(host.connections) >= self._limits.max_host_connections:
            return self._make_room(host.connections)
        if len(self.connections) < self._limits.max_connections or self._make_room(self.connections):
            return True
        return self._take_from_the_largest(0 if host is None else len(host.connections))

    def host(self, name: str) -> Host:
        return self._hosts.get(name) or Host(name, trio.Semaphore(self._limits.max_host_calls))

    def add(self, connection: Connection, host: Host) -> None:
        self._hosts[host.name] = self.connections[connection] = host
        host.connections.add(connection)

    def discard(self, connection: Connection) -> None:
        host = self.connections.pop(connection, None)
        if host is not None:
            host.connections.discard(connection)
            if not host.connections:
                del self._hosts[host.name]

    def _make_room(self, held: Iterable[Connection]) -> bool:
        idle = [one for one in held if not one.busy]
        if not idle:
            return False
        self._end(min(idle, key=lambda one: (one.answered > 0, one.active_at)))
        return True

    def _take_from_the_largest(self, held: int) -> bool:
        """To be at work costs a peer nothing, so it may not keep out an address that holds less."""
        largest = max(self._hosts.values(), key=lambda host: len(host.connections))
        if len(largest.connections) < held + 2:  # else the two would take the last place from each other for ever
            return False
        self._end(min(largest.connections, key=lambda one: one.active_at))
        return True

    def _end(self, connection: Connection) -> None:
        self.discard(connection)
        connection.end()


class Connection:
    """One peer, until its stream ends. Owns the stream.

    Bounds: `max_calls` under way, each with at most one answer that waits; one message being read; the answers to what
    repeats in one piece of the stream.

    Args:
      shared: places for calls that other connections take from too; None: there are no others.
      closed: says why a connection ended, for all of them; None: there are no others.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        methods: Mapping[str, Handler[Any, Any]],
        limits: ServerLimits = DEFAULT_LIMITS,
        shared: trio.Semaphore | None = None,
        closed: Seldom | None = None,
    ) -> None:
        self.answered = 0
        self.active_at = trio.current_time()
        self._stream = stream
        self._methods, self._limits = methods, limits
        self._scope = trio.CancelScope()
        self._places = trio.Semaphore(limits.max_calls)
        self._shared = shared or trio.Semaphore(limits.max_host_calls)
        self._closed = closed or Seldom(log, logging.INFO)
        self._remembered = Remembered(limits.max_repeats)
        self._repeated: list[tuple[Handler[Any, Any], float]] = []  # answered in `_out`, and when they were read
        self._reader: PairReader[RequestHeader] = PairReader(REQUEST, limits.gob)
        self._encoder = GobEncoder()
        self._out = bytearray()  # answers in the order in which they were encoded, which is the order they need
        self._sending = trio.Lock()
        self._deaf = False

    @property
    def busy(self) -> bool:
        """Whether calls are under way."""
        return self._places.value < self._limits.max_calls

    def end(self) -> None:
        """Close it now, in favour of another one."""
        self._scope.cancel()

    async def run(self) -> None:
        """Serve it. A PeerError ends here; what a handler raises beyond its errors goes through, in a group."""
        try:
            with self._scope:
                if await self._connected():
                    await self._serve()
        except* PeerError as group:
            for exc in leaves(group):
                self._closed.say("connection closed: %s", exc)
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _connected(self) -> bool:
        """Whether the peer asked for Go RPC. Raises BadConnect, PeerStalled."""
        head = HeadReader()
        with self._until(trio.current_time() + self._limits.stall_s, "CONNECT"):
            while (line := head.first_line()) is None:
                if not (data := await receive(self._stream)):
                    return False
                head.feed(data)
            refusal = refusal_of(line)
            if not await send(self._stream, refusal or CONNECTED):
                return False
        self._reader.feed(head.rest())
        return refusal is None

    async def _serve(self) -> None:
        async with trio.open_nursery() as calls:
            fault = None
            try:
                await self._read(calls)
            except PeerError as exc:
                fault = exc
            # As with Go, calls that came before the end are answered, if there is anybody left to hear it.
            calls.cancel_scope.deadline = trio.current_time() + self._limits.drain_s
        if fault is not None:
            raise fault

    async def _read(self, calls: trio.Nursery) -> None:
        """Until the stream ends, or nobody takes answers any more. Raises BadGob, GobTooLarge, PeerStalled."""
        begun: float | None = None  # when the rest of a message was first waited for
        while not self._deaf:  # of a peer that is gone, the system may still hold thousands of calls
            while not self._deaf and (pair := self._reader.next_pair()) is not None:
                begun = None
                self.active_at = trio.current_time()
                if self._repeats(pair):
                    continue
                work = self._work(pair)
                await self._place()
                calls.start_soon(self._call, pair.header, work)
            await self._flush_repeated()
            if not self._reader.partial:
                data = await receive(self._stream, PIECE)
            else:
                begun = trio.current_time() if begun is None else begun
                with self._until(begun + self._limits.stall_s, "rest of a message"):
                    data = await receive(self._stream, PIECE)
            if not data:
                return
            self._reader.feed(data)

    def _repeats(self, pair: Pair[RequestHeader]) -> bool:
        """Whether the call was answered before and still can be: then its answer is in `_out`."""
        handler = self._methods.get(pair.header.method)
        if handler is None or handler.repeats is None:
            return False
        key = self._remembered.find(pair.header.method, pair.body.payload)
        reply = None if key is None else handler.repeats.again(key)
        if reply is None:
            return False
        self._put(pair.header, "", handler.method.reply, reply)
        self._repeated.append((handler, self.active_at))
        return True

    async def _flush_repeated(self) -> None:
        """Send the answers of what repeated. Raises PeerStalled."""
        if not self._repeated:
            return
        repeated, self._repeated = self._repeated, []
        await self._flush()
        for handler, since in repeated:
            self._count(handler, since)

    async def _place(self) -> None:
        """Take a place for one call, of this connection and of its host; nothing else is read until there is one."""
        for places in (self._places, self._shared):
            if not places.value:
                await self._flush_repeated()  # those before it need not wait for it
        await self._places.acquire()
        try:
            await self._shared.acquire()
        except trio.Cancelled:
            self._places.release()
            raise

    def _work(self, pair: Pair[RequestHeader]) -> Work:
        """What a call has to do. Bodies are decoded here, in the order of the stream, as they may define types."""
        handler = self._methods.get(pair.header.method)
        if handler is None:
            return f"rpc: can't find method {pair.header.method}"
        try:
            return handler, self._reader.gob.value(pair.body, handler.method.arg), pair.body.payload
        except BadGobValue as exc:
            return f"gob: {exc}"

    async def _call(self, header: RequestHeader, work: Work) -> None:
        since = trio.current_time()
        try:
            if isinstance(work, str):
                self._put(header, work)
                await self._flush()
                self._count(None, since)
                return
            handler, arg, body = work
            last: HangUp | None = None
            try:
                reply = await handler.handle(arg)
            except (PeerError, SourceError) as exc:
                self._put(header, str(exc) or exc.code)  # an empty text would be success
                last = exc if isinstance(exc, HangUp) else None
            else:
                self._put(header, "", handler.method.reply, reply)
                if handler.repeats is not None and (key := handler.repeats.key(arg)) is not None:
                    self._remembered.keep(header.method, body, key)
            await self._flush()
            self._count(handler, since)
            if last is not None:
                raise last
        finally:
            self._shared.release()
            self._places.release()

    def _put(self, header: RequestHeader, error: str, shape: Shape[Any] = EMPTY, reply: object = NOTHING) -> None:
        """Have one answer sent by the next `_flush`."""
        answer = ResponseHeader(header.method[:MAX_TEXT], header.seq, error[:MAX_TEXT])
        self._out += self._encoder.encode(RESPONSE, answer) + self._encoder.encode(shape, reply)

    def _count(self, handler: Handler[Any, Any] | None, since: float) -> None:
        self.answered += 1
        self.active_at = trio.current_time()
        if handler is not None and handler.answered is not None:
            handler.answered(self.active_at - since)

    async def _flush(self) -> None:
        """Send what there is, unless whoever sent before has taken it along. Raises PeerStalled."""
        async with self._sending:
            if not self._out:
                return
            data, self._out = self._out, bytearray()
            with self._until(trio.current_time() + self._limits.stall_s, "answer taken"):
                self._deaf = not await send(self._stream, data)

    @contextmanager
    def _until(self, deadline: float, what: str) -> Iterator[None]:
        try:
            with trio.fail_at(deadline):
                yield
        except trio.TooSlowError:
            raise PeerStalled(what, self._limits.stall_s) from None
