"""A main node that misbehaves on demand: the real server, with a fault between it and whoever asks.

Over real HTTP on loopback (`run`), or called in memory (`client`), for stories with virtual time.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn

import httpx
import trio
from starlette.requests import Request
from starlette.responses import Response
from trio_util import AsyncBool

from attestrio.kit.http import App, Scope, ServerLimits, client, serve_app, url_of
from attestrio.kit.tcp import bind_socket
from attestrio.mainnode.client import MainNodeClient
from attestrio.mainnode.server import DEFAULT_RULES, MainNodeServer, Rules
from attestrio.roles import Genesis
from attestrio.sim.faults import HEALTHY, Call, Fault, Reply
from attestrio.store.api import BatchStore

MEMORY_URL = "http://sim-main-node/"


class SimMainNode:
    """Serves `store` and `genesis` as a main node would, except for `fault`.

    Set `fault` at any time; the next call meets it. `up` False is a machine that refuses connections: at the start
    (a late start), or later (an outage). `asked` counts the calls of each method that arrived.
    """

    def __init__(
        self,
        store: BatchStore | None,
        genesis: Genesis | None,
        *,
        fault: Fault = HEALTHY,
        up: bool = True,
        rules: Rules = DEFAULT_RULES,
        bind: str = "127.0.0.1:0",
    ) -> None:
        self.asked: Counter[str] = Counter()
        self._server = MainNodeServer(store, genesis, bind, rules)
        self._bind = bind
        self._up = AsyncBool(up)
        self._fault, self._since = fault, Counter[str]()

    @property
    def fault(self) -> Fault:
        """What stands between the caller and the truth."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        self._fault, self._since = fault, Counter()

    @property
    def up(self) -> bool:
        """Whether connections are accepted."""
        return self._up.value

    @up.setter
    def up(self, up: bool) -> None:
        self._up.value = up

    def show(self, store: BatchStore | None, genesis: Genesis | None) -> None:
        """Answer from these from now on: a new epoch. None, between two epochs: the honest answer is null."""
        self._server.show(store, genesis)

    def client(self, *, timeout_s: float = 10.0, url: str = MEMORY_URL) -> MainNodeClient:
        """A client that reaches this main node in memory, without sockets or threads."""
        return MainNodeClient(url, timeout_s=timeout_s, http=client(url, transport=_Wire(self)))

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Serve over loopback until cancelled; `started` gives the URL, which stays the same through outages."""
        sock = await bind_socket(self._bind)
        url, address = url_of(sock), "{}:{}".format(*sock.getsockname()[:2])
        told = False
        while True:
            with sock:  # bound and not listening: whoever connects is refused
                if not self.up and not told:
                    task_status.started(url)
                    told = True
                await self._up.wait_value(True)
                async with trio.open_nursery() as nursery:
                    await nursery.start(self._serve, sock)
                    if not told:
                        task_status.started(url)
                        told = True
                    await self._up.wait_value(False)
                    nursery.cancel_scope.cancel()
            sock = await bind_socket(address)

    async def _serve(self, sock: Any, *, task_status: trio.TaskStatus[str]) -> None:  # noqa: ANN401
        await serve_app(self.app, sock, limits=ServerLimits(grace_s=0.0), task_status=task_status)

    async def app(self, scope: Scope, receive: Any, send: Any) -> None:  # noqa: ANN401  ASGI
        """The ASGI app: reads the request, asks the fault, sends what it says."""
        if scope["type"] != "http":
            return
        body = await Request(scope, receive).body()
        method, id = _method_of(body)
        call = Call(method, self._since[method], id, body)
        self.asked[method] += 1
        self._since[method] += 1

        async def honest(call: Call) -> Reply:
            return await _through(self._server.app, scope, call.body)

        reply = await self._fault(call, honest)
        await Response(reply.body, reply.status, dict(reply.headers))(scope, receive, send)


class _Wire(httpx.AsyncBaseTransport):
    """The memory way to a simulated main node, which refuses connections while that is down."""

    def __init__(self, node: SimMainNode) -> None:
        self._node = node
        self._app = httpx.ASGITransport(node.app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        if not self._node.up:
            raise httpx.ConnectError("connection refused", request=request)
        return await self._app.handle_async_request(request)


def _method_of(body: bytes) -> tuple[str, object]:
    """Method and id of a single call; empty for a batch and for what cannot be read."""
    try:
        told = json.loads(body)
    except ValueError:
        return "", None
    if not isinstance(told, dict):
        return "", None
    return str(told.get("method", "")), told.get("id")


async def _through(app: App, scope: Scope, body: bytes) -> Reply:
    """What `app` answers to this request with this body."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Scope] = []

    async def receive() -> Scope:
        await trio.lowlevel.checkpoint()
        return pending.pop() if pending else {"type": "http.disconnect"}

    async def send(message: Scope) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(message)

    await app(scope, receive, send)
    start = next(message for message in sent if message["type"] == "http.response.start")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
    headers.pop("content-length", None)  # a fault may change the length
    return Reply(start["status"], b"".join(message.get("body", b"") for message in sent), headers)
