"""The client: one connection for all callers, answers found by their number."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, NoReturn, TypeVar

import trio
import trio_util

from attestrio.errors import PeerError, SourceError, leaves
from attestrio.gorpc.errors import (
    AnswerUnreadable,
    BadConnect,
    BadGobValue,
    BadServerAddress,
    CallFailed,
    CallTooLate,
    CannotConnect,
    ConnectionLost,
    NotConnected,
)
from attestrio.gorpc.exchange import CONNECT, HeadReader, Pair, PairReader, status_untrusted
from attestrio.gorpc.gob import GobDecoder, GobEncoder, GobLimits
from attestrio.gorpc.messages import REQUEST, RESPONSE, RequestHeader, ResponseHeader, RpcMethod
from attestrio.gorpc.wire import prepare, receive, send

A = TypeVar("A")
R = TypeVar("R")

MAX_UNSENT: Final = 1 << 16  # bytes; a call waits while there are more
GOB_LIMITS: Final = GobLimits()

Dial = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""A stream to host and port. Raises OSError."""


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Seconds and sizes."""

    gob: GobLimits = GOB_LIMITS
    connect_s: float = 10.0  # TCP and CONNECT together
    stall_s: float = 30.0  # for the server to take what is sent
    call_s: float = 60.0  # a Go server may hold a call for 5 s and more


DEFAULT_LIMITS: Final = ClientLimits()


async def dial_tcp(host: str, port: int) -> trio.SocketStream:
    """A TCP connection whose dead peer is noticed. Raises OSError."""
    stream = await trio.open_tcp_stream(host, port)
    prepare(stream)
    return stream


class _Waiting(Generic[R]):
    """A call whose answer is awaited."""

    def __init__(self, method: RpcMethod[Any, R]) -> None:
        self.method = method
        self.answered = trio.Event()
        self.reply: R | None = None
        self.error: SourceError | None = None

    def end(self, reply: R | None, error: SourceError | None) -> None:
        self.reply, self.error = reply, error
        self.answered.set()


class _Link:
    """One connection while it lives: what waits to be sent, and who waits for an answer."""

    def __init__(self) -> None:
        self.encoder = GobEncoder()
        self.waiting: dict[int, _Waiting[Any]] = {}
        self.unsent = bytearray()
        self.changed = trio.lowlevel.ParkingLot()  # more to send, or less
        self.seq = 0


class GoRpcClient:
    """Calls to one Go RPC server over one connection, which exists while `run` runs.

    Any number of tasks call at the same time; answers may come in any order. A call that is cancelled or too late
    costs nobody else anything: its answer is thrown away when it comes. `run` does not reconnect; whoever runs it
    decides when to run it again.

    Args:
      address: HOST:PORT, IPv6 as `[::1]:80`.
      dial: how a stream is made, for tests.

    Raises BadServerAddress.
    """

    def __init__(self, address: str, limits: ClientLimits = DEFAULT_LIMITS, dial: Dial = dial_tcp) -> None:
        self.address = address
        found = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]+)):(\d{1,5})", address, re.ASCII)
        if found is None or not 0 < int(found[3]) < 1 << 16:
            raise BadServerAddress(address)
        self._host, self._port = found[1] or found[2], int(found[3])
        self._limits, self._dial = limits, dial
        self._link: trio_util.AsyncValue[_Link | None] = trio_util.AsyncValue(None)

    @property
    def connected(self) -> bool:
        """Whether a call would be sent now."""
        return self._link.value is not None

    async def wait_connected(self) -> None:
        """Return once there is a connection. Level-triggered."""
        await self._link.wait_value(lambda link: link is not None)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Connect and carry calls until the connection ends; `started` comes once it is there.

        Raises CannotConnect, ConnectionLost; it may then be run again.
        """
        assert self._link.value is None, "already running"
        stream, rest = await self._connect()
        link = _Link()
        lost = ConnectionLost(self.address)
        try:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write, stream, link, scope)
                    self._link.value = link
                    task_status.started()
                    lost = await self._read(stream, link, rest)
                    scope.cancel()
        finally:
            self._link.value = None
            link.changed.unpark_all()
            for call in link.waiting.values():
                call.end(None, ConnectionLost(self.address, lost.why))  # its own: each is raised in another task
            await trio.aclose_forcefully(stream)
        raise lost

    async def call(self, method: RpcMethod[A, R], arg: A, *, within_s: float | None = None) -> R:
        """The reply to one call.

        Args:
          within_s: seconds until CallTooLate; None: `limits.call_s`.

        Raises CallFailed (the server's own text), AnswerUnreadable, CallTooLate: the connection goes on.
        NotConnected: nothing was sent. ConnectionLost: it may have been carried out. Cancelled at any point, it
        leaves the connection usable; it may then have been carried out too.
        """
        limit_s = self._limits.call_s if within_s is None else within_s
        call = _Waiting(method)
        with trio.move_on_after(limit_s):
            link = await self._room()
            seq, link.seq = link.seq, link.seq + 1
            link.waiting[seq] = call
            try:
                header = link.encoder.encode(REQUEST, RequestHeader(method.name, seq))
                link.unsent += header + link.encoder.encode(method.arg, arg)
                link.changed.unpark_all()
                await call.answered.wait()
            finally:
                del link.waiting[seq]
        if not call.answered.is_set():
            raise CallTooLate(method.name, limit_s)
        if call.error is not None:
            raise call.error
        return call.reply  # type: ignore[return-value]  # set together with the event

    async def _room(self) -> _Link:
        """The connection, once not too much waits to be sent. Raises NotConnected."""
        await trio.lowlevel.checkpoint_if_cancelled()  # who is cancelled already sends nothing
        while (link := self._link.value) is not None and len(link.unsent) > MAX_UNSENT:
            await link.changed.park()
        if link is None:
            raise NotConnected(self.address)
        return link

    async def _connect(self) -> tuple[trio.abc.Stream, bytes]:
        """A stream behind its CONNECT, and the first bytes of gob. Raises CannotConnect."""
        try:
            with trio.fail_after(self._limits.connect_s):
                stream = await self._dial(self._host, self._port)
                try:
                    return stream, await _agree(stream)
                except BaseException:  # cancelled as well: nobody else knows the stream
                    await trio.aclose_forcefully(stream)
                    raise
        except trio.TooSlowError:
            raise CannotConnect(self.address, f"no answer within {self._limits.connect_s:g} s") from None
        except (OSError, UnicodeError, PeerError) as exc:  # UnicodeError: a label too long for DNS
            raise CannotConnect(self.address, _reason(exc)) from exc

    async def _read(self, stream: trio.abc.Stream, link: _Link, rest: bytes) -> ConnectionLost:
        """Hand out answers until the stream ends; why it did."""
        reader = PairReader(RESPONSE, self._limits.gob)
        reader.feed(rest)
        try:
            while True:
                while (pair := reader.next_pair()) is not None:
                    _answer(reader.gob, link.waiting.get(pair.header.seq), pair)
                if not (data := await receive(stream)):
                    return ConnectionLost(self.address)
                reader.feed(data)
        except PeerError as exc:
            return ConnectionLost(self.address, str(exc))

    async def _write(self, stream: trio.abc.Stream, link: _Link, scope: trio.CancelScope) -> None:
        """The only task that sends, so that a call may be cancelled while half of it is on its way."""
        while True:
            while not link.unsent:
                await link.changed.park()
            data, link.unsent = link.unsent, bytearray()
            link.changed.unpark_all()
            with trio.move_on_after(self._limits.stall_s):
                if await send(stream, data):
                    continue
            scope.cancel()  # broken, or nobody takes it: the reader might wait for ever


def _answer(gob: GobDecoder, call: _Waiting[Any] | None, pair: Pair[ResponseHeader]) -> None:
    """Give an answer to whoever waits for it. Raises GobTooLarge."""
    if call is None or call.answered.is_set():  # nobody waits any more
        return
    if pair.header.error:  # the body means nothing
        call.end(None, CallFailed(call.method.name, pair.header.error))
        return
    try:
        reply = gob.value(pair.body, call.method.reply)
    except BadGobValue as exc:
        call.end(None, AnswerUnreadable(call.method.name, str(exc)))
    else:
        call.end(reply, None)


async def _agree(stream: trio.abc.Stream) -> bytes:
    """CONNECT; the first bytes of gob. Raises BadConnect."""
    head = HeadReader()
    if not await send(stream, CONNECT):
        raise BadConnect("unexpected EOF")
    while (line := head.first_line()) is None:
        if not (data := await receive(stream)):
            raise BadConnect("unexpected EOF")
        head.feed(data)
    status_untrusted(line)
    return head.rest()


def _reason(exc: Exception) -> str:
    """Go's words for it; trio keeps what happened to each address of a host as the cause."""
    cause = exc.__cause__
    if isinstance(cause, BaseExceptionGroup):
        cause = next(leaves(cause))
    match cause if isinstance(cause, OSError) else exc:
        case socket.gaierror() as unknown:
            return f"lookup: {unknown.strerror}"
        case OSError(errno=int(number)):
            return f"connect: {os.strerror(number).lower()}"
        case other:
            return str(other)
