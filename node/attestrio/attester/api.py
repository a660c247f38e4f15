"""What turns a batch into a vote: the port the attester signs through."""

from __future__ import annotations

from typing import Protocol

from attestrio.roles import Batch, SignedBatch


class VoteSigner(Protocol):
    """The only way from a batch to a signature."""

    async def sign(self, batch: Batch) -> SignedBatch:
        """The vote. Raises SafetyError when it could contradict an earlier one, SourceError when it may be asked again.

        The caller does not cancel it because of a newer status: what was recorded should be sent.
        """
        ...
