"""RollupManager.sol: what the sequencer of a rollup is told by L1."""

import pytest
from evm import Deployed, Refused, refusal

ROLLUP, OTHER = b"\x77" * 20, b"\x78" * 20
STRANGER_ERROR = ("NotAllowedAddress", ())


@pytest.fixture
def manager():
    made = Deployed("RollupManager")
    made.send("addRollup", ROLLUP, 1)
    made.send("sequenceBatches", ROLLUP, 4, b"\x44" * 32)
    made.send("sequenceBatches", ROLLUP, 9, b"\x99" * 32)
    return made


def test_the_events_are_called_as_on_the_real_contracts(manager):
    events = manager.artifact.events

    assert events["RollbackBatches"].topic.hex().startswith("80a6d395a55aed81")
    assert [one.indexed for one in events["RollbackBatches"].parameters] == [True, True, False]
    assert [one.type for one in events["UpdateL1InfoTreeV2"].parameters] == ["bytes32", "uint32", "uint256", "uint64"]


def test_a_rollback_ends_with_the_end_of_a_sequence_and_says_which(manager):
    (event,) = manager.send("rollbackBatches", ROLLUP, 4).events

    assert event == (
        "RollbackBatches",
        {"rollupID": 1, "targetBatch": 4, "accInputHashToRollback": b"\x44" * 32},
    )
    assert manager.call("lastBatches", ROLLUP) == (4, 1)


def test_a_rollback_may_go_to_what_is_verified(manager):
    manager.send("verifyBatchesTrustedAggregator", ROLLUP, 5, bytes(32), bytes(32))

    (event,) = manager.send("rollbackBatches", ROLLUP, 5).events

    assert event[1]["targetBatch"] == 5


@pytest.mark.parametrize(
    ("target", "error"),
    [(9, "RollbackBatchIsNotValid"), (0, "RollbackBatchIsNotValid"), (5, "RollbackBatchIsNotEndOfSequence")],
    ids=["nothing to take back", "below what is verified", "inside a sequence"],
)
def test_other_rollbacks_are_refused(manager, target, error):
    with pytest.raises(Refused) as exc_info:
        manager.send("rollbackBatches", ROLLUP, target)

    assert refusal(exc_info) == (error, ())


@pytest.mark.parametrize(
    ("function", "arguments"),
    [("rollbackBatches", (ROLLUP, 4)), ("updateExitRoot", (bytes(32), bytes(32))), ("addRollup", (OTHER, 0))],
)
def test_a_stranger_changes_nothing(manager, function, arguments):
    with pytest.raises(Refused) as exc_info:
        manager.send(function, *arguments, by=manager.accounts[1])

    assert refusal(exc_info) == STRANGER_ERROR


def test_a_rollup_that_was_never_added_has_no_batches(manager):
    with pytest.raises(Refused) as exc_info:
        manager.send("sequenceBatches", OTHER, 1, bytes(32))

    assert refusal(exc_info) == ("RollupMustExist", ())


def test_a_new_leaf_comes_as_two_events_that_belong_together(manager):
    first, second = manager.send("updateExitRoot", b"\x0a" * 32, b"\x0b" * 32).events

    assert first == ("UpdateL1InfoTree", {"mainnetExitRoot": b"\x0a" * 32, "rollupExitRoot": b"\x0b" * 32})
    assert second[0] == "UpdateL1InfoTreeV2"
    assert second[1]["leafCount"] == 2
    assert second[1]["blockhash"] != 0
