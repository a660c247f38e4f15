"""The attestation status: who tells it, who holds it, who asks for it."""

from attestrio.status.api import AttestationStatus, AttestationStatusClient
from attestrio.status.local import LocalAttestationStatusClient
from attestrio.status.runner import AttestationStatusRunner, PollOutcome, PollResult
from attestrio.status.watch import AttestationStatusWatch, GenesisChanged, MovedBackwards, while_current

__all__ = [
    "AttestationStatus",
    "AttestationStatusClient",
    "AttestationStatusRunner",
    "AttestationStatusWatch",
    "GenesisChanged",
    "LocalAttestationStatusClient",
    "MovedBackwards",
    "PollOutcome",
    "PollResult",
    "while_current",
]
