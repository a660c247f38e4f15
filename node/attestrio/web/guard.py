"""What stands before every answer: who may ask, how, how many at once, and what a browser is told to keep out."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from attestrio.kit.metrics import Metrics
from attestrio.web.hosts import is_ours

MAX_REQUESTS: Final = 32  # answered at the same time, streams and probes apart
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
PROBES: Final = frozenset({"/livez", "/readyz", "/health", "/metrics"})
"""Asked by programs under whatever name this machine has for them; a browser learns nothing there that it may not.
They cost next to nothing, and a supervisor restarts what does not answer: they are never turned away as too many."""
STREAM: Final = "/events"
PAGES: Final = ("page", "status", "events", "batch", "livez", "readyz", "metrics", "other")


class Guard:
    """An ASGI application around the one that answers. No header lets another origin read, so no browser does."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], metrics: Metrics) -> None:
        self._app = app
        self._hosts = hosts
        self._under_way = 0
        self._answers = metrics.counter(
            "attestrio_web_answers_total", "Answers of the web server, by page and class of status.",
            {"page": PAGES, "status": ("2xx", "4xx", "5xx")},
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        page = page_of(path)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._answers.labels(page=page, status=f"{message['status'] // 100}xx").inc()
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        refusal = self._refusal(scope, path)
        if refusal is not None:
            await refusal(scope, receive, answer)
            return
        counted = _counts(path)
        self._under_way += counted
        try:
            await self._app(scope, receive, answer)
        finally:
            self._under_way -= counted

    def _refusal(self, scope: Scope, path: str) -> PlainTextResponse | None:
        """Why this is not answered, in the order of what it would cost."""
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("only GET\n", 405, headers={"allow": "GET, HEAD"})
        host = Headers(scope=scope).get("host", "")
        if path not in PROBES and not is_ours(host, self._hosts):
            return PlainTextResponse("this server is not known by that name: web.hosts lists those it has\n", 403)
        if self._under_way >= MAX_REQUESTS and _counts(path):
            return PlainTextResponse("busy\n", 503, headers={"retry-after": "1", "connection": "close"})
        return None


def _counts(path: str) -> bool:
    """Whether it is one of the requests of which there may be `MAX_REQUESTS`: streams have a bound of their own."""
    return path != STREAM and path not in PROBES


def page_of(path: str) -> str:
    """The label of a path: one of PAGES, whatever is asked for."""
    if path == "/" or path.startswith("/page/"):
        return "page"
    if path.startswith("/batches/"):
        return "batch"
    name = path.removeprefix("/").removesuffix(".json")
    return {"health": "readyz"}.get(name, name if name in PAGES else "other")
