"""A client of coredis that says when one of its connections is gone, and leaves nothing open."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from coredis import ConnectionPool, Redis
from coredis.connection import TCPConnection
from coredis.retry import NoRetryPolicy

from attestrio.journal.redis.errors import RedisUnusable

CONNECTIONS = 2
"""Calls share them: Redis does one thing at a time anyway."""
PORT = 6379


class _Connection(TCPConnection):
    def __init__(self, *arguments: Any, on_end: Callable[[], None], **options: Any) -> None:  # noqa: ANN401  # coredis'
        super().__init__(*arguments, **options)
        self._on_end = on_end

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        try:
            await super().run(task_status=task_status)
        finally:
            self._on_end()
            for held in vars(self).values():  # one that never connected leaves them open
                if isinstance(held, MemoryObjectSendStream | MemoryObjectReceiveStream):
                    held.close()


def client_of(url: str, timeout_s: float, on_end: Callable[[], None]) -> Redis[bytes]:
    """To be entered. `on_end` is called when a connection has ended, or was not made."""
    options: dict[str, Any] = {"ssl_context": ssl.create_default_context()} if url.startswith("rediss:") else {}
    pool = ConnectionPool.from_url(
        url,
        decode_components=True,
        max_connections=CONNECTIONS,
        connect_timeout=timeout_s,
        timeout=timeout_s,
        **options,
    )
    pool.connection_class = _Connection
    pool.connection_kwargs["on_end"] = on_end  # type: ignore[typeddict-unknown-key]  # ours
    # Never tried again by the client: a write that is repeated would tell of the second time.
    return Redis(connection_pool=pool, retry_policy=NoRetryPolicy())


def where_is(url: str) -> str:
    """The server in words, without the password. Raises RedisUnusable where the URL is none of a Redis server."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or PORT
    except ValueError as exc:
        raise RedisUnusable("an unreadable URL", str(exc)) from exc
    if parts.scheme not in ("redis", "rediss") or not host or any(map(str.isspace, host)):
        raise RedisUnusable(host or "no host", "write `redis://[user:password@]host[:port][/number]`, or `rediss://`")
    return f"{host}:{port}{parts.path}"
