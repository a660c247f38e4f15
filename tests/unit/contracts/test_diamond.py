"""Diamond.sol: what a rollup's contract says about its batches."""

import pytest
from attestrio.roles.keccak import keccak256
from attestrio.sim.artifacts import artifact
from eth_abi.abi import encode
from evm import Deployed, Refused, refusal

STORED = "(uint64,bytes32,uint64,uint256,bytes32,bytes32,uint256,bytes32)"


def info(number, salt=0):
    """A StoredBatchInfo."""
    root, commitment = bytes([salt, number]) * 16, bytes([number, salt]) * 16
    return number, root, 100, 3, b"\x22" * 32, b"\x33" * 32, 1_700_000_000, commitment


def hash_of(batch):
    return keccak256(encode([STORED], [batch]))


@pytest.fixture
def diamond():
    return Deployed("Diamond", info(0))


def counters(diamond):
    return tuple(diamond.call(f"getTotalBatches{what}") for what in ("Committed", "Verified", "Executed"))


@pytest.mark.parametrize(
    ("name", "selector"),
    [
        ("storedBatchHash", "b22dd78e"),
        ("getTotalBatchesCommitted", "db1f0bf9"),
        ("getTotalBatchesVerified", "ef3f0bae"),
        ("getTotalBatchesExecuted", "b8c2f66f"),
    ],
)
def test_a_getter_is_called_as_on_the_real_contract(name, selector):
    assert artifact("Diamond").functions[name].selector.hex() == selector


@pytest.mark.parametrize(
    ("name", "topic", "indexed"),
    [
        ("BlockCommit", "8f2916b2f2d78cc5890ead36c06c0f6d5d112c7e103589947e8e2f0d6eddb763", 3),
        ("BlockExecution", "2402307311a4d6604e4e7b4c8a15a7e1213edb39c16a31efa70afb06030d3165", 3),
        ("BlocksVerification", "22c9005dd88c18b552a1cd7e8b3b937fcde9ca69213c1f658f54d572e4877a81", 2),
        ("BlocksRevert", "8bd4b15ea7d1bc41ea9abc3fc487ccb89cd678a00786584714faa9d751c84ee5", 0),
    ],
)
def test_an_event_is_found_as_on_the_real_contract(name, topic, indexed):
    event = artifact("Diamond").events[name]

    assert event.topic.hex() == topic
    assert sum(one.indexed for one in event.parameters) == indexed


def test_the_stored_hash_is_that_of_the_specification():
    diamond = Deployed("Diamond", info(6))

    batch = (7, b"\x11" * 32, 100, 3, b"\x22" * 32, b"\x33" * 32, 1_700_000_000, b"\x44" * 32)
    diamond.send("commitBatches", [batch])

    stored = diamond.call("storedBatchHash", 7)
    assert stored.hex() == "b4d0829ef739c07a4af4f134c39b692af878ba0f8756e1b299d698600a7d2a86"


def test_the_genesis_batch_is_there_from_the_start(diamond):
    assert counters(diamond) == (0, 0, 0)
    assert diamond.call("storedBatchHash", 0) == hash_of(info(0))
    assert diamond.call("storedBatchHash", 1) == bytes(32)


def test_a_batch_is_committed_then_verified_then_executed(diamond):
    committed = diamond.send("commitBatches", [info(1), info(2), info(3)])
    verified = diamond.send("verifyBatches", 2)
    executed = diamond.send("executeBatches", [info(1)])

    def of(name, n):
        _, root, *_, commitment = info(n)
        return name, {"batchNumber": n, "batchHash": root, "commitment": commitment}

    assert counters(diamond) == (3, 2, 1)
    assert committed.events == [of("BlockCommit", n) for n in (1, 2, 3)]
    assert verified.events == [("BlocksVerification", {"previousLastVerifiedBatch": 0, "currentLastVerifiedBatch": 2})]
    assert executed.events == [of("BlockExecution", 1)]


def test_a_revert_lowers_the_counters_and_leaves_the_hashes(diamond):
    diamond.send("commitBatches", [info(n) for n in (1, 2, 3)])
    diamond.send("verifyBatches", 3)
    diamond.send("executeBatches", [info(1)])

    reverted = diamond.send("revertBatches", 1)

    assert counters(diamond) == (1, 1, 1)
    assert reverted.events == [
        ("BlocksRevert", {"totalBatchesCommitted": 1, "totalBatchesVerified": 1, "totalBatchesExecuted": 1})
    ]
    assert [diamond.call("storedBatchHash", n) for n in (2, 3)] == [hash_of(info(2)), hash_of(info(3))]
    diamond.send("commitBatches", [info(2, salt=9)])
    assert [diamond.call("storedBatchHash", n) for n in (2, 3)] == [hash_of(info(2, salt=9)), hash_of(info(3))]
    assert counters(diamond) == (2, 1, 1)


def test_batches_come_in_order(diamond):
    with pytest.raises(Refused) as gap:
        diamond.send("commitBatches", [info(2)])
    diamond.send("commitBatches", [info(1)])
    with pytest.raises(Refused) as again:
        diamond.send("commitBatches", [info(1)])

    assert refusal(gap) == ("OtherBatchExpected", (2, 1))
    assert refusal(again) == ("OtherBatchExpected", (1, 2))


def test_only_what_is_verified_and_was_committed_is_executed(diamond):
    diamond.send("commitBatches", [info(1)])
    with pytest.raises(Refused) as early:
        diamond.send("executeBatches", [info(1)])
    diamond.send("verifyBatches", 1)
    with pytest.raises(Refused) as other:
        diamond.send("executeBatches", [info(1, salt=9)])

    assert refusal(early) == ("OutOfOrder", (1, 1, 0))
    assert refusal(other) == ("OtherBatchStored", (1,))


def test_only_what_is_committed_is_verified(diamond):
    with pytest.raises(Refused) as early:
        diamond.send("verifyBatches", 1)

    assert refusal(early) == ("OutOfOrder", (1, 1, 0))


@pytest.mark.parametrize("to", [0, 2, 3])
def test_executed_batches_are_not_reverted_and_a_revert_goes_back(diamond, to):
    diamond.send("commitBatches", [info(1), info(2)])
    diamond.send("verifyBatches", 1)
    diamond.send("executeBatches", [info(1)])

    with pytest.raises(Refused) as refused:
        diamond.send("revertBatches", to)

    assert refusal(refused)[0] == "OutOfOrder"
    assert counters(diamond) == (2, 1, 1)


@pytest.mark.parametrize(
    ("function", "argument"),
    [("commitBatches", [info(1)]), ("verifyBatches", 1), ("executeBatches", [info(1)]), ("revertBatches", 0)],
)
def test_only_who_deployed_it_moves_it(diamond, function, argument):
    stranger = diamond.accounts[1]

    with pytest.raises(Refused) as refused:
        diamond.call(function, argument, by=stranger)

    assert refusal(refused) == ("OnlyValidator", (stranger,))
