"""Files that grow, and the transactions that come in through one."""

from contextlib import asynccontextmanager

import pytest
import trio
from attestrio.errors import StorageUnusable
from attestrio.kit.blocking import inline
from attestrio.sequencer import MemoryLeaves
from attestrio.sequencer.builder import BatchBuilder
from attestrio.sequencer.intake import Intake, TransactionFile
from attestrio.sequencer.lines import CHUNK, GrowingFile
from attestrio.sequencer.pool import NoRoom, Pool, PoolSettings
from attestrio.sequencer.pool_store import PoolStore
from attestrio.sequencer.shared import SharedChain
from eth_utils import keccak
from sequencer_kit import ALICE, BOB, CHAIN_A, GWEI, add_batch, own_chain, own_rules, tx


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


# --- kept over a restart


WALL = 1_700_000_000.0
ANY = PoolSettings()


@asynccontextmanager
async def door(chain, path, *, now=WALL, settings=ANY):
    """One process: its intake, restored."""
    store = PoolStore(path, inline)
    intake = Intake(chain, Pool(CHAIN_A, settings), store, lambda: now, inline)
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        await intake.restore()
        yield intake
        nursery.cancel_scope.cancel()


def waiting(intake):
    return [(one.nonce, one.value) for one in intake.pool.ready(100)]


async def test_what_was_taken_in_waits_again_after_a_restart_in_its_order(chain, tmp_path):
    async with door(chain, tmp_path / "pool.db") as intake:
        for raw in (tx(0, value=7), tx(1, sender=BOB, value=8), tx(1, value=9), tx(3, value=10)):
            await intake.add(raw)
        before = waiting(intake)

    async with door(chain, tmp_path / "pool.db") as intake:
        assert waiting(intake) == before == [(0, 7), (1, 8), (1, 9)]
        await intake.add(tx(2, value=11))
        assert waiting(intake)[-2:] == [(2, 11), (3, 10)]


async def test_what_a_block_has_or_nobody_wants_any_more_does_not_come_back(chain, tmp_path):
    async with door(chain, tmp_path / "pool.db") as intake:
        for raw in (tx(0), tx(1), tx(2), tx(3)):
            await intake.add(raw)
        await intake.add(tx(2, gas_price=2 * GWEI))  # in the place of the one before
        intake.pool.drop(intake.pool.get(keccak(tx(3))))
        await intake.settle()
        await chain.change(lambda db: add_batch(BatchBuilder(db, own_rules(), MemoryLeaves()), [tx(0)]))

    async with door(chain, tmp_path / "pool.db") as intake:  # which was not told that a block has the first one
        assert [(one.nonce, one.gas_price) for one in intake.pool.ready(100)] == [(1, GWEI), (2, 2 * GWEI)]
        assert intake.pool.get(keccak(tx(3))) is None


async def test_a_restart_makes_nobody_younger(chain, tmp_path):
    settings = PoolSettings(lifetime_s=100.0)
    async with door(chain, tmp_path / "pool.db") as intake:
        await intake.add(tx(0))

    async with door(chain, tmp_path / "pool.db", now=WALL + 99.0, settings=settings) as intake:
        assert intake.pool.expire(trio.current_time()) == 0
        assert intake.pool.expire(trio.current_time() + 2.0) == 1
    async with door(chain, tmp_path / "pool.db", now=WALL - 500.0, settings=settings) as intake:  # the clock went back
        assert waiting(intake) == [(0, 1)]


async def test_what_had_been_taken_in_is_not_judged_by_stricter_rules_after_a_restart(chain, tmp_path):
    async with door(chain, tmp_path / "pool.db") as intake:
        await intake.add(tx(0))
        await intake.add(tx(1))

    async with door(chain, tmp_path / "pool.db", settings=PoolSettings(most=1, min_gas_price=5 * GWEI)) as intake:
        assert waiting(intake) == [(0, 1), (1, 1)]


async def test_a_hash_is_told_only_once_the_transaction_is_on_disk(chain, tmp_path):
    store = PoolStore(tmp_path / "pool.db", inline)
    intake, told = Intake(chain, Pool(CHAIN_A), store, run=inline), []

    async def send():
        told.append(await intake.add(tx(0)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert told == []
        await nursery.start(store.run)
        await trio.testing.wait_all_tasks_blocked()
        assert told == [keccak(tx(0))]
        nursery.cancel_scope.cancel()


async def test_lines_of_a_file_are_not_kept_twice(chain, tmp_path, autojump_clock):
    path = tmp_path / "txs"
    path.write_text(hexed(tx(0), tx(1)))
    async with door(chain, tmp_path / "pool.db") as intake:
        with trio.move_on_after(2.0):
            await TransactionFile(path, intake, run=inline).run()
        assert len(intake.pool) == 2

    async with door(chain, tmp_path / "pool.db") as intake:
        assert waiting(intake) == []
