"""The batches of a ZKsync rollup, read from its diamond proxy on Ethereum."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from attestrio.l1.api import Address, BlockHash, Chain, Tag
from attestrio.l1.contract import Contract, Function
from attestrio.l1.errors import UnreadableEvent
from attestrio.roles import BatchHash, BatchNumber

STORED_HASH: Final = Function.parse("storedBatchHash(uint256) returns (bytes32)")
COMMITTED: Final = Function.parse("getTotalBatchesCommitted() returns (uint256)")
EXECUTED: Final = Function.parse("getTotalBatchesExecuted() returns (uint256)")
NONE: Final = bytes(32)


class Finality(StrEnum):
    """What a batch has to have reached before it counts."""

    LATEST = "latest"  # committed in the newest block, which may still be replaced
    SAFE = "safe"
    FINALIZED = "finalized"  # committed in a block that stays; the rollup can still revert the batch
    EXECUTED = "executed"  # executed in a block that stays: nobody can revert the batch

    @property
    def tag(self) -> Tag:
        """The block to look at."""
        return "finalized" if self is Finality.EXECUTED else self.value  # type: ignore[return-value]

    @property
    def counter(self) -> Function:
        """Who says which is the last batch that counts."""
        return EXECUTED if self is Finality.EXECUTED else COMMITTED


@dataclass(frozen=True, slots=True)
class DiamondBatches:
    """Which batches the rollup has committed (or executed), by its own contract.

    A revert lowers the counters and leaves the hashes of the batches it gave up, so a hash counts only up to the
    counter. Both are read at one block, named by its hash: if a reorg comes in between, the endpoint refuses.
    """

    chain: Chain
    diamond: Address
    finality: Finality

    async def hash_of(self, number: BatchNumber) -> BatchHash | None:
        """The attested hash, None while the batch does not count. Three calls, or two.

        Raises SourceError; an address without the contract is MalformedAnswer, a hash of zero UnreadableEvent.
        """
        block = await self.chain.block(self.finality.tag)
        if block is None:
            return None  # a young chain has no final block
        if number > await self._last(block.hash):
            return None
        (stored,) = await self._contract.call(STORED_HASH, int(number), at=block.hash)
        if stored == NONE:
            raise UnreadableEvent(STORED_HASH.name, f"no hash for batch {number}, which the counter includes")
        return BatchHash(stored)

    async def _last(self, at: BlockHash) -> int:
        (last,) = await self._contract.call(self.finality.counter, at=at)
        return int(last)

    @property
    def _contract(self) -> Contract:
        return Contract(self.chain, self.diamond)
