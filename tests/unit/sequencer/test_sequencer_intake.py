"""Files that grow, and the transactions that come in through one."""

import pytest
import trio
from attestrio.errors import StorageUnusable
from attestrio.kit.blocking import inline
from attestrio.sequencer import MemoryLeaves
from attestrio.sequencer.builder import BatchBuilder
from attestrio.sequencer.intake import Intake, TransactionFile
from attestrio.sequencer.lines import CHUNK, GrowingFile
from attestrio.sequencer.pool import NoRoom, Pool, PoolSettings
from attestrio.sequencer.shared import SharedChain
from sequencer_kit import ALICE, BOB, CHAIN_A, add_batch, own_chain, own_rules, tx


@pytest.fixture
def chain(tmp_path):
    db = own_chain(tmp_path / "chain.db")
    yield SharedChain(db, inline)
    db.close()


def hexed(*txs):
    return "".join(f"0x{one.hex()}\n" for one in txs)


def test_lines_come_once_and_a_part_of_one_waits_for_its_end(tmp_path):
    path = tmp_path / "lines"
    file = GrowingFile(path)
    assert file.lines() == []

    path.write_bytes(b"one\ntwo\nthr")
    assert file.lines() == [b"one", b"two"]
    assert file.lines() == []
    path.write_bytes(b"one\ntwo\nthree\n")
    assert file.lines() == [b"three"]


def test_a_file_that_became_shorter_is_read_anew(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntwo\n")
    file = GrowingFile(path)
    file.lines()

    path.write_bytes(b"new\n")

    assert file.lines() == [b"new"]


def test_a_long_file_comes_in_parts_and_loses_nothing(tmp_path):
    path = tmp_path / "lines"
    lines = [b"%07d" % number for number in range(CHUNK // 8 * 2 + 100)]
    path.write_bytes(b"\n".join(lines) + b"\n")
    file, read = GrowingFile(path), []

    while some := file.lines():
        read += some

    assert read == lines


@pytest.mark.parametrize("make", ["folder", "endless"])
def test_what_is_no_file_of_lines_is_named(tmp_path, make):
    path = tmp_path / "lines"
    if make == "folder":
        path.mkdir()
    else:
        path.write_bytes(bytes(CHUNK + 1))

    with pytest.raises(StorageUnusable, match="lines"):
        GrowingFile(path).lines()


async def test_transactions_of_a_file_wait_for_a_block(chain, tmp_path, nursery, autojump_clock):
    path, pool = tmp_path / "txs", Pool(CHAIN_A)
    path.write_text(hexed(tx(0)) + "no hex\n\n" + hexed(tx(1), tx(0, chain_id=5)))
    nursery.start_soon(TransactionFile(path, Intake(chain, pool), run=inline).run)
    await trio.testing.wait_all_tasks_blocked()
    assert [one.nonce for one in pool.ready(10)] == [0, 1]

    with path.open("a") as file:
        file.write(hexed(tx(2)))
    await trio.sleep(1.5)

    assert [one.nonce for one in pool.ready(10)] == [0, 1, 2]


async def test_a_file_waits_while_the_pool_is_full(chain, tmp_path, nursery, autojump_clock):
    path, pool = tmp_path / "txs", Pool(CHAIN_A, PoolSettings(most=1))
    path.write_text(hexed(tx(0), tx(1, sender=BOB)))
    nursery.start_soon(TransactionFile(path, Intake(chain, pool), run=inline).run)
    await trio.sleep(10)
    assert [one.sender() for one in pool.ready(10)] == [ALICE]

    pool.done(pool.ready(1))
    await trio.sleep(1.5)

    assert [one.sender() for one in pool.ready(10)] == [BOB]


async def test_a_long_file_of_one_account_waits_for_its_turn(chain, tmp_path, nursery, autojump_clock):
    path, pool = tmp_path / "txs", Pool(CHAIN_A, PoolSettings(ahead=2))
    path.write_text(hexed(*(tx(nonce) for nonce in range(5))))
    nursery.start_soon(TransactionFile(path, Intake(chain, pool), run=inline).run)
    await trio.sleep(10)
    assert [one.nonce for one in pool.ready(10)] == [0, 1, 2]

    builder = BatchBuilder(chain.db, own_rules(), MemoryLeaves())
    add_batch(builder, [tx(0), tx(1)])
    pool.done(pool.ready(2))
    await trio.sleep(1.5)

    assert [one.nonce for one in pool.ready(10)] == [2, 3, 4]


async def test_nothing_is_taken_in_while_nothing_is_built(chain):
    intake = Intake(chain, Pool(CHAIN_A))
    chain.halt("it waits for somebody")

    with pytest.raises(NoRoom, match="nothing is taken in: it waits for somebody"):
        await intake.add(tx(0))


async def test_who_waits_for_transactions_is_woken_by_one(chain, autojump_clock):
    intake = Intake(chain, Pool(CHAIN_A))

    async def come_later():
        await trio.sleep(7)
        await intake.add(tx(0))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(come_later)
        await intake.wait_some()
        woken = trio.current_time()
        await intake.wait_some()

    assert woken == 7.0
    assert trio.current_time() == 7.0
