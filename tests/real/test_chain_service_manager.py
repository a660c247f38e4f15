"""ServiceManager.sol on a real Ethereum node: responses, prices, and what reorgs do to tasks."""

from contextlib import asynccontextmanager

import pytest
from anvil_kit import needs_anvil
from attestrio.bls import SecretKey, g2_words, operator_id, sum_g1, sum_g2
from attestrio.l1 import Address, Event, Reverts, filter_for
from attestrio.l1.errors import CallReverted
from attestrio.roles.keccak import keccak256
from attestrio.sim.anvil import TransactionFailed, running_anvil
from attestrio.sim.artifacts import artifact
from attestrio.sim.service_manager import SimServiceManager, TaskState

pytestmark = needs_anvil

ROOT = b"\x11" * 32
OPERATORS = {Address(bytes([0xA0 + n]) * 20): SecretKey(1000 + n) for n in range(4)}
NEW_BATCH = Event.parse(
    "NewBatchV3(bytes32 indexed batchMerkleRoot, address senderAddress, uint32 taskCreatedBlock,"
    " string batchDataPointer, uint256 respondToTaskFeeLimit)"
)
VERIFIED = Event.parse("BatchVerified(bytes32 indexed batchMerkleRoot, address senderAddress)")
REVERTS = Reverts({one.selector: one for one in artifact("ServiceManager").errors.values()} | Reverts.parse().known)


@asynccontextmanager
async def network():
    """A service manager with four operators of 100 each; account 4 aggregates."""
    async with running_anvil() as anvil:
        manager = await SimServiceManager.deploy(anvil, anvil.accounts[4])
        for address, secret in OPERATORS.items():
            await manager.register(address, secret, 100)
        yield anvil, manager


async def respond(manager, signers, sender, block, root=ROOT):
    """As an aggregator does it: indices from the contract at the task's block, then one transaction."""
    message = keccak256(root + sender)
    unsorted = {operator_id(one.public_g1()): one for one in OPERATORS.values() if one not in signers}
    ids, absent = sorted(unsorted), [unsorted[id] for id in sorted(unsorted)]
    functions = manager.contract.functions
    ((bitmaps, apks, totals, stakes),) = await manager.reader.call(
        functions["getCheckSignaturesIndices"], manager.address, block, b"\0", ids
    )

    def words(point):
        return point.x, point.y

    params = (
        bitmaps, [words(one.public_g1()) for one in absent],
        [words(sum_g1([one.public_g1() for one in OPERATORS.values()]))],
        g2_words(sum_g2([one.public_g2() for one in signers])), words(sum_g1([one.sign(message) for one in signers])),
        apks, totals, stakes,
    )  # fmt: skip
    return await manager.send("respondToTaskV2", root, sender, params, by=manager.anvil.accounts[4])


def refused(exc_info):
    return REVERTS.read_untrusted(exc_info.value.data)


async def caught(group_of, call):
    """What `call` was refused with."""
    with pytest.raises(group_of) as exc_info:
        await call
    return refused(exc_info)


async def test_a_task_is_posted_signed_and_verified():
    async with network() as (anvil, manager):
        sender, secrets = anvil.accounts[1], list(OPERATORS.values())
        block = await manager.create_task(sender, ROOT, "http://batches/1")

        half = await caught(CallReverted, respond(manager, secrets[:2], sender, block))
        answered = await respond(manager, secrets[:3], sender, block)
        again = await caught(CallReverted, respond(manager, secrets, sender, block))

        assert half == ("InvalidQuorumThreshold", (20_000, 26_800))
        assert again == ("BatchAlreadyResponded", (keccak256(ROOT + sender),))
        logs = await anvil.provider.logs(filter_for(manager.address, NEW_BATCH, VERIFIED), block, answered)
        assert [log.topics[0] for log in logs] == [NEW_BATCH.topic, VERIFIED.topic]
        assert NEW_BATCH.read_untrusted(logs[0]) == {
            "batchMerkleRoot": ROOT, "senderAddress": sender, "taskCreatedBlock": block,
            "batchDataPointer": "http://batches/1", "respondToTaskFeeLimit": 10**16,
        }  # fmt: skip
        assert (await manager.task(ROOT, sender)).responded
        assert await manager.task(ROOT, sender, at=block) == TaskState(block, False, 10**16)


async def test_who_left_after_the_task_still_counts_for_it():
    async with network() as (anvil, manager):
        sender, secrets = anvil.accounts[1], list(OPERATORS.values())
        block = await manager.create_task(sender, ROOT, "")
        await manager.remove(next(iter(OPERATORS)))

        await respond(manager, secrets, sender, block)

        assert (await manager.task(ROOT, sender)).responded


async def test_a_reorg_takes_a_task_and_its_successor_has_another_block():
    async with network() as (anvil, manager):
        sender, secrets = anvil.accounts[1], list(OPERATORS.values())
        lost = await manager.create_task(sender, ROOT, "")
        await anvil.reorg(1)
        gone = await manager.task(ROOT, sender)

        block = await manager.create_task(sender, ROOT, "")
        await respond(manager, secrets, sender, block)

        assert gone.created == 0
        assert block == lost + 1
        assert (await manager.task(ROOT, sender)).responded


async def test_a_rollback_takes_a_response_and_it_can_be_sent_again():
    async with network() as (anvil, manager):
        sender, secrets = anvil.accounts[1], list(OPERATORS.values())
        block = await manager.create_task(sender, ROOT, "")
        await respond(manager, secrets, sender, block)
        await anvil.rollback(1)
        before = await manager.task(ROOT, sender)

        await respond(manager, secrets, sender, block)

        assert (before.created, before.responded) == (block, False)
        assert (await manager.task(ROOT, sender)).responded


async def test_a_fee_above_the_limit_shows_when_the_response_is_mined():
    """An estimate without a price has none, so the contract sees no fee; the transaction then costs its gas."""
    async with network() as (anvil, manager):
        sender, secrets = anvil.accounts[1], list(OPERATORS.values())
        block = await manager.create_task(sender, ROOT, "", fee_limit=1, value=1)

        with pytest.raises(TransactionFailed):
            await respond(manager, secrets, sender, block)

        assert not (await manager.task(ROOT, sender)).responded


async def test_a_response_on_the_block_of_its_task_is_too_early():
    async with network() as (anvil, manager):
        sender = anvil.accounts[1]
        block = await manager.create_task(sender, ROOT, "")
        nothing = ([], [], [(0, 0)], ((0, 0), (0, 0)), (0, 0), [0], [0], [[]])

        asked = manager.reader.call(
            manager.contract.functions["checkSignatures"], keccak256(ROOT + sender), block, nothing, at=block
        )

        assert await caught(CallReverted, asked) == (
            "Error", ("BLSSignatureChecker.checkSignatures: invalid reference block",),
        )  # fmt: skip


async def test_the_state_of_the_operators_is_that_of_the_block():
    async with network() as (anvil, manager):
        full = await anvil.head()
        left = await manager.remove(next(iter(OPERATORS)))

        def state(block):
            return manager.reader.call(manager.contract.functions["getOperatorState"], manager.address, b"\0", block)

        ((before,),) = await state(full)
        ((after,),) = await state(left)

        assert [bytes.fromhex(address[2:]) for address, _, _ in before] == list(OPERATORS)
        assert after == before[1:]
