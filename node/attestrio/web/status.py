"""The web server of a process: page, document, event stream, probes and metrics, on one address."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final, NoReturn

import msgspec
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from attestrio.errors import NodeError, SetupError, SourceError
from attestrio.kit.http import App, ServerLimits, serve_app
from attestrio.kit.metrics import CONTENT_TYPE, PLAIN_CONTENT_TYPE, Metrics
from attestrio.web.api import Source
from attestrio.web.assets import INDEX, Asset, read_assets
from attestrio.web.beat import Beat
from attestrio.web.events import Events
from attestrio.web.guard import Guard
from attestrio.web.health import Health
from attestrio.web.publisher import Publisher
from attestrio.web.view import check_views

LIMITS: Final = ServerLimits(max_connections=40, streams=True)
"""Streams and requests together. Each may be due in the same round of the loop that also votes (bench/web.py)."""
HEALTH_S: Final = 1.0  # between two looks at the checks
METRICS_S: Final = 0.1  # for which one rendering of the metrics is given to all who ask
MAX_DIGITS: Final = 18  # of the number of a batch
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class WebServer:
    """What one process shows of itself.

    Args:
      bind: host:port; port 0 picks a free one.
      hosts: names by which browsers may call it, beside addresses and localhost.
    """

    source: Source
    health: Health
    metrics: Metrics
    bind: str
    hosts: frozenset[str] = frozenset()
    limits: ServerLimits = LIMITS

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Serve until cancelled, when streams end by themselves; started with the URL.

        Raises AddressInUse, BadAddress.
        """
        publisher, beat = Publisher(self.source), Beat(self.metrics)
        self.health.add("event_loop", beat.finding)
        pages = pages_app(publisher, self.source, self.health, self.metrics, beat, read_assets())
        app = Guard(pages, self.hosts, self.metrics)
        async with trio.open_nursery() as nursery:
            url = await nursery.start(_serve, app, self.bind, self.limits)
            nursery.start_soon(beat.run)
            nursery.start_soon(publisher.run)
            nursery.start_soon(self._look)
            task_status.started(url)
        raise AssertionError("unreachable: all of them run until cancelled")

    async def _look(self) -> NoReturn:
        while True:
            self.health.look()
            await trio.sleep(HEALTH_S)


async def _serve(app: App, bind: str, limits: ServerLimits, *, task_status: trio.TaskStatus[str]) -> NoReturn:
    await serve_app(app, bind, limits=limits, task_status=task_status)


def pages_app(
    publisher: Publisher, source: Source, health: Health, metrics: Metrics, beat: Beat, assets: dict[str, Asset]
) -> App:
    """All addresses as one ASGI application, to stand behind a `Guard`."""
    pages: App = _Pages(publisher, source, health, metrics, beat, assets).app()
    return pages


class _Pages:
    """The answers, by path."""

    def __init__(
        self,
        publisher: Publisher,
        source: Source,
        health: Health,
        metrics: Metrics,
        beat: Beat,
        assets: dict[str, Asset],
    ) -> None:
        self._publisher = publisher
        self._source = source
        self._health = health
        self._metrics = metrics
        self._beat = beat
        self._assets = assets
        self._one = trio.Lock()
        self._rendered: dict[bool, tuple[float, bytes]] = {}  # by whether it is plain

    def app(self) -> Starlette:
        made = Starlette(
            routes=[
                Route("/", self._index),
                Route("/page/{name}", self._asset),
                Route("/status.json", self._status),
                Route("/events", Events(self._publisher), methods=["GET"]),
                Route("/batches/{number}.json", self._batch),
                Route("/livez", self._livez),
                Route("/readyz", self._readyz),
                Route("/health", self._readyz),
                Route("/metrics", self._scrape),
            ]
        )
        made.router.redirect_slashes = False  # an address has one spelling, and any other is not found
        return made

    async def _index(self, request: Request) -> Response:
        return self._file(INDEX)

    async def _asset(self, request: Request) -> Response:
        return self._file(request.path_params["name"])

    def _file(self, name: str) -> Response:
        asset = self._assets.get(name)
        if asset is None:
            return PlainTextResponse("no such file\n", 404)
        return Response(asset.body, media_type=asset.media_type)

    async def _status(self, request: Request) -> Response:
        try:
            document = await self._publisher.current()
        except (SourceError, SetupError) as exc:
            return _not_read(exc)
        return Response(document.raw, media_type=JSON)

    async def _batch(self, request: Request) -> Response:
        text = request.path_params["number"]
        known = text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
        async with self._one:  # a large committee's batch takes milliseconds to be shown: no two in a row
            try:
                view = await self._source.batch(int(text)) if known else None
            except (SourceError, SetupError) as exc:
                return _not_read(exc)
        if view is None:
            return _json({"error": "no batch of that number is known here"}, 404)
        return _json(view)

    async def _livez(self, request: Request) -> Response:
        alive = self._beat.is_alive()
        return _json({"alive": alive, "lag_s": round(self._beat.worst_s, 6)}, 200 if alive else 503)

    async def _readyz(self, request: Request) -> Response:
        ready = self._health.ready
        checks = check_views(self._health.checks())
        return _json({"ready": ready, "as_of": time.time(), "checks": checks}, 200 if ready else 503)

    async def _scrape(self, request: Request) -> Response:
        accepted = request.headers.get("accept", "")
        plain = "text/plain" in accepted and "openmetrics" not in accepted and "*/*" not in accepted
        at, text = self._rendered.get(plain, (float("-inf"), b""))
        now = trio.current_time()
        if now - at >= METRICS_S:
            text = self._metrics.render_plain() if plain else self._metrics.render()
            self._rendered[plain] = now, text
        return Response(text, headers={"content-type": PLAIN_CONTENT_TYPE if plain else CONTENT_TYPE})


def _not_read(exc: NodeError) -> Response:
    """What is asked for stands in a file or a journal that cannot be read now. Its text may name paths and hosts."""
    return _json({"error": f"cannot be read now: {exc.code}"}, 503)


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type=JSON)
