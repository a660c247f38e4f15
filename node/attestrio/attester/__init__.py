"""The attester: one vote for each batch."""

from attestrio.attester.api import VoteSigner
from attestrio.attester.runner import AttesterRunner, OtherBatchStored

__all__ = ["AttesterRunner", "OtherBatchStored", "VoteSigner"]
