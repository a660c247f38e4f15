"""The server: one connection's commands in order, and what is committed pushed to those that follow."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import Final, NoReturn

import trio

from attestrio.errors import PeerError, leaves
from attestrio.kit.seldom import Seldom
from attestrio.kit.tcp import accept, bind_socket, shown_address
from attestrio.stream.errors import StreamRewritten
from attestrio.stream.live import LiveStream
from attestrio.stream.protocol import RESULTS, Command, Request, RequestReader, Status, encode_response
from attestrio.stream.wire import prepare
from attestrio.stream.wire_errors import StreamClientOutdated, StreamReaderStalled

log = logging.getLogger("attestrio.stream")

CHUNK: Final = 4_096  # of requests, which have at most 36 bytes each
OK: Final = RESULTS[Status.OK]


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What strangers may take: the numbers of the reference. Memory: one page of the file (1 MiB) a connection."""

    max_connections: int = 100
    full_pause_s: float = 2.0  # nobody is accepted for so long after one was turned away
    write_s: float = 20.0  # without a byte taken by a client
    inactivity_s: float = 600.0  # without a byte in either direction; `math.inf`: for ever
    check_s: float = 300.0  # how often that is looked for


DEFAULT_LIMITS: Final = StreamLimits()


@dataclass(frozen=True, slots=True)
class Said:
    """What strangers make the log say, of all connections together: they can come and go a thousand times a second."""

    refused: Seldom = field(default_factory=lambda: Seldom(log, logging.WARNING))
    dropped: Seldom = field(default_factory=lambda: Seldom(log, logging.INFO))
    left: Seldom = field(default_factory=lambda: Seldom(log, logging.INFO))


async def serve_stream(
    source: LiveStream,
    bind: str,
    limits: StreamLimits = DEFAULT_LIMITS,
    *,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve a stream on HOST:PORT until cancelled; `started` gives the address with the real port.

    Whoever is one too many is accepted and closed at once. A fault of a connection ends that connection only.

    Raises AddressInUse, BadAddress; what reading the file raises.
    """
    sock = trio.socket.from_stdlib_socket(await bind_socket(bind))
    with sock:
        sock.listen(128)
        held: set[Connection] = set()
        said = Said()
        async with trio.open_nursery() as connections:
            connections.start_soon(_end_silent, held, limits)
            task_status.started(shown_address(sock.getsockname()))
            while True:
                stream, _ = await accept(sock, log, prepare=prepare)
                if len(held) >= limits.max_connections:
                    said.refused.say("connection refused: %d are open", len(held))
                    await trio.aclose_forcefully(stream)
                    await trio.sleep(limits.full_pause_s)
                    continue
                held.add(connection := Connection(stream, source, limits, said))
                connections.start_soon(_hold, connection, held)


async def _hold(connection: Connection, held: set[Connection]) -> None:
    try:
        await connection.run()
    finally:
        held.discard(connection)


async def _end_silent(held: set[Connection], limits: StreamLimits) -> NoReturn:
    while math.isfinite(limits.inactivity_s):
        await trio.sleep(limits.check_s)
        for connection in held:
            if trio.current_time() - connection.active_at > limits.inactivity_s:
                connection.end()
    await trio.sleep_forever()
    raise AssertionError("unreachable")


class Connection:
    """One client, until it leaves or is dropped. Owns the stream.

    Commands are answered one after the other; one that starts the stream is done once the client has everything that
    was committed by then. From there on commits are pushed by a second task. Neither has a queue: what the client
    has got is a position in the file. So a client that does not read costs one page of memory, and then its connection.
    """

    def __init__(
        self,
        stream: trio.SocketStream,
        source: LiveStream,
        limits: StreamLimits = DEFAULT_LIMITS,
        said: Said | None = None,
    ) -> None:
        self.active_at = trio.current_time()
        self._stream, self._source, self._limits = stream, source, limits
        self._said = said or Said()
        self._scope = trio.CancelScope()
        self._reader = RequestReader()
        self._sending = trio.Lock()  # whole entries and whole answers
        self._started = False  # it has caught up, and is pushed what is committed
        self._position = 0  # in the file, of the first byte that it has not got
        self._cut = 0  # truncations of the file before it started

    def end(self) -> None:
        """Close it now: it has been silent for too long."""
        self._scope.cancel()

    async def run(self) -> None:
        """Serve it. What the client does wrong ends here; what reading the file raises goes through, in a group."""
        try:
            with self._scope:
                async with trio.open_nursery() as both:
                    both.start_soon(self._push)
                    await self._serve()
                    both.cancel_scope.cancel()
        except* PeerError as group:
            for exc in leaves(group):
                self._said.dropped.say("connection closed: %s", exc)
        except* trio.BrokenResourceError:
            self._said.left.say("connection closed: the client has left")
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _serve(self) -> None:
        """Until the client ends the stream. Raises PeerError, BrokenResourceError."""
        while True:
            while (asked := self._reader.next_request(started=self._started)) is not None:
                if isinstance(asked, Status):
                    await self._answer(RESULTS[asked])
                else:
                    await self._obey(asked)
            data = await self._stream.receive_some(CHUNK)
            if not data:
                return
            self.active_at = trio.current_time()
            self._reader.feed(data)

    async def _obey(self, request: Request) -> None:
        match request.command:
            case Command.HEADER:
                await self._answer(OK + self._source.state.header.encode())
            case Command.ENTRY:
                await self._answer(OK + encode_response(await self._source.entry(request.number)))
            case Command.BOOKMARK:
                await self._answer(OK + encode_response(await self._source.after(request.bookmark)))
            case Command.STOP:
                self._started = False
                await self._answer(OK)
            case Command.START | Command.START_BOOKMARK:
                await self._start(request)

    async def _start(self, request: Request) -> None:
        """Send all from a place on that is committed, without reading further commands.

        A start that fails leaves the client where it was. With the reference it can only reconnect then.
        """
        self._cut = self._source.state.cuts
        position = await self._place_of(request)
        async with self._sending:
            if position is None:
                by_number = request.command == Command.START
                await self._send(RESULTS[Status.BAD_FROM_ENTRY if by_number else Status.BAD_FROM_BOOKMARK])
                return
            self._position = position
            await self._send(OK)
            while self._behind():
                await self._send_slice()
            self._started = True  # no await since the last look at the state, so no commit is missed

    async def _place_of(self, request: Request) -> int | None:
        """Position of what a start names; None: there is no such entry or bookmark."""
        if request.command == Command.START_BOOKMARK:
            number = await self._source.find(request.bookmark)
        else:
            number = request.number if request.number <= self._source.state.header.total_entries else None
        try:
            return None if number is None else await self._source.locate(number)
        except StreamRewritten:
            return None

    async def _push(self) -> NoReturn:
        while True:
            state = self._source.state
            async with self._sending:
                while self._started and self._behind():
                    await self._send_slice()
            await self._source.wait_other(state)

    def _behind(self) -> bool:
        """Whether there is more to send. Raises StreamClientOutdated."""
        state = self._source.state
        if state.cuts != self._cut:
            raise StreamClientOutdated("the stream was truncated or rewritten")
        return self._position < state.header.total_length

    async def _send_slice(self) -> None:
        """Raises StreamClientOutdated, StreamReaderStalled, BrokenResourceError."""
        try:
            data, position = await self._source.slice(self._position)
        except StreamRewritten as exc:
            raise StreamClientOutdated(str(exc)) from exc
        self._behind()  # what was read meanwhile may be of two versions
        await self._send(data)
        self._position = position

    async def _answer(self, data: bytes) -> None:
        async with self._sending:
            await self._send(data)

    async def _send(self, data: bytes) -> None:
        """Send all of it. Raises StreamReaderStalled, BrokenResourceError."""
        rest = memoryview(data)
        while rest:
            with trio.move_on_after(self._limits.write_s) as waiting:
                try:
                    rest = rest[await self._stream.socket.send(rest) :]
                except OSError as exc:
                    raise trio.BrokenResourceError from exc
            if waiting.cancelled_caught:
                raise StreamReaderStalled("no byte taken", self._limits.write_s)
            self.active_at = trio.current_time()
