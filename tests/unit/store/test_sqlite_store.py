import sqlite3
import subprocess
import sys

import apsw
import pytest
import trio
import trio.testing
from attestrio.errors import SetupError, StorageUnusable, leaves
from attestrio.kit.blocking import inline
from attestrio.kit.sqlite import StorageCorrupt, StorageForeign, StorageUnwritable, open_database
from attestrio.roles import AttesterSecretKey, Batch, BatchHash, BatchNumber, BatchQC, GenesisHash, SyncBatch
from attestrio.store import SqliteBatchStore, StoreClosed, StoreOfOtherGenesis, StoreState
from attestrio.store.certificates import EpochInfo, open_certificates, read_only_certificates
from attestrio.store.rows import APPLICATION_ID, SCHEMA, EpochRows
from attestrio.store.rules import Ranges
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples

GENESIS = GenesisHash(b"\x01" * 32)
OTHER_GENESIS = GenesisHash(b"\x02" * 32)
KEY = AttesterSecretKey.from_bytes(b"\x05" * 32)


def to_sign(number, genesis=GENESIS) -> Batch:
    return Batch(BatchNumber(number), BatchHash(bytes(32)), genesis)


def certificate(number, genesis=GENESIS) -> BatchQC:
    batch = to_sign(number, genesis)
    return BatchQC(batch, {KEY.public(): KEY.sign_batch(batch).signature})


def synced(number) -> SyncBatch:
    return SyncBatch(BatchNumber(number), (b"payload",), b"")


def range_of(first, last=None) -> StoreState:
    return StoreState(BatchNumber(first), None if last is None else BatchNumber(last))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


async def opened(nursery, path, genesis=GENESIS, epoch=0, run_blocking=inline, **more) -> SqliteBatchStore:
    store = SqliteBatchStore(path, genesis, run_blocking=run_blocking, epoch=epoch, **more)
    await nursery.start(store.run)
    return store


# --- epochs


async def test_a_later_epoch_sees_nothing_of_the_former_and_removes_nothing(path, nursery):
    former = await opened(nursery, path)
    await former.put_batch_to_sign(to_sign(0))
    await former.persist_qc(certificate(0))
    await former.close()

    later = await opened(nursery, path, OTHER_GENESIS, epoch=1)
    assert later.persisted == range_of(0)
    assert await later.batch_to_sign(BatchNumber(0)) is None
    assert await later.last_qc() is None
    assert await later.next_batch_to_attest() == 0
    await later.put_batch_to_sign(to_sign(0, OTHER_GENESIS))
    await later.persist_qc(certificate(0, OTHER_GENESIS))
    await later.close()

    again = await opened(nursery, path)
    assert await again.qc(BatchNumber(0)) == certificate(0)
    assert await again.batch_to_sign(BatchNumber(0)) == to_sign(0)


async def test_a_file_of_another_genesis_is_refused(path, nursery):
    await (await opened(nursery, path)).close()

    with pytest.raises(StoreOfOtherGenesis, match=r"store\.db holds the batches of") as caught:
        await SqliteBatchStore(path, OTHER_GENESIS, run_blocking=inline).run()

    assert isinstance(caught.value, SetupError)
    assert caught.value.exit_code == 2
    assert (caught.value.got, caught.value.want) == (GENESIS, OTHER_GENESIS)


# --- files that cannot be used


async def test_a_corrupt_file_is_refused(path):
    path.write_bytes(b"no database" * 1000)

    with pytest.raises(StorageCorrupt, match=r"store\.db") as caught:
        await SqliteBatchStore(path, GENESIS, run_blocking=inline).run()

    assert caught.value.exit_code == 4


async def test_a_file_of_another_program_is_refused_and_left_as_it_was(path):
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE certificates(x)")
    other.commit()
    other.close()
    before = path.read_bytes()

    with pytest.raises(StorageForeign):
        await SqliteBatchStore(path, GENESIS, run_blocking=inline).run()

    assert path.read_bytes() == before


@pytest.mark.parametrize("where", ["/proc/store.db", "absent/store.db"], ids=["read-only", "missing-directory"])
async def test_a_place_where_nothing_can_be_written_is_refused(tmp_path, where):
    with pytest.raises(StorageUnwritable, match=r"store\.db"):
        await SqliteBatchStore(tmp_path / where, GENESIS, run_blocking=inline).run()


async def test_a_stored_certificate_that_cannot_be_read_is_the_disks_fault_and_no_peers(path, nursery):
    store = await opened(nursery, path)
    await store.put_batch_to_sign(to_sign(0))
    await store.persist_qc(certificate(0))
    other = apsw.Connection(str(path))
    other.execute("UPDATE certificates SET encoded = x'ff'")
    other.close()

    with pytest.raises(StorageCorrupt, match="a stored BatchQC cannot be read"):
        await store.qc(BatchNumber(0))


async def test_a_store_that_is_not_open_says_so(path):
    store = SqliteBatchStore(path, GENESIS)

    with pytest.raises(StoreClosed):
        _ = store.persisted
    with pytest.raises(StoreClosed):
        await store.batch_to_sign(BatchNumber(0))
    with pytest.raises(StoreClosed):
        await store.put_batch_to_sign(to_sign(0))


async def test_a_store_closed_before_its_start_ends_at_once(path):
    store = SqliteBatchStore(path, GENESIS, run_blocking=inline)

    await store.close()
    await store.run()

    with pytest.raises(StoreClosed):
        await store.batch_to_sign(BatchNumber(0))


async def test_a_disk_that_fails_ends_the_store_and_nobody_is_told_yes(path):
    class Failing(apsw.VFS):
        on = False

        def __init__(self):
            super().__init__("store-test-disk", "")

        def xOpen(self, name, flags):
            return FailingFile("", name, flags)

    class FailingFile(apsw.VFSFile):
        def xSync(self, flags):
            if disk.on:
                raise apsw.IOError("flush")
            super().xSync(flags)

    disk = Failing()
    refused = []

    async def put(store, number):
        with pytest.raises(StorageUnusable):
            await store.put_batch_to_sign(to_sign(number))
        refused.append(number)

    async def live_with_it(store):
        async with trio.open_nursery() as life:
            await life.start(store.run)
            await store.put_batch_to_sign(to_sign(0))
            disk.on = True
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as callers:
                    for number in (1, 2):
                        callers.start_soon(put, store, number)

    store = SqliteBatchStore(path, GENESIS, run_blocking=inline, vfs="store-test-disk")
    with pytest.raises(ExceptionGroup) as caught:
        await live_with_it(store)
    disk.on = False

    assert sorted(refused) == [1, 2]
    assert {type(exc).__mro__[1] for exc in leaves(caught.value)} == {StorageUnusable}
    assert store.persisted == range_of(0, 0)


# --- crashes and cancellation


async def test_a_batch_queued_but_not_persisted_is_gone_after_a_crash(path, nursery):
    open_gate = trio.Event()
    open_gate.set()

    async def gated(fn):
        await open_gate.wait()
        return fn()

    async with trio.open_nursery() as life:
        store = await opened(life, path, run_blocking=gated)
        await store.queue_batch(synced(0))
        await store.wait_until_persisted(BatchNumber(0))
        open_gate = trio.Event()
        await store.queue_batch(synced(1))
        await trio.testing.wait_all_tasks_blocked()
        assert store.queued == store.held == range_of(0, 1)
        assert store.persisted == range_of(0, 0)
        assert await store.batch(BatchNumber(1)) == synced(1)
        life.cancel_scope.cancel()
        open_gate.set()  # too late for the batch: its writer is cancelled

    again = await opened(nursery, path)
    assert again.queued == again.persisted == again.held == range_of(0, 0)
    assert await again.batch(BatchNumber(1)) is None
    await again.queue_batch(synced(1))
    await again.wait_until_persisted(BatchNumber(1))


async def test_everybody_hears_of_a_batch_whose_caller_was_cancelled_while_it_was_written(path, nursery):
    inside, go_on = trio.Event(), trio.Event()
    gated_now = False

    async def gated(fn):
        if gated_now:
            inside.set()
            with trio.CancelScope(shield=True):
                await go_on.wait()
        else:
            await trio.lowlevel.checkpoint()
        return fn()

    store = await opened(nursery, path, run_blocking=gated)
    gated_now = True

    async with trio.open_nursery() as callers:
        callers.start_soon(store.put_batch_to_sign, to_sign(0))
        await inside.wait()
        callers.cancel_scope.cancel()
    go_on.set()

    assert await store.wait_until_persisted(BatchNumber(0)) == range_of(0, 0)
    assert await store.batch_to_sign(BatchNumber(0)) == to_sign(0)


KILLED = """
import sys, trio
from attestrio.roles import Batch, BatchHash, BatchNumber, GenesisHash
from attestrio.store import SqliteBatchStore

async def main():
    store = SqliteBatchStore(sys.argv[1], GenesisHash(bytes([1]) * 32))
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        for number in range(1_000_000):
            await store.put_batch_to_sign(
                Batch(BatchNumber(number), BatchHash(bytes(32)), GenesisHash(bytes([1]) * 32))
            )
            print(number, flush=True)

trio.run(main)
"""


@pytest.mark.slow
@pytest.mark.real
async def test_what_was_acknowledged_before_kill_minus_9_is_there_afterwards(path, nursery):
    process = await trio.lowlevel.open_process([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    heard = b""
    async for chunk in process.stdout:
        heard += chunk
        if heard.count(b"\n") >= 50:
            process.kill()
    await process.wait()
    acknowledged = [int(line) for line in heard.splitlines(keepends=True) if line.endswith(b"\n")]

    store = await opened(nursery, path)

    assert store.persisted.first == 0
    assert store.persisted.contains(acknowledged[-1])
    for number in acknowledged:
        assert await store.batch_to_sign(BatchNumber(number)) == to_sign(number)


# --- the cost of a long history


def rows_in_memory() -> tuple[EpochRows, apsw.Connection]:
    connection = apsw.Connection(":memory:")
    for script in SCHEMA:
        connection.execute(script)
    rows = EpochRows(0, GENESIS)
    rows.open(connection, BatchNumber(0))
    return rows, connection


def steps(connection, call) -> int:
    """How many tens of SQLite instructions a call takes."""
    taken = []
    connection.set_progress_handler(lambda: taken.append(1) or False, 10)
    try:
        call()
    finally:
        connection.set_progress_handler(None)
    return len(taken)


def test_finding_the_next_batch_costs_the_same_after_a_thousand_certificates():
    rows, connection = rows_in_memory()
    with connection:
        for number in range(1000):
            rows.put_batch_to_sign(connection, to_sign(number))
            rows.put_qc(connection, certificate(number) if number == 0 else BatchQC(to_sign(number), {}), b"")

    assert rows.first_gap(connection, BatchNumber(0)) == 1000
    assert steps(connection, lambda: rows.first_gap(connection, BatchNumber(0))) <= 10
    assert steps(connection, lambda: rows.last_certified(connection)) <= 10


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(st.tuples(st.just("qc"), st.integers(0, 12)), st.tuples(st.just("batch"), st.integers(0, 12))),
        max_size=20,
    )
)
def test_the_remembered_run_never_changes_the_answer(history):
    rows, connection = rows_in_memory()
    certified: set[int] = set()
    try:
        for kind, number in history:
            if kind == "batch":
                rows.put_batch_to_sign(connection, to_sign(number))
            else:
                rows.put_qc(connection, BatchQC(to_sign(number), {}), b"")
                certified.add(number)

        answers = [rows.first_gap(connection, BatchNumber(start)) for start in range(14)]

        assert answers == [next(n for n in range(start, 30) if n not in certified) for start in range(14)]
    finally:
        connection.close()


def test_finding_what_can_be_given_to_others_costs_the_same_after_a_thousand_batches():
    rows, connection = rows_in_memory()
    with connection:
        rows.put_sync_batches(connection, [synced(number) for number in range(1000)])

    assert rows.whole(connection) == range_of(0, 999)
    assert steps(connection, lambda: rows.whole(connection)) <= 10


@settings(deadline=None, max_examples=examples(50))
@given(st.lists(st.one_of(st.integers(1, 4), st.tuples(st.just("hash"), st.integers(-3, 3))), max_size=12))
def test_the_remembered_run_of_whole_batches_is_the_one_in_the_tables(history):
    rows, connection = rows_in_memory()
    try:
        for step in history:
            after = rows.persisted(connection).next()
            if isinstance(step, int):
                rows.put_sync_batches(connection, [synced(after + offset) for offset in range(step)])
            else:
                rows.put_batch_to_sign(connection, to_sign(max(0, int(after) + step[1])))

        persisted = rows.persisted(connection)
        held = Ranges(persisted, persisted, rows.whole(connection)).held

        first = persisted.next()
        while first > persisted.first and rows.sync_batch(connection, BatchNumber(first - 1)) is not None:
            first = BatchNumber(first - 1)
        assert held == range_of(first, None if first == persisted.next() else persisted.last)
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("whole", "last", "held"),
    [
        ([], None, range_of(0)),
        ([], 4, range_of(5)),
        ([0, 1, 3, 4], 4, range_of(3, 4)),
        ([0, 1, 3, 4], 5, range_of(6)),
        ([0, 1, 2, 3, 4], 4, range_of(0, 4)),
    ],
    ids=["empty", "hashes", "gap", "hash-last", "all"],
)
async def test_a_file_of_the_first_version_is_gone_on_with(path, nursery, whole, last, held):
    with open_database(path, application_id=APPLICATION_ID, schema=SCHEMA[:1]) as old:
        old.execute("INSERT INTO epochs(epoch, genesis, first, last) VALUES (0, ?, 0, ?)", (GENESIS.to_bytes(), last))
        old.executemany("INSERT INTO sync_batches VALUES (0, ?, ?)", [(n, synced(n).encode()) for n in whole])
        old.execute("INSERT INTO epochs(epoch, genesis, first, last) VALUES (1, ?, 0, 9)", (GENESIS.to_bytes(),))
        old.execute("INSERT INTO sync_batches VALUES (1, 9, x'00')")  # another epoch's
    old.close()

    store = await opened(nursery, path)

    assert store.held == held
    assert [await store.batch(BatchNumber(n)) for n in range(held.first, held.next())] == [
        synced(n) for n in range(held.first, held.next())
    ]


# --- reading the file without a node


async def test_certificates_and_epochs_can_be_read_from_the_file(path, nursery):
    store = await opened(nursery, path)
    for number in range(4):
        await store.put_batch_to_sign(to_sign(number))
    for number in (0, 2):
        await store.persist_qc(certificate(number))
    await store.close()
    later = await opened(nursery, path, OTHER_GENESIS, epoch=3)
    await later.put_batch_to_sign(to_sign(7, OTHER_GENESIS))
    await later.persist_qc(certificate(7, OTHER_GENESIS))

    with open_certificates(path) as file:  # also while a node writes to it
        epochs = file.epochs()
        first = tuple(file.certificates(epoch=0))
        one = file.certificate(BatchNumber(2), epoch=0)
        absent = file.certificate(BatchNumber(1), epoch=0), tuple(file.certificates(epoch=9))
        rest = [qc.batch.number for qc in file.certificates(epoch=0, first=BatchNumber(1))]

    assert epochs == (
        EpochInfo(0, GENESIS, range_of(0, 3), 2, BatchNumber(2)),
        EpochInfo(3, OTHER_GENESIS, range_of(7, 7), 1, BatchNumber(7)),
    )
    assert first == (certificate(0), certificate(2))
    assert one == certificate(2)
    assert absent == (None, ())
    assert rest == [2]
    assert read_only_certificates(path) == (certificate(7, OTHER_GENESIS),)


def test_reading_a_file_that_is_no_store_is_refused(tmp_path):
    other = tmp_path / "other.db"
    open_database(other, application_id=APPLICATION_ID + 1, schema=("CREATE TABLE t(x)",)).close()

    with pytest.raises(StorageForeign):
        read_only_certificates(other)
    with pytest.raises(StorageUnwritable):
        read_only_certificates(tmp_path / "absent.db")
