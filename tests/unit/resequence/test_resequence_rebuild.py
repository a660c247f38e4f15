"""What comes out of a rebuild: the same, a split, an error, or a report of what was left out."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from attestrio.resequence.errors import (
    AuditFailed,
    BatchOverflows,
    FitsNowhere,
    RebuildRefused,
    StreamDamaged,
    TransactionFails,
)
from attestrio.resequence.plan import Split
from attestrio.resequence.record import Phase
from attestrio.sequencer.builder import BatchBuilder
from attestrio.sequencer.errors import LeafMissing
from attestrio.sequencer.leaves import MemoryLeaves
from attestrio.sequencer.sink import DirectSink
from attestrio.sequencer.writer import ChainWriter, StreamAhead
from attestrio.sim.l2 import GWEI, LOWERED, Wallets, address_of, demo_plan
from attestrio.stream import BatchType, EntryType, Transaction, message_untrusted
from attestrio.zkevm.errors import ForkUnsupported
from attestrio.zkevm.transactions import tx_untrusted
from resequence_kit import earner, earning, failing_plan, plan_of, poor, rules_a, site_a, site_of, transfers

TRANSFER = 110
"""About the bytes of one in a batch's data."""


@pytest.fixture
def a(tmp_path):
    with site_a(tmp_path) as site:
        yield site


@pytest.fixture
def rolled_back(tmp_path):
    """Makes a site with a chain, its database at the end of batch 1 or of the one that is said."""
    sites = []

    def make(plan, kept=1, **more):
        folder = tmp_path / str(len(sites))
        folder.mkdir()
        sites.append(site_of(folder, plan, kept, **more))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


# --- stream a


def test_with_the_same_limits_every_entry_is_the_same_and_the_last_batch_is_left_open(a):
    before = a.entries()

    report = a.run()

    assert a.entries() == before[:39]
    assert (report.old_batches, report.new_batches, report.old_blocks, report.new_blocks) == (2, 2, 5, 5)
    assert report.audit.ok
    assert report.audit.same_hashes == 5
    a.writer.align()
    assert a.entries() == before


def test_a_batch_that_no_longer_fits_is_an_error_that_names_it_and_nothing_is_lost(a):
    before = a.state()

    with pytest.raises(BatchOverflows, match="batch 2 does not fit into one batch: block 4 at transaction 0") as caught:
        a.run(rules=rules_a(limits={"A": 1160}))

    assert (caught.value.batch, caught.value.block, caught.value.what) == (2, 4, "A")
    assert a.state() == before
    assert a.journal.unfinished() is None
    assert a.run().audit.ok


@pytest.mark.parametrize(
    ("rules", "shape"),
    [
        ({"limits": {"A": 1160}}, [(2, [2, 0]), (3, [2]), (4, [1]), (5, [1, 0])]),
        ({"limits": {"A": 580}}, [(2, [1]), (3, [1, 0]), (4, [1]), (5, [1]), (6, [1]), (7, [1, 0])]),
        ({"data_budget": 480}, [(2, [2, 0]), (3, [3]), (4, [1, 0])]),
        ({"data_budget": 177}, [(2, [1]), (3, [1]), (4, [0]), (5, [1]), (6, [1]), (7, [1]), (8, [1]), (9, [0])]),
    ],
)
def test_lower_limits_split_blocks_and_batches_where_they_bind(a, rules, shape):
    txs = a.txs()

    report = a.run(strict=False, rules=rules_a(**rules))

    assert [(number, [count for *_, count in blocks]) for number, blocks in a.shape()] == shape
    assert a.txs() == txs
    assert report.audit.ok
    assert report.new_batches == len(shape) == report.old_batches + len(report.splits)


def test_a_split_between_two_blocks_leaves_every_hash(a):
    before = a.hashes()

    report = a.run(strict=False, rules=rules_a(data_budget=480))

    assert a.hashes() == before
    assert report.splits == (Split(2, 2, 4, 0, "data"),)


@pytest.mark.parametrize("strict", [True, False])
def test_a_transaction_that_fits_nowhere_is_named(a, strict):
    before, first = a.state(), tx_untrusted(a.txs()[0]).hash()

    with pytest.raises(FitsNowhere, match=first.hex()) as caught:
        a.run(strict=strict, rules=rules_a(limits={"K": 40}))

    assert (caught.value.batch, caught.value.block, caught.value.position) == (2, 2, 0)
    assert a.state() == before


def test_a_block_whose_start_fits_nowhere_is_named(a):
    before = a.state()

    with pytest.raises(FitsNowhere, match="block 2: its start overflows data"):
        a.run(strict=False, rules=rules_a(data_budget=64))

    assert a.state() == before


def test_a_leaf_that_is_not_known_stops_it_and_nothing_is_lost(a):
    before = a.state()

    with pytest.raises(LeafMissing):
        a.run(leaves=MemoryLeaves())

    assert a.state() == before


def test_a_fork_that_cannot_be_built_stops_it_and_nothing_is_lost(rolled_back):
    site = rolled_back(demo_plan(), kept=3)
    before = site.state()
    forks = (*site.rules.forks, (99, 8))  # from batch 9 on

    with pytest.raises(ForkUnsupported, match="99"):
        site.run(rules=replace(site.rules, forks=forks))

    assert site.state() == before
    assert site.journal.record().phase == Phase.RESTORED


def test_other_prices_and_another_coinbase_are_no_fault(a):
    before = a.hashes()

    report = a.run(rules=rules_a(coinbase=b"\x77" * 20))

    assert report.audit.ok
    assert report.audit.same_hashes == 0
    assert {number for number, hash in a.hashes().items() if before[number] == hash} == {0, 1}


# --- the example of a split


def test_a_split_block_keeps_its_time_and_only_its_first_part_has_the_index(rolled_back):
    txs = transfers(6)
    site = rolled_back(plan_of([txs[:1], [], []], [txs[1:3], txs[3:5], []], [txs[5:]]), kept=2)
    _, (_, old), (_, [later]) = site.shape()

    report = site.run(strict=False, rules=replace(site.rules, data_budget=2 * 65 + 3 * TRANSFER + 20))

    _, (three, one), (four, two), (five, last) = site.shape()
    assert (three, four, five) == (3, 4, 5)
    assert [count for *_, count in one] == [2, 1]
    assert [count for *_, count in two] == [1, 0]
    assert [time for _, time, *_ in one + two] == [old[0][1], old[1][1], old[1][1], old[2][1]]
    assert [index for *_, index, _ in one + two] == [old[0][2], old[1][2], 0, old[2][2]]
    assert old[1][2] > 0, "the block that is split takes over a leaf"
    assert last == [(later[0] + 1, *later[1:])]
    assert report.audit.ok


# --- the demo chain


def test_the_demo_chain_comes_out_entry_by_entry_and_so_it_does_again(rolled_back):
    site = rolled_back(demo_plan(odd=True), kept=3)
    before, hashes = site.entries(), site.hashes()

    first = site.run()
    again = site.entries()
    site.db.unwind_to_end_of(3)
    second = site.run()

    assert first.audit.ok
    assert again == before
    assert site.entries() == before
    assert second.audit.ok
    assert site.hashes() == hashes
    assert not second.resumed


def test_lower_limits_on_the_demo_chain(rolled_back):
    plan = demo_plan(odd=True)
    site = rolled_back(plan, kept=2)
    txs, batches = site.txs(), len(site.batches(3))
    lowered = replace(plan.rules, limits=LOWERED)

    with pytest.raises(BatchOverflows):
        site.run(rules=lowered)
    report = site.run(strict=False, rules=lowered)

    assert report.audit.ok
    assert report.new_batches > batches
    assert site.txs() == txs
    assert {one.what for one in report.splits} == {"A"}
    assert len({one.old_batch for one in report.splits}) == 4


def test_leaves_that_came_meanwhile_change_nothing_while_indices_are_reused(rolled_back):
    plan = demo_plan()
    site = rolled_back(plan, kept=3)
    before = site.entries()

    report = site.run(leaves=plan.all_leaves())

    assert report.audit.ok
    assert site.entries() == before


def test_renewed_indices_give_the_same_shape_and_other_hashes_from_the_first_other_index_on(rolled_back):
    plan = demo_plan()
    site = rolled_back(plan, kept=3)
    before, shape, txs = site.hashes(), site.shape(), site.txs()

    report = site.run(strict=False, reuse=False, leaves=plan.all_leaves())

    def bare(shape):
        return [(number, [(block, time, count) for block, time, _, count in blocks]) for number, blocks in shape]

    indices = [
        (old[0], old[2], new[2])
        for (_, olds), (_, news) in zip(shape, site.shape(), strict=True)
        for old, new in zip(olds, news, strict=True)
    ]
    first = next(number for number, old, new in indices if old != new)
    assert report.audit.ok
    assert bare(site.shape()) == bare(shape)
    assert site.txs() == txs
    assert {number for number, hash in site.hashes().items() if before[number] == hash} == set(range(first))


def test_batches_without_blocks_keep_their_kind_and_their_place(rolled_back):
    txs = transfers(4)
    plan = plan_of([txs[:1]], None, [txs[1:3]], [], [txs[3:]], None)
    site = rolled_back(plan, kept=2)
    before = site.entries()

    report = site.run(strict=False, rules=replace(site.rules, data_budget=65 + TRANSFER + 20))

    kinds = [(one.number, BatchType(one.kind).name, len(one.blocks)) for one in site.batches(3)]
    assert kinds == [
        (3, "INVALID", 0),
        (4, "REGULAR", 1),
        (5, "REGULAR", 1),
        (6, "REGULAR", 0),
        (7, "REGULAR", 1),
        (8, "INVALID", 0),
    ]
    assert report.audit.ok
    assert site.batches()[-1].end is not None, "a batch without blocks is written whole"
    assert site.entries() != before
    site.writer.align()


def test_a_last_batch_without_blocks_comes_out_as_it_was(rolled_back):
    txs = transfers(2)
    site = rolled_back(plan_of([txs[:1]], [txs[1:]], None), kept=1)
    before = site.entries()

    report = site.run()

    assert report.audit.ok
    site.writer.align()
    site.db.unwind_to_end_of(3)
    assert site.run().new_batches == 1
    site.writer.align()
    assert [one.number for one in site.batches()] == [0, 1, 2, 3, 4]
    assert site.entries()[: len(before)] == before


# --- transactions that fail


def test_a_transaction_that_fails_stops_a_strict_rebuild(rolled_back):
    site = rolled_back(failing_plan())
    before = site.state()

    with pytest.raises(TransactionFails, match=r"batch 3, block 3: transaction 0 .* fails: ") as caught:
        site.run(rules=poor(site))

    assert (caught.value.batch, caught.value.block, caught.value.position) == (3, 3, 0)
    assert site.state() == before


def test_transactions_that_fail_are_left_out_and_reported_when_that_is_allowed(rolled_back):
    site = rolled_back(failing_plan())
    hashes = [tx_untrusted(one).hash() for one in site.txs(3)]

    report = site.run(strict=False, rules=poor(site))

    assert [one.hash for one in report.failed] == [hashes[at] for at in (0, 2, 3)]
    assert [(one.old_block, one.position) for one in report.failed] == [(3, 0), (4, 0), (4, 1)]
    assert [count for _, blocks in site.shape(3) for *_, count in blocks] == [1, 0, 1]
    assert report.audit.ok


def test_the_rest_of_a_split_block_that_fails_makes_no_block_and_no_batch(rolled_back):
    txs = transfers(3)
    plan = earning(plan_of([txs[:2]], [[txs[2], earner(0, 50_000 * GWEI)]]))
    site = rolled_back(plan)

    report = site.run(strict=False, rules=poor(site, data_budget=65 + TRANSFER + 20))

    assert [(number, [count for *_, count in blocks]) for number, blocks in site.shape()] == [
        (2, [1]),
        (3, [1]),
        (4, [1]),
    ]
    assert [(one.old_block, one.position) for one in report.failed] == [(3, 1)]
    assert [one.new_batch for one in report.splits] == [2, 4]
    assert site.batches()[-1].end is not None, "it was closed when more was expected"
    assert report.audit.ok
    site.writer.align()


def test_the_rest_of_a_split_block_that_fails_is_left_out_of_the_batch_that_follows(rolled_back):
    txs = transfers(4)
    plan = earning(plan_of([txs[:2]], [[txs[2], earner(0, 50_000 * GWEI)], txs[3:]]))
    site = rolled_back(plan)

    report = site.run(strict=False, rules=poor(site, data_budget=65 + TRANSFER + 20))

    assert [[count for *_, count in blocks] for _, blocks in site.shape()] == [[1], [1], [1], [1]]
    assert [(one.old_block, one.position) for one in report.failed] == [(3, 1)]
    assert report.audit.ok


def test_a_block_that_begins_again_in_the_next_batch_has_its_index_and_its_failures_once(rolled_back):
    wallets, long = Wallets(), b"\x01" * 100
    txs = [wallets.transfer(0, 1) for _ in range(3)]
    spend, big = earner(0, 50_000 * GWEI), wallets.sign(0, address_of(1), data=long)
    site = rolled_back(earning(plan_of([txs[:2]], [[], []], [txs[2:], [spend, big]])))
    *_, (_, old) = site.shape()
    assert old[1][2] > 0, "the block that begins again takes over a leaf"

    report = site.run(strict=False, rules=poor(site, data_budget=65 + TRANSFER + 65 + 150))

    _, _, (_, first), (_, second) = site.shape()
    assert [count for *_, count in first] == [1]
    assert [(time, index, count) for _, time, index, count in second] == [(old[1][1], old[1][2], 1)]
    assert [(one.old_block, one.position) for one in report.failed] == [(6, 0)]
    assert [(one.old_block, one.position) for one in report.splits] == [(6, 1)]
    assert report.audit.ok


# --- when what comes out is wrong


class LossySink(DirectSink):
    """Loses a transaction on its way into the stream."""

    def append(self, messages):
        lost = next((one for one in messages if isinstance(one, Transaction)), None)
        super().append([one for one in messages if one is not lost])


def test_what_does_not_pass_the_audit_is_taken_back(a):
    before = a.state()
    a.writer = ChainWriter(a.db, LossySink(a.stream))

    with pytest.raises(AuditFailed, match="P1: "):
        a.run()

    assert a.state() == before
    assert a.journal.record().phase == Phase.RESTORED


# --- before anything


def test_where_stream_and_database_end_alike_there_is_nothing_to_do(rolled_back):
    site = rolled_back(demo_plan(), kept=None)
    before = site.state()

    report = site.run()

    assert report.nothing_to_do
    assert report.kept_batch == 11
    assert site.state() == before
    assert site.journal.record() is None


def test_going_back_to_the_last_batch_leaves_nothing_to_rebuild(rolled_back):
    site = rolled_back(demo_plan(), kept=None)
    site.db.unwind_to_batch(site.db.last_batch.number)

    assert site.run().nothing_to_do


def test_batch_1_is_not_rebuilt(rolled_back):
    site = rolled_back(demo_plan(), kept=0)
    before = site.entries()

    with pytest.raises(RebuildRefused, match="batch 1"):
        site.run()

    assert site.entries() == before


def other_block(data):
    return replace(message_untrusted(EntryType.L2_BLOCK, data), number=77).encode()


def junk(data):
    return b"\xff" * len(data)


def junk_inside(data):
    tx = message_untrusted(EntryType.TRANSACTION, data)
    return replace(tx, encoded=b"\xff" * len(tx.encoded)).encode()


@pytest.mark.parametrize("trial", [False, True], ids=["run", "trial"])
@pytest.mark.parametrize(
    ("kind", "last", "harm"),
    [
        (EntryType.L2_BLOCK, False, other_block),
        (EntryType.L2_BLOCK, False, junk),
        (EntryType.L2_BLOCK, True, junk),
        (EntryType.BATCH_START, False, junk),
        (EntryType.TRANSACTION, False, junk),
        (EntryType.TRANSACTION, False, junk_inside),
        (EntryType.BOOKMARK, False, lambda data: data[:-1] + b"\x4d"),
    ],
)
def test_a_damaged_page_is_named_as_damage_and_nothing_is_changed(rolled_back, kind, last, harm, trial):
    site = rolled_back(demo_plan(), kept=3)
    found = [one for one in site.entries() if one.type == kind]
    one = found[-1] if last else found[len(found) * 2 // 3]
    site.stream.file.update(one.number, one.type, harm(one.data))
    before = site.state()

    with pytest.raises(StreamDamaged, match="the stream is damaged from batch 4 on, restore it from a backup: "):
        site.resequencer().trial() if trial else site.run()

    assert site.state() == before
    assert site.journal.record() is None


def test_a_bookmark_that_the_index_does_not_find_is_named(rolled_back):
    site = rolled_back(demo_plan(), kept=3)
    one = [one for one in site.entries() if one.type == EntryType.BOOKMARK][-1]
    site.stream.index.put([(one.data, 7)])
    before = site.state()

    with pytest.raises(StreamDamaged, match=f"the bookmark of entry {one.number} leads to entry 7"):
        site.run()

    assert site.state() == before


def test_a_database_in_the_middle_of_a_batch_is_taken_back_to_its_beginning(rolled_back):
    site = rolled_back(demo_plan(), kept=None)
    before = site.entries()
    site.db.unwind_to_block(site.batches()[4].blocks[1].number)

    report = site.run()

    assert report.kept_batch == 3
    assert site.entries() == before


def test_an_older_copy_of_the_database_whose_last_batch_is_open_is_built_on(rolled_back, tmp_path):
    """The stream has the end of that batch, and one more."""
    site = rolled_back(demo_plan(), kept=3)
    site.run()
    site.close()
    shutil.copyfile(site.folder / "chain.db", tmp_path / "older.db")
    site.open()
    last, tip = site.db.last_batch, site.db.tip
    site.writer.align()
    builder = BatchBuilder(site.db, site.rules, site.leaves)
    builder.begin_batch(last.number + 1)
    builder.begin_block(tip.timestamp + 1)
    site.writer.write([builder.seal_block()])
    before = site.entries()
    site.close()
    shutil.copyfile(tmp_path / "older.db", site.folder / "chain.db")
    site.open()

    report = site.run()

    assert not last.closed
    assert (report.kept_batch, report.new_batches) == (last.number, 1)
    assert site.entries() == before
    assert site.db.batch(last.number).closed


# --- the trial


def test_a_trial_tells_what_would_be_split_and_changes_nothing(rolled_back):
    plan = demo_plan()
    site = rolled_back(plan, kept=2)
    before = site.state()
    lowered = replace(plan.rules, limits=LOWERED)

    told = site.resequencer(rules=lowered).trial()

    assert site.state() == before
    assert site.journal.record() is None
    assert isinstance(site.writer.align(), StreamAhead)
    done = site.run(strict=False, rules=lowered)
    assert told.splits == done.splits
    assert (told.new_batches, told.new_blocks) == (done.new_batches, done.new_blocks)
    assert told.audit is None


def test_a_trial_tells_what_would_be_split_before_what_fits_nowhere(rolled_back):
    wallets = Wallets()
    first, second = wallets.transfer(0, 1), wallets.transfer(0, 1)
    big = wallets.sign(0, address_of(1), data=b"\x01" * 400)
    site = rolled_back(plan_of([[]], [[first, second]], [[big]]))
    before = site.state()

    with pytest.raises(FitsNowhere, match="transaction 0") as caught:
        site.resequencer(rules=replace(site.rules, data_budget=65 + TRANSFER + 20)).trial()

    found = caught.value.found
    assert found.splits == (Split(3, 3, 3, 1, "data"),)
    assert (found.old_batches, found.new_batches, found.new_blocks) == (3, 3, 3)
    assert site.state() == before


def test_a_trial_with_nothing_to_do_says_so(rolled_back):
    site = rolled_back(demo_plan(), kept=None)

    assert site.resequencer().trial().nothing_to_do


def test_progress_is_told_after_each_new_batch_and_reaches_the_end(a):
    a.run(strict=False, rules=rules_a(data_budget=177))

    assert [one.new_batch for one in a.told] == list(range(2, 10))
    assert [one.blocks for one in a.told][-1] == a.told[-1].of_blocks == 5
    assert [one.blocks for one in a.told] == sorted(one.blocks for one in a.told)
