"""ServiceManager.sol: tasks, balances and verifiers, without a pairing."""

import pytest
from attestrio.roles.keccak import keccak256
from evm import Deployed, Refused, batch_id, refusal

ROOT, OTHER_ROOT = b"\x11" * 32, b"\x12" * 32
LIMIT = 10**16


@pytest.fixture
def manager():
    manager = Deployed("ServiceManager", b"\x99" * 20)
    manager.send("setAggregator", manager.accounts[4])
    return manager


@pytest.fixture
def aggregator(manager):
    return manager.accounts[4]


@pytest.fixture
def batcher(manager):
    return manager.accounts[1]


def test_a_task_is_kept_under_root_and_sender(manager, batcher):
    sent = manager.send("createNewTask", ROOT, "http://batches/1", LIMIT, by=batcher, value=2 * LIMIT)

    assert manager.call("batchesState", batch_id(ROOT, batcher)) == (sent.block, False, LIMIT)
    assert sent.events == [
        ("BatcherBalanceUpdated", {"batcher": batcher, "newBalance": 2 * LIMIT}),
        (
            "NewBatchV3",
            {
                "batchMerkleRoot": ROOT, "senderAddress": batcher, "taskCreatedBlock": sent.block,
                "batchDataPointer": "http://batches/1", "respondToTaskFeeLimit": LIMIT,
            },
        ),
    ]  # fmt: skip


def test_the_identifier_hash_is_that_of_the_specification():
    assert batch_id(b"\x11" * 32, b"\x22" * 20).hex() == (
        "dde12d89b7c536e911cc4f4429659ffbad6be3dbfb805af14829e8b78dd87eee"
    )


def test_a_task_that_was_never_made_has_block_0(manager, batcher):
    assert manager.call("batchesState", batch_id(ROOT, batcher)) == (0, False, 0)


def test_a_task_is_made_once(manager, batcher):
    manager.send("createNewTask", ROOT, "", LIMIT, by=batcher, value=LIMIT)

    with pytest.raises(Refused) as again:
        manager.send("createNewTask", ROOT, "", LIMIT, by=batcher, value=LIMIT)

    assert refusal(again) == ("BatchAlreadySubmitted", (batch_id(ROOT, batcher),))


def test_two_senders_may_have_one_root(manager, batcher):
    other = manager.accounts[2]

    first = manager.send("createNewTask", ROOT, "", 0, by=batcher)
    second = manager.send("createNewTask", ROOT, "", 0, by=other)

    assert manager.call("batchesState", batch_id(ROOT, batcher)) == (first.block, False, 0)
    assert manager.call("batchesState", batch_id(ROOT, other)) == (second.block, False, 0)


def test_a_task_needs_a_balance_of_its_fee_limit(manager, batcher):
    with pytest.raises(Refused) as poor:
        manager.send("createNewTask", ROOT, "", LIMIT, by=batcher, value=LIMIT - 1)

    assert refusal(poor) == ("InsufficientFunds", (batcher, LIMIT, LIMIT - 1))


def test_only_the_aggregator_responds(manager, batcher, aggregator):
    with pytest.raises(Refused) as stranger:
        manager.call("respondToTaskV2", ROOT, batcher, nothing(), by=batcher)

    assert refusal(stranger) == ("SenderIsNotAggregator", (batcher, aggregator))


def test_a_response_needs_a_task(manager, batcher, aggregator):
    with pytest.raises(Refused) as unknown:
        manager.call("respondToTaskV2", ROOT, batcher, nothing(), by=aggregator)

    assert refusal(unknown) == ("BatchDoesNotExist", (batch_id(ROOT, batcher),))


def test_a_response_needs_the_balance_that_the_task_needed(manager, batcher, aggregator):
    manager.send("createNewTask", ROOT, "", LIMIT, by=batcher, value=LIMIT)
    manager.send("withdraw", 1, by=batcher)

    with pytest.raises(Refused) as poor:
        manager.call("respondToTaskV2", ROOT, batcher, nothing(), by=aggregator)

    assert refusal(poor) == ("InsufficientFunds", (batcher, LIMIT, LIMIT - 1))


def test_a_response_in_the_block_of_its_task_is_too_early(manager, batcher, aggregator):
    """A call runs on the newest block, which is the task's."""
    manager.send("createNewTask", ROOT, "", 0, by=batcher)

    with pytest.raises(Refused) as early:
        manager.call("respondToTaskV2", ROOT, batcher, nothing(), by=aggregator)

    assert refusal(early) == ("Error", ("BLSSignatureChecker.checkSignatures: invalid reference block",))


def test_money_comes_in_three_ways_and_goes_out(manager, batcher):
    by_deposit = manager.send("depositToBatcher", batcher, value=5)
    by_transfer = manager.send(None, by=batcher, value=7)
    taken = manager.send("withdraw", 3, by=batcher)

    assert by_deposit.events == [("BatcherBalanceUpdated", {"batcher": batcher, "newBalance": 5})]
    assert by_transfer.events == [("BatcherBalanceUpdated", {"batcher": batcher, "newBalance": 12})]
    assert taken.events == [("BatcherBalanceUpdated", {"batcher": batcher, "newBalance": 9})]
    assert manager.call("balanceOf", batcher) == manager.call("batchersBalances", batcher) == 9
    assert manager.balance(manager.address) == 9


def test_nothing_is_no_deposit(manager, batcher):
    with pytest.raises(Refused) as empty:
        manager.call("depositToBatcher", batcher)

    assert refusal(empty) == ("InvalidDepositAmount", (0,))


def test_nobody_withdraws_more_than_he_has(manager, batcher):
    manager.send("depositToBatcher", manager.accounts[2], value=5)

    with pytest.raises(Refused) as poor:
        manager.call("withdraw", 5, by=batcher)

    assert refusal(poor) == ("InsufficientFunds", (batcher, 5, 0))


def test_a_verifier_is_a_bit(manager):
    disabled = manager.send("disableVerifier", 3)
    manager.send("disableVerifier", 0)
    enabled = manager.send("enableVerifier", 3)

    assert disabled.events == [("VerifierDisabled", {"verifierIdx": 3})]
    assert enabled.events == [("VerifierEnabled", {"verifierIdx": 3})]
    assert manager.call("disabledVerifiers") == 1
    assert [manager.call("isVerifierDisabled", index) for index in range(4)] == [True, False, False, False]

    manager.send("setDisabledVerifiers", 0b10100)
    assert [index for index in range(8) if manager.call("isVerifierDisabled", index)] == [2, 4]


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("disableVerifier", (1,)),
        ("enableVerifier", (1,)),
        ("setDisabledVerifiers", (1,)),
        ("setAggregator", (bytes(20),)),
        ("setOperator", (bytes(20), (1, 2), ((0, 0), (0, 0)), 1)),
        ("removeOperator", (bytes(20),)),
    ],
)
def test_only_the_owner_sets(manager, batcher, function, arguments):
    with pytest.raises(Refused) as stranger:
        manager.call(function, *arguments, by=batcher)

    assert refusal(stranger) == ("OnlyOwner", (batcher,))


def test_there_is_always_an_aggregator(manager, aggregator):
    with pytest.raises(Refused) as nobody:
        manager.call("setAggregator", bytes(20))

    assert refusal(nobody) == ("InvalidAddress", ("alignedAggregator",))
    assert manager.call("alignedAggregator") == aggregator


def test_a_proof_is_not_included_before_its_batch_is_verified(manager, batcher):
    leaf = (b"\1" * 32, b"\2" * 32, b"\3" * 32, b"\4" * 20)
    root = keccak256(b"".join(leaf))
    manager.send("createNewTask", root, "", 0, by=batcher)

    function = "verifyBatchInclusion(bytes32,bytes32,bytes32,bytes20,bytes32,bytes,uint256,address)"
    assert manager.call(function, *leaf, root, b"", 0, batcher) is False


def nothing():
    """A response in which nobody signs."""
    return [], [], [(0, 0)], ((0, 0), (0, 0)), (0, 0), [0], [0], [[]]
