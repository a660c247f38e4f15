"""The attestation status: who tells it, who holds it, who asks for it."""

from attestrio.status.api import AttestationStatus, AttestationStatusClient

__all__ = ["AttestationStatus", "AttestationStatusClient"]
