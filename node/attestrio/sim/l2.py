"""A small second-layer chain with a bit of everything, the same on every machine, for demos and tests.

    plan = demo_plan()
    db = ChainDb.open(path)
    for sealed in build(db, plan): ...       blocks and closed batches, in the order a stream has them

Of a plan everything is known before anything is executed: accounts, transactions, times, leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from coincurve import PrivateKey

from attestrio.roles.keccak import keccak256
from attestrio.sequencer.builder import Added, BatchBuilder
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.genesis import Genesis, Injected, begin, inject
from attestrio.sequencer.leaves import Leaf, MemoryLeaves, next_index
from attestrio.sequencer.sealed import SealedBatch, SealedBlock
from attestrio.sequencer.settings import Rules
from attestrio.stream.messages import BatchType
from attestrio.zkevm.genesis import Account
from attestrio.zkevm.rlp import encode, encode_int
from attestrio.zkevm.transactions import sign_legacy, unsigned_legacy

CHAIN_ID: Final = 7_991
FORK: Final = 12
GENESIS_AT: Final = 1_700_000_000
COINBASE: Final = bytes.fromhex("5e9ce8" + "00" * 16 + "01")
ETHER, GWEI = 10**18, 10**9
USERS: Final = 4
LOWERED: Final = {"A": 3_000}
"""Limits with which every transaction of the demo chain fits into a batch, and four of its batches do not."""
LAG_S: Final = 120
"""How late the sequencer hears of a leaf: by then blocks that could have taken it over are sealed."""

# Adds its argument to slot 0, keeps the total under keccak256(caller) as well, and logs it with the caller as topic.
TALLY: Final = bytes.fromhex(
    "600035" "60005401" "80600055" "33600052" "806020600020" "55" "600052" "33" "6374616c6c" "60206000a2" "00"
)  # fmt: skip
# Hashes 32 bytes as often as its argument says; the last hash goes to slot 1.
MIXER: Final = bytes.fromhex("6000355b602060002060005260019003806003575060005160015500")


def secret_of(user: int) -> bytes:
    """The key of one of the accounts that have ether from the beginning."""
    return keccak256(b"attestrio l2 user %d" % user)


@lru_cache(USERS)
def address_of(user: int) -> bytes:
    return address_of_key(secret_of(user))


def address_of_key(secret: bytes) -> bytes:
    """The account of a 32-byte key."""
    return keccak256(PrivateKey(secret).public_key.format(compressed=False)[1:])[12:]


def created_by(sender: bytes, nonce: int) -> bytes:
    """The address of the contract that a deployment makes."""
    return keccak256(encode([sender, encode_int(nonce)]))[12:]


def deployment(code: bytes) -> bytes:
    """The data of the transaction that puts `code`, of 255 bytes at most, on a chain."""
    return bytes((0x60, len(code), 0x60, 12, 0x60, 0, 0x39, 0x60, len(code), 0x60, 0, 0xF3)) + code


class Wallets:
    """The accounts of a demo chain, who count their own nonces: what is signed is to be executed in that order."""

    def __init__(self, chain_id: int = CHAIN_ID) -> None:
        self._chain_id = chain_id
        self._nonces = [0] * USERS

    def sign(
        self, user: int, to: bytes | None, *, value: int = 0, data: bytes = b"", gas: int = 200_000, price: int = GWEI
    ) -> bytes:
        """The next transaction of a user, as it stands in a stream."""
        nonce = self._nonces[user]
        self._nonces[user] += 1
        unsigned = unsigned_legacy(
            chain_id=self._chain_id, nonce=nonce, gas_price=price, gas=gas, to=to, value=value, data=data
        )
        return sign_legacy(unsigned, secret_of(user)).encoded

    def go_on(self, user: int, nonce: int) -> None:
        """The chain expects this nonce next: what was signed with it, or a later one, got lost."""
        self._nonces[user] = nonce

    def transfer(self, user: int, to: int, value: int = GWEI) -> bytes:
        """Between two users."""
        return self.sign(user, address_of(to), value=value, gas=21_000)

    def deploy(self, user: int, code: bytes) -> tuple[bytes, bytes]:
        """The transaction, and the address it makes."""
        address = created_by(address_of(user), self._nonces[user])
        return self.sign(user, None, data=deployment(code), gas=500_000), address

    def call(self, user: int, contract: bytes, argument: int) -> bytes:
        """Of one of the two contracts above."""
        return self.sign(user, contract, data=argument.to_bytes(32, "big"))


@dataclass(frozen=True, slots=True)
class PlannedBlock:
    """A block before it is built. Which leaf it takes over follows from what is known at its time."""

    timestamp: int
    txs: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """A batch before it is built, from number 2 on."""

    blocks: tuple[PlannedBlock, ...] = ()
    kind: BatchType = BatchType.REGULAR


@dataclass(frozen=True, slots=True)
class Plan:
    """A chain before it is built."""

    rules: Rules
    genesis: Genesis
    injected: Injected
    batches: tuple[PlannedBatch, ...]
    leaves: tuple[Leaf, ...]
    """All there ever are; each is heard of `LAG_S` after its time."""
    contracts: tuple[bytes, ...] = field(default=())
    """What it deploys: a tally, a mixer."""

    @property
    def end(self) -> int:
        """The time of its last block."""
        return max(block.timestamp for batch in self.batches for block in batch.blocks)

    def known_leaves(self, at: int | None = None) -> MemoryLeaves:
        """Those a sequencer has heard of at this time, by default when its last block is built."""
        now = self.end if at is None else at
        return MemoryLeaves(leaf for leaf in self.leaves if leaf.timestamp + LAG_S <= now)

    def all_leaves(self) -> MemoryLeaves:
        """With those it hears of later, so that a renewal of indices finds other ones."""
        return MemoryLeaves(self.leaves)


def demo_plan(*, odd: bool = False, rules: Rules | None = None) -> Plan:
    """Empty blocks, blocks of one and of many transactions, calls with logs, two blocks of one time, leaves and none.

    Args:
      odd: with a batch that is invalid and one that is just empty, neither of which has a block.
      rules: other ones than `demo_rules()`; of the same chain.
    """
    wallets, at = Wallets(), GENESIS_AT + 1_000
    tally_tx, tally = wallets.deploy(0, TALLY)
    mixer_tx, mixer = wallets.deploy(1, MIXER)
    injected = Injected(wallets.transfer(3, 0), GENESIS_AT + 600, keccak256(b"first ger"), keccak256(b"first l1 block"))
    bodies: list[list[list[bytes]]] = [  # batches of blocks of transactions
        [[tally_tx], [], [mixer_tx, wallets.transfer(0, 1)]],
        [[wallets.call(0, tally, 1)], [wallets.call(user, tally, user + 2) for user in range(USERS)], []],
        [[], [wallets.transfer(2, 3)], [], [wallets.transfer(0, 1), wallets.call(1, mixer, 5)]],
        [[wallets.call(user % USERS, tally, 7 + user) for user in range(12)], [wallets.transfer(1, 2)]],
        [[]],
        [[wallets.transfer(user % USERS, (user + 1) % USERS) for user in range(16)]],
        [[wallets.call(2, mixer, 20)], [wallets.call(3, tally, 3), wallets.call(3, mixer, 3)], [], []],
        [[wallets.call(user % USERS, mixer, 2 + user) for user in range(6)], [wallets.call(0, tally, 40)]],
        [[], [wallets.sign(0, tally, data=(9).to_bytes(32, "big"), gas=30_000)], [wallets.transfer(0, 3)]],
        [[wallets.transfer(3, 1)], []],
    ]
    batches: list[PlannedBatch] = []
    for count, body in enumerate(bodies):
        blocks = []
        for position, txs in enumerate(body):
            if not (position and count % 3 == 0):  # else of the same second as the block before it
                at += 12
            blocks.append(PlannedBlock(at, tuple(txs)))
        batches.append(PlannedBatch(tuple(blocks)))
    if odd:
        batches[5:5] = [PlannedBatch(kind=BatchType.INVALID)]
        batches[8:8] = [PlannedBatch()]
    genesis = Genesis(CHAIN_ID, GENESIS_AT, {address_of(user): Account(100 * ETHER) for user in range(USERS)})
    return Plan(rules or demo_rules(), genesis, injected, tuple(batches), demo_leaves(), (tally, mixer))


def demo_rules() -> Rules:
    """One fork, its limits, and every transaction pays its whole price."""
    return Rules(CHAIN_ID, ((FORK, 0),), COINBASE)


def demo_leaves() -> tuple[Leaf, ...]:
    """One every forty seconds; a block takes over the next one only once it is heard of, so most blocks have none."""
    return tuple(
        Leaf(index, keccak256(b"ger %d" % index), keccak256(b"l1 block %d" % index), GENESIS_AT + 780 + 40 * index)
        for index in range(1, 16)
    )


def build(
    db: ChainDb, plan: Plan, batches: Sequence[PlannedBatch] | None = None
) -> Iterator[SealedBatch | SealedBlock]:
    """Build it, from its genesis or from where `db` stands; the last batch stays open, as on a chain that runs.

    Raises AssertionError where a transaction does not get in: a plan is made so that all of them do.
    """
    if db.tip is None:
        yield from begin_plan(db, plan)
    last = db.last_batch
    assert last is not None
    for number, batch in enumerate(plan.batches if batches is None else batches, 2):
        if number > last.number:
            yield from build_batch(db, plan, number, batch, close=number != len(plan.batches) + 1)


def begin_plan(db: ChainDb, plan: Plan) -> list[SealedBatch | SealedBlock]:
    """Batches 0 and 1."""
    genesis = begin(db, plan.genesis)
    block = db.block(0)
    assert block is not None
    return [block, genesis, *inject(builder_of(db, plan), plan.injected)]


def builder_of(db: ChainDb, plan: Plan, leaves: MemoryLeaves | None = None) -> BatchBuilder:
    """One that counts as the plan's rules say."""
    return BatchBuilder(db, plan.rules, leaves or plan.known_leaves())


def build_batch(
    db: ChainDb, plan: Plan, number: int, batch: PlannedBatch, *, close: bool = True
) -> Iterator[SealedBatch | SealedBlock]:
    """One batch on the end of the chain."""
    builder = builder_of(db, plan, plan.all_leaves())
    builder.begin_batch(number, batch.kind)
    for block in batch.blocks:
        known = plan.known_leaves(block.timestamp)
        full = builder.begin_block(block.timestamp, next_index(known, db.l1_progress, block.timestamp))
        assert full is None, f"batch {number} is full: {full}"
        for encoded in block.txs:
            added = builder.add(encoded)
            assert isinstance(added, Added), f"batch {number}: {added}"
        yield builder.seal_block()
    if close:
        yield builder.close_batch()
