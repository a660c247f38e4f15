"""The status of a main node: read from its own store instead of asked over the network."""

from __future__ import annotations

import logging

from attestrio.duty import DutyLog, EndState, Reason, Step
from attestrio.roles import BatchNumber, GenesisHash
from attestrio.status.api import AttestationStatus
from attestrio.store.api import FROM_ZERO, BatchStore

log = logging.getLogger("attestrio.status")


class LocalAttestationStatusClient:
    """An AttestationStatusClient over the node's own store; `genesis` is fixed for the epoch.

    Answers None while the store can name no batch. If that is for ever, because the first batch was pruned before it
    had a certificate, it says so once, and ends that batch (`first_batch`) in `duty`.
    """

    def __init__(
        self,
        store: BatchStore,
        genesis: GenesisHash,
        duty: DutyLog | None = None,
        first_batch: BatchNumber = FROM_ZERO,
    ) -> None:
        self._store = store
        self._genesis = genesis
        self._duty = duty
        self._first_batch = first_batch
        self._said_pruned = False

    async def attestation_status(self) -> AttestationStatus | None:
        """The lowest batch that needs a certificate. Raises SourceError as the store does."""
        number = await self._store.next_batch_to_attest()
        if number is None:
            self._say_if_pruned()
            return None
        return AttestationStatus(self._genesis, number)

    def _say_if_pruned(self) -> None:
        if self._store.pruned_first_batch and not self._said_pruned:
            self._said_pruned = True
            log.warning(
                "no status can be given: the first batch to attest (batches.first, 0 if it is not set) never came, or"
                " was pruned before it had a certificate. The store begins at batch %s: set batches.first = %s if the"
                " genesis begins there; otherwise restore what was pruned, or start a new fork whose first block is"
                " kept",
                first := self._store.persisted.first,
                first,
            )
            if self._duty is not None:
                self._duty.record(self._first_batch, Step.TOLD, Reason.FIRST_BATCH_PRUNED)
                self._duty.end(self._first_batch, EndState.MISSED, Reason.FIRST_BATCH_PRUNED)
