"""A chain goes back to where it was, to the last row; and is there again when its file is opened."""

from __future__ import annotations

from dataclasses import replace

import pytest
from attestrio.kit.sqlite import StorageForeign
from attestrio.sequencer.builder import BatchBuilder
from attestrio.sequencer.db import ChainDb, Unwound
from attestrio.sequencer.errors import UnwindRefused
from attestrio.sequencer.leaves import MemoryLeaves
from attestrio.sequencer.reader import ChainReader
from attestrio.stream import BatchType
from attestrio.zkevm.errors import NoSuchBlock
from hypothesis import given, settings
from hypothesis import strategies as st
from sequencer_kit import BOB, LOGGER, START, add_batch, contents, leaf, own_chain, own_rules, tx
from suite import examples


def grown(path):
    """Batch 2: blocks 2 to 4, with a leaf; batch 3: none; batch 4: blocks 5 and 6, still open."""
    db = own_chain(path)
    builder = BatchBuilder(db, own_rules(), MemoryLeaves([leaf(1)]))
    builder.begin_batch(2)
    for index, txs in ((0, [tx(0), tx(1, to=LOGGER)]), (1, []), (0, [tx(2)])):
        builder.begin_block(db.tip.timestamp + 1, index)
        for encoded in txs:
            builder.add(encoded)
        builder.seal_block(b"block %d" % db.tip.number)
    builder.close_batch()
    add_batch(builder, kind=BatchType.INVALID)
    builder.begin_batch(4)
    for nonce in (3, 4):
        builder.begin_block(db.tip.timestamp + 1)
        builder.add(tx(nonce))
        builder.seal_block()
    return db


@pytest.fixture
def db(tmp_path):
    with grown(tmp_path / "chain.db") as made:
        yield made


# --- going back


def test_going_back_to_a_batch_is_as_if_nothing_had_followed(tmp_path, db):
    with own_chain(tmp_path / "short.db") as short:
        unwound = db.unwind_to_batch(1)

        left, never = contents(db), contents(short)

    assert unwound == Unwound(batch=1, block=1, batches=3, blocks=5)
    assert {name: rows for name, rows in left.items() if name != "nodes"} == {
        name: rows for name, rows in never.items() if name != "nodes"
    }
    assert db.l1_progress == 0


def test_the_same_blocks_can_be_built_again_after_going_back(db):
    before = [db.block(number) for number in range(2, 5)]
    db.unwind_to_batch(1)
    builder = BatchBuilder(db, own_rules(), MemoryLeaves([leaf(1)]))
    builder.begin_batch(2)

    for block in before:
        builder.begin_block(block.timestamp, block.l1_index)
        for one in block.txs:
            builder.add(one.encoded)
        builder.seal_block()

    assert [db.block(number) for number in range(2, 5)] == before


@pytest.mark.parametrize(
    ("batch", "why"),
    [(0, "batch 1 is taken from L1 once"), (3, "no block found"), (5, "no such batch, the last one is 4")],
)
def test_there_are_batches_nobody_goes_back_to(db, batch, why):
    before = contents(db)

    with pytest.raises(UnwindRefused, match=why):
        db.unwind_to_batch(batch)

    assert contents(db) == before


def test_going_back_to_the_last_batch_changes_nothing(db):
    before = contents(db)

    unwound = db.unwind_to_batch(4)

    assert unwound == Unwound(4, 6, 0, 0)
    assert contents(db) == before


def test_a_rebuild_can_go_back_to_a_batch_without_blocks(db):
    assert db.unwind_to_end_of(3) == Unwound(3, 4, 1, 2)
    assert (db.last_batch.number, db.last_batch.closed, db.tip.number) == (3, True, 4)


def test_a_batch_that_loses_blocks_is_open_again_and_knows_what_it_used(db):
    first, whole = db.block(2), db.batch(2)

    db.unwind_to_block(2)

    batch = db.last_batch
    assert whole.closed
    assert (batch.number, batch.closed, batch.last_block) == (2, False, 2)
    assert (batch.data, batch.counters, batch.state_root) == (first.data, first.counters, first.state_root)


def test_a_batch_that_keeps_its_blocks_stays_closed(db):
    whole = db.batch(2)

    assert db.unwind_to_block(4) == Unwound(2, 4, 2, 2)
    assert db.last_batch == whole


def test_a_block_that_is_not_there_is_no_place_to_go_back_to(db):
    before = contents(db)

    with pytest.raises(NoSuchBlock):
        db.unwind_to_block(7)

    assert contents(db) == before


def test_cursor_and_progress_go_back_with_the_chain(db):
    seen = [(db.cursor, db.l1_progress)]
    for block in (4, 3, 2, 1):
        db.unwind_to_block(block)
        seen.append((db.cursor, db.l1_progress))

    assert seen == [(None, 1), (b"block 3", 1), (b"block 2", 1), (b"block 1", 0), (None, 0)]


def test_the_cursor_of_a_batch_that_has_ended_counts_more_than_that_of_its_last_block(db):
    db.unwind_to_batch(2)
    builder = BatchBuilder(db, own_rules(), MemoryLeaves())
    builder.begin_batch(3)
    builder.begin_block(START + 9)
    builder.seal_block(b"in it")
    builder.close_batch(b"behind it")
    after = db.cursor
    builder.begin_batch(4)
    builder.close_batch(b"without blocks")

    assert (after, db.cursor) == (b"behind it", b"without blocks")
    db.forget_cursors()
    assert db.cursor is None


# --- the tree


def test_many_blocks_in_one_transaction_can_be_gone_back_to_one_by_one(tmp_path):
    with own_chain(tmp_path / "chain.db") as db:
        builder = BatchBuilder(db, own_rules(), MemoryLeaves())
        with db.transaction():
            add_batch(builder, *([tx(nonce)] for nonce in range(5)))
        roots = [db.block(number).state_root for number in range(7)]

        for number in (5, 4, 2):
            db.unwind_to_block(number)
            assert db.state.tip.root == db.smt.root_bytes == roots[number]
        builder.abandon()
        db.close_batch(db.last_batch)
        again = add_batch(BatchBuilder(db, own_rules(), MemoryLeaves()), *([tx(nonce)] for nonce in range(1, 5)))

    assert again.state_root == roots[6]  # a header does not name its batch, so they are the same blocks


def test_old_trees_come_back_after_their_nodes_are_gone(db):
    root, nodes = db.block(4).state_root, len(db.nodes)

    gone = db.forget_before(2)
    db.unwind_to_batch(2)

    assert 0 < gone < nodes
    assert db.smt.root_bytes == root
    assert add_batch(BatchBuilder(db, own_rules(), MemoryLeaves()), [tx(3)]).blocks == 1
    with pytest.raises(NoSuchBlock):
        db.unwind_to_block(3)


@pytest.mark.slow
@settings(max_examples=examples(15))
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.data())
def test_wherever_a_chain_goes_back_to_its_root_is_the_one_it_had(tmp_path_factory, transfers, data):
    with own_chain(tmp_path_factory.mktemp("chain") / "chain.db") as db:
        builder, nonce = BatchBuilder(db, own_rules(), MemoryLeaves()), 0
        with db.transaction():
            for count in transfers:
                add_batch(builder, [tx(nonce + at, value=at) for at in range(count)])
                nonce += count
        blocks = [db.block(number) for number in range(db.tip.number + 1)]

        to = data.draw(st.integers(0, len(blocks) - 1))
        db.unwind_to_block(to)

        assert db.tip == replace(blocks[to], txs=())
        assert db.smt.apply({}) == blocks[to].state_root
        assert db.state.nonce(BOB) == (1 if to else 0)


# --- transactions, files


def test_a_trial_leaves_no_trace_and_gives_its_answer(db):
    before = contents(db)

    def work():
        db.unwind_to_batch(1)
        return add_batch(BatchBuilder(db, own_rules(), MemoryLeaves()), [tx(0)], []).blocks

    assert db.trial(work) == 2
    assert contents(db) == before
    assert db.smt.root_bytes == db.state.tip.root == db.tip.state_root
    with db.transaction(), pytest.raises(RuntimeError):
        db.trial(work)


def test_an_error_takes_everything_back_that_stands_in_one_transaction(db):
    before = contents(db)
    db.close_batch(db.last_batch)
    closed = contents(db)

    def work():
        with db.transaction():
            db.put_meta("note", b"x")
            add_batch(BatchBuilder(db, own_rules(), MemoryLeaves()), [tx(5)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()

    assert before != closed == contents(db)


def test_a_chain_is_there_again_when_its_file_is_opened(tmp_path):
    path = tmp_path / "chain.db"
    with grown(path) as db:
        before, tip, last = contents(db), db.tip, db.last_batch

    with ChainDb.open(path) as db:
        assert contents(db) == before
        assert (db.tip, db.last_batch) == (tip, last)
        assert db.smt.root_bytes == tip.state_root


def test_a_reader_sees_what_is_committed_while_a_block_is_being_written(tmp_path, db):
    builder = BatchBuilder(db, own_rules(), MemoryLeaves())
    db.close_batch(db.last_batch)

    with ChainReader.open(tmp_path / "chain.db") as reader:
        with db.transaction():
            add_batch(builder, [tx(5)])
            during = reader.tip.number
        after = reader.tip.number

    assert (during, after) == (6, 7)


def test_names_are_kept_for_others_and_do_not_go_back(db):
    db.put_meta("rebuild", b"1")
    db.unwind_to_batch(1)
    kept = db.meta("rebuild")
    db.put_meta("rebuild", None)

    assert (kept, db.meta("rebuild"), db.meta("nothing")) == (b"1", None, None)


def test_the_file_of_another_part_is_not_opened_as_a_chain(tmp_path):
    from attestrio.stream.bookmarks import SqliteBookmarks

    SqliteBookmarks(tmp_path / "other.db").close()

    with pytest.raises(StorageForeign):
        ChainDb.open(tmp_path / "other.db")
