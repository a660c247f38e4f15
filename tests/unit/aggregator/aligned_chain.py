"""Aligned's contracts on a chain in memory that can be reorganised, and the state of an aggregator beside it."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.rows import Task
from attestrio.aggregator.settings import CollectSettings
from attestrio.aggregator.state import Accepted, AggregatorState
from attestrio.aggregator.surface import (
    BATCH_VERIFIED,
    GET_OPERATOR_STATE,
    NEW_BATCH_V2,
    NEW_BATCH_V3,
    NEW_PUBKEY_REGISTRATION,
    Contracts,
    identifier_hash,
)
from attestrio.bls import SecretKey, encode_g1, g2_words, operator_id
from attestrio.errors import SourceError
from attestrio.journal import SqliteJournal
from attestrio.kit.blocking import inline
from attestrio.kit.metrics import Metrics
from attestrio.l1.api import Address, BlockHash, BlockNumber, BlockRef, Header, Log, TxHash
from attestrio.l1.errors import LogHashDiffers
from eth_abi.abi import decode, encode

CONTRACTS = Contracts(*(Address(bytes([one]) * 20) for one in (0xA1, 0xA2, 0xA3, 0xA4)))
SENDER, OTHER_SENDER = b"\xb0" * 20, b"\xb1" * 20
FEE_LIMIT = 10**16


@dataclass(frozen=True, eq=False)
class Operator:
    """One with a key; `number` makes it what it is."""

    number: int
    secret: SecretKey = field(init=False)
    id: bytes = field(init=False)
    address: bytes = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "secret", SecretKey(1_000 + self.number))
        object.__setattr__(self, "id", operator_id(self.secret.public_g1()))
        object.__setattr__(self, "address", self.number.to_bytes(20, "big"))

    def sign(self, identifier, root, sender=SENDER):
        """A signature as the server accepts it."""
        return Accepted(identifier, root, sender, self.id, encode_g1(self.secret.sign(identifier)))


OPERATORS = tuple(Operator(number) for number in range(1, 9))


def root_of(number):
    return hashlib.sha256(b"root %d" % number).digest()


def batch(number, sender=SENDER):
    """(identifier, root) of a made-up batch."""
    return identifier_hash(root_of(number), sender), root_of(number)


def junk(identifier, root, *, operator=1, sender=SENDER):
    """An accepted signature where only its being there matters."""
    return Accepted(identifier, root, sender, bytes([operator]) * 32, b"\x05" * 64)


@dataclass
class Block:
    ref: BlockRef
    parent: BlockHash
    logs: list
    stakes: dict
    """Operator → stake, from this block on."""


class AlignedChain:
    """A `Chain`. What is to happen waits for `mine`."""

    chain_id = 31337

    def __init__(self):
        self.blocks = []
        self._salt = 0
        self._waiting = []
        self.stakes = {}
        self.asked = []
        self.fault = None
        """Called with what is asked, for each question: may raise."""
        self.mine()

    @property
    def head(self):
        return len(self.blocks) - 1

    def post(self, root, *, sender=SENDER, event=NEW_BATCH_V3, address=CONTRACTS.manager):
        more = {"respondToTaskFeeLimit": FEE_LIMIT} if event is NEW_BATCH_V3 else {}
        self._waiting.append((address, lambda block: event.emitted(
            batchMerkleRoot=root, senderAddress=sender, taskCreatedBlock=block, batchDataPointer="http://data", **more
        )))  # fmt: skip
        return identifier_hash(root, sender)

    def answer(self, root, *, sender=SENDER):
        self._waiting.append(
            (CONTRACTS.manager, lambda _: BATCH_VERIFIED.emitted(batchMerkleRoot=root, senderAddress=sender))
        )

    def register(self, *operators, stake=100, address=CONTRACTS.key_registry):
        for one in operators:
            key = one.secret.public_g1()
            emitted = NEW_PUBKEY_REGISTRATION.emitted(
                operator=one.address, pubkeyG1=(key.x, key.y), pubkeyG2=g2_words(one.secret.public_g2())
            )
            self._waiting.append((address, lambda _, emitted=emitted: emitted))
            self.stakes[one] = stake

    def mine(self, blocks=1):
        for _ in range(blocks):
            self._salt += 1
            number = BlockNumber(len(self.blocks))
            ref = BlockRef(number, BlockHash(hashlib.sha256(b"%d %d" % (number, self._salt)).digest()))
            parent = self.blocks[-1].ref.hash if self.blocks else BlockHash(bytes(32))
            block = Block(ref, parent, [], dict(self.stakes))
            waiting, self._waiting = self._waiting, []
            for index, (address, emitted) in enumerate(waiting):
                topics, data = emitted(number)
                transaction = TxHash(hashlib.sha256(ref.hash + bytes([index % 256])).digest())
                block.logs.append(Log(address, topics, data, ref, index, transaction))
            self.blocks.append(block)
        return self.head

    def reorg(self, depth):
        """The last blocks are gone, with what was in them."""
        del self.blocks[len(self.blocks) - depth :]

    def task(self, root, *, sender=SENDER):
        """The row for a batch of the chain, as the recovery would make it; None: it is not there."""
        for block in self.blocks:
            for log in block.logs:
                for event in (NEW_BATCH_V2, NEW_BATCH_V3):
                    if log.topics[0] != event.topic:
                        continue
                    told = event.read_untrusted(log)
                    if (told["batchMerkleRoot"], told["senderAddress"]) == (root, sender):
                        return Task(
                            root, sender, int(block.ref.number), block.ref.hash, log.index,
                            told.get("respondToTaskFeeLimit", 0), told["batchDataPointer"],
                        )  # fmt: skip
        return None

    async def _asked(self, what):
        await trio.lowlevel.checkpoint()
        self.asked.append(what)
        if self.fault is not None:
            self.fault(what)

    async def block(self, at):
        await self._asked("block")
        if isinstance(at, bytes):
            found = [block for block in self.blocks if block.ref.hash == at]
        else:
            number = self.head if isinstance(at, str) else at
            found = self.blocks[number : number + 1]
        return Header(found[0].ref, found[0].parent, 0) if found else None

    async def logs(self, wanted, first, last):
        await self._asked("logs")
        return [log for block in self.blocks[first : last + 1] for log in block.logs if wanted.matches(log)]

    async def logs_of(self, wanted, block):
        await self._asked("logs_of")
        if block.number > self.head or self.blocks[block.number].ref != block:
            raise LogHashDiffers("stub", "unknown block")
        return [log for log in self.blocks[block.number].logs if wanted.matches(log)]

    async def call(self, to, data, at):
        await self._asked("call")
        assert to == CONTRACTS.retriever
        assert data[:4] == GET_OPERATOR_STATE.selector
        if at > self.head:
            raise Away("header not found")
        coordinator, quorums, number = decode(["address", "bytes", "uint32"], data[4:])
        assert coordinator == "0x" + CONTRACTS.coordinator.hex()
        assert quorums == b"\x00"
        stakes = self.blocks[min(number, at)].stakes
        return encode(
            ["(address,bytes32,uint96)[][]"], [[[(one.address, one.id, stake) for one, stake in stakes.items()]]]
        )


class Away(SourceError):
    """Nobody answers."""

    code = "away"


@asynccontextmanager
async def journal_at(path):
    """A journal that runs, on trio's clock."""
    journal = SqliteJournal(path / "aggregator.db", inline, clock=trio.current_time)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        yield journal
        nursery.cancel_scope.cancel()


class Disturbed:
    """A journal in front of another one: `before` and `after` are called around each write, and may wait or raise."""

    def __init__(self, journal):
        self._journal = journal
        self.before = self.after = self._nothing
        self.writes = []

    async def _nothing(self, what):
        await trio.lowlevel.checkpoint()

    def __getattr__(self, name):
        method = getattr(self._journal, name)
        if name not in ("append", "ack", "put", "move"):
            return method

        async def write(*given, **more):
            self.writes.append(name)
            await self.before(name)
            answer = await method(*given, **more)
            await self.after(name)
            return answer

        return write


async def loaded(journal, settings=None, metrics=None, about=None):
    """The state of a new term."""
    state = AggregatorState(
        journal, AggregatorMetrics(metrics or Metrics()), settings or CollectSettings(), trio.current_time
    )
    await state.load(about or {"chain": "31337"})
    return state


def memory_of(state):
    """All that has to be the same after a restart."""
    return {
        "tasks": state.tasks,
        "keys": state.keys,
        "signed": state.signed,
        "answers": state.answers,
        "orphans": +state.orphans,
        "claims": {identifier: asked.claim for identifier, asked in state.claims.items()},
        "dead": {identifier: asked.claim for identifier, asked in state.dead.items()},
        "ahead": state.ahead,
        "end": state.end,
        "first": state.first,
    }
