"""The page of any process, and that of a role whose work stands in a journal or a database."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

import trio

from attestrio.errors import SourceError
from attestrio.kit.http import shown
from attestrio.kit.metrics import Metrics
from attestrio.l1.provider import L1Provider
from attestrio.web.api import (
    SCHEMA,
    BatchView,
    ChainView,
    FactView,
    L1View,
    NodeView,
    QueueView,
    ResequenceView,
    Role,
    Source,
    StatusView,
    TasksView,
)
from attestrio.web.health import Finding, Health
from attestrio.web.hosts import checked_hosts
from attestrio.web.status import WebServer
from attestrio.web.tail import LogTail, following
from attestrio.web.view import check_views

LOGGERS: Final = ("attestrio", "trio")
PROBLEM: Final = "not read"  # the fact that says why what is shown may be old
READ_S: Final = 5.0  # between two readings of a journal: each goes through all of it


@asynccontextmanager
async def served(
    source: Source, health: Health, tail: LogTail, metrics: Metrics, bind: str, hosts: Iterable[str] = ()
) -> AsyncIterator[str]:
    """The page at `bind` for as long as the body runs; gives its URL. Raises AddressInUse, BadAddress."""
    server = WebServer(source, health, metrics, bind, checked_hosts(hosts))
    with following(tail, *LOGGERS):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(server.run)
            try:
                yield url
            finally:
                nursery.cancel_scope.cancel()


def served_page(
    page: RolePage, metrics: Metrics, bind: str, hosts: Iterable[str] = ()
) -> AbstractAsyncContextManager[str]:
    """`served`, for a role with a page of its own."""
    return served(page, page.health, page.tail, metrics, bind, hosts)


def origin_of(url: str) -> str:
    """Scheme, host and port: providers of Ethereum put keys into the path."""
    parts = urlsplit(shown(url))
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else shown(url)


@dataclass(frozen=True, slots=True)
class Sections:
    """What a role fills of the document."""

    facts: list[FactView] = field(default_factory=list)
    chain: ChainView | None = None
    l1: L1View | None = None
    queues: list[QueueView] = field(default_factory=list)
    tasks: TasksView | None = None
    resequence: ResequenceView | None = None


class RolePage:
    """A `Source` for an operator, an aggregator or a sequencer.

    Args:
      read: gives the sections; only while somebody looks, every five seconds and when `changed` does.
      changed: a value that is another one when `read` would find something else. Left out where `read` is costly.
    """

    def __init__(
        self,
        role: Role,
        metrics: Metrics,
        read: Callable[[], Awaitable[Sections]],
        *,
        name: str = "",
        key: str | None = None,
        listening: Callable[[], str | None] = lambda: None,
        api_url: Callable[[], str | None] = lambda: None,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        self.health = Health(time.time, metrics)
        self.tail = LogTail()
        self._role: Role = role
        self._name = name or role
        self._metrics = metrics
        self._read = read
        self._key = key
        self._listening, self._api_url, self._changed = listening, api_url, changed
        self._started_at = time.time()
        self._sections = Sections()
        self._read_at = float("-inf")
        self._stamp: object = None

    def stamp(self) -> object:
        return self._changed(), self.tail.version, self.health.version

    async def document(self) -> StatusView:
        now, stamp = trio.current_time(), self._changed()
        if now - self._read_at >= READ_S or stamp != self._stamp:
            await self._look()
            self._read_at, self._stamp = now, stamp
        sections = self._sections
        return StatusView(
            schema=SCHEMA, version=0, as_of=0.0, node=self._about(), ready=self.health.ready,
            checks=check_views(self.health.checks()), facts=sections.facts, chain=sections.chain,
            l1=sections.l1, queues=sections.queues,
            tasks=sections.tasks, resequence=sections.resequence, log=self.tail.lines(),
        )  # fmt: skip

    async def batch(self, number: int) -> BatchView | None:
        """None: batches of these roles have no number under which anybody votes."""
        await trio.lowlevel.checkpoint()
        return None

    async def _look(self) -> None:
        try:
            self._sections = await self._read()
        except SourceError as exc:  # a journal that several share, and that is away
            facts = [
                *(one for one in self._sections.facts if one.name != PROBLEM),
                FactView(name=PROBLEM, value=exc.code),
            ]
            self._sections = replace(self._sections, facts=facts)

    def _about(self) -> NodeView:
        return NodeView(
            role=self._role, name=self._name, version=self._metrics.version, started_at=self._started_at,
            key=self._key, listening=self._listening(), api_url=self._api_url(),
        )  # fmt: skip


def l1_answers(chain: L1Provider) -> Callable[[], Finding]:
    """A check: whether Ethereum answered the last question."""

    def finding() -> Finding:
        if chain.problem:
            return Finding(False, f"Ethereum gave no usable answer: {chain.problem}")
        return Finding(True, "Ethereum was not asked yet" if chain.answered_at is None else "Ethereum answers")

    return finding


def l1_view(chain: L1Provider, cursor: int | None, finality: str) -> L1View:
    """Ethereum, of which everything below `cursor` is processed."""
    return L1View(
        chain_id=chain.chain_id, head=chain.head, cursor=cursor, finality=finality, answered_at=chain.answered_at,
        problem=chain.problem,
    )  # fmt: skip
