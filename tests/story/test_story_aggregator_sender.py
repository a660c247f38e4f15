"""Answers on their way to the chain, in virtual time. Row numbers are those of Aligned's acceptance list."""

from itertools import pairwise
from random import Random

import pytest
import trio
from attestrio.aggregator.ends import TURN_BLOCKS
from attestrio.aggregator.far import GIVE_UP_BLOCKS
from attestrio.aggregator.nonces import FILLERS
from attestrio.aggregator.rows import Phase
from attestrio.aggregator.settings import FeeSettings, SenderSettings
from attestrio.errors import SourceError
from attestrio.kit.events import NAMED
from attestrio.kit.jsonrpc import RpcFailed
from sender_world import BLOCK_S, GAS, Killed, revert, settle, world_of

BASE = 10**9


def everything_is_right(world):
    """Row 6: one success for each batch, nothing mined in vain, no nonce left out."""
    assert sorted(world.chain.successes()) == sorted(identifier for identifier, _ in world.posted)
    assert world.chain.failures() == []
    assert world.chain.nonces() == list(range(len(world.chain.nonces())))


def all_are(world, phase):
    return lambda: all((row := world.answer(one)) is not None and row.phase is phase for one, _ in world.posted)


async def test_row_6_one_transaction_for_each_batch_and_no_nonce_left_out(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        batches = [world.post(number) for number in range(40)]

        await world.until(all_are(world, Phase.CONFIRMED))

        everything_is_right(world)
        assert all(len(world.chain.offers(one)) == 1 for one in batches)
        assert world.metrics.value("attestrio_aggregator_settled_total", by="us") == 40
        assert not world.state.signed
        assert not world.sender.steps.open


async def test_the_oldest_are_sent_first_and_never_more_than_the_window(tmp_path, autojump_clock):
    settings = SenderSettings(in_flight=4)
    async with world_of(tmp_path, settings=settings) as world, world.running():
        old = [world.post(number) for number in range(4)]
        world.chain.mine()
        new = [world.post(number) for number in range(10, 14)]
        world.chain.mine()
        await world.block()
        world.chain.stuck = True

        first = {tx.identifier for _, tx in world.chain.sent}
        assert first == set(old)
        world.chain.stuck = False
        await world.until(all_are(world, Phase.CONFIRMED))
        assert [tx.identifier for _, tx in world.chain.sent[4:]] != old
        assert {tx.identifier for _, tx in world.chain.sent[4:]} == set(new)
        everything_is_right(world)


@pytest.mark.parametrize("again", [False, True], ids=["new", "after a restart"])
async def test_transactions_come_to_the_network_in_the_order_of_their_nonces(tmp_path, autojump_clock, again):
    random = Random(7)
    async with world_of(tmp_path) as world:
        async with world.running():
            for number in range(16):
                world.post(number)
            world.chain.stuck = True
            world.chain.latency_s = lambda _: random.uniform(0, 0.5)
            await world.block(3)
            taken = [tx.nonce for _, tx in world.chain.sent]
        if again:
            world.chain.pool.clear()
            world.chain.sent.clear()
            async with world.running():
                await world.block(1)
                taken = [tx.nonce for _, tx in world.chain.sent]

        assert taken == list(range(16))


async def test_one_that_hangs_holds_those_behind_it_back_for_a_part_of_a_block(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        for number in range(16):
            world.post(number)
        world.chain.latency_s = lambda tx: 0 if tx.nonce else 10 * BLOCK_S
        began = trio.current_time()
        await world.block(3)

        taken = [(at - began, tx.nonce) for at, tx in world.chain.sent]
        assert [nonce for _, nonce in taken] == list(range(1, 16))
        assert {at for at, _ in taken} == {2 * BLOCK_S + TURN_BLOCKS * BLOCK_S}
        await world.until(all_are(world, Phase.CONFIRMED))
        everything_is_right(world)


async def test_nothing_is_sent_in_the_block_of_the_batch(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        world.post(1)
        await world.block()

        assert world.chain.sent == []
        await world.block()
        assert len(world.chain.sent) == 1


async def test_the_calls_for_a_batch_are_few_and_do_not_grow_with_others(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        for number in range(30):
            world.post(number)

        await world.until(all_are(world, Phase.CONFIRMED))

        own = [what for what in world.chain.asked if what not in ("price", "nonce", "balance")]
        assert len(own) == 30 * 5  # indices, estimate, send, receipt, receipt once more when it is deep enough
        assert world.chain.asked.count("price") <= world.chain.head + 1


# --- row 9


@pytest.mark.parametrize("point", ["before write", "after write", "before send", "after send"])
async def test_row_9_killed_at_any_point_each_batch_is_answered_once(tmp_path, autojump_clock, point):
    async with world_of(tmp_path) as world:
        for number in range(6):
            world.post(number)
        at, reached = 0, True
        while reached:
            reached = await lived_until(world, point, at)
            at += 1
        async with world.running():
            await world.until(all_are(world, Phase.CONFIRMED))

        everything_is_right(world)
        assert at > 2, "the point was hardly ever reached"


async def lived_until(world, point, at):
    """Run until the point was reached for the `at`-th time in this life; False: it never was, and all is done."""
    left = at

    def kill(reached):
        nonlocal left
        if reached == point:
            left -= 1
            if left < 0:
                raise Killed(point)

    world.kill = kill
    try:
        async with world.running():
            await world.until(all_are(world, Phase.CONFIRMED))
    except* Killed:
        world.chain.mine()
    world.kill = lambda point: None
    return left < 0


@pytest.mark.parametrize("point", ["before write", "after write", "before send", "after send"])
@pytest.mark.parametrize("at", range(12))
async def test_row_9_killed_once_and_taken_over(tmp_path, autojump_clock, point, at):
    async with world_of(tmp_path) as world:
        for number in range(4):
            world.post(number)

        await lived_until(world, point, at)
        async with world.running():
            await world.until(all_are(world, Phase.CONFIRMED))

        everything_is_right(world)


async def test_what_was_recorded_is_sent_again_byte_by_byte(tmp_path, autojump_clock):
    """Row 10: who records and is paused before sending can repeat that at worst."""
    async with world_of(tmp_path) as world:
        batch = world.post(1)
        await lived_until(world, "before send", 0)
        recorded = world.answer(batch).attempts

        async with world.running():
            await world.until(all_are(world, Phase.CONFIRMED))

        assert [tx.raw for _, tx in world.chain.sent] == [one.raw for one in recorded]


# --- row 16


async def test_row_16a_a_batch_that_moved_is_answered_by_what_was_sent(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        batch = world.post(1)
        await world.block()
        world.chain.stuck = True
        await world.block()
        world.chain.reorg(2, keep={batch})
        world.chain.mine()
        await world.scan()
        world.chain.stuck = False

        await world.until(all_are(world, Phase.CONFIRMED))

        everything_is_right(world)
        assert len(world.chain.offers(batch)) == 1


async def test_row_16b_a_batch_that_went_and_came_back_is_answered(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        gone, stays = world.post(1), world.post(2)
        await world.block(2)
        world.chain.reorg(2, keep={stays})
        world.chain.pool.clear()
        await world.block(3)
        assert world.state.tasks[gone].void
        assert world.answer(gone).phase is Phase.WAITING

        world.chain.waiting.append(gone)
        await world.until(all_are(world, Phase.CONFIRMED))

        everything_is_right(world)


@pytest.mark.parametrize("pooled", [True, False], ids=["back in the pool", "lost"])
async def test_row_16c_an_answer_that_a_reorg_took_is_sent_again(tmp_path, autojump_clock, pooled):
    async with world_of(tmp_path, confirmations=6) as world, world.running():
        batches = [world.post(number) for number in range(3)]
        await world.until(all_are(world, Phase.MINED))
        sent = [tx.raw for _, tx in world.chain.sent]
        if pooled:
            world.chain.pool = {tx.nonce: tx for block in world.chain.blocks for tx, _, _ in block.mined}
        world.chain.reorg(2, keep=set(batches))
        assert world.chain.successes() == []

        await world.until(all_are(world, Phase.CONFIRMED))

        everything_is_right(world)
        assert {tx.raw for _, tx in world.chain.sent} == set(sent)
        assert world.metrics.value("attestrio_aggregator_answers_reorged_total") == (0 if pooled else 3)


async def test_an_answer_that_was_settled_and_is_gone_all_the_same_is_given_again(tmp_path, autojump_clock):
    async with world_of(tmp_path, confirmations=2) as world, world.running():
        batch = world.post(1)
        await world.until(all_are(world, Phase.CONFIRMED))
        world.chain.reorg(4, keep={batch})
        world.chain.mine()
        await world.scan()
        assert world.chain.successes() == []

        await world.until(lambda: world.chain.successes() == [batch])

        await world.until(all_are(world, Phase.CONFIRMED))
        everything_is_right(world)


# --- row 17


@pytest.mark.parametrize("drops", [False, True], ids=["a: stuck", "b: dropped"])
async def test_row_17_a_price_that_rose_tenfold_is_followed_with_the_same_nonce(tmp_path, autojump_clock, drops):
    async with world_of(tmp_path) as world, world.running():
        world.chain.drops = drops
        batches = [world.post(number) for number in range(3)]
        await world.block()
        world.chain.stuck = True
        await world.block()
        world.chain.stuck = False
        world.chain.set_price(10 * BASE)

        later = [world.post(number) for number in range(10, 13)]
        await world.until(all_are(world, Phase.CONFIRMED))

        everything_is_right(world)
        for batch in batches:
            offers = world.chain.offers(batch)
            assert len({nonce for _, nonce, _ in offers}) == 1
            assert all(after >= before * 1.1 for (_, _, before), (_, _, after) in pairwise(offers))
            assert offers[-1][2] >= 10 * BASE
            assert offers[1][0] - offers[0][0] <= world.settings.fees.bump_after_s + 12.0
        assert all(len(world.chain.offers(batch)) == 1 for batch in later)
        bumps = sum(len(world.chain.offers(batch)) - 1 for batch in batches)
        assert world.metrics.value("attestrio_aggregator_gas_price_bumps") == bumps


async def test_row_17c_a_fee_above_the_limit_is_parked_until_the_price_falls(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        batch = world.post(1, limit=5 * BASE * GAS)
        await world.block()
        world.chain.set_price(10 * BASE)
        await world.block(10)

        assert world.answer(batch).phase is Phase.PARKED
        assert world.answer(batch).reason == "price_too_high"
        assert world.metrics.value("attestrio_aggregator_parked_answers") == 1
        assert world.chain.sent == []
        world.chain.set_price(2 * BASE)
        await world.until(all_are(world, Phase.CONFIRMED))
        everything_is_right(world)


async def test_a_fee_limit_below_what_is_offered_usually_is_met_without_the_extra(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        batch = world.post(1, limit=11 * BASE // 10 * GAS)

        await world.until(all_are(world, Phase.CONFIRMED))

        assert [price for _, _, price in world.chain.offers(batch)] == [BASE]
        everything_is_right(world)


async def test_row_17c_one_that_cannot_pay_lets_others_have_its_nonce(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        poor = world.post(1, limit=5 * BASE * GAS)
        await world.block()
        world.chain.stuck = True
        rich = [world.post(number) for number in range(2, 6)]
        await world.block(2)
        assert [nonce for _, nonce, _ in world.chain.offers(poor)] == [0]
        assert len(world.chain.pool) == 5
        world.chain.stuck = False
        world.chain.set_price(10 * BASE)

        await world.until(lambda: set(world.chain.successes()) == set(rich))

        assert world.answer(poor).phase is Phase.PARKED
        world.chain.set_price(BASE)
        await world.until(all_are(world, Phase.CONFIRMED))
        everything_is_right(world)
        assert len(world.chain.nonces()) == 6  # five batches, and the nonce that was filled
        await settle()
        assert await world.journal.scan(FILLERS, 10) == []


async def test_a_parked_answer_that_is_still_in_the_pool_is_sent_when_the_price_falls(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        batch = world.post(1, limit=5 * BASE * GAS)
        await world.block()
        world.chain.stuck = True
        await world.block()
        world.chain.stuck = False
        world.chain.set_price(10 * BASE)
        await world.block(20)
        assert world.answer(batch).phase is Phase.PARKED

        world.chain.set_price(BASE)
        await world.until(all_are(world, Phase.CONFIRMED))

        everything_is_right(world)
        assert len(world.chain.offers(batch)) == 1


@pytest.mark.parametrize("price", [BASE, 2 * BASE], ids=["with the same bytes", "with a new price"])
async def test_who_loses_its_nonce_while_it_asks_the_chain_sends_nothing_with_it(tmp_path, autojump_clock, price):
    async with world_of(tmp_path) as world, world.running():
        slow = world.post(1, limit=5 * BASE * GAS)
        await world.block()
        world.chain.stuck = True
        await world.block()
        world.chain.set_price(10 * BASE)
        await world.block(10)
        assert world.answer(slow).phase is Phase.PARKED
        gate = world.chain.gates[slow] = trio.Event()
        world.chain.set_price(price)
        other = world.post(2)
        await world.block(12)
        assert slow in world.state.busy
        ((_, nonce, _), *_) = world.chain.offers(other)
        assert nonce == world.answer(slow).nonce

        gate.set()
        await settle()
        sent = len(world.chain.offers(slow))
        world.chain.stuck = False
        await world.until(all_are(world, Phase.CONFIRMED))

        everything_is_right(world)
        assert sent == 1
        assert world.chain.offers(slow)[-1][1] == nonce + 1


# --- one batch never blocks another


@pytest.mark.parametrize(
    ("refusal", "reason", "phase"),
    [
        (revert("InsufficientFunds", b"\1" * 20, 2, 1), "batcher_without_funds", Phase.PARKED),
        (revert("InvalidQuorumThreshold", 1, 2), "bad_aggregate", Phase.PARKED),
        (revert("Error", "BLSSignatureChecker.checkSignatures: signature is invalid"), "bad_aggregate", Phase.PARKED),
        (revert("Error", "Pausable: index is paused"), "refused", Phase.PARKED),
        (revert("Error", "BLSSignatureChecker.checkSignatures: invalid reference block"), "too_early", Phase.WAITING),
        (RpcFailed("stub", -32000, "execution timeout"), "node_refused", Phase.WAITING),
    ],
)
async def test_one_that_is_refused_blocks_nobody_and_is_tried_again(tmp_path, autojump_clock, refusal, reason, phase):
    async with world_of(tmp_path, settings=SenderSettings(in_flight=2)) as world, world.running():
        bad = world.post(0)
        good = [world.post(number) for number in range(1, 8)]
        world.chain.refuses[bad] = refusal

        await world.until(lambda: set(world.chain.successes()) == set(good), 20)

        assert (world.answer(bad).phase, world.answer(bad).reason) == (phase, reason)
        del world.chain.refuses[bad]
        await world.until(all_are(world, Phase.CONFIRMED))
        everything_is_right(world)


async def test_one_whose_endpoint_never_answers_blocks_nobody(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        slow = world.post(0)
        good = [world.post(number) for number in range(1, 8)]
        world.chain.slow.add(slow)

        await world.until(lambda: set(world.chain.successes()) == set(good), 10)

        assert world.answer(slow) is None


async def test_one_that_no_node_takes_gives_its_nonce_back(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        bad = world.post(0)
        good = [world.post(number) for number in range(1, 4)]
        refused = RpcFailed("stub", -32000, "exceeds block gas limit")
        world.chain.send_fault = lambda tx: refused if tx.identifier == bad else None

        await world.until(lambda: set(world.chain.successes()) == set(good), 20)

        assert (world.answer(bad).phase, world.answer(bad).reason) == (Phase.PARKED, "node_refused")
        world.chain.send_fault = None
        await world.until(all_are(world, Phase.CONFIRMED))
        assert sorted(world.chain.successes()) == sorted([bad, *good])


async def test_a_nonce_nobody_needs_is_offered_without_haste_to_a_node_that_refuses_it(tmp_path, autojump_clock):
    refusal = RpcFailed("stub", -32000, "exceeds block gas limit")
    offered = []

    def refuse(tx):
        if tx.identifier is None:
            offered.append(trio.current_time())
            assert len(offered) < 200, "it is offered again and again"
        return refusal if tx.identifier in (None, bad) else None

    async with world_of(tmp_path) as world, world.running():
        world.chain.stuck = True
        bad = world.post(0)
        await world.block(2)
        good = [world.post(number) for number in range(1, 4)]
        await world.block(2)
        assert [nonce for _, nonce, _ in world.chain.offers(bad)] == [0]
        del world.chain.pool[0]
        world.chain.stuck = False
        world.chain.send_fault = refuse
        await world.block(20)
        assert offered
        assert world.chain.successes() == []
        world.chain.send_fault = None

        await world.until(all_are(world, Phase.CONFIRMED))

        assert sorted(world.chain.successes()) == sorted([bad, *good])


@pytest.mark.parametrize("behind", [True, False], ids=["others wait behind it", "another takes it over"])
async def test_a_dear_transaction_that_every_pool_has_forgotten_blocks_nobody(tmp_path, autojump_clock, behind):
    async with world_of(tmp_path) as world, world.running():
        world.chain.set_price(10 * BASE)
        world.chain.stuck = True
        dear = world.post(0)
        await world.block(2)
        assert world.chain.offers(dear)[-1][1:] == (0, 12.5 * BASE)
        others = [world.post(number) for number in range(1, 4)] if behind else []
        world.chain.refuses[dear] = revert("InsufficientFunds", b"\1" * 20, 2, 1)
        world.chain.set_price(BASE)
        world.chain.pool.clear()
        await world.block(8)
        assert world.answer(dear).phase is Phase.PARKED
        world.chain.stuck = False
        others += [world.post(number) for number in range(4, 6)]

        await world.until(lambda: set(world.chain.successes()) == set(others))

        assert max(tx.price for _, tx in world.chain.sent[1:] if tx.nonce == 0) <= 2.5 * BASE
        world.chain.refuses.clear()
        await world.until(all_are(world, Phase.CONFIRMED))
        assert world.chain.failures() == []


async def test_a_gap_is_left_for_a_batch_that_is_being_prepared_but_not_for_ever(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        batch = world.post(1)
        world.chain.gates[batch] = trio.Event()
        await world.block(2)
        assert world.state.busy == {batch}
        world.sender.steps.nonces.take(1, b"b" * 32, BASE)

        await trio.sleep(BLOCK_S - 1.0)
        assert world.chain.sent == []
        await trio.sleep(5.0)

        assert [(tx.nonce, tx.identifier) for _, tx in world.chain.sent] == [(0, None)]


@pytest.mark.parametrize(("verified", "head", "phase"), [
    (2, 3, Phase.MINED), (2, 5, Phase.CONFIRMED), (-1, 2, Phase.MINED), (-1, 3, Phase.CONFIRMED),
])  # fmt: skip
async def test_an_answer_is_final_when_its_receipt_and_its_event_are_deep_enough(
    tmp_path, autojump_clock, verified, head, phase
):
    """Both are counted from where the answer was mined. They may differ: a reorg moves one before the other is read."""
    async with world_of(tmp_path) as world, world.running():
        batch = world.post(1)
        await world.until(lambda: (row := world.answer(batch)) is not None and row.phase is Phase.MINED)
        world.state.busy.add(batch)  # so that the sender keeps off it
        block, _ = world.answer(batch).mined
        await world.state.commit(lambda change: change._now(batch, verified=block + verified), scanned=block + head)

        await world.sender.steps.confirm(batch)

        assert world.answer(batch).phase is phase


async def test_a_nonce_that_a_batch_takes_meanwhile_is_not_filled(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        nonces = world.sender.steps.nonces
        nonces.take(1, b"b" * 32, BASE)
        assert nonces.gaps() == [0]
        nonces.take(0, b"a" * 32, BASE)

        await world.sender.fillers.step(0, BASE)

        assert nonces.owns(0, b"a" * 32)
        assert await world.journal.scan(FILLERS, 10) == []


async def test_a_batch_with_a_nonce_far_ahead_is_sent_again_with_the_right_one(tmp_path, autojump_clock, caplog):
    async with world_of(tmp_path) as world, world.running():
        lost = [world.post(number) for number in range(2)]
        world.chain.claimed = 1_000_000  # by a node that is wrong once
        await world.block(2)
        world.chain.claimed = None
        later = world.post(2)
        await world.block(4)
        assert world.chain.successes() == [later]

        await world.block(GIVE_UP_BLOCKS)
        await world.until(all_are(world, Phase.CONFIRMED))

        everything_is_right(world)
        assert {nonce for one in lost for _, nonce, _ in world.chain.offers(one)} == {1, 2, 1_000_000, 1_000_001}
        assert all(tx.identifier is not None for _, tx in world.chain.sent), "a gap of a million was begun to be filled"
        assert world.metrics.value("attestrio_aggregator_far_nonces_total") == 2
        assert world.metrics.value("attestrio_aggregator_nonces_given_up_total") == 2
        assert len([one for one in caplog.messages if "far above" in one]) == 1


async def test_a_nonce_far_ahead_is_kept_while_the_chain_is_not_sure(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        world.chain.tip.nonce = 5_000
        world.chain.stuck = True
        batch = world.post(1)
        for _ in range(3):
            await world.block(GIVE_UP_BLOCKS - 2)
            world.chain.claimed = 0  # says a node that has only begun to read the chain
            await world.block(GIVE_UP_BLOCKS - 2)
            world.chain.claimed = None
        world.chain.stuck = False

        await world.until(all_are(world, Phase.CONFIRMED))

        assert {nonce for _, nonce, _ in world.chain.offers(batch)} == {5_000}
        assert world.metrics.value("attestrio_aggregator_nonces_given_up_total") == 0


async def test_one_that_is_mined_is_not_given_up_whatever_the_count_of_nonces_says(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        world.chain.tip.nonce = 5_000
        world.chain.stuck = True
        batch = world.post(1)
        await world.block(2)
        world.chain.stuck, world.chain.claimed = False, 0
        world.chain.mine()
        assert world.chain.successes() == [batch]

        await world.sender.steps.leave(batch)

        assert world.answer(batch).phase is Phase.MINED
        assert len(world.chain.offers(batch)) == 1


async def test_a_filler_far_ahead_is_given_up_too(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        world.sender.steps.nonces.used = 1_000_000
        world.sender.steps.nonces.take(1_000_001, b"b" * 32, BASE)
        await world.sender.fillers.step(1_000_000, BASE)
        assert world.sender.fillers.rows.keys() == {1_000_000}
        world.sender.steps.nonces.free(1_000_001, b"b" * 32)

        await world.block(GIVE_UP_BLOCKS + 3)

        assert world.sender.fillers.rows == {}
        assert await world.journal.scan(FILLERS, 10) == []


async def test_signatures_are_checked_singly_when_the_contract_refuses_the_sum(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        batch = world.post(0)
        world.chain.refuses[batch] = revert("InvalidQuorumThreshold", 1, 2)

        def recheck(identifier):
            world.chain.refuses.clear()
            return 1

        world.collector.on_recheck = recheck
        await world.until(all_are(world, Phase.CONFIRMED))

        assert world.collector.rechecked == [batch]
        everything_is_right(world)


# --- all are held


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (revert("SenderIsNotAggregator", b"\1" * 20, b"\2" * 20), "not_the_aggregator"),
        (RpcFailed("stub", -32000, "insufficient funds for gas * price + value"), "no_money_for_gas"),
    ],
)
async def test_nothing_more_is_sent_while_the_account_cannot(tmp_path, autojump_clock, caplog, refusal, reason):
    async with world_of(tmp_path) as world, world.running():
        batches = [world.post(number) for number in range(10)]
        world.chain.refuses = dict.fromkeys(batches, refusal)
        await world.block(3)
        asked = world.chain.asked.count("estimate")
        await world.block(30)

        assert world.sender.steps.pace.hold.why == reason
        assert world.metrics.value("attestrio_aggregator_sending_held") == 1
        assert world.chain.asked.count("estimate") - asked <= 5
        assert world.chain.sent == []
        world.chain.refuses.clear()
        await world.until(all_are(world, Phase.CONFIRMED))
        everything_is_right(world)
    told = [getattr(record, NAMED) for record in caplog.records if hasattr(record, NAMED)]
    assert [one for one in told if one["name"].startswith("sending_")] == [
        {"name": "sending_held", "reason": reason}, {"name": "sending_resumed"}
    ]  # fmt: skip


async def test_an_account_without_money_sends_the_recorded_bytes_later(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        world.post(0)
        poor = RpcFailed("stub", -32000, "insufficient funds for gas * price + value")
        world.chain.send_fault = lambda tx: poor
        await world.block(8)
        recorded = world.answer(world.posted[0][0]).attempts
        world.chain.send_fault = None

        await world.until(all_are(world, Phase.CONFIRMED))

        assert [tx.raw for _, tx in world.chain.sent] == [one.raw for one in recorded]


# --- nodes


async def test_who_answered_is_not_forgotten_while_nobody_says_whether_it_is_still_there(tmp_path, autojump_clock):
    class Away(SourceError):
        code = "away"

    async def away(transaction):
        raise Away("no receipts")

    async with world_of(tmp_path) as world, world.running():
        batch = world.post(0)
        await world.until(all_are(world, Phase.MINED))
        world.chain.receipt, receipt = away, world.chain.receipt
        await world.block(10)
        assert world.answer(batch).phase is Phase.MINED
        assert world.sender.steps.nonces.lowest() == 1
        world.chain.receipt = receipt

        await world.until(all_are(world, Phase.CONFIRMED))

        everything_is_right(world)


async def test_an_answer_by_another_transaction_is_success(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        batch = world.post(0)
        await world.block()
        world.chain.tip.tasks[batch][1] = True
        await settle()

        await world.block(8)

        assert world.chain.sent == []
        assert world.answer(batch) is None or world.answer(batch).reason == "answered_by_others"


async def test_what_the_contract_calls_answered_is_settled_without_a_transaction(tmp_path, autojump_clock):
    """The scanner has not come to it yet; BatchAlreadyResponded is success."""
    async with world_of(tmp_path) as world, world.running():
        batch = world.post(0)
        world.chain.refuses[batch] = revert("BatchAlreadyResponded", batch)
        await world.block(2)

        assert world.answer(batch).phase is Phase.MINED
        world.chain.tip.tasks[batch][1] = True
        await world.until(all_are(world, Phase.CONFIRMED))
        assert world.chain.sent == []
        assert world.metrics.value("attestrio_aggregator_settled_total", by="others") == 1


async def test_a_receipt_that_comes_after_its_nonce_is_used_up_is_waited_for(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        world.post(0)
        await world.block(2)
        receipt, late = world.chain.receipt, [None]

        async def later(transaction):
            return late.pop() if late else await receipt(transaction)

        world.chain.receipt = later
        world.chain.mine()
        await trio.sleep(40)  # the sender looks at the chain, the scanner does not
        assert late == []
        await world.until(all_are(world, Phase.CONFIRMED))

        everything_is_right(world)
        assert world.metrics.value("attestrio_aggregator_settled_total", by="us") == 1
        assert world.metrics.value("attestrio_aggregator_settled_total", by="others") == 0


async def test_an_answer_is_ours_even_if_its_receipt_comes_long_after_the_event(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        batch = world.post(0)
        await world.block(2)
        receipt = world.chain.receipt

        async def none(transaction):
            return None

        world.chain.receipt = none
        await world.block(2)
        assert world.answer(batch).reason == "answered_by_others"
        world.chain.receipt = receipt
        await world.until(all_are(world, Phase.CONFIRMED))

        everything_is_right(world)
        assert world.metrics.value("attestrio_aggregator_settled_total", by="us") == 1


async def test_a_nonce_that_somebody_else_has_used_is_given_up(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        batch = world.post(0)
        await world.block()
        world.chain.stuck = True
        await world.block()
        world.chain.pool.clear()
        world.chain.stuck = False
        world.chain.tip.nonce += 1

        await world.until(all_are(world, Phase.CONFIRMED))

        assert world.chain.successes() == [batch]
        assert world.chain.failures() == []


async def test_a_price_that_a_node_calls_too_low_is_raised_at_once(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        batch = world.post(0)
        low = RpcFailed("stub", -32000, "transaction underpriced")
        world.chain.send_fault = lambda tx: low if tx.price < 1.6 * BASE else None
        started = trio.current_time()

        await world.until(all_are(world, Phase.MINED))

        ((at, _, price),) = world.chain.offers(batch)
        assert price >= 1.6 * BASE
        assert at - started < 3 * 12.0


async def test_what_a_node_calls_too_low_at_the_highest_price_is_tried_again_without_haste(tmp_path, autojump_clock):
    refused = []

    def refuse(tx):
        refused.append(tx.price)
        assert len(refused) < 50, "it is sent again and again"
        return RpcFailed("stub", -32000, "replacement transaction underpriced")

    async with world_of(tmp_path) as world, world.running():
        batch = world.post(0)
        world.chain.send_fault = refuse
        await world.block(30)
        assert max(refused) <= 2.5 * BASE
        assert world.answer(batch).phase is Phase.REPLACED
        world.chain.send_fault = None

        await world.until(all_are(world, Phase.CONFIRMED))

        everything_is_right(world)


async def test_an_outage_of_the_endpoints_costs_no_answer_and_parks_none(tmp_path, autojump_clock):
    class Away(SourceError):
        code = "away"

    async with world_of(tmp_path) as world, world.running():
        for number in range(5):
            world.post(number)
        await world.block(1)
        world.chain.down = Away("down")
        await world.block(40)
        assert all(world.answer(one) is None or world.answer(one).phase is not Phase.PARKED for one, _ in world.posted)
        world.chain.down = None

        await world.until(all_are(world, Phase.CONFIRMED))

        everything_is_right(world)


async def test_a_sending_of_which_nobody_knows_the_outcome_is_repeated_with_the_same_bytes(tmp_path, autojump_clock):
    class Cut(SourceError):
        code = "cut"

    async with world_of(tmp_path) as world, world.running():
        batch = world.post(0)
        faults = [Cut("reset")]
        world.chain.send_fault = lambda tx: faults.pop() if faults else None

        await world.until(all_are(world, Phase.CONFIRMED))

        assert len(world.chain.offers(batch)) == 1
        assert len(world.chain.sent) == 1
        everything_is_right(world)


async def test_a_response_that_is_mined_and_refused_is_not_repeated_for_ever(tmp_path, autojump_clock):
    """What passes every simulation and fails in the block costs its gas each time."""
    async with world_of(tmp_path) as world, world.running():
        batch = world.post(0)
        tried, world.chain._tried = world.chain._tried, settled_for
        world.chain.refuses[batch] = revert("InsufficientFunds", b"\1" * 20, 2, 1)
        await world.block(30)

        assert (world.answer(batch).phase, world.answer(batch).reason) == (Phase.PARKED, "reverted")
        assert 3 <= len(world.chain.failures()) <= 6
        world.chain._tried = tried
        world.chain.refuses.clear()
        await world.until(all_are(world, Phase.CONFIRMED))
        assert world.chain.successes() == [batch]


async def settled_for(data, price):
    await trio.lowlevel.checkpoint()


async def test_what_was_dropped_by_a_command_is_left_alone_until_it_is_tried_again(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running() as state:
        batch = world.post(0)
        world.chain.refuses[batch] = revert("InsufficientFunds", b"\1" * 20, 2, 1)
        await world.block(3)
        row = world.answer(batch)
        await state.set_answer(batch, type(row)(Phase.PARKED, "dropped"))
        world.chain.refuses.clear()
        await world.block(20)
        assert world.chain.sent == []

        await state.set_answer(batch, type(row)(Phase.WAITING))
        await world.until(all_are(world, Phase.CONFIRMED), 10)

        everything_is_right(world)


async def test_what_answers_cost_is_counted_once_they_are_final(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        batch = world.post(1)
        await world.until(lambda: world.chain.successes() == [batch])
        await world.block()
        assert world.answer(batch).phase is Phase.MINED
        assert world.metrics.value("attestrio_aggregator_gas_paid_wei") == 0
        world.chain.reorg(2, keep=[batch])  # it is mined once more, and paid once

        await world.until(all_are(world, Phase.CONFIRMED))

        ((_, _, price),) = world.chain.offers(batch)
        assert world.metrics.value("attestrio_aggregator_gas_paid_wei") == price * GAS
        assert world.metrics.value("attestrio_aggregator_gas_paid_above_limit_wei") == 0
        assert world.metrics.value("attestrio_aggregator_gas_price_bumps") == 0


async def test_what_an_answer_costs_above_the_limit_of_its_batch_is_ours(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        batch = world.post(1, limit=BASE * GAS)
        world.chain.contract_limits = False  # newer contracts pay up to the limit instead of refusing

        await world.until(all_are(world, Phase.CONFIRMED))

        ((_, _, price),) = world.chain.offers(batch)
        assert price > BASE
        assert world.metrics.value("attestrio_aggregator_gas_paid_above_limit_wei") == (price - BASE) * GAS
        assert world.metrics.value("attestrio_aggregator_answers_above_limit") == 1


async def test_what_a_refused_transaction_and_a_filler_cost_is_counted(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        world.chain.stuck = True
        batch = world.post(1)
        await world.block(2)
        nonces = world.sender.steps.nonces
        nonces.take(2, b"b" * 32, BASE)
        await world.sender.fillers.step(1, BASE)
        nonces.free(2, b"b" * 32)
        world.chain.refuses[batch] = revert("InsufficientFunds", b"\1" * 20, 2, 1)
        world.chain.stuck = False

        await world.block(6)

        refused, filler = [tx for block in world.chain.blocks for tx, _, _ in block.mined]
        assert (refused.identifier, filler.identifier) == (batch, None)
        assert world.metrics.value("attestrio_aggregator_gas_paid_wei") == (refused.price + filler.price) * GAS


async def test_the_balance_is_shown_while_there_is_nothing_to_send(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world, world.running():
        await world.block(1)
        assert world.metrics.value("attestrio_aggregator_balance_wei") == 7 * 10**18
        world.chain.money = 5
        world.chain.down = SourceError("nobody answers")
        await world.block(20)
        assert world.metrics.value("attestrio_aggregator_balance_wei") == 7 * 10**18
        world.chain.down = None

        await world.block(6)

        assert world.metrics.value("attestrio_aggregator_balance_wei") == 5
        assert world.chain.asked.count("balance") <= world.chain.head / 5 + 1


async def test_a_replacement_never_costs_more_than_the_cap(tmp_path, autojump_clock):
    """Whatever keeps a transaction out of the blocks, it is not the price for ever."""
    async with world_of(tmp_path, settings=SenderSettings(fees=FeeSettings())) as world, world.running():
        batch = world.post(0)
        await world.block()
        world.chain.stuck = True
        await world.block(120)

        prices = [price for _, _, price in world.chain.offers(batch)]
        assert all(after * 10 >= before * 11 for before, after in pairwise(prices))
        assert max(prices) <= 2.5 * BASE
        assert len(prices) < 10
        world.chain.stuck = False
        await world.until(all_are(world, Phase.CONFIRMED))
        everything_is_right(world)
