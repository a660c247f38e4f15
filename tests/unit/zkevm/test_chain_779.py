"""A public test network, block by block: 11,317 hashes, state roots and block info roots."""

from __future__ import annotations

import json
import tarfile

import pytest
from attestrio.stream import L2Block, Transaction, message_untrusted
from attestrio.stream.reader import StreamReader
from attestrio.zkevm.counters import UNLIMITED, BatchCounters, limits_of
from attestrio.zkevm.executor import BlockEnv, ChainRules, Executor, L1Info
from attestrio.zkevm.genesis import allocation, begin_chain
from attestrio.zkevm.nodes import MemoryNodes
from attestrio.zkevm.smt import Smt
from attestrio.zkevm.state import MemoryStore, State
from attestrio.zkevm.transactions import tx_untrusted
from execution_kit import SHARED, needs_shared

FOLDER = SHARED / "chain-779"
FORK = 9
LAST = 11_317
AGAIN = 10_800
"""Nearly all transactions come after this block."""


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    """Pairs of a block and its transactions, from the genesis block on."""
    folder = tmp_path_factory.mktemp("chain-779")
    with tarfile.open(FOLDER / "data-stream.tar.gz") as tar:
        name = next(name for name in tar.getnames() if name.endswith("data-stream.bin"))
        tar.extract(name, folder, filter="data")
    found = []
    with StreamReader.open(folder / name) as reader:
        for entry in reader.entries():
            match message_untrusted(entry.type, entry.data):
                case L2Block() as block:
                    found.append((block, []))
                case Transaction() as tx:
                    found[-1][1].append(tx)
    return found


@pytest.fixture
def chain():
    """An executor at the end of the genesis block, and the hash of that block."""
    state, smt = State(MemoryStore()), Smt(MemoryNodes())
    conf = json.loads((FOLDER / "dynamic-integration-conf.json").read_text())
    accounts = allocation(json.loads((FOLDER / "dynamic-integration-allocs.json").read_text()))
    genesis = begin_chain(state, smt, accounts, timestamp=conf["timestamp"])
    assert "0x" + genesis.state_root.hex() == conf["root"]
    return Executor(state, smt, ChainRules(779)), genesis.hash()


def build(executor, block, txs, parent, counters=None):
    """The block again, from what a sequencer would know of it, its transactions counted or not."""
    info = L1Info(block.global_exit_root, block.l1_blockhash) if any(block.global_exit_root) else None
    executor.begin_block(
        BlockEnv(block.number, block.timestamp, block.coinbase, FORK, parent, executor.state.tip.root, info)
    )
    for told in txs:
        tx, percentage = tx_untrusted(told.encoded), told.effective_gas_price_percentage
        executor.hook = counters and counters.begin_tx(tx, percentage, executor.smt.depth)
        outcome = executor.apply(tx, percentage)
        if counters:
            assert counters.end_tx(outcome, len(executor.state.code(tx.to)) if tx.to else 0) is None
    return executor.finish_block()


def replay(executor, blocks, parent):
    """Build them all; the first that comes out differently ends it."""
    for block, txs in blocks:
        built = build(executor, block, txs, parent)
        assert (built.hash, built.state_root, built.block_info_root) == (
            block.hash, block.state_root, block.block_info_root,
        ), f"block {block.number}"  # fmt: skip
        parent = built.hash
    return parent


@needs_shared
@pytest.mark.slow
def test_every_block_comes_out_as_it_is_and_again_after_going_back(blocks, chain):
    executor, genesis = chain
    assert genesis == blocks[0][0].hash

    last = replay(executor, blocks[1:], genesis)
    executor.unwind_to(AGAIN)
    again = replay(executor, blocks[AGAIN + 1 :], blocks[AGAIN][0].hash)

    assert executor.state.tip.number == LAST == blocks[-1][0].number
    assert last == again == blocks[-1][0].hash
    assert executor.smt.depth == 25


@needs_shared
@pytest.mark.slow
def test_counted_the_blocks_are_the_same_and_full_batches_are_known(blocks, chain):
    executor, parent = chain
    last, counted = -1, {}
    for block, txs in blocks[1:]:
        if block.batch_number != last:
            last = block.batch_number
            counters = counted[last] = BatchCounters(FORK, executor.smt.depth, UNLIMITED)
        assert counters.begin_block(bool(block.l1_infotree_index)) is None
        parent = build(executor, block, txs, parent, counters).hash

    assert parent == blocks[-1][0].hash
    full = [batch for batch, counters in counted.items() if counters.used.over(limits_of(FORK))]
    assert full == [76, 77, 78, *range(82, 91), *range(93, 102)]  # this network has not counted them
