"""What the contract is to be called with, at what price, and whether it would take that now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from trio_util import AsyncValue

from attestrio.aggregator.answer import AnswerRefused, Cure, Refusal, Why, refusal_of
from attestrio.aggregator.collect import Aggregate
from attestrio.aggregator.errors import KeysMissing, NotReady
from attestrio.aggregator.ethereum import EthereumPort
from attestrio.aggregator.fees import cap, floor, offer
from attestrio.aggregator.response import response_call
from attestrio.aggregator.settings import FeeSettings
from attestrio.errors import SourceError
from attestrio.l1.errors import CallReverted

SIMULATED_GAS: Final = 2_000_000  # several times what an answer takes


class Aggregates(Protocol):
    """What the sender needs of the collector."""

    ready: dict[bytes, float]
    """Batches with a quorum whose window is over, and since when."""
    changed: AsyncValue[int]
    """Grows when `ready` changes."""

    async def aggregate(self, identifier: bytes) -> Aggregate:
        """What its signatures make. Raises NotReady, KeysMissing, SourceError."""
        ...

    async def recheck(self, identifier: bytes) -> int:
        """Check its signatures singly and take bad ones out; how many there were."""
        ...


@dataclass(frozen=True, slots=True)
class Quotes:
    """Asks the contract before a transaction is made. Raises AnswerRefused, nothing else."""

    collector: Aggregates
    port: EthereumPort
    rule: FeeSettings

    async def data(self, identifier: bytes) -> bytes:
        """What the contract is to be called with, from the signatures there are now."""
        try:
            aggregate = await self.collector.aggregate(identifier)
            indices = await self.port.indices(aggregate.task.created, aggregate.non_signers)
            return response_call(aggregate, indices)
        except NotReady as exc:
            raise AnswerRefused(Refusal(Cure.WAIT, Why.NO_QUORUM, str(exc))) from exc
        except (KeysMissing, CallReverted) as exc:  # the retriever reverts for operators of a block that is gone
            raise AnswerRefused(Refusal(Cure.WAIT, Why.BAD_AGGREGATE, str(exc))) from exc
        except SourceError as exc:
            raise AnswerRefused(refusal_of(exc)) from exc

    async def priced(self, data: bytes, node: int, bumps: int, before: int) -> tuple[int, int]:
        """(price, gas limit) at which the contract takes it now; the arguments are those of `fees.offer`."""
        price = offer(self.rule, node, bumps, before)
        if price is None:
            most = cap(self.rule, node)
            detail = f"the node wants {node} wei per gas, the cap is {most}, offered before was {before}"
            raise AnswerRefused(Refusal(Cure.PRICE if most < node else Cure.WAIT, Why.PRICE, detail))
        try:
            return price, await self._gas(data, price)
        except AnswerRefused as exc:
            lowest = max(node, floor(self.rule, before))
            if exc.refusal.cure is not Cure.PRICE or lowest >= price:
                raise
            return lowest, await self._gas(data, lowest)  # dear, but perhaps not too dear without the extra

    async def _gas(self, data: bytes, price: int) -> int:
        """An estimate is a simulation; where a node does not say why it failed, a call does."""
        try:
            try:
                return await self.port.estimate(data, price)
            except CallReverted as exc:
                if not exc.data:
                    await self.port.simulate(data, price, SIMULATED_GAS)
                raise
        except SourceError as exc:
            raise AnswerRefused(refusal_of(exc)) from exc
