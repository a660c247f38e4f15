"""Ethereum as the configuration names it: what a node may sign by it.

`attestrio.l1` is imported when a node has a section [l1]: its ABI codec takes 0.3 s, and most nodes need none.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from attestrio.attester.api import VoteSigner
from attestrio.batches.chain import ChainCheck, ChainContradicts, KnowsCommitted, Verdict
from attestrio.config import BadConfig, L1Section, NodeConfig
from attestrio.errors import SourceError
from attestrio.kit.http import BadUrl
from attestrio.kit.metrics import Metrics
from attestrio.roles import Batch, BatchNumber, SignedBatch

if TYPE_CHECKING:
    from attestrio.l1.provider import L1Provider

log = logging.getLogger("attestrio.app")

CHECKS_HELP = (
    "Batches compared with the rollup's contract, by outcome. absent: not there at the finality asked for; other: the"
    " contract has another batch, and nothing is signed; unread: no answer."
)


@dataclass(frozen=True, slots=True)
class OnChain:
    """The rollup's batches on Ethereum, and the comparison with them."""

    committed: KnowsCommitted
    check: ChainCheck
    provider: L1Provider

    def signing(self, signer: VoteSigner) -> VoteSigner:
        """`signer`, for batches that the chain has at that moment."""
        return CheckedSigner(signer, self.check)

    async def greet(self) -> None:
        """Ask each endpoint for its chain, so that a wrong one shows at the start. Raises WrongChain."""
        try:
            await self.provider.start()
        except SourceError as exc:
            log.warning("Ethereum does not answer yet: %s", exc)


def asks_l1(config: NodeConfig) -> bool:
    """Whether the configuration has batches come from Ethereum, or compared with it."""
    return config.l1 is not None and (config.batches.source == "l1" or config.batches.check_l1)


@asynccontextmanager
async def on_chain(config: NodeConfig, metrics: Metrics) -> AsyncIterator[OnChain | None]:
    """What the configuration asks of Ethereum; None where batches have nothing to do with it. Raises BadConfig."""
    section = config.l1
    if section is None or section.diamond is None or not asks_l1(config):
        yield None
        return
    from attestrio.batches.l1 import DiamondBatches, Finality
    from attestrio.l1.api import Address

    checks = metrics.counter("attestrio_l1_checks_total", CHECKS_HELP, {"result": [*Verdict]})
    async with provider(section) as chain:
        diamond = Address(bytes.fromhex(section.diamond[2:]))
        committed = DiamondBatches(chain, diamond, Finality(section.finality))

        def compared(verdict: Verdict) -> None:
            checks.labels(result=verdict).inc()

        check = ChainCheck(committed, compared)
        yield OnChain(committed, check, chain)


def provider(section: L1Section) -> L1Provider:
    """The endpoints of the section, which have to be closed. Raises BadConfig.

    A call that fails is not repeated here: whoever waits for a batch asks again, and looks at the status in between.
    """
    from attestrio.l1.endpoint import Endpoint
    from attestrio.l1.provider import L1Provider

    try:
        endpoints = [Endpoint(url, section.chain_id, timeout_s=section.timeout_s) for url in section.rpc_urls]
    except BadUrl as exc:
        raise BadConfig("l1.rpc_urls", f"{exc}; expected something like http://127.0.0.1:8545") from None
    return L1Provider(endpoints, agree=section.agree, schedule=(), deadline_s=section.timeout_s)


@dataclass(slots=True)
class CheckedSigner:
    """Signs what the chain has. The store may hold what it does not: from before a revert, or from before the check."""

    signer: VoteSigner
    check: ChainCheck
    _said: BatchNumber | None = field(default=None, init=False)

    async def sign(self, batch: Batch) -> SignedBatch:
        """Raises ChainContradicts and NotOnChain, to be asked again, and what chain and signer raise."""
        try:
            await self.check.require(batch)
        except ChainContradicts as exc:
            if self._said != batch.number:  # once per batch
                log.error("not signed: %s", exc)
                self._said = batch.number
            raise
        return await self.signer.sign(batch)
