"""What an aggregator sees of Aligned's and EigenLayer's contracts: events, functions, errors. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from attestrio.l1.api import Address, LogFilter
from attestrio.l1.contract import Function, Reverts
from attestrio.l1.logs import Event
from attestrio.operator.surface import (
    BATCH_VERIFIED,
    BATCHES_STATE,
    NEW_BATCH_V2,
    NEW_BATCH_V3,
    identifier_hash,
)

__all__ = [
    "ALIGNED_AGGREGATOR",
    "BATCHES_STATE",
    "BATCH_VERIFIED",
    "ERRORS",
    "GET_CHECK_SIGNATURES_INDICES",
    "GET_OPERATOR_STATE",
    "NEW_BATCH_V2",
    "NEW_BATCH_V3",
    "NEW_PUBKEY_REGISTRATION",
    "QUORUMS",
    "RESPOND_TO_TASK",
    "Contracts",
    "identifier_hash",
    "wanted",
]

QUORUMS: Final = b"\x00"  # the quorum numbers, one byte each; Aligned's fork of the middleware knows this one only

_G1: Final = "(uint256, uint256)"
_G2: Final = "(uint256[2], uint256[2])"  # imaginary part first

NEW_PUBKEY_REGISTRATION: Final = Event.parse(
    f"NewPubkeyRegistration(address indexed operator, {_G1} pubkeyG1, {_G2} pubkeyG2)"
)
"""The only source of keys in G2. An operator registers one key, once, for ever."""

RESPOND_TO_TASK: Final = Function.parse(
    "respondToTaskV2(bytes32 batchMerkleRoot, address senderAddress,"
    f" (uint32[], {_G1}[], {_G1}[], {_G2}, {_G1}, uint32[], uint32[], uint32[][]) nonSignerStakesAndSignature)"
)
"""The tuple: bitmap indices of the non-signers, their keys in G1, the quorum's key, the signers' key in G2, the sum of
the signatures, and the indices of the quorum's key, of the total stake, and of the non-signers' stakes."""

GET_OPERATOR_STATE: Final = Function.parse(
    "getOperatorState(address registryCoordinator, bytes quorumNumbers, uint32 blockNumber)"
    " returns ((address, bytes32, uint96)[][] state)"
)
"""For each quorum (operator, operator id, stake)."""

GET_CHECK_SIGNATURES_INDICES: Final = Function.parse(
    "getCheckSignaturesIndices(address registryCoordinator, uint32 referenceBlockNumber, bytes quorumNumbers,"
    " bytes32[] nonSignerOperatorIds) returns ((uint32[], uint32[], uint32[], uint32[][]) indices)"
)
"""One struct: bitmap indices, indices of the quorum's key, of the total stake, of the non-signers' stakes."""

ALIGNED_AGGREGATOR: Final = Function.parse("alignedAggregator() returns (address)")

ERRORS: Final = Reverts.parse(
    "BatchAlreadySubmitted(bytes32)",
    "BatchDoesNotExist(bytes32)",
    "BatchAlreadyResponded(bytes32)",
    "InsufficientFunds(address, uint256, uint256)",
    "InvalidQuorumThreshold(uint256, uint256)",
    "SenderIsNotAggregator(address, address)",
    "InvalidDepositAmount(uint256)",
    "ExceededMaxRespondFee(uint256, uint256)",
    "InvalidAddress(string)",
)


@dataclass(frozen=True, slots=True)
class Contracts:
    """Where the contracts are. A development chain may have one contract in all four places."""

    manager: Address
    """AlignedLayerServiceManager: tasks."""
    coordinator: Address
    """RegistryCoordinator: only named in questions to the retriever."""
    key_registry: Address
    """BLSApkRegistry: keys."""
    retriever: Address
    """OperatorStateRetriever: who was in the quorum, with what stake."""


def wanted(contracts: Contracts) -> LogFilter:
    """The logs an aggregator lives by. Whoever reads them checks that each is of the contract it belongs to."""
    events = NEW_BATCH_V2, NEW_BATCH_V3, BATCH_VERIFIED, NEW_PUBKEY_REGISTRATION
    addresses = tuple(dict.fromkeys((contracts.manager, contracts.key_registry)))
    return LogFilter(addresses, (tuple(event.topic for event in events),))
