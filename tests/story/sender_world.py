"""A sender in virtual time: a chain with one account and one contract, in memory, and a journal that can be cut off."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace

import rlp
import trio
from attestrio.aggregator.ethereum import Indices, Receipt, Signed
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.rows import Place, Task
from attestrio.aggregator.sender import Sender
from attestrio.aggregator.sender_metrics import SenderMetrics
from attestrio.aggregator.settings import CollectSettings, SenderSettings
from attestrio.aggregator.state import AggregatorState
from attestrio.aggregator.surface import ERRORS, RESPOND_TO_TASK, identifier_hash
from attestrio.journal import SqliteJournal
from attestrio.kit.blocking import inline
from attestrio.kit.jsonrpc import RpcFailed
from attestrio.kit.metrics import Metrics
from attestrio.l1.api import Address, BlockHash, BlockNumber, BlockRef, TxHash
from attestrio.l1.errors import CallReverted
from eth_abi.abi import encode
from trio_util import AsyncValue

BLOCK_S = 12.0
GAS = 300_000
ACCOUNT = Address(b"\xac" * 20)
SENDER = b"\xb0" * 20
LIMIT = 10**18


class Killed(Exception):
    """The process ends here."""


@dataclass
class Tx:
    nonce: int
    price: int
    data: bytes
    raw: bytes

    @property
    def hash(self):
        return hashlib.sha256(self.raw).digest()

    @property
    def identifier(self):
        """The batch it answers; None for one to ourselves."""
        return identifier_hash(self.data[4:36], self.data[48:68]) if self.data else None


@dataclass
class Block:
    ref: BlockRef
    tasks: dict
    """Identifier → [created, responded], after this block."""
    nonce: int
    mined: list
    """(transaction, whether it succeeded, why not)."""
    said: list


def revert(name, *values):
    """A refusal as the contract encodes it."""
    error = next(one for one in ERRORS.known.values() if one.name == name)
    data = error.selector + encode([one.type for one in error.parameters], values)
    return CallReverted("stub", 3, "execution reverted", data)


class StubEthereum:
    """An `EthereumPort`, and the chain behind it. `price` is its base fee."""

    address = ACCOUNT

    def __init__(self):
        self.price = 10**9
        self.blocks = [Block(BlockRef(BlockNumber(0), BlockHash(bytes(32))), {}, 0, [], [])]
        self.pool: dict[int, Tx] = {}
        self.sent: list[tuple[float, Tx]] = []
        """Everything the network has taken, and when."""
        self.waiting = []
        self.limits: dict[bytes, int] = {}
        self.stuck = False
        """Blocks are empty."""
        self.drops = False
        """What is below the base fee is dropped, not kept."""
        self.refuses: dict[bytes, Exception] = {}
        """What the contract, or the node, says to a batch instead of looking at it."""
        self.send_fault = None
        self.latency_s = None
        """How long a transaction is under way; asked for each."""
        self.slow: set[bytes] = set()
        """Batches whose estimate never comes."""
        self.gates: dict[bytes, trio.Event] = {}
        """What answers about a batch wait for."""
        self.down = None
        self.contract_limits = True
        """What costs more than the limit of its batch is refused."""
        self.money = 7 * 10**18
        self.claimed = None
        """How many nonces it says are used, where that is not so."""
        self.asked: list[str] = []
        self.kill = lambda point: None
        self._salt = 0

    # --- the chain

    @property
    def tip(self):
        return self.blocks[-1]

    @property
    def head(self):
        return int(self.tip.ref.number)

    def mine(self):
        self._salt += 1
        number = BlockNumber(self.head + 1)
        ref = BlockRef(number, BlockHash(hashlib.sha256(b"%d %d" % (number, self._salt)).digest()))
        tasks = {key: list(value) for key, value in self.tip.tasks.items()}
        block = Block(ref, tasks, self.tip.nonce, [], [])
        for identifier in self.waiting:
            tasks.setdefault(identifier, [int(number), False])
        self.waiting = []
        self.blocks.append(block)
        while not self.stuck and block.nonce in self.pool and self.pool[block.nonce].price >= self.price:
            tx = self.pool.pop(block.nonce)
            why = self._why_not(tx, block)
            if why is None and tx.identifier is not None:
                tasks[tx.identifier][1] = True
            block.mined.append((tx, why is None, why))
            block.nonce += 1

    def reorg(self, depth, *, keep=()):
        """The last blocks are gone, with their transactions and their batches, but for those in `keep`."""
        kept = {one: value for one, value in self.tip.tasks.items() if one in keep}
        del self.blocks[-depth:]
        self.waiting += [one for one in kept if one not in self.tip.tasks]

    def set_price(self, price):
        self.price = price
        if self.drops:
            self.pool = {nonce: tx for nonce, tx in self.pool.items() if tx.price >= price}

    def _why_not(self, tx, block):
        if tx.identifier is None:
            return None
        refused = self.refuses.get(tx.identifier)
        created, responded = block.tasks.get(tx.identifier, (0, False))
        if isinstance(refused, CallReverted):
            return refused
        if created == 0:
            return revert("BatchDoesNotExist", tx.identifier)
        if responded:
            return revert("BatchAlreadyResponded", tx.identifier)
        if self.contract_limits and tx.price * GAS > self.limits.get(tx.identifier, LIMIT):
            return revert("ExceededMaxRespondFee", self.limits[tx.identifier], tx.price * GAS)
        return None

    def successes(self):
        """Batches answered on the chain as it is, once for each transaction."""
        return [tx.identifier for block in self.blocks for tx, good, _ in block.mined if good and tx.identifier]

    def failures(self):
        """Transactions on the chain that were mined and refused."""
        return [tx for block in self.blocks for tx, good, _ in block.mined if not good]

    def nonces(self):
        return [tx.nonce for block in self.blocks for tx, _, _ in block.mined]

    def offers(self, identifier):
        """(when, nonce, price) of every new transaction for a batch, in order."""
        seen, found = set(), []
        for at, tx in self.sent:
            if tx.identifier == identifier and tx.raw not in seen:
                seen.add(tx.raw)
                found.append((at, tx.nonce, tx.price))
        return found

    # --- the port

    async def _asked(self, what):
        await trio.lowlevel.checkpoint()
        self.asked.append(what)
        if self.down is not None:
            raise self.down

    async def used_nonces(self):
        await self._asked("nonce")
        return self.tip.nonce if self.claimed is None else self.claimed

    async def gas_price(self):
        await self._asked("price")
        return self.price

    async def indices(self, created, non_signers):
        await self._asked("indices")
        return Indices((), (0,), (0,), ((),))

    async def estimate(self, data, price):
        await self._asked("estimate")
        await self._tried(data, price)
        return GAS

    async def simulate(self, data, price, gas):
        await self._asked("simulate")
        await self._tried(data, price)

    async def _tried(self, data, price):
        tx = Tx(0, price, data, b"")
        if tx.identifier in self.slow:
            await trio.sleep_forever()
        if tx.identifier in self.gates:
            await self.gates[tx.identifier].wait()
        refused = self._why_not(tx, self.tip) or self.refuses.get(tx.identifier)
        if refused is not None:
            raise refused

    def sign(self, nonce, price, gas, data):
        raw = rlp.encode([nonce, price, gas, bytes(20), 0, data or b"", 27, 1, 1])
        return Signed(raw, TxHash(hashlib.sha256(raw).digest()))

    async def send(self, raw):
        self.kill("before send")
        await self._asked("send")
        nonce, price, _, _, _, data, *_ = rlp.decode(raw)
        tx = Tx(int.from_bytes(nonce, "big"), int.from_bytes(price, "big"), bytes(data), raw)
        if self.latency_s is not None:
            await trio.sleep(self.latency_s(tx))
        fault = self.send_fault(tx) if self.send_fault is not None else None
        if fault is not None:
            raise fault
        before = self.pool.get(tx.nonce)
        if before is not None and before.raw == raw:
            raise RpcFailed("stub", -32000, "already known")
        if tx.nonce < self.tip.nonce:
            raise RpcFailed("stub", -32000, "nonce too low: next nonce 1, tx nonce 0")
        if before is not None and tx.price * 10 < before.price * 11:
            raise RpcFailed("stub", -32000, "replacement transaction underpriced")
        self.pool[tx.nonce] = tx
        self.sent.append((trio.current_time(), tx))
        self.kill("after send")

    async def receipt(self, transaction):
        await self._asked("receipt")
        for block in self.blocks:
            for tx, good, _ in block.mined:
                if tx.hash == transaction:
                    return Receipt(block.ref, good, GAS)
        return None

    async def balance(self):
        await self._asked("balance")
        return self.money


class StubCollector:
    """What the sender needs of the collector: every open batch of which the test says so has a quorum."""

    def __init__(self, state):
        self.state = state
        self.ready: dict[bytes, float] = {}
        self.changed = AsyncValue(0)
        self.rechecked: list[bytes] = []
        self.on_recheck = lambda identifier: 0

    async def aggregate(self, identifier):
        point = SimpleNamespace(x=1, y=2)
        return SimpleNamespace(
            task=self.state.tasks[identifier], non_signers=(), non_signer_keys=(), sigma=point,
            quorum_apk=point, apk_g2=SimpleNamespace(x=(1, 2), y=(3, 4)),
        )  # fmt: skip

    async def recheck(self, identifier):
        self.rechecked.append(identifier)
        return self.on_recheck(identifier)

    def update(self):
        now = {one for one, task in self.state.tasks.items() if task.is_open}
        if now != set(self.ready):
            self.ready = {one: self.ready.get(one, trio.current_time()) for one in now}
            self.changed.value += 1


class Journaled:
    """A journal that tells before and after each write."""

    def __init__(self, journal, kill):
        self._journal, self._kill = journal, kill

    def __getattr__(self, name):
        method = getattr(self._journal, name)
        if name not in ("append", "ack", "put"):
            return method

        async def write(*args, **kwargs):
            self._kill("before write")
            result = await method(*args, **kwargs)
            self._kill("after write")
            return result

        return write


@dataclass
class World:
    """One sender after the other, on one journal and one chain. `scan` is what the scanner would do."""

    journal: object
    chain: StubEthereum = field(default_factory=StubEthereum)
    settings: SenderSettings = field(default_factory=SenderSettings)
    confirmations: int = 3
    metrics: Metrics = field(default_factory=Metrics)
    posted: list = field(default_factory=list)
    state: AggregatorState | None = None
    collector: StubCollector | None = None
    sender: Sender | None = None
    kill: object = staticmethod(lambda point: None)
    killing: bool = False

    def post(self, number, *, limit=LIMIT):
        """A batch, on the chain with the next block; its identifier hash."""
        root = hashlib.sha256(b"%d" % number).digest()
        identifier = identifier_hash(root, SENDER)
        self.chain.waiting.append(identifier)
        self.chain.limits[identifier] = limit
        self.posted.append((identifier, root))
        return identifier

    def _killed(self, point):
        if self.killing:
            self.kill(point)

    @asynccontextmanager
    async def running(self):
        """A sender on what the journal and the chain have; without any goodbye at the end."""
        settings = CollectSettings(confirmations=self.confirmations)
        journal = Journaled(self.journal, self._killed)
        self.state = AggregatorState(journal, AggregatorMetrics(self.metrics), settings, clock=trio.current_time)
        self.killing = False
        await self.state.load({})
        self.collector = StubCollector(self.state)
        self.chain.kill = self._killed
        self.sender = Sender(
            self.state, self.collector, self.chain, self.settings, self.confirmations, SenderMetrics(self.metrics)
        )
        await self.scan()
        self.killing = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.sender.run)
                yield self.state
                nursery.cancel_scope.cancel()
        finally:
            self.killing = False

    async def scan(self):
        """Have the state know the chain as it is now."""
        chain = self.chain
        killing, self.killing = self.killing, False  # the scanner's writes are not the sender's

        def make(change):
            for identifier, root in self.posted:
                created, _ = chain.tip.tasks.get(identifier, (0, False))
                known = change.task(identifier)
                if created == 0:
                    if known is not None and not known.void:
                        change.void(identifier)
                    continue
                at = chain.blocks[created].ref
                task = Task(root, SENDER, created, at.hash, 0, chain.limits[identifier], "")
                if known is None or known.void or known.created_hash != at.hash:
                    change.posted(task)
                verified = next(
                    (int(one.ref.number) for one in chain.blocks if one.tasks.get(identifier, (0, 0))[1]), None
                )
                change._now(identifier, verified=verified)

        await self.state.commit(make, end=Place(chain.head + 1), scanned=chain.head)
        self.collector.update()
        self.killing = killing

    async def block(self, count=1):
        """One block every 12 s, scanned at once."""
        for _ in range(count):
            await trio.sleep(BLOCK_S)
            self.chain.mine()
            await self.scan()
            await settle()

    async def until(self, condition, blocks=100):
        for _ in range(blocks):
            if condition():
                return
            await self.block()
        raise AssertionError("it never came to that")

    def answer(self, identifier):
        return self.state.answers.get(identifier)


async def settle():
    """Everything that can be done without time passing is done."""
    await trio.testing.wait_all_tasks_blocked(0.001)


@asynccontextmanager
async def world_of(tmp_path, **parts):
    journal = SqliteJournal(tmp_path / "aggregator.db", inline, clock=trio.current_time)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        world = World(journal, **parts)
        world.chain.mine()
        yield world
        nursery.cancel_scope.cancel()


assert RESPOND_TO_TASK.selector  # the stub reads root and sender behind it
