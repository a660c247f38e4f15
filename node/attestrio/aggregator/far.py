"""Nonces so far ahead of the chain that nothing sent with them will be mined: a node was wrong about what is used up.

Such a nonce is waited for, since the wrong answer may be the present one, and then given up. The batch gets another
while its old transaction may still lie in a pool. That is safe: Ethereum takes the transactions of an account in the
order of their nonces, so the old one can only be mined after every nonce before it, the batch's new one among them;
by then the batch is answered, and the contract refuses it with BatchAlreadyResponded. It costs gas, never a second
answer. Had the node been wrong the other way round, saying too few, the same contract refuses the newer of the two.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

import trio

from attestrio.aggregator.nonces import Nonces
from attestrio.aggregator.sender_metrics import SenderMetrics

log = logging.getLogger("attestrio.aggregator")

GIVE_UP_BLOCKS: Final = 25
"""Five minutes of Ethereum, in which every look at the chain has to agree."""


@dataclass(slots=True)
class FarNonces:
    """Since when which nonce is too far ahead. Kept in memory: another term of a leader begins to count anew."""

    nonces: Nonces
    metrics: SenderMetrics
    block_s: float
    _since: dict[int, float] = field(default_factory=dict)

    def looked(self) -> None:
        """The chain has just said how many nonces are used up."""
        now = trio.current_time()
        # Also those that nobody holds any more: a batch may still name one that another has taken from it.
        since = {nonce: at for nonce, at in self._since.items() if self.nonces.is_far(nonce)}
        since |= {nonce: now for nonce in self.nonces.far() if nonce not in since}
        new = since.keys() - self._since.keys()
        self._since = since
        if new:
            self.metrics.far.inc(len(new))
            log.error(
                "nonce %d and %d more are far above the %d that the chain calls used: not filled, given up in %g s"
                " unless that changes", min(new), len(new) - 1, self.nonces.used, GIVE_UP_BLOCKS * self.block_s,
            )  # fmt: skip

    def is_over(self, nonce: int) -> bool:
        """Whether it has been waited for long enough."""
        since = self._since.get(nonce)
        return since is not None and trio.current_time() - since >= GIVE_UP_BLOCKS * self.block_s

    def given_up(self, nonce: int) -> None:
        """A batch, or a filler, does without it."""
        self.metrics.given_up.inc()
        log.warning("nonce %d is given up, the chain is at %d", nonce, self.nonces.used)
