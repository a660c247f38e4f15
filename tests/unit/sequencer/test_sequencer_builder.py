"""What a builder puts into a batch, what it refuses, and that a refusal leaves nothing behind."""

from __future__ import annotations

from itertools import groupby

import pytest
from attestrio.sequencer.builder import Added, BatchBuilder, Failed, Full
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.errors import LeafMissing, OtherChain
from attestrio.sequencer.genesis import begin, inject
from attestrio.sequencer.leaves import MemoryLeaves
from attestrio.sequencer.settings import BLOCK_DATA
from attestrio.sim.l2 import deployment
from attestrio.stream import BatchType
from attestrio.zkevm.counters import limits_of
from attestrio.zkevm.errors import BadTransaction, ForkUnsupported, TxFailed, TypedTransactionRefused, UnknownCounter
from attestrio.zkevm.rlp import encode as rlp_encode
from attestrio.zkevm.system import GER_MANAGER, ger_slot
from attestrio.zkevm.transactions import Percentages, tx_untrusted
from eth_account import Account as Wallet
from sequencer_kit import (
    ALICE,
    CHAIN_A,
    COINBASE,
    ETHER,
    GWEI,
    LOGGER,
    SECRETS,
    START,
    add_batch,
    blocks_a,
    contents,
    genesis_a,
    injected_by,
    leaf,
    leaves_a,
    own_chain,
    own_rules,
    rules_a,
    tx,
)

# Calls itself twice, each with half of its gas: without a jump, and for days.
TWICE_ITSELF = bytes.fromhex(2 * "600060006000600060003060025a04f150" + "00")


@pytest.fixture
def db(tmp_path):
    with own_chain(tmp_path / "chain.db") as made:
        yield made


def building(db, *, leaves=(), **changed):
    """A builder with a batch under way, in which a block is."""
    builder = BatchBuilder(db, own_rules(**changed), MemoryLeaves(leaves))
    builder.begin_batch(db.last_batch.number + 1)
    builder.begin_block(START + 1)
    return builder


def rebuilt(path, **changed):
    """Batches 2 and 3 of stream a under other rules: the new batches, each block by its old number and how many
    transactions it got, and the hashes of all blocks."""
    with ChainDb.open(path) as db:
        begin(db, genesis_a())
        inject(BatchBuilder(db, rules_a(), leaves_a()), injected_by(blocks_a()[1]))
        builder = BatchBuilder(db, rules_a(**changed), leaves_a())
        batches = []

        def next_batch():
            if builder.batch is not None:
                builder.close_batch()
            builder.begin_batch(db.last_batch.number + 1)
            batches.append([])

        for _, some in groupby(blocks_a()[2:], key=lambda told: told.block.batch_number):
            next_batch()
            for told in some:
                put(builder, told, batches, next_batch)
        builder.close_batch()
        return batches, [db.block_hash(number) for number in range(db.tip.number + 1)]


def put(builder, told, batches, next_batch):
    """One old block, in as many parts as it takes."""
    left, index, parts = list(told.txs), told.block.l1_infotree_index, 0
    while left or not parts:
        full, done = builder.begin_block(told.block.timestamp, 0 if parts else index), 0
        while full is None and left and (full := full_of(builder.add(left[0]))) is None:
            left.pop(0)
            done += 1
        if done or full is None:
            builder.seal_block()
            batches[-1].append((told.block.number, done))
            parts += 1
        elif builder.in_block:
            builder.drop_block()
        if full is not None:
            assert not full.alone, full
            next_batch()


def full_of(result):
    return result if isinstance(result, Full) else None


# --- room


@pytest.mark.parametrize(
    ("changed", "batches", "same"),
    [
        ({}, [[(2, 2), (3, 0), (4, 3)], [(5, 1), (6, 0)]], True),
        ({"data_budget": 480}, [[(2, 2), (3, 0)], [(4, 3)], [(5, 1), (6, 0)]], True),
        ({"limits": {"A": 1160}}, [[(2, 2), (3, 0)], [(4, 2)], [(4, 1)], [(5, 1), (6, 0)]], False),
        (
            {"limits": {"A": 580}},
            [[(2, 1)], [(2, 1), (3, 0)], [(4, 1)], [(4, 1)], [(4, 1)], [(5, 1), (6, 0)]],
            False,
        ),
    ],
    ids=["as it was", "less data", "arith for two", "arith for one"],
)
def test_lower_limits_split_batches_where_something_is_full(tmp_path, changed, batches, same):
    made, hashes = rebuilt(tmp_path / "chain.db", **changed)

    assert made == batches
    assert (hashes == [told.block.hash for told in blocks_a()]) is same


def test_a_budget_for_one_transaction_makes_a_batch_of_each_block_or_part(tmp_path):
    made, _ = rebuilt(tmp_path / "chain.db", data_budget=177)  # 65, and the longest transaction has 112

    assert [len(blocks) for blocks in made] == [1] * 8


def test_a_budget_takes_a_transaction_that_just_fits_and_none_that_is_a_byte_longer(db):
    size = len(tx_untrusted(tx(0)).batch_l2_data(255))

    exact = building(db, data_budget=BLOCK_DATA + size)
    fits = exact.add(tx(0))
    exact.abandon()
    short = building(db, data_budget=BLOCK_DATA + size - 1)

    assert isinstance(fits, Added)
    assert short.add(tx(0)) == Full("data", alone=True)


def test_what_fits_into_no_batch_is_said_to_be_alone(db):
    builder = building(db, limits={"K": 7})

    assert builder.add(tx(0)) == Full("K", alone=True)
    assert builder.outcomes == ()


def test_code_that_never_ends_is_stopped_when_no_batch_has_room_for_it(db):
    endless = tx(
        0, to=None, data=bytes.fromhex("5b600056"), gas=1 << 40, gas_price=1
    )  # JUMPDEST PUSH1 0 JUMP: for days
    builder = building(db)

    full = builder.add(endless)
    after = builder.add(tx(0))

    assert full == Full("S", alone=True)
    assert isinstance(after, Added)
    with_it, used = builder.seal_block(), builder.batch.counters
    db.unwind_to_end_of(1)
    without = building(db)
    without.add(tx(0))
    assert (without.seal_block(), without.batch.counters) == (with_it, used)


def test_calls_that_never_end_are_stopped_when_no_batch_has_room_for_them(db):
    builder = building(db)
    made = builder.add(tx(0, to=None, data=deployment(TWICE_ITSELF), gas=500_000))

    full = builder.add(tx(1, to=made.outcome.created, gas=1 << 40, gas_price=1))

    assert isinstance(full, Full)
    assert full.alone
    assert len(builder.outcomes) == 1


def test_a_block_that_fits_into_no_batch_is_said_to_be_alone(db):
    builder = BatchBuilder(db, own_rules(data_budget=2 * BLOCK_DATA - 1), MemoryLeaves())
    narrow = BatchBuilder(db, own_rules(data_budget=BLOCK_DATA - 1), MemoryLeaves())

    builder.begin_batch(2)
    first = builder.begin_block(START + 1)
    builder.seal_block()
    second = builder.begin_block(START + 2)
    builder.close_batch()
    narrow.begin_batch(3)

    assert first is None
    assert second == Full("data", alone=False)
    assert narrow.begin_block(START + 2) == Full("data", alone=True)


def test_what_did_not_fit_is_as_if_it_had_never_been_tried(db):
    once = building(db, limits={"A": 1160})
    for nonce in range(2):
        once.add(tx(nonce))
    full = once.add(tx(2))
    tried = once.seal_block()
    db.unwind_to_end_of(1)
    never = building(db, limits={"A": 1160})
    for nonce in range(2):
        never.add(tx(nonce))

    assert full == Full("A", alone=False)
    assert tried == never.seal_block()


# --- transactions


def typed():
    return rlp_encode(
        bytes(
            Wallet.sign_transaction(
                {
                    "chainId": CHAIN_A, "nonce": 0, "gas": 21_000, "to": LOGGER, "value": 1, "data": b"",
                    "maxFeePerGas": GWEI, "maxPriorityFeePerGas": GWEI, "type": 2,
                },
                SECRETS[0],
            ).raw_transaction
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("encoded", "fault"),
    [
        (tx(1), TxFailed),  # a nonce that is not due
        (tx(0, value=101 * ETHER), TxFailed),
        (tx(0, gas=20_999), TxFailed),
        (tx(0, chain_id=CHAIN_A + 1), TxFailed),
        (b"\xc0", BadTransaction),
        (typed(), TypedTransactionRefused),
    ],
    ids=["nonce", "balance", "gas", "chain", "garbage", "typed"],
)
def test_a_transaction_that_fails_leaves_nothing_behind(db, encoded, fault):
    builder = building(db)

    failed = builder.add(encoded)
    with_it = builder.seal_block()
    db.unwind_to_end_of(1)
    without_it = building(db).seal_block()

    assert isinstance(failed, Failed)
    assert isinstance(failed.fault, fault)
    assert with_it == without_it


def test_a_reverted_transaction_stays_in_its_block(db):
    builder = building(db)

    added = builder.add(tx(0, to=None, value=0, data=bytes.fromhex("60006000fd")))
    sealed = builder.seal_block()

    assert isinstance(added, Added)
    assert [one.status for one in sealed.txs] == [0]
    assert sealed.txs[0].created is not None


def test_the_kind_of_a_transaction_decides_what_it_pays(db):
    builder = building(db, percentages=Percentages(10, 20, 30, 40))
    transfer = bytes.fromhex("a9059cbb") + bytes(4)

    for nonce, fields in enumerate([{}, {"data": transfer}, {"data": b"\1"}, {"to": None, "value": 0}]):
        builder.add(tx(nonce, **fields))

    assert [one.percentage for one in builder.seal_block().txs] == [10, 20, 30, 40]


def test_logs_and_receipts_are_kept_with_the_block(db):
    builder = building(db)

    builder.add(tx(0, to=LOGGER))
    sealed = builder.seal_block()

    assert [(log.address, len(log.topics)) for log in sealed.txs[0].logs] == [(LOGGER, 2), (LOGGER, 1)]
    assert db.block(2) == sealed
    assert db.block_by_hash(sealed.hash) == sealed
    assert db.transaction_place(sealed.txs[0].hash) == (2, 0)
    assert db.tip.header == sealed.header


# --- blocks


def test_a_dropped_block_has_never_been(db):
    dropped = building(db, leaves=[leaf(1)])
    dropped.drop_block()
    dropped.begin_block(START + 1, 1)
    dropped.drop_block()
    dropped.begin_block(START + 1)
    dropped.add(tx(0))
    after_drops = dropped.seal_block()
    db.unwind_to_end_of(1)
    never = building(db)
    never.add(tx(0))

    assert after_drops == never.seal_block()
    assert db.l1_progress == 0


def test_a_block_with_transactions_is_not_dropped(db):
    builder = building(db)
    builder.add(tx(0))

    with pytest.raises(RuntimeError, match="transactions"):
        builder.drop_block()

    assert len(builder.seal_block().txs) == 1


def test_a_leaf_is_written_into_the_state_by_the_first_block_that_gets_so_far(db):
    builder = BatchBuilder(db, own_rules(), MemoryLeaves([leaf(1), leaf(2)]))
    slots = [ger_slot(leaf(index).ger) for index in (1, 2)]
    builder.begin_batch(2)

    written = []
    for index in (2, 1):
        builder.begin_block(START, index)
        sealed = builder.seal_block()
        written.append([bool(db.state.storage(GER_MANAGER, slot)) for slot in slots])

    assert written == [[False, True], [False, True]]  # an index that is not higher changes nothing
    assert (sealed.l1_index, sealed.ger, sealed.l1_hash, sealed.min_timestamp) == (
        1,
        leaf(1).ger,
        leaf(1).l1_hash,
        START,
    )
    assert db.l1_progress == 2


def test_a_leaf_that_is_not_known_stops_the_builder_before_anything_happened(db):
    builder = BatchBuilder(db, own_rules(), MemoryLeaves())
    builder.begin_batch(2)

    with pytest.raises(LeafMissing, match="leaf 3"):
        builder.begin_block(START, 3)

    assert builder.begin_block(START) is None


def test_time_may_stand_still_and_not_go_back(db):
    builder = BatchBuilder(db, own_rules(), MemoryLeaves())
    builder.begin_batch(2)

    with pytest.raises(ValueError, match="time"):
        builder.begin_block(START - 1)
    builder.begin_block(START)

    assert builder.seal_block().delta == 0


# --- batches


def test_a_batch_may_have_no_blocks_and_the_next_goes_on(db):
    builder = BatchBuilder(db, own_rules(), MemoryLeaves())

    bad = add_batch(builder, kind=BatchType.INVALID)
    good = add_batch(builder, [tx(0)])

    assert (bad.number, bad.blocks, bad.head.kind) == (2, 0, BatchType.INVALID)
    assert (good.number, good.blocks, good.first_block) == (3, 1, 2)
    assert bad.state_root == db.batch(1).state_root != good.state_root
    assert bad.counters.steps == 362  # what a batch with nothing in it takes


def test_the_fork_and_its_limits_follow_from_the_number_of_the_batch(db):
    rules = own_rules(forks=((9, 0), (12, 2)))
    builder = BatchBuilder(db, rules, MemoryLeaves())

    forks = [add_batch(builder, []).head.fork for _ in range(3)]

    assert forks == [9, 12, 12]
    assert limits_of(12) != limits_of(9)


def test_a_fork_whose_rules_are_not_known_is_refused(db):
    builder = BatchBuilder(db, own_rules(forks=((7, 0),)), MemoryLeaves())

    with pytest.raises(ForkUnsupported):
        builder.begin_batch(2)


def test_the_counters_of_a_block_are_those_of_its_batch_so_far(db):
    builder = building(db)
    builder.add(tx(0))
    first = builder.seal_block()
    builder.begin_block(START + 2)
    second = builder.seal_block()
    closed = builder.close_batch()

    assert second.counters.steps - first.counters.steps == 180  # what a block takes
    assert second.counters.keccak - first.counters.keccak == 2
    assert closed.counters == second.counters == db.batch(2).counters
    assert closed.data == second.data == first.data + 65


def test_nobody_counts_where_counters_are_off(db):
    builder = building(db, counters=False, limits={"A": 1})

    assert isinstance(builder.add(tx(0)), Added)
    assert builder.seal_block().counters is None


@pytest.mark.parametrize(
    "wrong",
    [
        lambda builder: builder.begin_batch(4),
        lambda builder: builder.begin_block(START + 9),
        lambda builder: builder.close_batch(),
    ],
    ids=["another batch", "another block", "the end of the batch"],
)
def test_what_is_under_way_has_to_end_first(db, wrong):
    builder = building(db)

    with pytest.raises(RuntimeError):
        wrong(builder)

    assert builder.seal_block().number == 2


@pytest.mark.parametrize("verb", ["seal_block", "drop_block", "close_batch"])
def test_without_anything_under_way_nothing_ends(db, verb):
    builder = BatchBuilder(db, own_rules(), MemoryLeaves())

    with pytest.raises(RuntimeError):
        getattr(builder, verb)()


def test_a_batch_that_is_open_in_the_database_is_not_gone_on_with(db):
    building(db).seal_block()

    with pytest.raises(RuntimeError, match="cannot begin"):
        BatchBuilder(db, own_rules(), MemoryLeaves()).begin_batch(3)


def test_rules_of_another_chain_or_with_unknown_counters_are_refused(db):
    with pytest.raises(OtherChain):
        BatchBuilder(db, own_rules(chain_id=CHAIN_A + 1), MemoryLeaves())
    with pytest.raises(UnknownCounter):
        BatchBuilder(db, own_rules(limits={"Q": 1}), MemoryLeaves())


def test_a_block_that_could_not_be_written_ends_the_batch_and_leaves_the_chain_as_it_was(db):
    builder, before = building(db), contents(db)
    builder.add(tx(0))
    db._db.execute("CREATE TEMP TRIGGER full BEFORE INSERT ON main.blocks BEGIN SELECT RAISE(ABORT, 'full'); END")

    with pytest.raises(Exception, match="full"):
        builder.seal_block()
    left = contents(db)
    db._db.execute("DROP TRIGGER full")

    assert left == before
    assert builder.batch is None
    assert add_batch(builder, [tx(0)]).blocks == 1
    assert db.state.nonce(ALICE) == 1
    assert db.tip.header.coinbase == COINBASE
