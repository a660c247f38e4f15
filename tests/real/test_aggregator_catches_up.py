"""Rows 11, 12, 15 and 16 of Aligned's list, and what the first repair of Aligned's own aggregator could not do."""

import trio
from aligned_kit import world_of
from anvil_kit import needs_anvil
from attestrio.aggregator import rows
from suite import patient

pytestmark = needs_anvil

OPERATORS = 4
BLOCK_S = 0.25
FAST_BLOCK_S = 0.15
OUTAGE_BLOCKS = 75  # 15 minutes of Ethereum
LIMIT_S = patient(90.0)


async def test_row_11_batches_without_a_quorum_get_theirs_when_the_operators_are_back(tmp_path):
    with trio.fail_after(LIMIT_S):
        async with world_of(tmp_path, block_s=BLOCK_S) as world:
            aggregator = await world.aggregator()
            await world.operators(OPERATORS, aggregator.address)
            world.nursery.start_soon(world.mine_for_ever)
            await world.start()
            before = [identifier for number in range(5) for identifier in await world.post(number)]
            await world.until_signed(30)
            gone, there = world.members[:2], world.members[2:]
            for one in gone:  # with signatures that nobody has got yet
                await one.stop()
            await aggregator.start()
            for number in range(5, 15):
                await world.post(number)
            await world.until_signed(30, members=there)
            await trio.sleep(4 * BLOCK_S)
            assert await world.pending() == world.posted.keys()

            await world.start(*gone)

            await world.until_answered(30)
            await world.assert_answered_once_each()
            for one in world.members:  # who is the last of four finds a batch or two answered already
                assert set(one.verifier.seen.values()) == {1}
                assert {world.posted[identifier].proof for identifier in before} <= one.verifier.seen.keys()


async def test_row_12_one_root_of_two_senders_posted_while_nobody_was_there_is_two_batches(tmp_path):
    with trio.fail_after(LIMIT_S):
        async with world_of(tmp_path, block_s=BLOCK_S) as world:
            aggregator = await world.aggregator()
            await world.operators(OPERATORS, aggregator.address)
            world.nursery.start_soon(world.mine_for_ever)
            await world.start()
            first, second = await world.post(0, *world.anvil.accounts[1:3])
            await world.until_signed(30)

            await aggregator.start()

            await world.until_answered(30)
            await world.assert_answered_once_each()
            assert first != second
            assert world.posted[first].root == world.posted[second].root


async def test_row_15_events_that_a_node_shows_two_blocks_late_are_found_by_one_query_a_round(tmp_path):
    with trio.fail_after(LIMIT_S):
        async with world_of(tmp_path, block_s=BLOCK_S) as world:
            proxy = await world.proxy()
            aggregator = await world.aggregator(chain_url=proxy.url)
            await world.operators(OPERATORS, aggregator.address)
            await aggregator.start()
            world.nursery.start_soon(world.mine_for_ever)
            await world.start()
            await world.post(0)
            await world.until_answered(30)
            late = set()
            proxy.hides = lambda log: log["topics"][1] in late
            proxy.forget()
            for number in range(1, 6):
                (identifier,) = await world.post(number)
                late.add(f"0x{world.posted[identifier].root.hex()}")
            await world.until(lambda: all_acknowledged(world), 30)  # also what nobody can explain yet
            signed_at = await world.anvil.head()
            assert len(await world.pending()) == 5
            await world.until(lambda: is_at(world, signed_at + 2), 30)
            late.clear()

            await world.until_answered(60)

            rounds = (await aggregator.metrics()).value("aggregator_recovery_rounds_total")
            by_root = [one for one in proxy.queries if len(one["topics"]) > 1]
            assert 1 <= len(by_root) <= rounds
            await world.assert_answered_once_each()


async def all_acknowledged(world):
    return all(world.posted.keys() <= member.line.acknowledged for member in world.members)


async def is_at(world, block):
    return await world.anvil.head() >= block


async def test_row_16a_a_batch_that_moves_a_block_up_during_the_catch_up_is_answered_by_what_was_sent(tmp_path):
    with trio.fail_after(LIMIT_S):
        async with world_of(tmp_path, block_s=BLOCK_S) as world:
            aggregator, moved = await caught_up(world, blocks_on_top=1)
            await world.until(lambda: all_sent(world), 30)  # an aggregate of the old block is on its way
            head = await world.anvil.head()
            assert await world.created(moved) == head - 1

            await world.reorg(3, {moved: head})
            assert await world.created(moved) == head
            world.go_on_mining()

            await world.until_answered(30)
            await world.assert_answered_once_each()
            task = rows.unpack((await aggregator.table(rows.TASKS))[moved], rows.Task)
            assert (task.created, task.void) == (head, False)


async def test_row_16b_a_batch_that_is_gone_during_the_catch_up_and_posted_again_is_answered(tmp_path):
    with trio.fail_after(LIMIT_S):
        async with world_of(tmp_path, block_s=BLOCK_S) as world:
            aggregator, gone = await caught_up(world, blocks_on_top=0)

            async def known():
                return gone in await aggregator.table(rows.TASKS)

            await world.until(known, 30)
            await world.reorg(3)
            assert await world.created(gone) == 0
            await world.anvil.mine()

            async def void():
                return rows.unpack((await aggregator.table(rows.TASKS))[gone], rows.Task).void

            await world.until(void, 30)
            (again,) = await world.post(100)
            world.go_on_mining()

            await world.until_answered(30)
            await world.assert_answered_once_each()
            assert again == gone


async def caught_up(world, blocks_on_top):
    """An aggregator that has just come back to six batches and one in the newest blocks, and no further block."""
    aggregator = await world.aggregator()
    await world.operators(OPERATORS, aggregator.address)
    world.nursery.start_soon(world.mine_for_ever)
    await world.start()
    for number in range(6):
        await world.post(number)
    await world.until_signed(30)
    world.stop_mining()
    await world.anvil.mine(3)  # no older batch is in the blocks that go
    (newest,) = await world.post(100)
    await world.anvil.mine(1)
    await world.anvil.mine(blocks_on_top)
    await world.until_signed(30)
    await aggregator.start()
    return aggregator, newest


async def all_sent(world):
    return await world.pool() == len(world.posted)


async def test_the_review_of_the_first_repair_4_operators_and_15_minutes_away_then_old_and_new_are_answered(tmp_path):
    with trio.fail_after(LIMIT_S):
        async with world_of(tmp_path, block_s=FAST_BLOCK_S) as world:
            aggregator = await world.aggregator()
            await world.operators(OPERATORS, aggregator.address)
            await aggregator.start()
            world.nursery.start_soon(world.mine_for_ever)
            await world.start()
            await world.post(0)
            await world.until_answered(30)
            await aggregator.kill()
            gone_at = await world.anvil.head()
            number = 1
            while await world.anvil.head() < gone_at + OUTAGE_BLOCKS:
                await world.post(number)
                number += 1
                await trio.sleep(2 * FAST_BLOCK_S)
            assert len(await world.pending()) == number - 1

            await aggregator.start()

            for new in range(number, number + 10):
                await world.post(new)
                await trio.sleep(2 * FAST_BLOCK_S)
            await world.until_answered(30)
            await world.assert_answered_once_each()
