"""What is done for one batch at a time: an answer is prepared, sent, looked for, settled.

Each step begins and ends with what the journal has, and writes the signed bytes down before they leave. So it may be
cut off anywhere: the next one, perhaps of another process, finds the row and the chain, and goes on from there.

A batch has one open nonce at most. It gets another only when the chain has used up the one it had, so that no two
transactions of ours can answer one batch; or when that one is so `far` ahead that it cannot be the first to do so.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

from attestrio.aggregator import answer as phases
from attestrio.aggregator.answer import ON_ITS_WAY, AnswerRefused, Cure, Refusal, Why, refusal_of
from attestrio.aggregator.ends import Ends, named
from attestrio.aggregator.ethereum import gas_and_data
from attestrio.aggregator.fees import floor, offer, to_outdo
from attestrio.aggregator.pacing import NEVER
from attestrio.aggregator.rows import Attempt, Phase
from attestrio.errors import SourceError
from attestrio.kit.events import EventName
from attestrio.kit.events import named as event

log = logging.getLogger("attestrio.aggregator")

NOT_TAKEN: Final = 1  # times that a node may refuse a transaction for a reason nobody knows; then others get its nonce


@dataclass(slots=True)
class Steps(Ends):
    """Everything that is done for single batches. For one task per batch at the same time."""

    async def do(self, identifier: bytes, step: Callable[[bytes], Awaitable[None]]) -> None:
        """One step; what is refused is followed up. Only faults of the journal come out."""
        try:
            try:
                await step(identifier)
            finally:
                self.order.gone(identifier)
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
        self._comes(identifier, at)
        signed = self.port.sign(at, price, gas, data)
        row = phases.prepared(row, at, Attempt(signed.raw, signed.hash, price, self.state.clock()))
        self.open.add(identifier)
        await self.state.set_answer(identifier, row)
        self.metrics.price.set(price)
        self.metrics.bumps.inc(row.phase is Phase.REPLACED)
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
        row = self._row(identifier)
        attempt = row.attempts[-1]
        if row.nonce is not None:
            self._comes(identifier, row.nonce)
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

    def _comes(self, identifier: bytes, nonce: int) -> None:
        """Others with a higher nonce wait for this, unless the network has had this nonce from us already."""
        if not self.pace.is_out(identifier):
            self.order.coming(identifier, nonce)

    async def _send(self, identifier: bytes, result: str) -> None:
        """The newest transaction of the row, which is in the journal. Raises AnswerRefused."""
        row = self._row(identifier)
        assert row.nonce is not None
        await self.order.wait_turn(row.nonce)
        self.pace.sent_at[identifier] = trio.current_time()
        try:
            try:
                await self.port.send(row.attempts[-1].raw)
            finally:
                self.order.gone(identifier)
        except SourceError as exc:
            refusal = refusal_of(exc)
            if refusal.cure is not Cure.SENT:
                self.metrics.transactions.labels("refused").inc()
                await self._not_taken(identifier, refusal, dearest=result == "resent")
                return
        self.metrics.transactions.labels(result).inc()
        self.pace.worked(identifier)
        if self.pace.hold is not None:
            log.warning("answers are sent again", extra=event(EventName.SENDING_RESUMED))
            self.pace.hold = None
        taken = phases.sent(row, self.state.clock())
        if taken is not row:
            await self.state.set_answer(identifier, taken)

    async def _not_taken(self, identifier: bytes, refusal: Refusal, *, dearest: bool) -> None:
        """The network did not take a recorded transaction. It stays on its way as long as that may be cured.

        `dearest`: no higher price is offered at present.
        """
        log.info("batch %s: not taken: %s", named(identifier), refusal.detail)
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
                log.error("batch %s: aggregate refused, %d signatures removed: %s", named(identifier), removed,
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
            log.log(level, "batch %s: %s: %s", named(identifier), refusal.why.value, refusal.detail)
            self.metrics.put_off.labels(refusal.why.value).inc()
            row = phases.put_off(row, phase, refusal.why, refusal.detail, self.state.clock())
            await self._write(identifier, row)
        if row.nonce is not None:
            self.nonces.loosen(row.nonce, identifier)
        self.pace.sent_at.pop(identifier, None)
        self.pace.failed(identifier, below)

    def _hold(self, refusal: Refusal) -> None:
        if self.pace.hold_all(refusal.why):
            log.error(
                "nothing is sent: %s: %s", refusal.why.value, refusal.detail,
                extra=event(EventName.SENDING_HELD, reason=refusal.why.value),
            )  # fmt: skip
