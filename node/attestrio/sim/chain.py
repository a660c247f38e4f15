"""A chain that seals batches nobody has to execute: the subject of devnets and stories."""

from __future__ import annotations

from typing import NoReturn

import trio
from eth_hash.auto import keccak
from trio_util import AsyncValue

from attestrio.roles import Batch, BatchHash, BatchNumber, GenesisHash


class SimChain:
    """Batches `first`, `first + 1`, ... with hashes that depend on seed, genesis and number alone; a `BatchSource`.

    `height` is the number of the newest sealed batch, below `first` while there is none.
    """

    def __init__(self, genesis: GenesisHash, *, first: int = 0, seed: int = 0) -> None:
        self.genesis, self.first, self.seed = genesis, first, seed
        self._begin = first
        self.height: AsyncValue[int] = AsyncValue(first - 1)

    def seal(self, count: int = 1) -> None:
        """Seal `count` batches now."""
        self.height.value += count

    def revert(self, to: int, genesis: GenesisHash) -> None:
        """Give up every batch above `to`. What is sealed from here on belongs to `genesis`, and begins at `to` + 1.

        The batches up to `to` stay what they are, but nobody attests them under `genesis`. May go back behind an
        earlier revert.
        """
        if not self._begin - 1 <= to <= self.height.value:
            raise ValueError(f"revert to {to}: the chain has batches {self._begin} to {self.height.value}")
        self.genesis, self.first = genesis, to + 1
        self.height.value = to

    async def first_batch(self, genesis: GenesisHash) -> BatchNumber | None:
        """Where `genesis` begins; None for one this chain is not on (any more, or yet)."""
        await trio.lowlevel.checkpoint()
        return BatchNumber(self.first) if genesis == self.genesis else None

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
