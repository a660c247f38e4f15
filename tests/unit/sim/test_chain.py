"""The simulated chain: which batches there are, and when."""

import pytest
import trio
from attestrio.roles import Batch, BatchNumber, GenesisHash
from attestrio.sim.chain import SimChain

GENESIS, OTHER = GenesisHash(b"\x11" * 32), GenesisHash(b"\x22" * 32)


async def known(chain, numbers):
    return [number for number in numbers if await chain.batch_to_sign(BatchNumber(number)) is not None]


async def test_batch_is_known_once_it_is_sealed_and_not_before():
    chain = SimChain(GENESIS)

    before = await known(chain, range(5))
    chain.seal()
    one = await known(chain, range(5))
    chain.seal(2)

    assert (before, one) == ([], [0])
    assert await known(chain, range(5)) == [0, 1, 2]
    assert chain.height.value == 2


async def test_chain_begins_with_its_first_batch():
    chain = SimChain(GENESIS, first=8)
    chain.seal(2)

    assert await known(chain, range(12)) == [8, 9]


async def test_batch_carries_number_hash_and_genesis():
    chain = SimChain(GENESIS)
    chain.seal(4)

    assert await chain.batch_to_sign(BatchNumber(3)) == Batch(BatchNumber(3), chain.hash(3), GENESIS)


def test_hashes_depend_on_seed_genesis_and_number_and_on_nothing_else():
    hashes = [
        SimChain(genesis, seed=seed).hash(number)
        for genesis in (GENESIS, OTHER)
        for seed in (0, 1)
        for number in (0, 1)
    ]

    assert len(set(hashes)) == 8
    assert SimChain(GENESIS, first=1).hash(1) == hashes[1]


async def test_running_chain_seals_at_once_and_then_at_every_interval(nursery, autojump_clock):
    chain = SimChain(GENESIS)
    times = []

    nursery.start_soon(chain.run, 2.0)
    for number in range(3):
        await chain.height.wait_value(lambda height, number=number: height >= number)
        times.append(trio.current_time())

    assert times == [0.0, 2.0, 4.0]


async def test_asking_is_a_checkpoint_also_for_a_batch_that_is_known():
    chain = SimChain(GENESIS)
    chain.seal()

    with trio.CancelScope() as scope:
        scope.cancel()
        await chain.batch_to_sign(BatchNumber(0))
        pytest.fail("not cancelled")

    assert scope.cancelled_caught


async def test_revert_takes_the_batches_above_away_and_begins_a_genesis_after_the_last_that_stays():
    chain = SimChain(GENESIS)
    chain.seal(6)
    gone = chain.hash(4)

    chain.revert(3, OTHER)
    before = await known(chain, range(8))
    chain.seal(2)

    assert before == []  # what stays is of the old genesis, and nobody attests it again
    assert await known(chain, range(8)) == [4, 5]
    assert await chain.batch_to_sign(BatchNumber(4)) == Batch(BatchNumber(4), chain.hash(4), OTHER)
    assert chain.hash(4) != gone


async def test_later_revert_may_go_back_behind_an_earlier_one_and_not_before_the_chain():
    chain = SimChain(GENESIS, first=2)
    chain.seal(6)
    chain.revert(5, OTHER)

    chain.revert(1, GENESIS)
    chain.seal()

    assert await known(chain, range(8)) == [2]
    for to in (0, 3):
        with pytest.raises(ValueError, match=f"revert to {to}: the chain has batches 2 to 2"):
            chain.revert(to, OTHER)


async def test_first_batch_is_known_for_the_genesis_the_chain_is_on():
    chain = SimChain(GENESIS, first=2)
    chain.seal(6)
    before = await chain.first_batch(GENESIS), await chain.first_batch(OTHER)

    chain.revert(5, OTHER)

    assert before == (2, None)
    assert (await chain.first_batch(GENESIS), await chain.first_batch(OTHER)) == (None, 6)
