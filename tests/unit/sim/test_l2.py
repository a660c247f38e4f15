"""The demo chain of the second layer: what is in it, and that it is always the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from attestrio.sequencer.builder import BatchBuilder, Full
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.sealed import SealedBlock
from attestrio.sim.l2 import FORK, LOWERED, Wallets, address_of, build, created_by, demo_plan
from attestrio.stream.messages import BatchType
from attestrio.zkevm.counters import limits_of

pytestmark = pytest.mark.slow  # half a second each


def blocks_of(path, plan):
    """The blocks of a plan, and its database."""
    db = ChainDb.open(path)
    return [one for one in build(db, plan) if isinstance(one, SealedBlock)], db


def test_the_chain_has_a_bit_of_everything(tmp_path):
    blocks, db = blocks_of(tmp_path / "chain.db", demo_plan())

    sizes = [len(block.txs) for block in blocks]
    times = [block.timestamp for block in blocks]
    assert {0, 1} < set(sizes)
    assert max(sizes) >= 10
    assert any(tx.logs for block in blocks for tx in block.txs)
    assert any(tx.status == 0 for block in blocks for tx in block.txs)
    assert any(earlier == later for earlier, later in pairwise(times))
    assert len({block.l1_index for block in blocks}) >= 5
    assert sum(block.l1_index == 0 for block in blocks) >= 5
    assert (db.last_batch.number, db.last_batch.closed) == (11, False)


def test_two_builds_of_a_plan_give_the_same_hashes(tmp_path):
    once, _ = blocks_of(tmp_path / "a.db", demo_plan())
    again, _ = blocks_of(tmp_path / "b.db", demo_plan())

    assert [block.hash for block in once] == [block.hash for block in again]


def test_the_odd_chain_has_batches_without_blocks_and_the_same_transactions(tmp_path):
    plain, _ = blocks_of(tmp_path / "a.db", demo_plan())
    odd, db = blocks_of(tmp_path / "b.db", demo_plan(odd=True))

    kinds = [(db.batch(number).head.kind, db.batch(number).blocks) for number in range(2, 14)]
    assert [kind for kind in kinds if kind[1] == 0] == [(BatchType.INVALID, 0), (BatchType.REGULAR, 0)]
    assert [block.hash for block in odd] == [block.hash for block in plain]


def test_the_lowered_limit_is_too_low_for_some_batches_and_for_no_transaction(tmp_path):
    plan = demo_plan()
    blocks, db = blocks_of(tmp_path / "chain.db", plan)

    over = {
        block.batch.number
        for block in blocks
        if block.counters and block.counters.over(limits_of(FORK).lowered(LOWERED))
    }
    assert len(over) == 4
    db.unwind_to_batch(1)
    low = BatchBuilder(db, replace(plan.rules, limits=LOWERED), plan.all_leaves())
    alone = [tx for batch in plan.batches for block in batch.blocks for tx in block.txs]
    for number, encoded in enumerate(alone, 2):
        low.begin_batch(number)
        assert low.begin_block(plan.end) is None
        assert not isinstance(low.add(encoded), Full)
        low.seal_block()
        low.close_batch()


def test_wallets_count_their_nonces_and_know_what_they_deploy():
    wallets = Wallets()
    wallets.transfer(0, 1)

    _, address = wallets.deploy(0, b"\0")

    assert address == created_by(address_of(0), 1)
