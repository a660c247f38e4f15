"""Batches as the chain has them: what counts, what is compared, and what is pinned to one block."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from attestrio.batches.chain import (
    ChainCheck,
    ChainContradicts,
    CheckedBatches,
    CommittedBatches,
    NotOnChain,
    Verdict,
)
from attestrio.batches.l1 import COMMITTED, EXECUTED, STORED_HASH, DiamondBatches, Finality
from attestrio.batches.stored import NO_PRIORITY_OPERATIONS, StoredBatchInfo
from attestrio.errors import SourceError
from attestrio.kit.jsonrpc import MalformedAnswer
from attestrio.l1.api import Address, BlockHash, BlockNumber, BlockRef, Header
from attestrio.l1.errors import UnreadableEvent
from attestrio.roles import Batch, BatchHash, BatchNumber, GenesisHash

DIAMOND = Address(b"\xdd" * 20)
GENESIS = GenesisHash(b"\x07" * 32)
ONE, TWO, OTHER = (BatchHash(bytes([n]) * 32) for n in (1, 2, 9))


class Down(SourceError):
    code = "test_down"


@dataclass
class State:
    """What the contract holds at one block."""

    committed: int = 0
    executed: int = 0
    hashes: dict[int, bytes] = field(default_factory=dict)


class ScriptedChain:
    """A chain whose blocks are states, named by a tag; remembers at which block it was asked."""

    chain_id = 1

    def __init__(self, **tagged):
        self._tagged = {tag: BlockHash(bytes([n]) * 32) for n, tag in enumerate(tagged, 0xB0)}
        self._states = {self._tagged[tag]: state for tag, state in tagged.items()}
        self.asked_at = []

    async def block(self, at):
        if at not in self._tagged:
            return None
        return Header(BlockRef(BlockNumber(1), self._tagged[at]), BlockHash(bytes(32)), 0)

    async def call(self, to, data, at):
        assert to == DIAMOND
        self.asked_at.append(at)
        state = self._states[at]
        if data == COMMITTED.encode():
            return state.committed.to_bytes(32, "big")
        if data == EXECUTED.encode():
            return state.executed.to_bytes(32, "big")
        assert data[:4] == STORED_HASH.selector
        return state.hashes.get(int.from_bytes(data[4:], "big"), bytes(32))

    async def logs(self, wanted, first, last):
        raise AssertionError("no logs are needed")

    logs_of = logs


def hashes(*known):
    return {number: known.to_bytes() for number, known in enumerate(known, 1)}


async def test_a_batch_counts_once_the_counter_reaches_it():
    chain = ScriptedChain(latest=State(committed=1, hashes=hashes(ONE, TWO)))
    batches = DiamondBatches(chain, DIAMOND, Finality.LATEST)

    assert await batches.hash_of(BatchNumber(1)) == ONE
    assert await batches.hash_of(BatchNumber(2)) is None  # given up by a revert: its hash is still there


@pytest.mark.parametrize(
    ("finality", "known"),
    [(Finality.LATEST, 4), (Finality.SAFE, 3), (Finality.FINALIZED, 2), (Finality.EXECUTED, 1)],
)
async def test_each_finality_has_its_own_last_batch(finality, known):
    stored = hashes(ONE, ONE, ONE, ONE)
    chain = ScriptedChain(
        latest=State(4, 4, stored), safe=State(3, 3, stored), finalized=State(2, 1, stored),
    )  # fmt: skip
    batches = DiamondBatches(chain, DIAMOND, finality)

    assert [await batches.hash_of(BatchNumber(n)) for n in (known, known + 1)] == [ONE, None]


async def test_counter_and_hash_are_read_at_one_block():
    chain = ScriptedChain(latest=State(committed=1, hashes=hashes(ONE)))

    await DiamondBatches(chain, DIAMOND, Finality.LATEST).hash_of(BatchNumber(1))

    assert chain.asked_at == [b"\xb0" * 32] * 2


async def test_a_chain_without_a_final_block_has_no_batches():
    chain = ScriptedChain(latest=State(committed=1, hashes=hashes(ONE)))

    assert await DiamondBatches(chain, DIAMOND, Finality.FINALIZED).hash_of(BatchNumber(1)) is None


async def test_a_counted_batch_without_a_hash_is_not_believed():
    chain = ScriptedChain(latest=State(committed=1))

    with pytest.raises(UnreadableEvent):
        await DiamondBatches(chain, DIAMOND, Finality.LATEST).hash_of(BatchNumber(1))


async def test_an_address_without_the_contract_is_named_as_such():
    class Empty(ScriptedChain):
        async def call(self, to, data, at):
            return b""

    with pytest.raises(MalformedAnswer, match="no contract there"):
        await DiamondBatches(Empty(latest=State()), DIAMOND, Finality.LATEST).hash_of(BatchNumber(1))


class Committed:
    """What the chain has, or why it does not say."""

    def __init__(self, known):
        self.known = known

    async def hash_of(self, number):
        if isinstance(self.known, Exception):
            raise self.known
        return self.known.get(number)


class Source:
    """Says of every batch that it has the hash ONE."""

    def __init__(self, knows=True):
        self.knows = knows

    async def batch_to_sign(self, number):
        return Batch(number, ONE, GENESIS) if self.knows else None


async def test_the_chain_alone_can_be_the_source():
    batches = CommittedBatches(Committed({5: TWO}), GENESIS)

    assert await batches.batch_to_sign(BatchNumber(5)) == Batch(BatchNumber(5), TWO, GENESIS)
    assert await batches.batch_to_sign(BatchNumber(6)) is None


async def test_a_batch_is_let_through_once_the_chain_has_it():
    told, committed = [], Committed({})
    batches = CheckedBatches(Source(), ChainCheck(committed, told.append))
    before = await batches.batch_to_sign(BatchNumber(5))
    committed.known[5] = ONE

    assert before is None
    assert await batches.batch_to_sign(BatchNumber(5)) == Batch(BatchNumber(5), ONE, GENESIS)
    assert told == [Verdict.ABSENT, Verdict.SAME]


async def test_a_batch_that_the_chain_contradicts_is_named_with_both_hashes():
    told = []
    batches = CheckedBatches(Source(), ChainCheck(Committed({5: OTHER}), told.append))

    with pytest.raises(ChainContradicts) as contradicted:
        await batches.batch_to_sign(BatchNumber(5))

    assert ONE.to_text() in str(contradicted.value)
    assert contradicted.value.committed == OTHER
    assert told == [Verdict.OTHER]


async def test_a_chain_that_does_not_answer_lets_nothing_through():
    told = []
    batches = CheckedBatches(Source(), ChainCheck(Committed(Down("down")), told.append))

    with pytest.raises(Down):
        await batches.batch_to_sign(BatchNumber(5))

    assert told == [Verdict.UNREAD]


async def test_what_the_source_does_not_know_is_not_asked_of_the_chain():
    told = []
    batches = CheckedBatches(Source(knows=False), ChainCheck(Committed({5: ONE}), told.append))

    assert await batches.batch_to_sign(BatchNumber(5)) is None
    assert told == []


async def test_before_a_signature_a_batch_has_to_be_on_the_chain():
    check = ChainCheck(Committed({}), lambda verdict: None)

    with pytest.raises(NotOnChain):
        await check.require(Batch(BatchNumber(5), ONE, GENESIS))


def info(**changed):
    fields = {
        "number": 7, "state_root": b"\x11" * 32, "index_repeated_storage_changes": 100, "layer1_transactions": 3,
        "priority_operations_hash": b"\x22" * 32, "l2_logs_root": b"\x33" * 32, "timestamp": 1_700_000_000,
        "commitment": b"\x44" * 32,
    }  # fmt: skip
    return StoredBatchInfo(**fields | changed)


def test_the_attested_hash_is_that_of_the_specification():
    assert info().hash().to_bytes().hex() == "b4d0829ef739c07a4af4f134c39b692af878ba0f8756e1b299d698600a7d2a86"
    assert NO_PRIORITY_OPERATIONS.hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


@pytest.mark.parametrize(
    "changed",
    [{"number": 1 << 64}, {"number": -1}, {"timestamp": 1 << 256}, {"commitment": b"\x44" * 31}, {"state_root": b""}],
)
def test_what_the_contract_could_not_store_has_no_hash(changed):
    with pytest.raises(ValueError, match="in the place of a"):
        info(**changed).hash()
