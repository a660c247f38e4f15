"""What an operator sees of Aligned's service manager: its events and two of its functions. Pure."""

from __future__ import annotations

from typing import Final

from attestrio.l1.api import Address, LogFilter
from attestrio.l1.contract import Function
from attestrio.l1.logs import Event, filter_for
from attestrio.roles.keccak import keccak256

NEW_BATCH_V2: Final = Event.parse(
    "NewBatchV2(bytes32 indexed batchMerkleRoot, address senderAddress, uint32 taskCreatedBlock,"
    " string batchDataPointer)"
)
NEW_BATCH_V3: Final = Event.parse(
    "NewBatchV3(bytes32 indexed batchMerkleRoot, address senderAddress, uint32 taskCreatedBlock,"
    " string batchDataPointer, uint256 respondToTaskFeeLimit)"
)
BATCH_VERIFIED: Final = Event.parse("BatchVerified(bytes32 indexed batchMerkleRoot, address senderAddress)")

BATCHES_STATE: Final = Function.parse(
    "batchesState(bytes32) returns (uint32 taskCreatedBlock, bool responded, uint256 respondToTaskFeeLimit)"
)
DISABLED_VERIFIERS: Final = Function.parse("disabledVerifiers() returns (uint256)")


def wanted(manager: Address) -> LogFilter:
    """The logs an operator lives by."""
    return filter_for(manager, NEW_BATCH_V2, NEW_BATCH_V3, BATCH_VERIFIED)


def identifier_hash(root: bytes, sender: bytes) -> bytes:
    """What names a batch, and what is signed: keccak(root ‖ sender), 32 bytes.

    The sender is who called the contract, usually the batcher's payment contract. The block is no part of it, so that
    a signature stays good when a reorg moves the batch.
    """
    return keccak256(root + sender)
