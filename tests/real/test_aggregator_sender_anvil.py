"""The sender on a real Ethereum node: reorgs, prices that jump, limits. Rows 6, 16 and 17 of Aligned's list."""

import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import trio
from anvil_kit import needs_anvil
from attestrio.aggregator.collect import Collector
from attestrio.aggregator.ethereum import EthereumAccount
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.rows import Phase
from attestrio.aggregator.sender import Sender
from attestrio.aggregator.sender_metrics import SenderMetrics
from attestrio.aggregator.settings import CollectSettings, FeeSettings, SenderSettings
from attestrio.aggregator.sink import LogSink
from attestrio.aggregator.snapshot import Snapshots
from attestrio.aggregator.state import Accepted, AggregatorState
from attestrio.aggregator.surface import BATCH_VERIFIED, Contracts, identifier_hash, wanted
from attestrio.bls import SecretKey, encode_g1, operator_id
from attestrio.journal import SqliteJournal
from attestrio.kit.metrics import Metrics
from attestrio.l1 import BlockNumber, Endpoint, L1Provider, LogScanner, ScanSettings, filter_for
from attestrio.l1.api import Address
from attestrio.sim.anvil import running_anvil
from attestrio.sim.service_manager import SimServiceManager
from eth_account import Account
from suite import patient

pytestmark = needs_anvil

AGGREGATOR = "0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a"  # anvil's account 4, as printed
OPERATORS = {Address(bytes([0xA0 + n]) * 20): SecretKey(1000 + n) for n in range(4)}
GWEI = 10**9
START_FEE = 1 * GWEI  # of anvil's first block
UPSTREAM_LIMIT = 400_000 * 150 // 100 * 250 // 100  # times the price: what Aligned's batcher allows for a response
LIMIT_S = patient(60.0)


@dataclass
class Network:
    """A chain with a block each second, its contract, and the parts of an aggregator that are behind its server."""

    anvil: object
    manager: SimServiceManager
    chain: L1Provider
    journal: SqliteJournal
    bump_after_s: float
    confirmations: int
    metrics: Metrics = field(default_factory=Metrics)
    state: AggregatorState | None = None
    posted: dict = field(default_factory=dict)
    """Identifier → root."""
    seen: dict = field(default_factory=dict)
    """Identifier → every attempt there ever was, in order."""

    @asynccontextmanager
    async def term(self):
        """All that works while one process leads, cut off at the end."""
        contracts, chain = Contracts(*[self.manager.address] * 4), self.chain
        settings = SenderSettings(fees=FeeSettings(bump_after_s=self.bump_after_s), block_s=1.0, poll_s=0.2)
        collect = CollectSettings(window_s=0.5, confirmations=self.confirmations)
        state = self.state = AggregatorState(self.journal, AggregatorMetrics(self.metrics), collect)
        await state.load({})
        collector = Collector(state, Snapshots(chain, contracts, collect), collect)
        port = EthereumAccount(chain, contracts, Account.from_key(AGGREGATOR))
        sender = Sender(state, collector, port, settings, self.confirmations, SenderMetrics(self.metrics))
        scan = ScanSettings(BlockNumber(0), every_s=0.2)
        scanner = LogScanner(chain, wanted(contracts), LogSink(state, chain, contracts), scan)
        async with trio.open_nursery() as nursery:
            for run in (state.run, collector.run, scanner.run, sender.run, self.watch):
                nursery.start_soon(run)
            yield state
            nursery.cancel_scope.cancel()

    @property
    def poster(self):
        return self.anvil.accounts[1]

    async def post(self, number, *, limit=10**16, signers=4):
        """A batch, and so many signatures of it; its identifier hash."""
        root = hashlib.sha256(b"%d" % number).digest()
        identifier = identifier_hash(root, self.poster)
        await self.manager.create_task(self.poster, root, "http://batches/", fee_limit=limit, value=limit)
        self.posted[identifier] = root
        await self.sign(identifier, signers)
        return identifier

    async def sign(self, identifier, signers=4):
        secrets, root = list(OPERATORS.values())[:signers], self.posted[identifier]
        await self.state.accept(
            [
                Accepted(identifier, root, self.poster, operator_id(one.public_g1()), encode_g1(one.sign(identifier)))
                for one in secrets
            ]
        )

    async def post_and_pass(self, count):
        """So many batches without a signature, each in a block that is not the newest any more."""
        batches = [await self.post(number, signers=0) for number in range(count)]
        await self.until(lambda: all(one in self.state.tasks for one in batches))
        head = max(self.state.tasks[one].created for one in batches)
        await self.until(lambda: self.state.head.value > head)
        return batches

    async def until(self, condition):
        with trio.fail_after(LIMIT_S):
            while not condition():  # noqa: ASYNC110  rows of a state have no event each
                await trio.sleep(0.05)

    async def watch(self):
        """Remember attempts, because a settled answer has none."""
        while True:
            for identifier, answer in self.state.answers.items():
                seen = self.seen.setdefault(identifier, [])
                known = {one.hash for _, one in seen}
                seen += [(answer.nonce, one) for one in answer.attempts if one.hash not in known]
            await trio.sleep(0.02)

    def is_phase(self, identifier, phase):
        return lambda: (row := self.state.answers.get(identifier)) is not None and row.phase is phase

    async def stop_mining(self):
        await self.anvil.ask("evm_setIntervalMining", 0)

    async def go_on_mining(self):
        await self.anvil.ask("evm_setIntervalMining", 1)

    async def price_times(self, factor):
        price = int(await self.anvil.ask("eth_gasPrice"), 16)
        await self.anvil.ask("anvil_setNextBlockBaseFeePerGas", hex(price * factor))

    async def check(self):
        """Row 6: one success for each batch, nothing mined in vain, no nonce left out."""
        head = await self.anvil.head()
        events = filter_for(self.manager.address, BATCH_VERIFIED)
        logs = await self.anvil.provider.logs(events, BlockNumber(0), head)
        assert sorted(log.topics[1] for log in logs) == sorted(self.posted.values())
        used = 0
        for number in range(head + 1):
            block = await self.anvil.ask("eth_getBlockByNumber", hex(number), True)
            for tx in block["transactions"]:
                if bytes.fromhex(tx["from"][2:]) == self.anvil.accounts[4]:
                    receipt = await self.anvil.ask("eth_getTransactionReceipt", tx["hash"])
                    assert receipt["status"] == "0x1"
                    assert int(tx["nonce"], 16) == used
                    used += 1
        assert used >= len(self.posted)
        return used


@asynccontextmanager
async def network(tmp_path, *, bump_after_s=3.0, confirmations=3):
    """A chain whose price does not move by itself before the first batch; no sender runs yet."""
    async with running_anvil(None, "--block-base-fee-per-gas", str(START_FEE)) as anvil:
        manager = await SimServiceManager.deploy(anvil, anvil.accounts[4])
        for address, secret in OPERATORS.items():
            await manager.register(address, secret, 100)
        await anvil.ask("evm_setAutomine", False)
        await anvil.ask("evm_setIntervalMining", 1)
        journal = SqliteJournal(tmp_path / "aggregator.db")
        async with trio.open_nursery() as nursery, L1Provider([Endpoint(anvil.url, 31337)], schedule=()) as chain:
            await nursery.start(journal.run)
            yield Network(anvil, manager, chain, journal, bump_after_s, confirmations)
            nursery.cancel_scope.cancel()


async def test_row_6_batches_are_answered_once_each_with_and_without_non_signers(tmp_path):
    async with network(tmp_path) as world, world.term():
        batches = [await world.post(number, signers=3 + number % 2) for number in range(8)]

        for batch in batches:
            await world.until(world.is_phase(batch, Phase.CONFIRMED))

        assert await world.check() == 8
        assert world.metrics.value("attestrio_aggregator_settled_total", by="us") == 8
        assert not world.state.signed


async def test_row_16c_an_answer_that_a_rollback_took_is_sent_again(tmp_path):
    async with network(tmp_path, confirmations=8) as world, world.term():
        batches = await world.post_and_pass(3)
        for batch in batches:
            await world.sign(batch)
        for batch in batches:
            await world.until(world.is_phase(batch, Phase.MINED))
        await world.stop_mining()
        first = min(world.state.answers[batch].mined[0] for batch in batches)
        await world.anvil.rollback(await world.anvil.head() - first + 1)
        assert not any([(await world.manager.task(root, world.poster)).responded for root in world.posted.values()])
        await world.go_on_mining()

        for batch in batches:
            await world.until(world.is_phase(batch, Phase.CONFIRMED))

        assert await world.check() == 3
        assert all(len(world.seen[batch]) == 1 for batch in batches), "other bytes than before were sent"
        assert world.metrics.value("attestrio_aggregator_answers_reorged_total") == 3


@pytest.mark.parametrize("drops", [False, True], ids=["a: stuck in the pool", "b: dropped by the node"])
async def test_row_17_a_base_fee_that_rose_tenfold_is_followed_with_the_same_nonce(tmp_path, drops):
    async with network(tmp_path) as world, world.term():
        batches = await world.post_and_pass(3)
        await world.stop_mining()
        for batch in batches:
            await world.sign(batch)
        for batch in batches:
            await world.until(world.is_phase(batch, Phase.SENT))
        assert (await world.anvil.ask("txpool_status"))["pending"] == "0x3"
        await world.price_times(10)
        if drops:
            await world.anvil.mine()
            assert (await world.anvil.ask("txpool_status"))["pending"] == "0x0"
        else:
            for batch in batches:
                await world.until(world.is_phase(batch, Phase.REPLACED))
        await world.go_on_mining()
        later = await world.post(9)
        for batch in (*batches, later):
            await world.until(world.is_phase(batch, Phase.CONFIRMED))

        assert await world.check() == 4
        for attempts in (world.seen[one] for one in batches):
            assert len(attempts) > 1
            assert len({nonce for nonce, _ in attempts}) == 1
            for (_, before), (_, after) in pairwise(attempts):
                assert after.price * 100 >= before.price * 110
                assert after.at - before.at <= 3.0 + 2.0  # and two looks at a chain with a block a second
        assert len(world.seen[later]) == 1


async def test_row_17c_a_fee_above_upstreams_limit_is_parked_and_sent_when_the_price_falls(tmp_path):
    async with network(tmp_path) as world, world.term():
        price = int(await world.anvil.ask("eth_gasPrice"), 16)
        await world.anvil.ask("anvil_setNextBlockBaseFeePerGas", hex(10 * price))
        poor = await world.post(1, limit=UPSTREAM_LIMIT * price)
        rich = await world.post(2)

        await world.until(world.is_phase(poor, Phase.PARKED))
        assert world.state.answers[poor].reason == "price_too_high"
        assert "ExceededMaxRespondFee" in world.state.answers[poor].detail
        await world.until(world.is_phase(rich, Phase.CONFIRMED))  # while empty blocks lower the price
        await world.until(world.is_phase(poor, Phase.CONFIRMED))

        assert await world.check() == 2


async def test_row_9_sent_and_killed_and_lost_by_the_node_it_is_sent_again_by_the_next(tmp_path):
    """After send, before receipt; the node was restarted as well, and has forgotten it."""
    async with network(tmp_path) as world:
        async with world.term():
            (batch,) = await world.post_and_pass(1)
            await world.stop_mining()
            await world.sign(batch)
            await world.until(world.is_phase(batch, Phase.SENT))
            (attempt,) = world.state.answers[batch].attempts
        await world.anvil.ask("anvil_dropTransaction", f"0x{attempt.hash.hex()}")
        await world.go_on_mining()

        async with world.term():
            await world.until(world.is_phase(batch, Phase.CONFIRMED))

        assert [one.raw for _, one in world.seen[batch]] == [attempt.raw]
        assert await world.check() == 1
