"""What the chain made of an answer: which transaction is in a block, whether it still is, and when that is final.

The half of `steps.Steps` that sends nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from attestrio.aggregator import answer as phases
from attestrio.aggregator.answer import NOTHING, AnswerRefused, Why, is_firm, refusal_of
from attestrio.aggregator.ethereum import EthereumPort, Receipt
from attestrio.aggregator.far import FarNonces
from attestrio.aggregator.nonces import Nonces
from attestrio.aggregator.order import NonceOrder
from attestrio.aggregator.pacing import Pace
from attestrio.aggregator.quote import Aggregates, Quotes
from attestrio.aggregator.rows import Answer, Phase
from attestrio.aggregator.sender_metrics import SenderMetrics
from attestrio.aggregator.settings import SenderSettings
from attestrio.aggregator.spending import count_spent
from attestrio.aggregator.state import AggregatorState
from attestrio.errors import SourceError
from attestrio.kit import events
from attestrio.l1.api import TxHash

log = logging.getLogger("attestrio.aggregator")

T = TypeVar("T")

MAX_REVERTS: Final = 3  # transactions of one batch that were mined and refused; each has cost its gas
REVERTED_BLOCKS: Final = 100  # until the next, then
TURN_BLOCKS: Final = 0.25  # that one is held back for those with a lower nonce
LOOKS: Final = 2  # for a receipt after the nonce is used up, before it counts as another one's


@dataclass(slots=True)
class Ends:
    """Rows, nonces and waits of single batches, and the steps that only look. For one task per batch at once."""

    state: AggregatorState
    collector: Aggregates
    port: EthereumPort
    settings: SenderSettings
    confirmations: int
    metrics: SenderMetrics
    nonces: Nonces = field(default_factory=Nonces)
    open: set[bytes] = field(default_factory=set)
    """Batches whose row is not confirmed."""
    far: FarNonces = field(init=False)
    order: NonceOrder = field(init=False)
    pace: Pace = field(init=False)
    quotes: Quotes = field(init=False)

    def __post_init__(self) -> None:
        self.far = FarNonces(self.nonces, self.metrics, self.settings.block_s)
        self.order = NonceOrder(self.settings.block_s * TURN_BLOCKS)
        self.pace = Pace(lambda identifier: self.state.answers.get(identifier), self.settings)
        self.quotes = Quotes(self.collector, self.port, self.settings.fees)

    def load(self) -> None:
        """Take the rows of the last term over."""
        for identifier, row in self.state.answers.items():
            if row.phase is Phase.CONFIRMED:
                continue
            self.open.add(identifier)
            if row.nonce is not None and row.attempts:
                price = max(one.price for one in row.attempts)
                self.nonces.hold(row.nonce, identifier, price, firm=is_firm(row))

    async def find(self, identifier: bytes) -> None:
        """Its nonce is used up, or the batch answered: by which transaction? Raises AnswerRefused."""
        row, task = self._row(identifier), self.state.tasks.get(identifier)
        found = await self._receipt_of(row)
        now = self.state.clock()
        if found is not None:
            await self._mined(identifier, row, *found)
        elif task is not None and task.verified is not None:
            await self._by_others(identifier, task.verified)
        elif row.nonce is not None and self.nonces.is_over(row.nonce):
            if self.pace.looked(identifier) < LOOKS:  # receipts may lag behind the nonce
                self.pace.wait(identifier, self.settings.poll_s)
                return
            del self.pace.looks[identifier]
            self.nonces.free(row.nonce, identifier)
            self.pace.at_once(identifier)
            await self._write(identifier, phases.without_nonce(row, Why.NONCE_TAKEN, now))

    async def leave(self, identifier: bytes) -> None:
        """Its nonce is too far ahead: it begins anew with another, unless it is mined all the same. Raises
        AnswerRefused."""
        row = self._row(identifier)
        assert row.nonce is not None
        found = await self._receipt_of(row)
        if found is not None:  # then it is the present answer about used nonces that is wrong
            await self._mined(identifier, row, *found)
            return
        self.nonces.free(row.nonce, identifier)
        self.far.given_up(row.nonce)
        self.pace.sent_at.pop(identifier, None)
        self.pace.looks.pop(identifier, None)
        self.pace.worked(identifier)
        await self._write(identifier, phases.without_nonce(row, Why.NONCE_FAR, self.state.clock()))

    async def confirm(self, identifier: bytes) -> None:
        """A mined answer: still there, and deep enough? Raises AnswerRefused."""
        row, task = self._row(identifier), self.state.tasks.get(identifier)
        assert row.mined is not None
        block, transaction = row.mined
        receipt: Receipt | None = None
        verified = None if task is None else task.verified
        if transaction:
            receipt = await self._asked(self.port.receipt(TxHash(transaction)))
            if receipt is None or not receipt.succeeded:
                await self._reorged(identifier, row)
                return
            if receipt.block.number != block:
                block = int(receipt.block.number)
                await self._write(identifier, phases.mined(row, block, transaction, self.state.clock()))
        elif (found := await self._receipt_of(row)) is not None:  # ours after all: its receipt came late
            await self._mined(identifier, row, *found)
            return
        elif verified is None:
            if self.head >= block + self.confirmations:
                await self._reorged(identifier, row)
            else:
                self.pace.wait(identifier, self.settings.block_s)
            return
        if verified is not None and self.head >= max(block, verified) + self.confirmations:
            if receipt is not None:
                self._count_spent(row, transaction, receipt, 0 if task is None else task.fee_limit)
            await self._confirmed(identifier, transaction)
        else:
            self.pace.wait(identifier, self.settings.block_s)

    # --- ends

    async def _receipt_of(self, row: Answer) -> tuple[bytes, Receipt] | None:
        """(hash, receipt) of the transaction of this answer that is in a block. Raises AnswerRefused."""
        for attempt in reversed(row.attempts):
            receipt = await self._asked(self.port.receipt(TxHash(attempt.hash)))
            if receipt is not None:
                return attempt.hash, receipt
        return None

    async def _mined(self, identifier: bytes, row: Answer, transaction: bytes, receipt: Receipt) -> None:
        self.pace.looks.pop(identifier, None)
        self.pace.at_once(identifier)
        now = self.state.clock()
        if receipt.succeeded:
            self.metrics.latency_s.observe(max(now - row.attempts[0].at, 0.0))
            if row.nonce is not None and self.nonces.owns(row.nonce, identifier):
                self.nonces.take(row.nonce, identifier, 0)
            await self._write(identifier, phases.mined(row, int(receipt.block.number), transaction, now))
            return
        log.warning("batch %s: 0x%s was mined and refused", named(identifier), transaction.hex())
        self._count_spent(row, transaction, receipt)
        if row.nonce is not None:
            self.nonces.free(row.nonce, identifier)
        row = phases.reverted(row, transaction, now)
        self.metrics.put_off.labels(Why.REVERTED.value).inc()
        reverts = self.pace.reverted(identifier)
        if reverts >= MAX_REVERTS:
            log.error("batch %s: %d transactions were mined and refused", named(identifier), reverts)
            row = phases.put_off(row, Phase.PARKED, Why.REVERTED, row.detail, now)
        await self._write(identifier, row)
        self.pace.wait(identifier, REVERTED_BLOCKS * self.settings.block_s if reverts >= MAX_REVERTS else 0.0)

    def _count_spent(self, row: Answer, transaction: bytes, receipt: Receipt, limit: int = 0) -> None:
        price = next((one.price for one in row.attempts if one.hash == transaction), 0)
        count_spent(self.metrics, receipt, price, limit)

    async def _by_others(self, identifier: bytes, block: int) -> None:
        row = self._row(identifier)
        if row.nonce is not None:
            self.nonces.loosen(row.nonce, identifier)
        self.pace.at_once(identifier)
        await self._write(identifier, phases.mined(row, block, b"", self.state.clock()))

    async def _reorged(self, identifier: bytes, row: Answer) -> None:
        """It was in a block and is not: sent again, with the same bytes where they are left."""
        log.warning("batch %s: its answer is gone from the chain", named(identifier))
        self.metrics.reorgs.inc()
        self.pace.view = None  # nonces are open again
        self.pace.sent_at.pop(identifier, None)
        self.pace.at_once(identifier)
        await self._write(identifier, phases.unmined(row, self.state.clock()))

    async def _confirmed(self, identifier: bytes, transaction: bytes) -> None:
        row = self._row(identifier)
        if row.nonce is not None:
            self.nonces.free(row.nonce, identifier)
        await self._write(identifier, phases.confirmed(row, self.state.clock()))
        await self.state.finish([identifier])
        whose = "us" if transaction else "others"
        self.metrics.settled.labels(whose).inc()
        log.info(
            "batch %s: its answer is final", named(identifier),
            extra=events.named(events.EventName.ANSWER_ENDED, batch=f"0x{identifier.hex()}", reason=whose),
        )  # fmt: skip
        self.forget(identifier)

    # --- the rest

    def forget(self, identifier: bytes) -> None:
        """Nothing is left to be done for it."""
        self.open.discard(identifier)
        self.pace.forget(identifier)

    @property
    def head(self) -> int:
        return self.state.head.value

    def _row(self, identifier: bytes) -> Answer:
        """What was done so far: nothing, also where a reorg took what was settled long ago."""
        row = self.state.answers.get(identifier, NOTHING)
        return NOTHING if row.phase is Phase.CONFIRMED else row

    async def _write(self, identifier: bytes, row: Answer) -> None:
        self.open.add(identifier)
        await self.state.set_answer(identifier, row)

    async def _asked(self, question: Awaitable[T]) -> T:
        """An answer of the chain; AnswerRefused where there is none."""
        try:
            return await question
        except SourceError as exc:
            raise AnswerRefused(refusal_of(exc)) from exc


def named(identifier: bytes) -> str:
    return f"0x{identifier.hex()[:16]}"
