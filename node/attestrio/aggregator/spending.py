"""What the answers cost, and what the account that pays for them has left. For people and alerts only.

The fee limit of a batch is kept by the contract, and no price is chosen by it here. The contract of October 2024
refuses an answer above it: it is asked at our price before a transaction is signed, and the batch waits until the price
has fallen. Later ones pay up to the limit and we pay the rest, as upstream does; that is counted.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final, NoReturn

import trio

from attestrio.aggregator.ethereum import EthereumPort, Receipt
from attestrio.aggregator.sender_metrics import SenderMetrics
from attestrio.errors import SourceError

log = logging.getLogger("attestrio.aggregator")

BALANCE_BLOCKS: Final = 5  # between two readings; one call each


def count_spent(metrics: SenderMetrics, receipt: Receipt, price: int, limit: int = 0) -> None:
    """Count a transaction of ours that is mined and stays so.

    Args:
      price: what it offered, wei per gas; ours are of type 0, which pay that.
      limit: wei that the batcher pays at most for an answer; 0: not known, or no answer.
    """
    cost = receipt.gas_used * price
    metrics.gas_paid.inc(cost)
    if 0 < limit < cost:
        metrics.gas_above_limit.inc(cost - limit)
        metrics.answers_above_limit.inc()


@dataclass(frozen=True, slots=True)
class Balance:
    """Reads the balance of the account now and then, also while there is nothing to send."""

    port: EthereumPort
    metrics: SenderMetrics
    block_s: float

    async def run(self) -> NoReturn:
        while True:
            try:
                self.metrics.balance.set(await self.port.balance())
            except SourceError as exc:  # what was read last stands; sending finds out for itself
                log.debug("the balance was not read: %s (%s)", exc, exc.code)
            await trio.sleep(BALANCE_BLOCKS * self.block_s)
