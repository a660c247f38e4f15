"""Which batch has to be attested next, and whom to ask: the value and the port."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from attestrio.roles import BatchNumber, GenesisHash


@dataclass(frozen=True, slots=True)
class AttestationStatus:
    """The next batch to attest under `genesis`; None until a first number was told."""

    genesis: GenesisHash
    next_batch: BatchNumber | None


class AttestationStatusClient(Protocol):
    """Somebody who knows the status: a main node over HTTP, the node's own store, an embedding program."""

    async def attestation_status(self) -> AttestationStatus | None:
        """The status now, or None while the main node has no genesis or no number yet.

        Raises SourceError, for whatever went wrong; the caller asks again after its interval. Must be cancellable,
        and bounds its own waiting: a poll that never returned would hide an outage.
        """
        ...
