"""Who was in the quorum is read once for a block, and never guessed."""

from collections import Counter

import pytest
import trio
from aligned_chain import CONTRACTS, OPERATORS, AlignedChain, Away, root_of
from attestrio.aggregator.errors import SnapshotUnreadable
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.settings import CollectSettings
from attestrio.aggregator.snapshot import HEAD_S, Snapshots
from attestrio.kit.jsonrpc import MalformedAnswer
from attestrio.kit.metrics import Metrics
from eth_abi.abi import encode

STATE = "(address,bytes32,uint96)[][]"


def chain_with_tasks(*numbers):
    """A task in each block from 1 on, and three operators before."""
    chain = AlignedChain()
    for index, one in enumerate(OPERATORS[:3]):
        chain.register(one, stake=100 * (index + 1))
    for number in numbers:
        chain.post(root_of(number))
        chain.mine()
    chain.mine()
    return chain


async def test_a_snapshot_has_the_stakes_of_the_block_whatever_happened_later():
    chain = chain_with_tasks(1)
    chain.register(OPERATORS[3], stake=9_999)
    chain.mine()

    snapshot = await Snapshots(chain, CONTRACTS).at(chain.task(root_of(1)))

    assert snapshot.stakes == {OPERATORS[0].id: 100, OPERATORS[1].id: 200, OPERATORS[2].id: 300}
    assert (snapshot.block, snapshot.total) == (1, 600)


async def test_row_5_a_snapshot_is_read_once_for_a_block_however_many_ask():
    chain = chain_with_tasks(1, 2)
    snapshots = Snapshots(chain, CONTRACTS)

    async with trio.open_nursery() as nursery:
        for number in (1, 2, 1, 2, 1):
            nursery.start_soon(snapshots.at, chain.task(root_of(number)))
    await snapshots.at(chain.task(root_of(1)))

    assert chain.asked.count("call") == 2


async def test_blocks_that_are_read_at_about_the_same_time_are_read_below_one_head(autojump_clock):
    chain = chain_with_tasks(1, 2, 3, 4)
    snapshots = Snapshots(chain, CONTRACTS)

    async with trio.open_nursery() as nursery:
        for number in (1, 2, 3):
            nursery.start_soon(snapshots.at, chain.task(root_of(number)))
    assert Counter(chain.asked) == {"call": 3, "block": 1 + 3}
    await trio.sleep(HEAD_S)
    await snapshots.at(chain.task(root_of(4)))

    assert Counter(chain.asked) == {"call": 4, "block": 2 + 4}


async def test_a_head_below_the_task_is_not_remembered(autojump_clock):
    chain = chain_with_tasks(1)
    snapshots = Snapshots(chain, CONTRACTS)
    await snapshots.at(chain.task(root_of(1)))
    chain.post(root_of(2))
    chain.mine()
    chain.post(root_of(3))
    chain.mine()

    snapshot = await snapshots.at(chain.task(root_of(3)))

    assert snapshot.block == chain.task(root_of(3)).created
    assert trio.current_time() == 0.0


async def test_what_is_remembered_is_told_without_asking():
    chain = chain_with_tasks(1)
    snapshots, task = Snapshots(chain, CONTRACTS), chain.task(root_of(1))

    assert snapshots.cached(task) is None
    snapshot = await snapshots.at(task)
    assert snapshots.cached(task) is snapshot
    snapshots.forget(task)
    assert snapshots.cached(task) is None


async def test_blocks_that_were_not_asked_for_lately_are_forgotten():
    chain = chain_with_tasks(1, 2, 3)
    tasks = [chain.task(root_of(number)) for number in (1, 2, 3)]
    snapshots = Snapshots(chain, CONTRACTS, CollectSettings(snapshots=2))
    for task in (tasks[0], tasks[1], tasks[0], tasks[2]):
        await snapshots.at(task)

    assert [snapshots.cached(task) is not None for task in tasks] == [True, False, True]


async def test_row_14_a_chain_that_fails_is_asked_after_1_2_and_4_seconds(autojump_clock):
    chain = chain_with_tasks(1)
    asked_at = []

    def away(what):
        if what == "call":
            asked_at.append(trio.current_time())
            if len(asked_at) < 4:
                raise Away("nobody there")

    chain.fault = away
    snapshot = await Snapshots(chain, CONTRACTS).at(chain.task(root_of(1)))

    assert asked_at == [0, 1, 3, 7]
    assert snapshot.total == 600


async def test_a_chain_that_fails_longer_is_the_callers_to_ask_again(autojump_clock):
    chain = chain_with_tasks(1)
    metrics = Metrics()
    snapshots = Snapshots(chain, CONTRACTS, metrics=AggregatorMetrics(metrics))

    def away(_):
        raise Away("nobody there")

    chain.fault = away
    with pytest.raises(Away):
        await snapshots.at(chain.task(root_of(1)))
    chain.fault = None

    assert trio.current_time() == 7
    assert (await snapshots.at(chain.task(root_of(1)))).total == 600
    results = [metrics.value("attestrio_aggregator_snapshots_total", result=one) for one in ("read", "failed")]
    assert results == [1, 1]


async def test_a_block_that_a_reorg_took_away_has_no_snapshot(autojump_clock):
    chain = chain_with_tasks(1)
    task = chain.task(root_of(1))
    chain.reorg(2)
    chain.mine(3)

    with pytest.raises(SnapshotUnreadable, match="a reorg has taken that block away"):
        await Snapshots(chain, CONTRACTS).at(task)


async def test_the_same_number_after_a_reorg_is_another_block():
    chain = chain_with_tasks(1)
    snapshots, before = Snapshots(chain, CONTRACTS), chain.task(root_of(1))
    await snapshots.at(before)
    chain.reorg(2)
    chain.register(OPERATORS[3])
    chain.post(root_of(1))
    chain.mine(2)

    snapshot = await snapshots.at(chain.task(root_of(1)))

    assert OPERATORS[3].id in snapshot.stakes


async def test_an_endpoint_that_lags_behind_the_task_is_not_believed(autojump_clock):
    """Asked for a block it does not know, the contract would tell of the newest operators it has."""
    chain = chain_with_tasks(1)
    task = chain.task(root_of(1))
    chain.reorg(2)

    with pytest.raises(SnapshotUnreadable, match="the head is 0"):
        await Snapshots(chain, CONTRACTS).at(task)


@pytest.mark.parametrize(
    ("answer", "error", "why"),
    [
        (encode([STATE], [[]]), SnapshotUnreadable, "0 quorums, 1 asked for"),
        (encode([STATE], [[[(b"\x01" * 20, b"\x02" * 32, 5)] * 2]]), SnapshotUnreadable, "one operator twice"),
        (b"", MalformedAnswer, "no contract there"),
        (b"\xff" * 96, MalformedAnswer, "getOperatorState"),
    ],
    ids=["no quorum", "an operator twice", "no contract", "nonsense"],
)
async def test_an_answer_that_makes_no_sense_is_asked_for_again(autojump_clock, answer, error, why):
    class Odd(AlignedChain):
        async def call(self, to, data, at):
            await self._asked("call")
            return answer

    chain = Odd()
    chain.post(root_of(1))
    chain.mine()

    with pytest.raises(error, match=why):
        await Snapshots(chain, CONTRACTS).at(chain.task(root_of(1)))

    assert chain.asked.count("call") == 4


async def test_the_retriever_is_asked_about_the_coordinator_at_the_number_of_the_head():
    class Noting(AlignedChain):
        async def call(self, to, data, at):
            self.noted = (to, at)
            return await super().call(to, data, at)

    chain = Noting()
    chain.post(root_of(1))
    chain.mine(4)

    await Snapshots(chain, CONTRACTS).at(chain.task(root_of(1)))

    assert chain.noted == (CONTRACTS.retriever, 4)
