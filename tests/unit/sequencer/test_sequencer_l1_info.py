"""What a sequencer hears from L1: leaves from contracts and from a file, rollbacks, and reorgs in between."""

import json

import pytest
import trio
from attestrio.kit.blocking import inline
from attestrio.l1.api import Address, BlockRef, Log, Step
from attestrio.roles.keccak import keccak256
from attestrio.sequencer import Leaf, MemoryLeaves
from attestrio.sequencer.builder import BatchBuilder
from attestrio.sequencer.l1_info import (
    EXIT_ROOTS,
    LEAF,
    ROLLBACK,
    BadLeafFile,
    L1Sink,
    LeafBook,
    LeafFile,
    LeafGone,
    wanted,
)
from attestrio.sequencer.l1_store import L1Store
from attestrio.sequencer.lines import GrowingFile
from attestrio.sequencer.shared import SharedChain
from sequencer_kit import own_chain, own_rules
from suite import patient

MANAGER, GERS = Address(b"\x01" * 20), Address(b"\x02" * 20)
TOP = 1_000


def log(event, block, index=0, *, address=GERS, tx=None, **values):
    topics, data = event.emitted(**values)
    return Log(address, topics, data, BlockRef(block, bytes([block]) * 32), index, tx or bytes([block]) * 32)


def leaf_logs(number, block, tx=None):
    """The two events of a leaf."""
    roots = {"mainnetExitRoot": bytes([number]) * 32, "rollupExitRoot": b"\x0b" * 32}
    count = {"currentL1InfoRoot": bytes(32), "leafCount": number + 1, "blockhash": 7, "minTimestamp": TOP + number}
    return [
        log(EXIT_ROOTS, block, 0, tx=tx, **roots),
        log(LEAF, block, 1, tx=tx, **count),
    ]


def leaf(number):
    ger = keccak256(bytes([number]) * 32 + b"\x0b" * 32)
    return Leaf(number, ger, (7).to_bytes(32, "big"), TOP + number)


def rollback(target, block, *, rollup=1, address=MANAGER):
    values = {"rollupID": rollup, "targetBatch": target, "accInputHashToRollback": bytes(32)}
    return log(ROLLBACK, block, address=address, **values)


def step(*logs, scanned=50, void_above=None):
    return Step(logs, b"cursor %d" % scanned, scanned, void_above)


@pytest.fixture
def db(tmp_path):
    db = own_chain(tmp_path / "chain.db")
    yield db
    db.close()


@pytest.fixture
def store(tmp_path):
    store = L1Store.open(tmp_path / "l1.db")
    yield store
    store.close()


def sink_on(store, db):
    """The sink and its leaves."""
    book = LeafBook()
    return L1Sink(store, book, SharedChain(db, inline), 1, MANAGER, GERS, inline), book


async def test_two_events_make_a_leaf_which_is_known_at_once_and_after_a_restart(store, db):
    sink, book = sink_on(store, db)

    await sink.record(step(*leaf_logs(1, 10), *leaf_logs(2, 11)))

    assert book.newest(TOP + 5) == leaf(2)
    _, again = sink_on(store, db)
    assert (again.leaf(1), again.leaf(2), again.leaf(3)) == (leaf(1), leaf(2), None)
    assert await sink.cursor() == b"cursor 50"


async def test_the_two_events_may_come_in_two_steps(store, db):
    first, second = leaf_logs(1, 10)
    sink, _ = sink_on(store, db)
    await sink.record(step(first))

    sink, book = sink_on(store, db)
    await sink.record(step(second))

    assert book.leaf(1) == leaf(1)


async def test_a_leaf_whose_exit_roots_are_of_another_transaction_is_passed_over(store, db):
    sink, book = sink_on(store, db)

    await sink.record(step(leaf_logs(1, 10, tx=b"\x01" * 32)[0], leaf_logs(1, 10, tx=b"\x02" * 32)[1]))

    assert book.leaf(1) is None


async def test_rollbacks_of_our_rollup_at_the_manager_are_kept_and_no_others(store, db):
    sink, _ = sink_on(store, db)

    await sink.record(step(rollback(3, 10), rollback(2, 11, rollup=2), rollback(1, 12, address=GERS)))

    assert [(one.target, one.block) for one in store.rollbacks()] == [(3, 10)]
    assert sink.heard == 1


async def test_who_waits_hears_of_a_rollback(store, db, nursery):
    sink, _ = sink_on(store, db)
    nursery.start_soon(sink.record, step(rollback(3, 10)))

    with trio.fail_after(patient(5)):
        await sink.wait_more(0)

    assert sink.heard == 1


async def test_a_reorg_takes_back_what_it_has_said(store, db):
    sink, book = sink_on(store, db)
    await sink.record(step(*leaf_logs(1, 10), *leaf_logs(2, 11), rollback(3, 12)))

    await sink.record(step(void_above=10))

    assert (book.leaf(1), book.leaf(2), store.rollbacks()) == (leaf(1), None, [])


async def test_a_reorg_that_takes_back_a_leaf_in_a_block_of_ours_is_told_and_changes_nothing(store, db):
    sink, book = sink_on(store, db)
    await sink.record(step(*leaf_logs(1, 10), *leaf_logs(2, 11)))
    builder = BatchBuilder(db, own_rules(), MemoryLeaves([leaf(1), leaf(2)]))
    builder.begin_batch(2)
    builder.begin_block(TOP + 10, 2)
    builder.seal_block()

    with pytest.raises(LeafGone) as exc_info:
        await sink.record(step(void_above=10, scanned=10))

    assert exc_info.value.index == 2
    assert await sink.cursor() == b"cursor 50"
    assert book.leaf(2) == leaf(2)


async def test_what_cannot_be_read_is_passed_over_and_the_rest_is_not(store, db):
    sink, book = sink_on(store, db)
    broken = rollback(3, 10)
    broken.data = b""

    await sink.record(step(broken, *leaf_logs(1, 11)))

    assert (store.rollbacks(), book.leaf(1)) == ([], leaf(1))


def test_one_contract_may_be_both():
    assert wanted(MANAGER, MANAGER).addresses == (MANAGER,)
    assert all(wanted(MANAGER, GERS).matches(one) for one in (rollback(1, 1), *leaf_logs(1, 1)))


# --- from a file


def line(number, **changed):
    told = {"index": number, "ger": "0x" + "11" * 32, "l1_hash": "0x" + "22" * 32, "timestamp": TOP + number}
    return json.dumps(told | changed) + "\n"


async def test_leaves_of_a_file_are_known_when_it_has_started_and_as_they_are_added(tmp_path, nursery, autojump_clock):
    path, book = tmp_path / "l1_info.jsonl", LeafBook()
    path.write_text(line(1) + "\n" + line(2)[:30])
    await nursery.start(LeafFile(GrowingFile(path), book, run=inline).run)
    assert (book.leaf(1) is not None, book.leaf(2)) == (True, None)

    path.write_text(line(1) + "\n" + line(2) + line(3))
    await trio.sleep(1.5)

    assert book.leaf(3) == Leaf(3, b"\x11" * 32, b"\x22" * 32, TOP + 3)


async def test_a_file_that_is_not_there_yet_is_waited_for(tmp_path, nursery, autojump_clock):
    path, book = tmp_path / "l1_info.jsonl", LeafBook()
    await nursery.start(LeafFile(GrowingFile(path), book, run=inline).run)

    path.write_text(line(1))
    await trio.sleep(1.5)

    assert book.leaf(1) is not None


@pytest.mark.parametrize(
    "text",
    ["x\n", "{}\n", line(1, ger="0x11"), line(1, more=1), line(0), line(2) + line(1), line(1) + line(2, timestamp=5)],
    ids=["no JSON", "empty", "short", "unknown key", "index 0", "lower index", "earlier time"],
)
async def test_a_line_that_is_no_leaf_is_named(tmp_path, text):
    path = tmp_path / "l1_info.jsonl"
    path.write_text(text)

    with pytest.raises(BadLeafFile, match=r"l1_info\.jsonl: ") as exc_info:
        await LeafFile(GrowingFile(path), LeafBook(), run=inline).run()

    assert exc_info.value.exit_code == 2
