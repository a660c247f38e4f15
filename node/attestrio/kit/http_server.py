"""The server of `kit.http`: an ASGI application with a bound on everything, that can be cancelled.

`serve_app` runs as a child task. What is hypercorn's stands in `kit.http_hypercorn`.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import trio

from attestrio.kit.seldom import Seldom
from attestrio.kit.tcp import bind_socket, shown_address

log = logging.getLogger("attestrio.http")

BACKLOG: Final = 1024  # connections the system keeps until we accept them; with fewer, a burst has to try again

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Scope]], Callable[[Scope], Awaitable[None]]], Awaitable[None]]
"""An ASGI application."""
Tell = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What a server grants to whoever connects."""

    grace_s: float = 3.0
    """After a cancel, for requests already being answered."""
    idle_s: float = 30.0
    """For a request's head to arrive whole, and between two reads of its body."""
    send_s: float = 10.0
    """For a client to take one piece of the answer."""
    max_connections: int = 100
    """One more takes the place of the one that has waited for its client for longest, or is closed, unread."""
    streams: bool = False
    """Answers may go on for longer than `idle_s` without a word of the client. For a server that reads no bodies."""


DEFAULT_LIMITS = ServerLimits()


def url_of(sock: socket.socket) -> str:
    """The URL a client on this machine would use for a bound socket."""
    return f"http://{shown_address(sock.getsockname())}"


async def serve_app(
    app: App,
    bind: str | socket.socket,
    *,
    limits: ServerLimits = DEFAULT_LIMITS,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve an ASGI app until cancelled; `started` gives the URL with the real port.

    On cancel the listener closes at once, answers under way get `limits.grace_s`, then connections are cut. The app
    gets no lifespan events. Raises AddressInUse, BadAddress. A connection's fault ends that connection only. Speaks
    HTTP/1.1 alone: hypercorn times out no connection that was upgraded to HTTP/2, or that asked for a WebSocket.

    This is hypercorn's own serving loop without what we have no use for, and with four bounds it lacks: on
    connections, on how long one outlives its client, on a client that does not read (hypercorn shields its sends, so
    that one such client would hold up a shutdown for ever), and on what a fault in its protocol code takes with it.
    Source: hypercorn 0.18.0, trio/run.py `worker_serve`.
    """
    from attestrio.kit.http_hypercorn import speak  # here: a node that serves nothing does not pay for it

    crowd, stop = Crowd(limits.max_connections), trio.Event()
    answer, tell = speak(app, limits)

    async def handle(stream: trio.SocketStream) -> None:
        await crowd.run_client(Held(stream, limits.send_s), answer)

    sock = bind if isinstance(bind, socket.socket) else await bind_socket(bind)
    with sock:
        sock.listen(BACKLOG)
        sock.setblocking(False)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        url = url_of(sock)
        async with trio.open_nursery() as nursery:
            connections: trio.Nursery = await nursery.start(_hold, stop, tell, crowd, limits.grace_s)
            try:
                task_status.started(url)
                await trio.serve_listeners(handle, [listener], handler_nursery=connections)
            finally:
                stop.set()
    raise AssertionError("a server ends only by being cancelled")


async def _hold(
    stop: trio.Event, tell: Tell, crowd: Crowd, grace_s: float, *, task_status: trio.TaskStatus[trio.Nursery]
) -> None:
    """Keeps a nursery for connections, which outlives the cancel of whoever started it by `grace_s` at most."""
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await stop.wait()
            await tell()  # idle connections close themselves
            nursery.cancel_scope.deadline = trio.current_time() + grace_s
            crowd.end_by(nursery.cancel_scope.deadline)


class Held:
    """One connection: what hypercorn uses of its stream, with a deadline on sending; and since when its client is
    waited for, be it for a request or to take an answer."""

    def __init__(self, stream: trio.SocketStream, send_s: float) -> None:
        self.scope = trio.CancelScope()
        """Around all that is done for it."""
        self.asks_since: float | None = trio.current_time()
        """Since when a request is waited for; None while one is answered."""
        self.socket = stream.socket
        self.receive_some, self.send_eof, self.aclose = stream.receive_some, stream.send_eof, stream.aclose
        self.stream, self._send_s = stream, send_s
        self._end_by = float("inf")
        self._sending: tuple[float, trio.CancelScope] | None = None

    @property
    def waiting_since(self) -> float | None:
        """In trio's time; None when it is our turn."""
        return self._sending[0] if self._sending is not None else self.asks_since

    async def send_all(self, data: bytes) -> None:
        """Raises trio.BrokenResourceError, also when the client did not take it in time: then all is over."""
        now = trio.current_time()
        scope = trio.CancelScope(deadline=min(now + self._send_s, self._end_by))
        self._sending = now, scope
        try:
            with scope:
                if self.scope.cancel_called:  # hypercorn shields what it sends, and goes on to the next answer
                    raise trio.BrokenResourceError("the connection was cut")
                await self.stream.send_all(data)
        except trio.BusyResourceError as exc:  # it is being closed: the client sent what is no HTTP, or left
            raise trio.BrokenResourceError("closed while an answer is sent") from exc
        finally:
            self._sending = None
        if scope.cancelled_caught:
            self.scope.cancel()
            raise trio.BrokenResourceError(f"client took more than {self._send_s:g} s to read")

    def cut(self) -> None:
        """End it now, also in the middle of sending."""
        self.scope.cancel()
        if self._sending is not None:
            self._sending[1].cancel()

    def end_by(self, deadline: float) -> None:
        """Send for no longer than that."""
        self._end_by = deadline
        if self._sending is not None:
            self._sending[1].deadline = min(self._sending[1].deadline, deadline)


class Crowd:
    """All connections of one server, and which of them has to go when there is one too many.

    A client that sends half a request, or takes no answer, costs itself nothing: it may not keep others out.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._held: set[Held] = set()
        self._full, self._dropped = Seldom(log, logging.INFO), Seldom(log, logging.INFO)

    async def run_client(self, one: Held, answer: Callable[[Held], Awaitable[None]]) -> None:
        """Everything one connection does, until it is gone. Only faults of our own get out."""
        try:
            if self.admit(one):
                with one.scope:
                    await answer(one)
        except* Exception as group:  # hypercorn does not say what a stranger's bytes can make it raise
            self._dropped.say("connection dropped: %s", "; ".join(repr(exc)[:200] for exc in group.exceptions))
        finally:
            self._held.discard(one)
            await trio.aclose_forcefully(one.stream)  # hypercorn leaves one that was cut open

    def admit(self, one: Held) -> bool:
        """Give it a place, if need be that of another. Whether it has one. O(places) when all are taken."""
        if len(self._held) >= self._places:
            waiting = [(since, held) for held in self._held if (since := held.waiting_since) is not None]
            if not waiting:
                self._full.say("connection refused: %d are open, and all are being answered", self._places)
                return False
            self._full.say("connection cut to make room for another: %d are open", self._places)
            _, longest = min(waiting, key=lambda one: one[0])
            longest.cut()
            self._held.discard(longest)
        self._held.add(one)
        return True

    def end_by(self, deadline: float) -> None:
        for held in self._held:
            held.end_by(deadline)
