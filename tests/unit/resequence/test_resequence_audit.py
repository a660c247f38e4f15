"""Each property of the audit finds what breaks it, and what breaks one alone is found by no other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from attestrio.resequence import PROPERTIES, Kept, Terms, audit
from attestrio.resequence.batches import StreamBatch, StreamBlock
from attestrio.sim.l2 import Wallets
from attestrio.stream import (
    BatchEnd,
    BatchStart,
    BatchType,
    Bookmark,
    Entry,
    EntryType,
    L2Block,
    L2BlockEnd,
    Transaction,
)
from attestrio.zkevm.counters import Counters, limits_of

KEPT = Kept(batch=4, block=10, hash=b"\x10" * 32, timestamp=1_000, l1_progress=3, entries=50)
FORK = 12


def some_txs(count):
    wallets = Wallets()
    return [wallets.transfer(0, 1) for _ in range(count)]


TXS = some_txs(9)


@dataclass(frozen=True)
class Run:
    """Batches in a form that is easily changed; numbers are given when it is made into entries."""

    batches: tuple[StreamBatch, ...]

    def entries(self, first=KEPT.entries):
        return [Entry(number, one.TYPE, one.encode()) for number, one in enumerate(self.messages(), first)]

    def messages(self):
        for batch in self.batches:
            yield Bookmark.batch(batch.number)
            yield batch.start
            for block in batch.blocks:
                yield Bookmark.block(block.number)
                yield block.message
                yield from block.txs
                yield L2BlockEnd(block.number)
            if batch.end is not None:
                yield batch.end

    def blocks(self):
        return [block for batch in self.batches for block in batch.blocks]

    def changed(self, number, **values):
        """With other values in the message of one block."""
        return self.mapped(number, lambda block: replace(block, message=replace(block.message, **values)))

    def mapped(self, number, change):
        return Run(
            tuple(
                replace(batch, blocks=tuple(change(one) if one.number == number else one for one in batch.blocks))
                for batch in self.batches
            )
        )


def run(*batches, number=KEPT.batch + 1, block=KEPT.block + 1, at=KEPT.timestamp, kinds=()):
    """Batches of blocks; a block is (seconds since the one before, L1 info index, transactions)."""
    made = []
    for place, blocks in enumerate(batches):
        messages = []
        for seconds, index, txs in blocks:
            at += seconds
            message = L2Block(
                block, batch_number=number, timestamp=at, delta_timestamp=seconds, l1_infotree_index=index,
                hash=b"h%031d" % block, state_root=b"s%031d" % block,
            )  # fmt: skip
            encoded = tuple(Transaction(block, encoded=tx, effective_gas_price_percentage=255) for tx in txs)
            messages.append(StreamBlock(message, encoded))
            block += 1
        kind = dict(kinds).get(place, BatchType.REGULAR)
        root = messages[-1].message.state_root if messages else bytes(32)
        made.append(StreamBatch(BatchStart(number, kind, FORK), tuple(messages), BatchEnd(number, state_root=root)))
        number += 1
    return Run(tuple(made))


OLD_BATCHES = (
    [(5, 4, TXS[:2]), (5, 0, TXS[2:4]), (0, 0, [])],
    [(5, 5, TXS[4:5]), (5, 0, [])],
    [],
    [(5, 0, TXS[5:7]), (5, 6, TXS[7:9])],
)
OLD = run(*OLD_BATCHES, kinds={2: BatchType.INVALID}.items())
INVALID = {2: BatchType.INVALID}.items()


def judge(new, old=OLD, **terms):
    entries = new.entries() if isinstance(new, Run) else new
    wanted = Terms(**{"total_entries": KEPT.entries + len(entries), "prefix_same": True} | terms)
    return audit(old.entries(), entries, KEPT, wanted)


def test_the_same_again_holds_in_every_property():
    report = judge(OLD, strict=True)

    assert report.ok
    assert [row.property for row in report.rows] == list(PROPERTIES)
    assert (report.old_batches, report.new_batches, report.old_blocks, report.new_blocks) == (4, 4, 7, 7)
    assert report.transactions == 9
    assert report.same_hashes == 7
    assert report.to_json()["ok"]


SPLIT = run(
    [(5, 4, TXS[:2]), (5, 0, TXS[2:3])],
    [(0, 0, TXS[3:4]), (0, 0, [])],
    *OLD_BATCHES[1:],
    kinds={3: BatchType.INVALID}.items(),
)


def test_a_split_holds_in_every_property_but_not_under_strict():
    assert judge(SPLIT).ok
    assert judge(SPLIT, strict=True).broken == ("P5",)


def test_an_open_last_batch_is_no_fault():
    assert judge(OLD.entries()[:-1]).ok


def test_transactions_that_were_reported_may_be_missing_and_their_block_may_be_empty():
    new = run(
        [(5, 4, TXS[:2]), (5, 0, TXS[3:4]), (0, 0, [])], [(5, 5, []), (5, 0, [])], [], OLD_BATCHES[3], kinds=INVALID
    )
    failed = frozenset({(12, 0), (14, 0)})

    assert judge(new, failed=failed).ok
    assert set(judge(new).broken) >= {"P1", "P2"}
    assert judge(OLD, failed=failed).broken != ()


def test_renewed_indices_break_nothing_when_they_are_not_to_be_reused():
    new = OLD.changed(11, l1_infotree_index=9, hash=b"\1" * 32)

    assert judge(new, reuse_l1_info_index=False).ok


# --- what breaks one property, and no other


def without_last_tx():
    return OLD.mapped(17, lambda block: replace(block, txs=block.txs[:-1]))


def with_a_foreign_tx():
    foreign = Transaction(18, encoded=Wallets().transfer(2, 1), effective_gas_price_percentage=255)
    last = replace(OLD.blocks()[-1].message, number=18, delta_timestamp=0, l1_infotree_index=0)
    batch = replace(OLD.batches[-1], blocks=(*OLD.batches[-1].blocks, StreamBlock(last, (foreign,))))
    return Run((*OLD.batches[:-1], batch))


def two_blocks_merged():
    return run([(5, 4, TXS[:4]), (0, 0, [])], *OLD_BATCHES[1:], kinds=INVALID)


def later_by_a_second():
    return OLD.changed(17, timestamp=OLD.blocks()[-1].timestamp + 1, delta_timestamp=6)


def another_delta():
    return OLD.changed(12, delta_timestamp=6)


def an_empty_block_twice():
    return run([*OLD_BATCHES[0], (0, 0, [])], *OLD_BATCHES[1:], kinds=INVALID)


def an_empty_block_left_out():
    return run(OLD_BATCHES[0][:2], *OLD_BATCHES[1:], kinds=INVALID)


def a_last_empty_block_left_out():
    return run(*OLD_BATCHES[:1], OLD_BATCHES[1][:1], kinds=INVALID)


def an_empty_part():
    blocks = OLD_BATCHES[0]
    return run([blocks[0], (5, 0, TXS[2:3]), (0, 0, [])], [(0, 0, TXS[3:4]), blocks[2]], *OLD_BATCHES[1:],
               kinds={3: BatchType.INVALID}.items())  # fmt: skip


def two_old_batches_in_one():
    blocks = OLD_BATCHES[0]
    return run(blocks[:2], [*blocks[2:], *OLD_BATCHES[1]], *OLD_BATCHES[2:], kinds=INVALID)


def an_invalid_batch_that_became_regular():
    return run(*OLD_BATCHES)


def a_batch_without_blocks_too_many():
    return run(OLD_BATCHES[0], [], *OLD_BATCHES[1:], kinds={3: BatchType.INVALID}.items())


def numbers_with_a_gap_before_them():
    return run(*OLD_BATCHES, number=KEPT.batch + 2, kinds=INVALID)


def blocks_with_a_gap_before_them():
    return run(*OLD_BATCHES, block=KEPT.block + 2, kinds=INVALID)


def another_index():
    return OLD.changed(14, l1_infotree_index=6)


def an_index_in_the_second_part():
    blocks = OLD_BATCHES[0]
    return run([(5, 4, TXS[:1])], [(0, 4, TXS[1:2]), *blocks[1:]], *OLD_BATCHES[1:],
               kinds={3: BatchType.INVALID}.items())  # fmt: skip


def another_hash():
    return OLD.changed(17, hash=b"\7" * 32)


def another_block_info_root():
    return OLD.changed(12, block_info_root=b"\7" * 32)


ALONE = [
    (without_last_tx, "P1"),
    (two_blocks_merged, "P2"),
    (later_by_a_second, "P3"),
    (another_delta, "P3"),
    (an_empty_block_twice, "P4"),
    (an_empty_part, "P4"),
    (two_old_batches_in_one, "P5"),
    (an_invalid_batch_that_became_regular, "P5"),
    (a_batch_without_blocks_too_many, "P5"),
    (numbers_with_a_gap_before_them, "P6"),
    (blocks_with_a_gap_before_them, "P6"),
    (another_index, "P7"),
    (an_index_in_the_second_part, "P7"),
    (another_hash, "P10"),
    (another_block_info_root, "P10"),
]


@pytest.mark.parametrize(("mutant", "name"), ALONE, ids=lambda one: getattr(one, "__name__", one))
def test_what_breaks_one_property_is_found_by_that_one_alone(mutant, name):
    report = judge(mutant())

    assert report.broken == (name,), [row for row in report.rows if not row.ok]


def test_a_missing_old_block_is_found_although_numbers_then_fall_behind():
    assert set(judge(an_empty_block_left_out()).broken) == {"P4", "P6"}
    assert "P4" in judge(a_last_empty_block_left_out()).broken


def test_a_transaction_nobody_knows_is_found():
    assert set(judge(with_a_foreign_tx()).broken) == {"P1", "P2"}


def test_swapped_transactions_are_found():
    new = OLD.mapped(17, lambda block: replace(block, txs=block.txs[::-1]))

    assert set(judge(new).broken) == {"P1", "P2"}


def test_a_batch_above_the_data_budget_is_found_by_p8_alone():
    assert judge(SPLIT, data_budget=600).ok
    report = judge(OLD, data_budget=600)

    assert report.broken == ("P8",)
    assert "the budget is 600" in report.rows[7].detail


def test_a_batch_above_its_counters_is_found_by_p8_alone():
    limit = limits_of(FORK).arith
    used = {5: Counters(arith=limit), 6: Counters(arith=limit + 1), 7: None, 8: Counters()}

    report = judge(OLD, limits_of=limits_of, used_by=used.get)

    assert report.broken == ("P8",)
    assert report.rows[7].detail == f"batch 6 uses {limit + 1} of A, the limit is {limit}"


def test_indices_that_are_first_used_in_another_order_are_found():
    old = run([(5, 5, TXS[:1])], [(5, 4, TXS[1:2])])

    assert judge(old, old).broken == ("P7",)


def test_an_index_that_is_used_again_hides_no_wrong_order():
    again = run([(5, 4, []), (5, 6, []), (5, 4, [])])
    wrong = run([(5, 4, []), (5, 6, []), (5, 4, []), (5, 5, [])])

    assert judge(again, again).ok
    report = judge(wrong, wrong)

    assert report.broken == ("P7",)
    assert report.rows[6].detail == "block 14 uses L1 info index 5 first after 6"


# --- P9


def without(entries, *kinds):
    """The first of each kind is left out, and the rest numbered on."""
    gone = set()
    for kind in kinds:
        gone.add(next(entry.number for entry in entries if entry.type == kind and entry.number not in gone))
    kept = [entry for entry in entries if entry.number not in gone]
    return [Entry(number, entry.type, entry.data) for number, entry in enumerate(kept, KEPT.entries)]


@pytest.mark.parametrize("kind", [EntryType.BOOKMARK, EntryType.L2_BLOCK_END, EntryType.BATCH_END])
def test_an_entry_that_is_missing_in_its_place_is_found_by_p9_alone(kind):
    assert judge(without(OLD.entries(), kind)).broken == ("P9",)


def test_a_state_root_at_the_end_that_is_not_that_of_the_last_block_is_found_by_p9_alone():
    batch = OLD.batches[0]
    new = Run((replace(batch, end=replace(batch.end, state_root=b"\7" * 32)), *OLD.batches[1:]))

    assert judge(new).broken == ("P9",)


def test_an_entry_with_another_number_is_found_by_p9_alone():
    entries = OLD.entries()
    entries[7] = Entry(3, entries[7].type, entries[7].data)

    assert judge(entries).broken == ("P9",)


@pytest.mark.parametrize("junk", [Entry(0, 99, b""), Entry(0, EntryType.TRANSACTION, b"\xff"), Entry(9, 2, b"\xff")])
def test_an_entry_that_carries_nothing_known_is_found_by_p9_alone(junk):
    entries = OLD.entries()
    after = [Entry(entry.number + 1, entry.type, entry.data) for entry in entries[3:]]

    assert judge([*entries[:3], Entry(entries[3].number, junk.type, junk.data), *after]).broken == ("P9",)


def test_a_header_that_counts_others_is_found_by_p9_alone():
    assert judge(OLD, total_entries=KEPT.entries).broken == ("P9",)


def test_a_change_before_the_first_removed_entry_is_found_by_p9_alone():
    assert judge(OLD, prefix_same=False).broken == ("P9",)


def test_a_bookmark_that_leads_elsewhere_is_found_by_p9_alone():
    index = {entry.data: entry.number for entry in OLD.entries() if entry.type == EntryType.BOOKMARK}

    assert judge(OLD, find=index.get).ok
    assert judge(OLD, find=(index | {Bookmark.block(13).encode(): 3}).get).broken == ("P9",)
    assert judge(OLD, find={}.get).broken == ("P9",)


# --- nonsense


@pytest.mark.parametrize("new", [[], OLD.entries()[:1], OLD.entries()[:9]])
def test_a_run_that_ends_too_early_is_found(new):
    assert {"P1", "P4"} <= set(judge(new).broken)


def test_against_nothing_at_all_everything_is_too_much():
    assert {"P1", "P2"} <= set(judge(OLD, Run(())).broken)
    assert judge(Run(()), Run(())).ok


def test_transactions_that_are_none_are_found_by_p8():
    junk = OLD.mapped(17, lambda block: replace(block, txs=(Transaction(17, encoded=b"junk"),)))

    assert "P8" in judge(junk, junk).broken
