"""The five ways to rebuild a chain: the table that `resequence demo` prints, and that it would notice a fault."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from attestrio.resequence.batches import StreamBatch
from attestrio.sequencer.db import ChainDb
from attestrio.sim.resequence_demo import CHAIN, FACTS, KEPT, SCENARIOS, play_all
from attestrio.stream.messages import BatchType

pytestmark = pytest.mark.slow  # two seconds for all of them

IDS = [f"scenario {scenario.number}" for scenario in SCENARIOS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def every(folder):
    return {played.scenario.number: played for played in play_all(folder)}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=IDS)
def test_a_rebuild_ends_as_it_has_to_and_passes_the_audit(every, scenario):
    played = every[scenario.number]

    assert [fact for fact in played.facts if not fact.ok] == []
    assert [row for row in played.audit.rows if not row.ok] == []
    assert played.ok
    own = played.seen.report and played.seen.report.audit
    assert own is None or ("counters are not known" not in str(own.rows) and own.ok)


def test_what_is_rebuilt_has_a_bit_of_everything(every):
    old = every[1].seen.old
    blocks = [block for batch in old for block in batch.blocks]

    sizes = {len(block.txs) for block in blocks}
    assert {0, 1} < sizes
    assert max(sizes) > 5
    assert [batch.kind for batch in old if not batch.blocks] == [BatchType.INVALID, BatchType.REGULAR]
    assert len(old) >= 3
    assert {bool(block.l1_index) for block in blocks} == {True, False}
    assert any(one.timestamp == other.timestamp for one, other in pairwise(blocks))
    assert old[0].number == KEPT + 1
    assert old[-1].open


def test_contracts_are_called_in_it_with_logs_and_without_success(every, folder):
    first = every[1].seen.old[0].blocks[0].number
    with ChainDb.open(folder / "original" / CHAIN) as db:
        txs = [tx for number in range(first, db.tip.number + 1) for tx in db.block(number).txs]

    assert [log for tx in txs for log in tx.logs] != []
    assert {tx.status for tx in txs} == {0, 1}


def test_the_error_names_the_first_batch_that_does_not_fit_and_nothing_else_is_told(every):
    seen = every[2].seen

    assert seen.error.batch == seen.unfit
    assert KEPT < seen.unfit < seen.old[-1].number  # some were built before it, and are gone
    assert seen.report is None


def test_a_split_moves_every_later_batch_and_is_within_a_block_and_between_two(every):
    seen = every[3].seen

    splits = seen.report.splits
    inside = [one for one in splits if one.position]
    assert inside
    assert len(inside) < len(splits) + 1
    assert seen.new[-1].number == seen.old[-1].number + len(splits)


def changed(batch, **message):
    """A batch whose last block has become another one."""
    *rest, last = batch.blocks
    return StreamBatch(batch.start, (*rest, replace(last, message=replace(last.message, **message))), batch.end)


@pytest.mark.parametrize(
    ("fact", "scenario", "change"),
    [
        ("batches", 1, lambda seen: {"new": seen.new[:-1]}),
        ("more batches", 3, lambda seen: {"new": seen.new[: len(seen.old)]}),
        ("blocks", 1, lambda seen: {"new": seen.new[:-1]}),
        ("content", 1, lambda seen: {"new": (changed(seen.new[0], timestamp=7), *seen.new[1:])}),
        ("transactions", 3, lambda seen: {"new": seen.new[1:]}),
        ("hashes", 1, lambda seen: {"new": (*seen.new[:-1], changed(seen.new[-1], hash=b"\1" * 32))}),
        ("other hashes", 5, lambda seen: {"new": (*seen.new[:-1], changed(seen.new[-1], hash=hash_of(seen)))}),
        ("other hashes", 5, lambda seen: {"new": seen.old}),
        ("indices", 5, lambda seen: {"new": seen.old}),
        ("stream", 1, lambda seen: {"after": seen.after[:-1]}),
        ("end", 1, lambda seen: {"error": ValueError, "report": None}),
        ("error", 2, lambda seen: {"error": None}),
        ("error", 2, lambda seen: {"unfit": seen.unfit + 1}),
        ("database", 2, lambda seen: {"db_batch": KEPT + 1}),
        ("splits", 3, lambda seen: {"report": replace(seen.report, splits=seen.report.splits[1:])}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fact_that_is_not_so_is_seen(every, fact, scenario, change):
    seen, look = every[scenario].seen, FACTS[fact][1]

    changes = change(seen)
    if changes.get("error") is ValueError:
        changes["error"] = every[2].seen.error

    assert look(seen)[1]
    assert not look(replace(seen, **changes))[1]


def hash_of(seen):
    """The hash that the last old block had."""
    return seen.old[-1].blocks[-1].message.hash
