"""Nonces that nobody needs any more, filled so that those behind them can be mined."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

import trio

from attestrio.aggregator.answer import Cure, refusal_of
from attestrio.aggregator.ethereum import PLAIN_GAS, EthereumPort
from attestrio.aggregator.far import FarNonces
from attestrio.aggregator.fees import offer, to_outdo
from attestrio.aggregator.nonces import FILLERS, Filler, Nonces, filler_key
from attestrio.aggregator.order import NonceOrder
from attestrio.aggregator.rows import Attempt, pack, unpack
from attestrio.aggregator.sender_metrics import SenderMetrics
from attestrio.aggregator.settings import SenderSettings
from attestrio.aggregator.spending import count_spent
from attestrio.aggregator.state import AggregatorState
from attestrio.errors import SourceError
from attestrio.l1.api import TxHash

log = logging.getLogger("attestrio.aggregator")

PAGE: Final = 1_000


@dataclass(slots=True)
class Fillers:
    """Transactions to ourselves. Written down before they are sent, as everything that has a nonce."""

    state: AggregatorState
    port: EthereumPort
    settings: SenderSettings
    metrics: SenderMetrics
    nonces: Nonces
    far: FarNonces
    order: NonceOrder
    rows: dict[int, Filler] = field(default_factory=dict)
    _sent_at: dict[int, float] = field(default_factory=dict)

    async def load(self) -> None:
        """Take the rows of the last term over."""
        after: bytes | None = None
        while page := await self.state.journal.scan(FILLERS, PAGE, after):
            for after, raw in page:
                nonce, row = int.from_bytes(after, "big"), unpack(raw, Filler)
                self.rows[nonce] = row
                self.nonces.hold(nonce, after, max(one.price for one in row.attempts), firm=True)

    def due(self) -> list[int]:
        """Nonces whose filler has something to be done."""
        now = trio.current_time()
        return [
            nonce
            for nonce in self.rows
            if self.nonces.is_over(nonce)
            or self.far.is_over(nonce)
            or nonce not in self._sent_at
            or now - self._sent_at[nonce] >= self.settings.fees.bump_after_s
        ]

    async def step(self, nonce: int, node: int) -> None:
        """Fill the nonce, or see to the one that does; `node` is what the node wants for gas."""
        row = self.rows.get(nonce)
        if self.nonces.is_over(nonce):
            await self._settle(nonce)
            return
        if row is not None and self.far.is_over(nonce):
            await self._drop(nonce)
            self.far.given_up(nonce)
            return
        if row is None and nonce not in self.nonces.gaps():  # a batch has taken it meanwhile
            return
        try:
            await self._fill(nonce, node, row)
        finally:
            self.order.gone(filler_key(nonce))

    async def _fill(self, nonce: int, node: int, row: Filler | None) -> None:
        if nonce not in self._sent_at:
            self.order.coming(filler_key(nonce), nonce)
        if row is None or nonce in self._sent_at:
            before = to_outdo(self.settings.fees, node, self.nonces.price(nonce))
            price = offer(self.settings.fees, node, len(row.attempts) if row else 0, before)
            if price is not None:
                row = await self._record(nonce, price)
        if row is not None:
            await self._send(nonce, row)

    async def _record(self, nonce: int, price: int) -> Filler:
        before = self.rows.get(nonce)
        self.nonces.take(nonce, filler_key(nonce), price)
        signed = self.port.sign(nonce, price, PLAIN_GAS, None)
        attempt = Attempt(signed.raw, signed.hash, price, self.state.clock())
        row = Filler((*(before.attempts if before else ()), attempt))
        log.warning("nonce %d is filled, nobody needs it and others wait behind it", nonce)
        await self.state.journal.put(FILLERS, filler_key(nonce), pack(row))
        self.rows[nonce] = row
        return row

    async def _send(self, nonce: int, row: Filler) -> None:
        await self.order.wait_turn(nonce)
        self._sent_at[nonce] = trio.current_time()
        try:
            await self.port.send(row.attempts[-1].raw)
        except SourceError as exc:
            refusal = refusal_of(exc)
            if refusal.cure is Cure.HIGHER:
                self._sent_at[nonce] = -float("inf")
            elif refusal.cure is not Cure.SENT:  # used up: the next look says so; else the same bytes again
                log.info("nonce %d: not taken: %s", nonce, refusal.detail)
                del self._sent_at[nonce]
            if refusal.cure is not Cure.SENT:
                self.metrics.transactions.labels("refused").inc()
                return
        self.metrics.transactions.labels("filler").inc()

    async def _settle(self, nonce: int) -> None:
        """It is used up: count what that cost, where the chain shows a transaction of ours."""
        row = self.rows.get(nonce)
        try:
            for attempt in reversed(row.attempts if row else ()):
                if (receipt := await self.port.receipt(TxHash(attempt.hash))) is not None:
                    count_spent(self.metrics, receipt, attempt.price)
                    break
        except SourceError as exc:  # the next look at the chain is soon
            log.info("nonce %d: nobody says what filled it: %s", nonce, exc)
            return
        await self._drop(nonce)

    async def _drop(self, nonce: int) -> None:
        self.nonces.free(nonce, filler_key(nonce))
        self._sent_at.pop(nonce, None)
        if self.rows.pop(nonce, None) is not None:
            await self.state.journal.put(FILLERS, filler_key(nonce), None)
