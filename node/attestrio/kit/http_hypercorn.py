"""What is hypercorn's in the server of `kit.http`: HTTP/1.1 on one connection, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Event, Updated
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app

from attestrio.kit.http_server import App, Held, ServerLimits, Tell

UPGRADE: Final = b"upgrade"


def speak(app: App, limits: ServerLimits) -> tuple[Callable[[Held], Awaitable[None]], Tell]:
    """How `app` answers over one connection, until that ends; and how all of them are told that the server stops."""
    config = Config()
    config.keep_alive_timeout = limits.idle_s
    if not limits.streams:
        config.read_timeout = limits.idle_s  # type: ignore[assignment]  # trio takes a float there
    config.include_server_header = False
    config.errorlog = _hypercorn_log()
    config.accesslog = None
    context = WorkerContext(None)
    wrapped = wrap_app(cast("Any", app), config.wsgi_max_body_size, "asgi")

    async def answer(held: Held) -> None:
        await _Http11Server(wrapped, config, context, ConnectionState({}), cast("Any", held))

    return answer, context.terminated.set


class _Http11(H11Protocol):
    """Changes to no other protocol, as a server may (RFC 9110, 7.8): what asks for that is answered in HTTP/1.1.

    Hypercorn would turn the connection over to code that never times it out.
    """

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        kept = [(name, value) for name, value in request.headers if name != UPGRADE]
        plain = h11.Request(
            method=request.method, target=request.target, headers=kept, http_version=request.http_version
        )
        await super()._create_stream(plain)


class _Http11Server(TCPServer):
    """Keeps the HTTP/1.1 half of the protocol it is given.

    Its connections end with their clients: hypercorn's own waits for `idle_s` with one that has left.
    """

    stream: Any
    _client_left = False

    async def _read_data(self) -> None:
        await super()._read_data()
        self._client_left = True
        await self.idle_task.stop()

    async def _idle_timeout(self) -> None:
        if not self._client_left:  # an answer that was under way is followed by one more wait for a request
            await super()._idle_timeout()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated):
            held: Held = self.stream
            held.asks_since = trio.current_time() if event.idle else None
        await super().protocol_send(event)

    @property
    def protocol(self) -> ProtocolWrapper:
        return self._http11

    @protocol.setter
    def protocol(self, wrapper: ProtocolWrapper) -> None:
        made = cast("H11Protocol", wrapper.protocol)
        own = _Http11(
            made.app, made.config, made.context, made.task_group, made.connection_state, made.ssl, made.client,
            made.server, made.send,
        )  # fmt: skip
        self._http11 = cast("ProtocolWrapper", own)


def _hypercorn_log() -> logging.Logger:
    """Hypercorn's messages from warning up (an app that raised), among ours and nowhere else."""
    logger = logging.getLogger("attestrio.http.hypercorn")
    logger.setLevel(logging.WARNING)
    return logger
