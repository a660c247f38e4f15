"""The main nodes of the configuration, as one."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

import trio

from attestrio.batches.main_node import KnowsBatches
from attestrio.config import BadConfig, NodeConfig
from attestrio.errors import SourceError
from attestrio.kit.http import BadUrl
from attestrio.kit.metrics import Metrics
from attestrio.mainnode.agree import AgreeingMainNodes, Answers, Told, nobody, unheard
from attestrio.mainnode.backfill import KnowsCertificates
from attestrio.mainnode.client import MainNodeClient
from attestrio.protection.epochs import KnowsGenesis
from attestrio.roles import Genesis
from attestrio.status import AttestationStatusClient

log = logging.getLogger("attestrio.app")


class MainNode(AttestationStatusClient, KnowsBatches, KnowsGenesis, Protocol):
    """All that is asked of a main node, whether it is one or several that agree."""


@asynccontextmanager
async def main_nodes(
    config: NodeConfig, metrics: Metrics, on_dissent: Told = nobody, on_answers: Answers = unheard
) -> AsyncIterator[MainNode | None]:
    """A client of the configured main nodes, closed at the end; None where none is configured. Raises BadConfig."""
    section = config.main_node
    urls = section.urls or ((section.url,) if section.url is not None else ())
    async with AsyncExitStack() as stack:
        clients = []
        for url in urls:
            try:
                client = MainNodeClient(
                    url, timeout_s=section.timeout_s, max_answer_bytes=section.max_answer_bytes, metrics=metrics
                )
            except BadUrl as exc:
                raise BadConfig("main_node.url", f"{exc}; expected something like http://127.0.0.1:3060") from None
            clients.append(await stack.enter_async_context(client))
        if not clients:
            yield None
        elif len(clients) == 1:
            yield clients[0]
        else:
            agree = section.agree or len(clients) // 2 + 1
            yield AgreeingMainNodes(clients, agree, metrics, on_dissent, on_answers)


def certificate_sources(main_node: MainNode | None) -> Sequence[KnowsCertificates]:
    """Who may have a certificate that was missed: each main node by itself, since a certificate proves itself."""
    if isinstance(main_node, AgreeingMainNodes):
        return main_node.upstreams
    return (main_node,) if isinstance(main_node, MainNodeClient) else ()


async def first_genesis(
    main_node: KnowsGenesis, every_s: float, on_none: Callable[[str], None] = lambda code: None
) -> Genesis:
    """Ask until the main node has a genesis: it may start later than this node.

    `on_none` hears of each answer without one, by the code of the error; "": it has none yet.
    """
    said = None
    while True:
        try:
            genesis, code = await main_node.consensus_genesis(), ""
            problem = "the main node has no genesis yet"
        except SourceError as exc:
            genesis, problem, code = None, f"genesis not read: {exc}", exc.code
        if genesis is not None:
            return genesis
        on_none(code)
        if problem != said:
            log.info("%s; asking again every %s s", problem, every_s)
            said = problem
        await trio.sleep(every_s)
