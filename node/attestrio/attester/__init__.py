"""The attester: one vote for each batch."""

from attestrio.attester.api import VoteSigner
from attestrio.attester.runner import AttesterRunner, KeySigner, OtherBatchStored

__all__ = ["AttesterRunner", "KeySigner", "OtherBatchStored", "VoteSigner"]
