"""`/events`: the document as a stream of server-sent events, to a bounded number of clients."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec
import trio
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from attestrio.errors import SetupError, SourceError
from attestrio.web.publisher import Document, Publisher

MAX_STREAMS: Final = 16
BEAT_S: Final = 10.0  # shows the page, and proxies, that the stream lives
RETRY_MS: Final = 2_000
REFUSED: Final = {"retry-after": "5", "connection": "close"}
HEADERS: Final = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no"))


class Events:
    """An ASGI application. A client that reads slowly gets fewer documents, never older ones."""

    def __init__(self, publisher: Publisher, wall: Callable[[], float] = time.time) -> None:
        self._publisher = publisher
        self._wall = wall

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._publisher.readers >= MAX_STREAMS or self._publisher.closing:
            busy = PlainTextResponse("too many streams are open\n", 503, headers=REFUSED)
            await busy(scope, receive, send)
            return
        with self._publisher.reading():  # before anything is waited for: many may ask at once
            try:
                document = await self._publisher.current()
            except (SourceError, SetupError) as exc:
                unread = PlainTextResponse(f"cannot be read now: {exc.code}\n", 503, headers=REFUSED)
                await unread(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS]})
            if scope["method"] == "GET":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
                    await self._push(send, document)
                    nursery.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _push(self, send: Send, document: Document) -> None:
        await _send(send, b"retry: %d\n\n" % RETRY_MS)
        while True:
            await _send(send, _event("status", document.raw, document.version))
            newer = None
            while newer is None:
                newer = await self._publisher.next(document.version, BEAT_S)
                if self._publisher.closing:
                    await _send(send, _event("closing", b"{}"))
                    return
                if newer is None:
                    await _send(send, _event("beat", msgspec.json.encode({"as_of": self._wall()})))
            document = newer


def _event(name: str, data: bytes, version: int | None = None) -> bytes:
    """One event. `data` is JSON on one line, in which a line break is always escaped."""
    head = b"event: %s\n" % name.encode() if version is None else b"event: %s\nid: %d\n" % (name.encode(), version)
    return b"%sdata: %s\n\n" % (head, data)


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _until_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
