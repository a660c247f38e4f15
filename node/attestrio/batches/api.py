"""Where the batch to sign comes from, on a node without a chain of its own."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from attestrio.roles import Batch, BatchNumber, GenesisHash


class BatchSource(Protocol):
    """Number to batch: a main node, a file a sealer writes, an embedding program."""

    async def batch_to_sign(self, number: BatchNumber) -> Batch | None:
        """The batch with exactly this number, or None while its hash is not known yet.

        Raises SourceError; the caller asks again. Must be cancellable and bound its own waiting.
        """
        ...


@runtime_checkable
class KnowsFirstBatch(Protocol):
    """A source that can say where a genesis begins. Asked by a main node that follows a fork without a restart."""

    async def first_batch(self, genesis: GenesisHash) -> BatchNumber | None:
        """The lowest batch under `genesis`, the one that holds its first block; None while it is not known.

        Raises SourceError; the caller asks again.
        """
        ...
