"""HTTP with a bound on everything: a client whose answers cannot grow, and a server that can be cancelled.

Client: `client` once per endpoint, then `post_bounded` per call. Server: `serve_app` as a child task.
"""

from __future__ import annotations

import logging
import re
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, NoReturn, cast

import httpx
import trio

from attestrio.kit.http_errors import (
    AddressInUse,
    AddressNotPublic,
    AnswerGarbled,
    AnswerTooLarge,
    AnswerTooLate,
    BadAddress,
    BadHttpStatus,
    BadUrl,
    Unreachable,
)
from attestrio.kit.tcp import bind_socket, shown_address

__all__ = [
    "DEFAULT_LIMITS",
    "MAX_BODY",
    "AddressInUse",
    "AddressNotPublic",
    "AnswerGarbled",
    "AnswerTooLarge",
    "AnswerTooLate",
    "App",
    "BadAddress",
    "BadHttpStatus",
    "BadUrl",
    "Scope",
    "ServerLimits",
    "Unreachable",
    "client",
    "memory_client",
    "post_bounded",
    "serve_app",
    "shown",
    "url_of",
]

log = logging.getLogger("attestrio.http")

CLOSE_S = 1.0
MAX_BODY = 1 << 20  # 1 MiB: a genesis of 5,000 attesters is about 0.5 MiB

BACKLOG = 1024  # connections the system keeps until we accept them; with fewer, a burst of clients has to try again

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Scope]], Callable[[Scope], Awaitable[None]]], Awaitable[None]]
"""An ASGI application."""


# --- client -------------------------------------------------------------------------------------------------------


MAYBE_KEY = re.compile(r"[0-9A-Za-z_-]{16,}")
"""A part of a path that may be an API key: providers of Ethereum have theirs there, as https://host/v3/KEY."""


def shown(url: str | httpx.URL) -> str:
    """`url` as it may be logged: no user, no password, no fragment, of a query only that there is one, and of a long
    word in the path the same."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):  # ValueError: a port that is no number
        return "(unreadable URL)"
    parts = ["redacted" if MAYBE_KEY.fullmatch(one) else one for one in parsed.path.split("/")]
    plain = parsed.copy_with(userinfo=b"", query=b"redacted" if parsed.query else None, fragment=None)
    return str(plain if "redacted" not in parts else plain.copy_with(path="/".join(parts)))


def client(
    url: str,
    *,
    timeout_s: float = 5.0,
    max_connections: int = 4,
    transport: httpx.AsyncBaseTransport | None = None,
    public_only: bool = False,
) -> httpx.AsyncClient:
    """A client for one endpoint; close it with `aclose`. Raises BadUrl.

    It reads no proxy or netrc settings from the environment, follows no redirect, keeps no cookie (a hostile server
    could grow both the jar and our requests) and has few connections, since httpx's pool is scanned linearly.
    `timeout_s` bounds each step; `post_bounded` bounds the whole. `public_only`: it connects to no private address,
    whatever a name says, and requests raise AddressNotPublic.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as exc:
        raise BadUrl(shown(url)) from exc
    blank = "%" in parsed.host and ":" not in parsed.host  # only an IPv6 address may have one, before its zone
    if parsed.scheme not in ("http", "https") or not parsed.host or blank or (parsed.port or 0) > 0xFFFF:
        raise BadUrl(shown(url))
    limits = httpx.Limits(max_connections=max_connections, keepalive_expiry=15.0)
    verify = parsed.scheme == "https"  # loading the CA bundle takes 0.2 s, which plain HTTP can do without
    if public_only and transport is None:
        from attestrio.kit.public import public_transport  # only who asks strangers' URLs pays for it

        transport = public_transport(verify=verify, limits=limits)
    return httpx.AsyncClient(
        transport=transport,
        timeout=timeout_s,
        limits=limits,
        trust_env=False,
        verify=verify if transport is None else False,  # a transport has its own
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        headers={"accept-encoding": "identity"},
    )


def memory_client(app: App, url: str = "http://memory/") -> httpx.AsyncClient:
    """A client that calls `app` in this task, without sockets: what stories with virtual time use."""
    return client(url, transport=httpx.ASGITransport(app))


async def close_client(http: httpx.AsyncClient) -> None:
    """Close all its connections, when cancelled too: httpx itself stops after the first one then."""
    with trio.move_on_after(CLOSE_S, shield=True):  # one over TLS says goodbye, and its peer may not listen
        await http.aclose()


async def post_bounded(
    client: httpx.AsyncClient,
    url: str,
    body: bytes,
    max_bytes: int = MAX_BODY,
    *,
    timeout_s: float = 5.0,
    headers: Mapping[str, str] | None = None,
    source: str | None = None,
) -> bytes:
    """POST `body` as JSON; the body of the 200 that answers.

    Args:
      max_bytes: of the answer, both as sent and decompressed; reading stops there.
      timeout_s: from the call to the last byte, however slowly they trickle.
      source: who is asked, as errors shall name it; by default the URL without its secrets.

    Raises only Unreachable, AnswerTooLate, AnswerTooLarge, AnswerGarbled, BadHttpStatus.
    """
    source = source or shown(url)
    sent = {"content-type": "application/json", **(headers or {})}
    try:
        with trio.fail_after(timeout_s):
            request = client.build_request("POST", url, content=body, headers=sent)
            request.stream = _Body(body)
            response = await client.send(request, stream=True)
            try:
                if response.status_code != httpx.codes.OK:
                    raise BadHttpStatus(source, response.status_code)
                raw = await _read(response, max_bytes, source)
            finally:
                await response.aclose()
    except trio.TooSlowError:
        raise AnswerTooLate(source, timeout_s) from None
    except httpx.TimeoutException as exc:  # its text is empty: only the type says what was waited for
        raise Unreachable(source, type(exc).__name__) from None
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise Unreachable(source, str(exc) or type(exc).__name__) from None
    return _decompress(raw, response.headers.get("content-encoding", ""), max_bytes, source)


class _Body(httpx.AsyncByteStream):
    """A request's body. Httpx's own is a generator, which a connection that breaks while sending leaves unfinished."""

    def __init__(self, body: bytes) -> None:
        self._left = [body]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


async def _read(response: httpx.Response, max_bytes: int, source: str) -> bytes:
    """The body as sent. A stated length is checked before anything is read."""
    stated = response.headers.get("content-length", "")
    if stated.isdecimal() and len(stated) < 20 and int(stated) > max_bytes:
        raise AnswerTooLarge(source, int(stated), max_bytes)
    body = bytearray()
    try:
        async for chunk in response.aiter_raw():
            if len(body) <= max_bytes:
                body += chunk
            if len(body) > max_bytes:
                # Closed, but iterated on: that ends httpx's nested generators by an error. Left in the middle they
                # would be collected as garbage, each with a ResourceWarning.
                await response.aclose()
    except (httpx.HTTPError, httpx.StreamError):
        if len(body) <= max_bytes:
            raise
    if len(body) > max_bytes:
        raise AnswerTooLarge(source, len(body), max_bytes)
    return bytes(body)


def _decompress(raw: bytes, encoding: str, max_bytes: int, source: str) -> bytes:
    """Identity was asked for; gzip and deflate are read all the same, up to `max_bytes`: some proxies insist."""
    wbits = {"gzip": 31, "deflate": 15}.get(encoding.strip().lower())
    if wbits is None:
        if encoding.strip().lower() in ("", "identity"):
            return raw
        raise AnswerGarbled(source, encoding[:40])
    machine = zlib.decompressobj(wbits)
    try:
        body = machine.decompress(raw, max_bytes + 1)
    except zlib.error as exc:
        raise AnswerGarbled(source, encoding) from exc
    if len(body) > max_bytes:
        raise AnswerTooLarge(source, len(body), max_bytes)
    if not machine.eof:
        raise AnswerGarbled(source, encoding)
    return body


# --- server -------------------------------------------------------------------------------------------------------


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
    """One more is closed at once, unread."""
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
    HTTP/1.1 alone: hypercorn times out no connection that was upgraded to HTTP/2.

    This is hypercorn's own serving loop without what we have no use for, and with four bounds it lacks: on
    connections, on how long one outlives its client, on a client that does not read (hypercorn shields its sends, so
    that one such client would hold up a shutdown for ever), and on what a fault in its protocol code takes with it.
    Source: hypercorn 0.18.0, trio/run.py `worker_serve`.
    """
    from hypercorn.config import Config  # imported here: a node that serves nothing does not pay for it
    from hypercorn.protocol import ProtocolWrapper
    from hypercorn.trio.tcp_server import TCPServer
    from hypercorn.trio.worker_context import WorkerContext
    from hypercorn.typing import ConnectionState
    from hypercorn.utils import wrap_app

    config = Config()
    config.keep_alive_timeout = limits.idle_s
    if not limits.streams:
        config.read_timeout = limits.idle_s  # type: ignore[assignment]  # trio takes a float there
    config.include_server_header = False
    config.errorlog = _hypercorn_log()
    config.accesslog = None
    context = WorkerContext(None)

    class Http11Server(TCPServer):
        """Keeps the HTTP/1.1 half of the protocol it is given, so that a change of protocol is an error.

        Its connections end with their clients: hypercorn's own waits for `idle_s` with one that has left.
        """

        _client_left = False

        async def _read_data(self) -> None:
            await super()._read_data()
            self._client_left = True
            await self.idle_task.stop()

        async def _idle_timeout(self) -> None:
            if not self._client_left:  # an answer that was under way is followed by one more wait for a request
                await super()._idle_timeout()

        @property
        def protocol(self) -> ProtocolWrapper:
            return self._http11

        @protocol.setter
        def protocol(self, wrapper: ProtocolWrapper) -> None:
            self._http11 = cast("ProtocolWrapper", wrapper.protocol)

    wrapped = wrap_app(cast("Any", app), config.wsgi_max_body_size, "asgi")

    async def handle(stream: trio.SocketStream) -> None:
        if len(connections.child_tasks) > limits.max_connections:
            log.info("connection refused: %d are open", limits.max_connections)
            await stream.aclose()
            return
        bounded: Any = _BoundedStream(stream, limits.send_s)
        try:
            await Http11Server(wrapped, config, context, ConnectionState({}), bounded)
        except* Exception as group:  # hypercorn does not say what a stranger's bytes can make it raise
            log.info("connection dropped: %s", "; ".join(repr(exc)[:200] for exc in group.exceptions))

    sock = bind if isinstance(bind, socket.socket) else await bind_socket(bind)
    with sock:
        sock.listen(BACKLOG)
        sock.setblocking(False)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        url = url_of(sock)
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            connections: trio.Nursery = await nursery.start(_hold, stop, context.terminated.set, limits.grace_s)
            try:
                task_status.started(url)
                await trio.serve_listeners(handle, [listener], handler_nursery=connections)
            finally:
                stop.set()
    raise AssertionError("a server ends only by being cancelled")


async def _hold(
    stop: trio.Event,
    tell: Callable[[], Awaitable[None]],
    grace_s: float,
    *,
    task_status: trio.TaskStatus[trio.Nursery],
) -> None:
    """Keeps a nursery for connections, which outlives the cancel of whoever started it by `grace_s` at most."""
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await stop.wait()
            await tell()  # idle connections close themselves
            nursery.cancel_scope.deadline = trio.current_time() + grace_s


class _BoundedStream:
    """The part of a socket stream that hypercorn uses, with a deadline on sending."""

    def __init__(self, stream: trio.SocketStream, send_s: float) -> None:
        self.socket = stream.socket
        self._send_s = send_s
        self.receive_some, self.send_eof, self.aclose = stream.receive_some, stream.send_eof, stream.aclose
        self._stream = stream

    async def send_all(self, data: bytes) -> None:
        with trio.move_on_after(self._send_s) as scope:
            try:
                await self._stream.send_all(data)
            except trio.BusyResourceError as exc:  # it is being closed: the client sent what is no HTTP, or left
                raise trio.BrokenResourceError("closed while an answer is sent") from exc
        if scope.cancelled_caught:
            raise trio.BrokenResourceError(f"client took more than {self._send_s:g} s to read")


def _hypercorn_log() -> logging.Logger:
    """Hypercorn's messages from warning up (an app that raised), among ours and nowhere else."""
    logger = log.getChild("hypercorn")
    logger.setLevel(logging.WARNING)
    return logger
