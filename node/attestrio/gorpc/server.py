"""The server: calls of one connection run side by side, answers go out one at a time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, NoReturn, TypeVar

import trio

from attestrio.errors import PeerError, SourceError, leaves
from attestrio.gorpc.errors import BadGobValue, PeerStalled
from attestrio.gorpc.exchange import CONNECTED, HeadReader, Pair, PairReader, refusal_of
from attestrio.gorpc.gob import GobEncoder, GobLimits, Shape
from attestrio.gorpc.messages import EMPTY, REQUEST, RESPONSE, Nothing, RequestHeader, ResponseHeader, RpcMethod
from attestrio.gorpc.wire import prepare, receive, send
from attestrio.kit.tcp import accept, bind_socket, shown_address

log = logging.getLogger("attestrio.gorpc")

A = TypeVar("A")
R = TypeVar("R")

MAX_TEXT: Final = 256  # characters of a method name or an error that is sent back
NOTHING: Final = Nothing()
GOB_LIMITS: Final = GobLimits()


@dataclass(frozen=True, slots=True)
class Handler(Generic[A, R]):
    """What a method does. A PeerError or SourceError out of `handle` is the call's error text; others go through."""

    method: RpcMethod[A, R]
    handle: Callable[[A], Awaitable[R]]


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What strangers may take. All of them together: `max_connections` times the bytes of `gob`, twice."""

    gob: GobLimits = GOB_LIMITS
    max_connections: int = 256
    max_calls: int = 64  # of one connection at the same time; beyond them it is not read from
    stall_s: float = 30.0  # for the rest of a message that has begun, for an answer to be taken, for the CONNECT
    drain_s: float = 10.0  # for calls under way when the peer has ended the stream


DEFAULT_LIMITS: Final = ServerLimits()

Work = tuple[Handler[Any, Any], Any] | str
"""A handler and its argument, or the error text that is the answer already."""


async def serve(
    handlers: Iterable[Handler[Any, Any]],
    bind: str,
    limits: ServerLimits = DEFAULT_LIMITS,
    *,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve Go RPC on HOST:PORT until cancelled; `started` gives the address with the real port.

    A fault of a connection ends that connection only. With as many connections as allowed, one more ends the one
    that has been idle longest, first of those that never had a call answered; without any idle one it is closed.

    Raises AddressInUse, BadAddress; what a handler raises that is neither PeerError nor SourceError.
    """
    methods = {handler.method.name: handler for handler in handlers}
    sock = trio.socket.from_stdlib_socket(await bind_socket(bind))
    with sock:
        sock.listen(128)
        task_status.started(shown_address(sock.getsockname()))
        held: set[Connection] = set()
        async with trio.open_nursery() as connections:
            while True:
                stream, _ = await accept(sock, log, prepare=prepare)
                if len(held) >= limits.max_connections and not _make_room(held):
                    log.warning("connection refused: %d are open and busy", len(held))
                    await trio.aclose_forcefully(stream)
                    continue
                held.add(connection := Connection(stream, methods, limits))
                connections.start_soon(_hold, connection, held)


def _make_room(held: set[Connection]) -> bool:
    idle = [one for one in held if not one.busy]
    if not idle:
        return False
    oldest = min(idle, key=lambda one: (one.answered > 0, one.active_at))
    held.discard(oldest)
    oldest.end()
    return True


async def _hold(connection: Connection, held: set[Connection]) -> None:
    try:
        await connection.run()
    finally:
        held.discard(connection)


class Connection:
    """One peer, until its stream ends. Owns the stream.

    Bounds: `max_calls` under way, each with at most one answer that waits; one message being read.
    """

    def __init__(
        self, stream: trio.abc.Stream, methods: Mapping[str, Handler[Any, Any]], limits: ServerLimits = DEFAULT_LIMITS
    ) -> None:
        self.answered = 0
        self.active_at = trio.current_time()
        self._stream = stream
        self._methods, self._limits = methods, limits
        self._scope = trio.CancelScope()
        self._places = trio.Semaphore(limits.max_calls)
        self._reader: PairReader[RequestHeader] = PairReader(REQUEST, limits.gob)
        self._encoder = GobEncoder()
        self._out = bytearray()  # answers in the order in which they were encoded, which is the order they need
        self._sending = trio.Lock()

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
                log.info("connection closed: %s", exc)
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
        """Until the stream ends. Raises BadGob, GobTooLarge, PeerStalled."""
        begun: float | None = None  # when the rest of a message was first waited for
        while True:
            while (pair := self._reader.next_pair()) is not None:
                begun = None
                self.active_at = trio.current_time()
                await self._places.acquire()
                calls.start_soon(self._call, pair.header, self._work(pair))
            if not self._reader.partial:
                data = await receive(self._stream)
            else:
                begun = trio.current_time() if begun is None else begun
                with self._until(begun + self._limits.stall_s, "rest of a message"):
                    data = await receive(self._stream)
            if not data:
                return
            self._reader.feed(data)

    def _work(self, pair: Pair[RequestHeader]) -> Work:
        """What a call has to do. Bodies are decoded here, in the order of the stream, as they may define types."""
        handler = self._methods.get(pair.header.method)
        if handler is None:
            return f"rpc: can't find method {pair.header.method}"
        try:
            return handler, self._reader.gob.value(pair.body, handler.method.arg)
        except BadGobValue as exc:
            return f"gob: {exc}"

    async def _call(self, header: RequestHeader, work: Work) -> None:
        try:
            shape: Shape[object] = EMPTY
            reply: object = NOTHING
            error = ""
            if isinstance(work, str):
                error = work
            else:
                handler, arg = work
                try:
                    reply, shape = await handler.handle(arg), handler.method.reply
                except (PeerError, SourceError) as exc:
                    error = str(exc) or exc.code  # an empty text would be success
            answer = ResponseHeader(header.method[:MAX_TEXT], header.seq, error[:MAX_TEXT])
            self._out += self._encoder.encode(RESPONSE, answer) + self._encoder.encode(shape, reply)
            await self._flush()
            self.answered += 1
            self.active_at = trio.current_time()
        finally:
            self._places.release()

    async def _flush(self) -> None:
        """Send what there is, unless whoever sent before has taken it along. Raises PeerStalled."""
        async with self._sending:
            if not self._out:
                return
            data, self._out = self._out, bytearray()
            with self._until(trio.current_time() + self._limits.stall_s, "answer taken"):
                await send(self._stream, data)  # when nobody listens any more, the reader notices

    @contextmanager
    def _until(self, deadline: float, what: str) -> Iterator[None]:
        try:
            with trio.fail_at(deadline):
                yield
        except trio.TooSlowError:
            raise PeerStalled(what, self._limits.stall_s) from None
