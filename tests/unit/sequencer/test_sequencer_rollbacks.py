"""Rollbacks of L1: each is obeyed once, as far back as any of them says, or not at all."""

import pytest
from attestrio.errors import StorageUnusable
from attestrio.sequencer import MemoryLeaves
from attestrio.sequencer.builder import BatchBuilder
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.errors import UnwindRefused
from attestrio.sequencer.l1_store import L1Store, Rollback
from attestrio.sequencer.rollbacks import not_obeyed, obey
from sequencer_kit import add_batch, contents, own_chain, own_rules, tx


def key(block):
    return block.to_bytes(8, "big") + bytes(36)


def rollback(target, block):
    return Rollback(key(block), block, target)


@pytest.fixture
def store(tmp_path):
    store = L1Store.open(tmp_path / "l1.db")
    yield store
    store.close()


def heard(store, *rollbacks):
    with store.transaction():
        for one in rollbacks:
            store.put_rollback(one)


def chain(path, nonces):
    db = own_chain(path)
    builder = BatchBuilder(db, own_rules(), MemoryLeaves())
    for nonce in nonces:
        add_batch(builder, [tx(nonce)])
    return db


@pytest.fixture
def five(tmp_path):
    """Batches 2 to 5, of one block and one transaction each."""
    db = chain(tmp_path / "chain.db", range(4))
    yield db
    db.close()


def test_a_rollback_takes_the_chain_to_the_end_of_its_batch_once(five, store):
    heard(store, rollback(3, block=10))

    obeyed = obey(five, not_obeyed(five, store))

    assert (obeyed.unwound.batches, obeyed.unwound.blocks) == (2, 2)
    assert five.last_batch.number == 3
    assert not_obeyed(five, store) == []
    assert "block 10 of L1 has rolled back to batch 3: 2 batches and 2 blocks" in str(obeyed)


def test_of_several_the_one_that_reaches_back_furthest_counts(five, store):
    heard(store, rollback(4, block=10), rollback(2, block=11), rollback(3, block=12))

    obey(five, not_obeyed(five, store))

    assert five.last_batch.number == 2
    assert not_obeyed(five, store) == []


def test_a_later_one_is_obeyed_although_an_earlier_one_was(five, store):
    heard(store, rollback(4, block=10))
    obey(five, not_obeyed(five, store))
    heard(store, rollback(3, block=20))

    obey(five, not_obeyed(five, store))

    assert five.last_batch.number == 3


def test_what_the_chain_does_not_have_is_only_marked(five, store):
    heard(store, rollback(5, block=10))
    before = five.tip

    obeyed = obey(five, not_obeyed(five, store))

    assert (obeyed.unwound, five.tip) == (None, before)
    assert "nothing above it" in str(obeyed)
    assert not_obeyed(five, store) == []


def test_a_rollback_to_a_batch_without_blocks_is_obeyed(tmp_path, store):
    db = chain(tmp_path / "chain.db", range(1))
    builder = BatchBuilder(db, own_rules(), MemoryLeaves())
    add_batch(builder)
    add_batch(builder, [tx(1)])
    heard(store, rollback(3, block=10))

    obey(db, not_obeyed(db, store))

    assert (db.last_batch.number, db.last_batch.blocks) == (3, 0)
    db.close()


def test_back_to_before_batch_1_is_refused_and_stays_to_be_obeyed(five, store):
    heard(store, rollback(0, block=10))
    before = contents(five)

    with pytest.raises(UnwindRefused):
        obey(five, not_obeyed(five, store))

    assert contents(five) == before
    assert len(not_obeyed(five, store)) == 1


class Dying(ChainDb):
    """One that is killed before the mark is written."""

    def put_meta(self, key, value):
        raise StorageUnusable("killed")


def test_a_crash_while_it_is_obeyed_leaves_it_to_be_obeyed(five, store, tmp_path):
    heard(store, rollback(3, block=10))
    before = contents(five)

    with Dying.open(tmp_path / "chain.db") as dying, pytest.raises(StorageUnusable, match="killed"):
        obey(dying, not_obeyed(dying, store))

    assert contents(five) == before
    assert len(not_obeyed(five, store)) == 1
