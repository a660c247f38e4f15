"""A chain that seals batches nobody has to execute: the subject of devnets and stories."""

from __future__ import annotations

from typing import NoReturn

import trio
from eth_hash.auto import keccak
from trio_util import AsyncValue

from attestrio.roles import Batch, BatchHash, BatchNumber, GenesisHash


class SimChain:
    """Batches `first`, `first + 1`, ... with hashes that depend on the seed and the number alone; a `BatchSource`.

    `height` is the number of the newest sealed batch, below `first` while there is none.
    """

    def __init__(self, genesis: GenesisHash, *, first: int = 0, seed: int = 0) -> None:
        self.genesis, self.first, self.seed = genesis, first, seed
        self.height: AsyncValue[int] = AsyncValue(first - 1)

    def seal(self, count: int = 1) -> None:
        """Seal `count` batches now."""
        self.height.value += count

    def hash(self, number: int) -> BatchHash:
        """The hash that batch `number` has, or will have, on this chain."""
        return BatchHash(keccak(b"attestrio sim %d %d " % (self.seed, number) + self.genesis.to_bytes()))

    async def batch_to_sign(self, number: BatchNumber) -> Batch | None:
        """The batch, or None while it is not sealed."""
        await trio.lowlevel.checkpoint()
        if not self.first <= number <= self.height.value:
            return None
        return Batch(number, self.hash(number), self.genesis)

    async def run(self, every_s: float) -> NoReturn:
        """Seal a batch at once and then every `every_s` seconds."""
        while True:
            self.seal()
            await trio.sleep(every_s)
