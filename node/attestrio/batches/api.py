"""Where the batch to sign comes from, on a node without a chain of its own."""

from __future__ import annotations

from typing import Protocol

from attestrio.roles import Batch, BatchNumber


class BatchSource(Protocol):
    """Number to batch: a main node, a file a sealer writes, an embedding program."""

    async def batch_to_sign(self, number: BatchNumber) -> Batch | None:
        """The batch with exactly this number, or None while its hash is not known yet.

        Raises SourceError; the caller asks again. Must be cancellable and bound its own waiting.
        """
        ...
