"""What is done for one batch at a time: an answer is prepared, sent, looked for, settled.

Each step begins and ends with what the journal has, and writes the signed bytes down before they leave. So it may be
cut off anywhere: the next one, perhaps of another process, finds the row and the chain, and goes on from there.

A batch has one open nonce at most. It gets another only when the chain has used up the one it had, so that no two
transactions of ours can answer one batch.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import trio

from attestrio.aggregator import answer as phases
from attestrio.aggregator.answer import NOTHING, ON_ITS_WAY, AnswerRefused, Cure, Refusal, Why, is_firm, refusal_of
from attestrio.aggregator.ethereum import EthereumPort, Receipt, gas_and_data
from attestrio.aggregator.fees import floor, offer, to_outdo
from attestrio.aggregator.nonces import Nonces
from attestrio.aggregator.pacing import NEVER, Pace
from attestrio.aggregator.quote import Aggregates, Quotes
from attestrio.aggregator.rows import Answer, Attempt, Phase
from attestrio.aggregator.sender_metrics import SenderMetrics
from attestrio.aggregator.settings import SenderSettings
from attestrio.aggregator.state import AggregatorState
from attestrio.errors import SourceError
from attestrio.l1.api import TxHash

log = logging.getLogger("attestrio.aggregator")

T = TypeVar("T")

MAX_REVERTS: Final = 3  # transactions of one batch that were mined and refused; each has cost its gas
REVERTED_BLOCKS: Final = 100  # until the next, then
NOT_TAKEN: Final = 1  # times that a node may refuse a transaction for a reason nobody knows; then others get its nonce
LOOKS: Final = 2  # for a receipt after the nonce is used up, before it counts as another one's


@dataclass(slots=True)
class Steps:
    """Everything that is done for single batches. For one task per batch at the same time."""

    state: AggregatorState
    collector: Aggregates
    port: EthereumPort
    settings: SenderSettings
    confirmations: int
    metrics: SenderMetrics
    nonces: Nonces = field(default_factory=Nonces)
    open: set[bytes] = field(default_factory=set)
    """Batches whose row is not confirmed."""
    pace: Pace = field(init=False)
    quotes: Quotes = field(init=False)

    def __post_init__(self) -> None:
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

    async def do(self, identifier: bytes, step: Callable[[bytes], Awaitable[None]]) -> None:
        """One step; what is refused is followed up. Only faults of the journal come out."""
        try:
            await step(identifier)
        except AnswerRefused as exc:
            await self._follow_up(identifier, exc.refusal)

    # --- steps

    async def prepare(self, identifier: bytes) -> None:
        """The first transaction of an answer, or one that replaces those before. Raises AnswerRefused."""
        if self._lost_nonce(identifier):
            return
        row = self._row(identifier)
        nonce = row.nonce
        data = await self.quotes.data(identifier)
        while True:
            at = self.nonces.lowest() if nonce is None else nonce
            node = await self._node_price()
            price, gas = await self.quotes.priced(data, node, len(row.attempts), self._to_outdo(at, node))
            if self._lost_nonce(identifier):
                return
            at = self.nonces.lowest() if nonce is None else nonce
            if floor(self.settings.fees, self._to_outdo(at, node)) <= price:  # else another nonce is next meanwhile
                break
        self.nonces.take(at, identifier, price)
        signed = self.port.sign(at, price, gas, data)
        row = phases.prepared(row, at, Attempt(signed.raw, signed.hash, price, self.state.clock()))
        self.open.add(identifier)
        await self.state.set_answer(identifier, row)
        self.metrics.price.set(price)
        await self._send(identifier, "sent" if row.phase is Phase.PREPARED else "replaced")

    async def bump(self, identifier: bytes) -> None:
        """It has waited long enough: the next step of the price, or the same again where that is above the cap."""
        row, node = self._row(identifier), await self._node_price()
        assert row.nonce is not None
        before = self.nonces.price(row.nonce)
        if before >= node and offer(self.settings.fees, node, len(row.attempts), before) is None:
            await self.send_again(identifier)  # it pays enough: whatever keeps it, a price does not
        else:
            await self.prepare(identifier)

    async def send_again(self, identifier: bytes) -> None:
        """The same bytes, if the contract would still take them. Raises AnswerRefused."""
        attempt = self._row(identifier).attempts[-1]
        gas, data = gas_and_data(attempt.raw)
        try:
            await self.port.simulate(data, attempt.price, gas)
        except SourceError as exc:
            refusal = refusal_of(exc)
            if refusal.cure is not Cure.HIGHER:
                raise AnswerRefused(refusal) from exc
            await self.prepare(identifier)  # the base fee is above what these bytes offer
            return
        if self._lost_nonce(identifier):
            return
        nonce = self._row(identifier).nonce
        assert nonce is not None
        self.nonces.take(nonce, identifier, attempt.price)
        await self._send(identifier, "resent")

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

    async def confirm(self, identifier: bytes) -> None:
        """A mined answer: still there, and deep enough? Raises AnswerRefused."""
        row, task = self._row(identifier), self.state.tasks.get(identifier)
        assert row.mined is not None
        block, transaction = row.mined
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
            await self._confirmed(identifier, transaction)
        else:
            self.pace.wait(identifier, self.settings.block_s)

    async def let_go(self, identifier: bytes) -> None:
        """A reorg took the batch: its nonce is for whoever is next."""
        await self._put_off(identifier, Phase.WAITING, Refusal(Cure.WAIT, Why.NO_TASK))

    # --- sending

    def _lost_nonce(self, identifier: bytes) -> bool:
        """Whether another has its open nonce now. Whoever that is comes into a block first; nothing is sent before."""
        nonce = self._row(identifier).nonce
        if nonce is None or self.nonces.owns(nonce, identifier):
            return False
        self.pace.wait(identifier, self.settings.block_s)
        return True

    def _to_outdo(self, nonce: int, node: int) -> int:
        return to_outdo(self.settings.fees, node, self.nonces.price(nonce))

    async def _node_price(self) -> int:
        if self.pace.view is not None:
            return self.pace.view.price
        return await self._asked(self.port.gas_price())

    async def _send(self, identifier: bytes, result: str) -> None:
        """The newest transaction of the row, which is in the journal. Raises AnswerRefused."""
        row = self._row(identifier)
        self.pace.sent_at[identifier] = trio.current_time()
        try:
            await self.port.send(row.attempts[-1].raw)
        except SourceError as exc:
            refusal = refusal_of(exc)
            if refusal.cure is not Cure.SENT:
                self.metrics.transactions.labels("refused").inc()
                await self._not_taken(identifier, refusal, dearest=result == "resent")
                return
        self.metrics.transactions.labels(result).inc()
        self.pace.worked(identifier)
        if self.pace.hold is not None:
            log.warning("answers are sent again")
            self.pace.hold = None
        taken = phases.sent(row, self.state.clock())
        if taken is not row:
            await self.state.set_answer(identifier, taken)

    async def _not_taken(self, identifier: bytes, refusal: Refusal, *, dearest: bool) -> None:
        """The network did not take a recorded transaction. It stays on its way as long as that may be cured.

        `dearest`: no higher price is offered at present.
        """
        log.info("batch %s: not taken: %s", _named(identifier), refusal.detail)
        match refusal.cure:
            case Cure.HIGHER:  # the next step of the price, at once where there is one
                self.pace.view = None
                self.pace.sent_at[identifier] = NEVER
                if dearest:
                    self.pace.failed(identifier)
            case Cure.USED:  # the next look says what by
                self.pace.view = None
                self.pace.wait(identifier, self.settings.poll_s)
            case Cure.HOLD:
                self._hold(refusal)
                del self.pace.sent_at[identifier]  # never sent: the same bytes are when this is over
            case Cure.WAIT if self.pace.failed(identifier) <= NOT_TAKEN or refusal.why is Why.AWAY:
                del self.pace.sent_at[identifier]
            case _:
                del self.pace.sent_at[identifier]
                raise AnswerRefused(refusal)

    # --- what follows from a refusal

    async def _follow_up(self, identifier: bytes, refusal: Refusal) -> None:
        row = self._row(identifier)
        match refusal.cure:
            case Cure.SETTLE:
                await self._settle(identifier)
            case Cure.HOLD:
                self._hold(refusal)
                if row.phase not in ON_ITS_WAY:
                    await self._put_off(identifier, Phase.WAITING, refusal)
            case Cure.RECHECK:
                removed = await self.collector.recheck(identifier)
                log.error("batch %s: aggregate refused, %d signatures removed: %s", _named(identifier), removed,
                          refusal.detail)  # fmt: skip
                await self._put_off(identifier, Phase.WAITING if removed else Phase.PARKED, refusal)
            case Cure.PRICE:
                below = None if self.pace.view is None else self.pace.view.price
                await self._put_off(identifier, Phase.PARKED, refusal, below)
            case Cure.PARK:
                await self._put_off(identifier, Phase.PARKED, refusal)
            case Cure.WAIT if row.phase is Phase.MINED:  # nobody could say whether it still is
                self.pace.failed(identifier)
            case Cure.WAIT if row.phase in ON_ITS_WAY and refusal.why is not Why.NO_TASK:
                often = self.pace.failed(identifier) > NOT_TAKEN and refusal.why is not Why.AWAY
                if often and not self.pace.is_out(identifier):  # nobody takes it: not the next ones' loss
                    await self._put_off(identifier, Phase.PARKED, refusal)
            case _:
                self.pace.view = None
                await self._put_off(identifier, Phase.WAITING, refusal)

    async def _settle(self, identifier: bytes) -> None:
        """The contract says that it has an answer."""
        row = self._row(identifier)
        try:
            found = await self._receipt_of(row)
        except AnswerRefused:
            self.pace.failed(identifier)
            return
        if found is not None:
            await self._mined(identifier, row, *found)
        else:
            await self._by_others(identifier, self.head)

    async def _put_off(self, identifier: bytes, phase: Phase, refusal: Refusal, below: int | None = None) -> None:
        row = self._row(identifier)
        if (row.phase, row.reason) != (phase, refusal.why) or identifier not in self.state.answers:
            level = logging.ERROR if phase is Phase.PARKED else logging.INFO
            log.log(level, "batch %s: %s: %s", _named(identifier), refusal.why.value, refusal.detail)
            self.metrics.put_off.labels(refusal.why.value).inc()
            row = phases.put_off(row, phase, refusal.why, refusal.detail, self.state.clock())
            await self._write(identifier, row)
        if row.nonce is not None:
            self.nonces.loosen(row.nonce, identifier)
        self.pace.sent_at.pop(identifier, None)
        self.pace.failed(identifier, below)

    def _hold(self, refusal: Refusal) -> None:
        if self.pace.hold_all(refusal.why):
            log.error("nothing is sent: %s: %s", refusal.why.value, refusal.detail)

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
        log.warning("batch %s: 0x%s was mined and refused", _named(identifier), transaction.hex())
        if row.nonce is not None:
            self.nonces.free(row.nonce, identifier)
        row = phases.reverted(row, transaction, now)
        self.metrics.put_off.labels(Why.REVERTED.value).inc()
        reverts = self.pace.reverted(identifier)
        if reverts >= MAX_REVERTS:
            log.error("batch %s: %d transactions were mined and refused", _named(identifier), reverts)
            row = phases.put_off(row, Phase.PARKED, Why.REVERTED, row.detail, now)
        await self._write(identifier, row)
        self.pace.wait(identifier, REVERTED_BLOCKS * self.settings.block_s if reverts >= MAX_REVERTS else 0.0)

    async def _by_others(self, identifier: bytes, block: int) -> None:
        row = self._row(identifier)
        if row.nonce is not None:
            self.nonces.loosen(row.nonce, identifier)
        self.pace.at_once(identifier)
        await self._write(identifier, phases.mined(row, block, b"", self.state.clock()))

    async def _reorged(self, identifier: bytes, row: Answer) -> None:
        """It was in a block and is not: sent again, with the same bytes where they are left."""
        log.warning("batch %s: its answer is gone from the chain", _named(identifier))
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
        self.metrics.settled.labels("us" if transaction else "others").inc()
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


def _named(identifier: bytes) -> str:
    return f"0x{identifier.hex()[:16]}"
