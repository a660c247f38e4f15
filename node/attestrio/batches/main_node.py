"""The batch to sign, asked from the main node or from an embedding program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from attestrio.batches.api import BatchSource
from attestrio.errors import SourceError
from attestrio.roles import Batch, BatchNumber, GenesisHash


class OtherBatchAnswered(SourceError):
    """A main node or batch source answered with another batch than it was asked for."""

    code: ClassVar[str] = "other_batch_answered"

    def __init__(self, got: BatchNumber, want: BatchNumber) -> None:
        super().__init__(f"asked for batch {want}, answered with batch {got}")
        self.got, self.want = got, want


class OtherGenesisAnswered(SourceError):
    """A main node or batch source answered with a batch of another genesis. The status says whether the epoch ends."""

    code: ClassVar[str] = "other_genesis_answered"

    def __init__(self, number: BatchNumber, got: GenesisHash, want: GenesisHash) -> None:
        super().__init__(f"batch {number}: answered for {got.to_text()}, we follow {want.to_text()}")
        self.number, self.got, self.want = number, got, want


class KnowsBatches(Protocol):
    """What is needed of a main-node client."""

    async def batch_to_attest(self, number: BatchNumber) -> Batch | None:
        """The batch, or None while the main node does not know its hash. Raises SourceError."""
        ...


@dataclass(frozen=True, slots=True)
class MainNodeBatches:
    """A BatchSource over a main node. What it answers is believed only if it is what was asked for."""

    client: KnowsBatches
    genesis: GenesisHash

    async def batch_to_sign(self, number: BatchNumber) -> Batch | None:
        """Raises OtherBatchAnswered, OtherGenesisAnswered, and the SourceErrors of the client."""
        return _checked(await self.client.batch_to_attest(number), number, self.genesis)


@dataclass(frozen=True, slots=True)
class GivenBatches:
    """A BatchSource over that of an embedding program, which may be past a revert before this node is."""

    source: BatchSource
    genesis: GenesisHash

    async def batch_to_sign(self, number: BatchNumber) -> Batch | None:
        """Raises as `MainNodeBatches`."""
        return _checked(await self.source.batch_to_sign(number), number, self.genesis)


def _checked(batch: Batch | None, number: BatchNumber, genesis: GenesisHash) -> Batch | None:
    if batch is not None and batch.number != number:
        raise OtherBatchAnswered(batch.number, number)
    if batch is not None and batch.genesis != genesis:
        raise OtherGenesisAnswered(number, batch.genesis, genesis)
    return batch
