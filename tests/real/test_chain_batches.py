"""Batches of a rollup on a real Ethereum node: what counts at which finality, after reverts and after reorgs."""

import pytest
from anvil_kit import needs_anvil
from attestrio.batches.l1 import COMMITTED, DiamondBatches, Finality
from attestrio.errors import SourceError
from attestrio.l1 import Contract, Endpoint, L1Provider
from attestrio.l1.errors import CallReverted, ChainChanged
from attestrio.roles import BatchNumber, GenesisHash
from attestrio.sim.anvil import AnvilFailed, running_anvil
from attestrio.sim.zkchain import ZkChain, ZkRollup

pytestmark = needs_anvil

GENESIS, NEXT_GENESIS = GenesisHash(b"\x01" * 32), GenesisHash(b"\x02" * 32)


def reader(rollup, finality=Finality.LATEST):
    return DiamondBatches(rollup.anvil.provider, rollup.diamond, finality)


async def known(batches, *numbers):
    return [await batches.hash_of(BatchNumber(number)) for number in numbers]


async def test_what_is_sealed_here_is_committed_there():
    async with running_anvil() as anvil:
        chain = ZkChain(GENESIS)
        rollup = await ZkRollup.deploy(anvil, chain)

        await rollup.follow(120)

        assert await known(reader(rollup), 0, 1, 60, 120, 121) == [*map(chain.hash, (0, 1, 60, 120)), None]


async def test_a_batch_reaches_each_finality_in_its_turn():
    async with running_anvil() as anvil:
        rollup = await ZkRollup.deploy(anvil, ZkChain(GENESIS), execute_after=1)
        await anvil.mine(3)
        await rollup.follow(1)  # two blocks: committed, verified

        async def counted():
            batches = [reader(rollup, finality) for finality in Finality]
            return [[n for n in (0, 1, 2) if (await known(one, n)) != [None]] for one in batches]

        now = await counted()
        await rollup.follow(2)  # three: committed, verified, batch 1 executed
        await anvil.mine(2)
        later = await counted()

        assert now == [[0, 1], [0, 1], [0], [0]]  # latest, safe, finalized, executed
        assert later == [[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1]]


async def test_a_reverted_batch_does_not_count_although_its_hash_is_still_there():
    async with running_anvil() as anvil:
        chain = ZkChain(GENESIS)
        rollup = await ZkRollup.deploy(anvil, chain)
        await rollup.follow(5)
        stale = chain.hash(5)
        chain.height.value = 5

        chain.revert(3, NEXT_GENESIS)
        await rollup.follow(3)
        reverted = await known(reader(rollup), 3, 4, 5)
        await rollup.follow(4)

        assert reverted[0] is not None
        assert reverted[1:] == [None, None]
        assert await known(reader(rollup), 4, 5) == [chain.hash(4), None]
        diamond = Contract(anvil.provider, rollup.diamond)
        (left,) = await diamond.call(rollup.contract.functions["storedBatchHash"], 5)
        assert left == stale.to_bytes()


async def test_an_executed_batch_cannot_be_reverted():
    async with running_anvil() as anvil:
        chain = ZkChain(GENESIS)
        rollup = await ZkRollup.deploy(anvil, chain, execute_after=0)
        await rollup.follow(2)
        chain.height.value = 2
        chain.revert(1, NEXT_GENESIS)

        with pytest.raises(CallReverted):
            await rollup.follow(1)


async def test_a_reorg_takes_a_batch_back_and_it_is_committed_again():
    async with running_anvil() as anvil:
        chain = ZkChain(GENESIS)
        rollup = await ZkRollup.deploy(anvil, chain)
        await rollup.follow(1)
        await rollup.follow(2)
        before = await known(reader(rollup), 1, 2)

        await anvil.reorg(2)  # the blocks of batch 2: its commit and its verification
        after = await known(reader(rollup), 1, 2)
        await rollup.follow(2)

        assert before == [chain.hash(1), chain.hash(2)]
        assert after == [chain.hash(1), None]
        assert await known(reader(rollup), 1, 2) == before


async def test_a_block_that_a_reorg_replaced_is_not_read_from():
    """Counter and hash are asked of one block by its hash: if it goes in between, there is no answer."""
    async with running_anvil() as anvil:
        rollup = await ZkRollup.deploy(anvil, ZkChain(GENESIS))
        await rollup.follow(1)
        head = await anvil.provider.block("latest")
        await anvil.reorg(1)
        impatient = L1Provider([Endpoint(anvil.url, anvil.provider.chain_id)], schedule=())

        async with impatient:
            with pytest.raises(SourceError):
                await Contract(impatient, rollup.diamond).call(COMMITTED, at=head.hash)


async def test_another_chain_is_not_believed():
    async with running_anvil() as anvil:
        rollup = await ZkRollup.deploy(anvil, ZkChain(GENESIS))

        async with L1Provider([Endpoint(anvil.url, 1)], schedule=()) as main_net:
            with pytest.raises(ChainChanged):
                await DiamondBatches(main_net, rollup.diamond, Finality.LATEST).hash_of(BatchNumber(0))


async def test_an_anvil_that_does_not_start_says_why():
    with pytest.raises(AnvilFailed, match="unexpected argument"):
        async with running_anvil(None, "--no-such-option"):
            pass
