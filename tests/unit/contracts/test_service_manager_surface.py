"""ServiceManager.sol has the selectors, topics and error ids of the real contracts."""

import pytest
from attestrio.sim.artifacts import artifact

CONTRACT = artifact("ServiceManager")

SELECTORS = {
    "createNewTask": "d66eaabd", "respondToTaskV2": "ab21739a", "batchesState": "b099627e",
    "batchersBalances": "f474b520", "balanceOf": "70a08231", "depositToBatcher": "4223d551", "withdraw": "2e1a7d4d",
    "disabledVerifiers": "ea5ca34b", "isVerifierDisabled": "137122b5", "alignedAggregator": "4a5bf632",
    "checkSignatures": "4ae07c37", "trySignatureAndApkVerification": "171f1d5b",
    "verifyBatchInclusion(bytes32,bytes32,bytes32,bytes20,bytes32,bytes,uint256)": "fa534dc0",
    "verifyBatchInclusion(bytes32,bytes32,bytes32,bytes20,bytes32,bytes,uint256,address)": "06045a91",
    "getOperatorStatus": "fd39105a", "getOperatorFromId": "296bb064", "getOperatorId": "13542a4e",
    "getQuorumBitmapAtBlockNumberByIndex": "04ec6351", "getApkHashAtBlockNumberAndIndex": "68bccaac",
    "getOperatorState": "3563b0d1", "getCheckSignaturesIndices": "4f739f74",
    "getTotalStakeAtBlockNumberFromIndex": "c8294c56", "getStakeAtBlockNumberAndIndex": "f2be94ae",
}  # fmt: skip

TOPICS = {
    "NewBatchV3": "8801fc966deb2c8f563a103c35c9e80740585c292cd97518587e6e7927e6af55",
    "BatchVerified": "8511746b73275e06971968773119b9601fc501d7bdf3824d8754042d148940e2",
    "BatcherBalanceUpdated": "0ea46f246ccfc58f7a93aa09bc6245a6818e97b1a160d186afe78993a3b194a0",
    "VerifierDisabled": "ec54a85c01b5fc7fb41be0f33eabc56f2981110da8317b9817bc7c718f6d7bfe",
    "VerifierEnabled": "5f52704e8e0190647930ccde0e43e14e89902d7d8c49c5f9e2544029f45ec12a",
    "OperatorSocketUpdate": "ec2963ab21c1e50e1e582aa542af2e4bf7bf38e6e1403c27b42e1c5d6e621eaa",
    "NewPubkeyRegistration": "e3fb6613af2e8930cf85d47fcf6db10192224a64c6cbe8023e0eee1ba3828041",
}

ERRORS = {
    "BatchAlreadySubmitted": "3102f10c", "BatchDoesNotExist": "2396d34e", "BatchAlreadyResponded": "9cf1aff2",
    "InsufficientFunds": "5c54305e", "InvalidQuorumThreshold": "a61eb88a", "SenderIsNotAggregator": "2cbe4195",
    "InvalidDepositAmount": "412ed242", "ExceededMaxRespondFee": "86fc507e", "InvalidAddress": "161eb542",
}  # fmt: skip

INDEXED = {
    "NewBatchV3": ["batchMerkleRoot"], "BatchVerified": ["batchMerkleRoot"], "BatcherBalanceUpdated": ["batcher"],
    "VerifierDisabled": ["verifierIdx"], "VerifierEnabled": ["verifierIdx"], "OperatorSocketUpdate": ["operatorId"],
    "NewPubkeyRegistration": ["operator"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "selector"), SELECTORS.items())
def test_a_function_is_called_as_on_the_real_contract(name, selector):
    assert CONTRACT.functions[name].selector.hex() == selector


@pytest.mark.parametrize(("name", "topic"), TOPICS.items())
def test_an_event_is_found_as_on_the_real_contract(name, topic):
    event = CONTRACT.events[name]

    assert event.topic.hex() == topic
    assert [one.name for one in event.parameters if one.indexed] == INDEXED[name]


@pytest.mark.parametrize(("name", "id"), ERRORS.items())
def test_a_refusal_is_recognised_as_on_the_real_contract(name, id):
    assert CONTRACT.errors[name].selector.hex() == id


def test_the_state_of_a_batch_is_three_values():
    assert [one.type for one in CONTRACT.functions["batchesState"].results] == ["uint32", "bool", "uint256"]


def test_the_indices_are_one_struct():
    assert [one.type for one in CONTRACT.functions["getCheckSignaturesIndices"].results] == [
        "(uint32[],uint32[],uint32[],uint32[][])"
    ]
