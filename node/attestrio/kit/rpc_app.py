"""JSON-RPC over HTTP: `POST /` with a bound on everything a caller may take, and `GET /health`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive

from attestrio.kit import jsonrpc
from attestrio.kit.http import App


@dataclass(frozen=True, slots=True)
class RpcBounds:
    """What callers are granted. The defaults fit an API for nodes, not for the public."""

    max_body_bytes: int = 64 * 1024
    """Of one HTTP request; more is answered with 413."""
    body_s: float = 10.0
    """For a body to arrive whole; then 408."""
    max_requests: int = 32
    """Answered at the same time; one more gets 503."""
    calls: jsonrpc.Limits = jsonrpc.DEFAULT_LIMITS


def rpc_app(methods: Mapping[str, jsonrpc.Method], bounds: RpcBounds) -> App:
    """An ASGI application that answers `methods`."""
    app: App = Starlette(routes=[Route("/", _Rpc(methods, bounds).post, methods=["POST"]), Route("/health", _health)])
    return app


class _Rpc:
    def __init__(self, methods: Mapping[str, jsonrpc.Method], bounds: RpcBounds) -> None:
        self._methods, self._bounds = methods, bounds
        self._under_way = 0

    async def post(self, request: Request) -> Response:
        """One HTTP request, with its refusals in the order of what they cost us."""
        if self._under_way >= self._bounds.max_requests:
            return PlainTextResponse("busy", 503, headers={"retry-after": "1"})
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return PlainTextResponse("content-type has to be application/json", 415)  # also keeps browsers' forms out
        self._under_way += 1
        try:
            return await self._answer(request)
        finally:
            self._under_way -= 1

    async def _answer(self, request: Request) -> Response:
        stated = request.headers.get("content-length", "")
        if stated.isdecimal() and (len(stated) > 18 or int(stated) > self._bounds.max_body_bytes):
            return PlainTextResponse("body too large", 413)
        with trio.move_on_after(self._bounds.body_s) as arriving:
            body = await _read(request.receive, self._bounds.max_body_bytes)
        if arriving.cancelled_caught:
            return PlainTextResponse("body too slow", 408)
        if body is None:
            return PlainTextResponse("body too large", 413)
        reply = await jsonrpc.answer(body, self._methods, self._bounds.calls)
        if reply is None:
            return Response(status_code=204)
        return Response(reply, media_type="application/json")


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The body, or None when it is longer than `limit`; not a byte more than that is kept."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if not message.get("more_body", False):  # also when the client went away: nobody will read the answer
            return bytes(body)


async def _health(request: Request) -> Response:
    """The server answers; whether what stands behind it is ready is for its own page to say."""
    return Response(b'{"status":"ok"}', media_type="application/json")
