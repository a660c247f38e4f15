import threading

import apsw
import outcome
import pytest
import trio
import trio.testing
from attestrio.errors import StorageUnusable
from attestrio.kit import sqlite
from attestrio.kit.blocking import in_thread, inline
from attestrio.kit.group_commit import GroupCommit, TransactionLost, WriterStopped
from attestrio.kit.sqlite import StorageBusy, StorageCorrupt, StorageFailed, StorageFull, open_database
from faulty_disk import FaultyDisk
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples

APP = 0x41545452
SCHEMA = (
    "CREATE TABLE t(x INTEGER PRIMARY KEY, y BLOB);"
    "CREATE TABLE child(x INTEGER REFERENCES t(x) DEFERRABLE INITIALLY DEFERRED)",
)


class NotThisOne(Exception):
    pass


class PowerCut(Exception):
    """What a simulated disk raises: neither apsw's nor the system's."""


@pytest.fixture(params=[inline, in_thread], ids=["inline", "threads"])
def run_blocking(request):
    return request.param


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rows.db"


def connecting(path, vfs=None):
    return lambda: open_database(path, application_id=APP, schema=SCHEMA, vfs=vfs)


def put(x, y=b""):
    def job(connection: apsw.Connection) -> int:
        connection.execute("INSERT INTO t VALUES (?, ?)", (x, y))
        return x

    return job


def put_then_fail(x):
    def job(connection: apsw.Connection) -> None:
        put(x)(connection)
        raise NotThisOne(x)

    return job


def rows(path) -> list[int]:
    connection = connecting(path)()
    try:
        return [x for (x,) in connection.execute("SELECT x FROM t ORDER BY x")]
    finally:
        connection.close()


async def attempt(writer, job, outcomes, name) -> None:
    """Submit and note how it ended."""
    outcomes[name] = await outcome.acapture(writer.submit, job)


async def submit_together(writer, jobs: dict) -> dict:
    """All jobs in one batch: they queue before the writer gets a turn."""
    outcomes: dict = {}
    async with trio.open_nursery() as nursery:
        for name, job in jobs.items():
            nursery.start_soon(attempt, writer, job, outcomes, name)
    return outcomes


async def run_to_its_end(writer, ends: list) -> None:
    ends.append(await outcome.acapture(writer.run))


def error_of(result) -> BaseException:
    assert isinstance(result, outcome.Error)
    return result.error


async def test_a_caller_gets_its_result_after_it_is_on_disk(path, run_blocking, nursery):
    writer = GroupCommit(connecting(path), run_blocking)
    await nursery.start(writer.run)

    assert await writer.submit(put(7)) == 7

    assert rows(path) == [7]


async def test_nobody_hears_of_success_before_the_flush(path, nursery):
    disk = FaultyDisk()
    writer = GroupCommit(connecting(path, disk.name), inline)
    await nursery.start(writer.run)
    before = disk.calls["sync", "-wal"]
    seen = []

    await writer.submit(put(1), on_commit=lambda _: seen.append(disk.calls["sync", "-wal"]))

    assert seen == [before + 1]


async def test_callers_that_wait_together_share_one_flush(path, nursery):
    disk = FaultyDisk()
    writer = GroupCommit(connecting(path, disk.name), inline)
    queued: dict = {}
    for n in range(100):
        nursery.start_soon(attempt, writer, put(n), queued, n)
    await trio.testing.wait_all_tasks_blocked()
    assert writer.statistics().queued == 100

    await nursery.start(writer.run)
    flushes = disk.calls["sync", "-wal"]
    await trio.testing.wait_all_tasks_blocked()

    assert {n: result.unwrap() for n, result in queued.items()} == {n: n for n in range(100)}
    assert disk.calls["sync", "-wal"] == flushes + 1
    assert (writer.statistics().batches, writer.statistics().largest_batch) == (1, 100)


async def test_a_batch_is_never_larger_than_said(path, run_blocking, nursery):
    writer = GroupCommit(connecting(path), run_blocking, max_batch=3)
    await nursery.start(writer.run)

    await submit_together(writer, {n: put(n) for n in range(10)})

    assert rows(path) == list(range(10))
    assert writer.statistics().largest_batch <= 3


async def test_a_job_that_fails_fails_alone_and_leaves_no_trace(path, run_blocking, nursery):
    writer = GroupCommit(connecting(path), run_blocking)
    await nursery.start(writer.run)

    outcomes = await submit_together(writer, {1: put(1), 2: put_then_fail(2), 3: put(3)})

    assert outcomes[1].unwrap() == 1
    assert outcomes[3].unwrap() == 3
    with pytest.raises(NotThisOne):
        outcomes[2].unwrap()
    assert rows(path) == [1, 3]
    stats = writer.statistics()
    assert (stats.committed, stats.failed) == (2, 1)


async def test_a_job_that_breaks_a_constraint_fails_alone(path, run_blocking, nursery):
    writer = GroupCommit(connecting(path), run_blocking)
    await nursery.start(writer.run)
    await writer.submit(put(1))

    outcomes = await submit_together(writer, {"again": put(1), "new": put(2)})

    assert isinstance(error_of(outcomes["again"]), apsw.ConstraintError)
    assert rows(path) == [1, 2]


async def test_a_damaged_page_met_by_one_job_is_named_to_its_caller(path, run_blocking, nursery):
    writer = GroupCommit(connecting(path), run_blocking)
    await nursery.start(writer.run)

    def meets_damage(connection: apsw.Connection) -> None:
        raise apsw.CorruptError("database disk image is malformed")

    with pytest.raises(StorageCorrupt, match=r"rows\.db"):
        await writer.submit(meets_damage)

    assert await writer.submit(put(1)) == 1


@pytest.mark.parametrize("error", [apsw.IOError("x"), apsw.FullError("x"), OSError(5, "EIO"), PowerCut()], ids=repr)
async def test_a_commit_that_fails_fails_everybody_and_ends_the_writer(path, run_blocking, error):
    disk = FaultyDisk()
    writer = GroupCommit(connecting(path, disk.name), run_blocking)
    ends: list = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_to_its_end, writer, ends)
        await writer.submit(put(1))
        disk.fail["sync", "-wal"] = error

        outcomes = await submit_together(writer, {n: put(n) for n in (2, 3, 4)})

    errors = [error_of(outcomes[n]) for n in (2, 3, 4)]
    assert all(isinstance(exc, StorageUnusable) and exc.__cause__ is error for exc in errors)
    assert len({id(exc) for exc in errors}) == 3  # one each: a raised exception keeps the traceback of its task
    assert isinstance(error_of(ends[0]), StorageUnusable)
    with pytest.raises(StorageUnusable):
        await writer.submit(put(5))


async def test_a_full_disk_is_called_a_full_disk(path, run_blocking):
    disk = FaultyDisk()
    writer = GroupCommit(connecting(path, disk.name), run_blocking)
    ends: list = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_to_its_end, writer, ends)
        await writer.submit(put(1))
        disk.fail["write", "-wal"] = apsw.FullError("no space")

        with pytest.raises(StorageFull, match="free some"):
            await writer.submit(put(2))

    assert isinstance(error_of(ends[0]), StorageFull)


async def test_a_transaction_that_sqlite_rolls_back_by_itself_fails_everybody(path, run_blocking):
    disk = FaultyDisk()
    writer = GroupCommit(connecting(path, disk.name), run_blocking)
    ends: list = []
    later: list[int] = []

    def spill(connection: apsw.Connection) -> None:
        # More than the page cache holds, so SQLite writes in the middle of the transaction.
        connection.execute("PRAGMA cache_size = 5")
        disk.fail["write", "-wal"] = apsw.IOError("write")
        put(2, bytes(200_000))(connection)

    def swallow(connection: apsw.Connection) -> None:
        try:
            spill(connection)
        except apsw.IOError:
            later.append(connection.in_transaction)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_to_its_end, writer, ends)
        await writer.submit(put(0))

        outcomes = await submit_together(writer, {1: put(1), 2: swallow, 3: put(3)})

    assert later == [False]  # it did roll back by itself
    assert all(isinstance(error_of(outcomes[n]), StorageUnusable) for n in (1, 2, 3))
    assert isinstance(error_of(ends[0]), StorageUnusable)
    assert rows(path) == [0]


@pytest.mark.parametrize("statement", ["ROLLBACK", "COMMIT", "COMMIT; BEGIN"])
async def test_a_job_that_ends_the_transaction_lets_nobody_believe_in_it(path, run_blocking, statement):
    writer = GroupCommit(connecting(path), run_blocking)
    ends: list = []

    def meddle(connection: apsw.Connection) -> None:
        connection.execute(statement)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_to_its_end, writer, ends)
        outcomes = await submit_together(writer, {1: put(1), "meddle": meddle, 3: put(3)})

    assert all(isinstance(error_of(result), TransactionLost) for result in outcomes.values())
    assert isinstance(error_of(ends[0]), TransactionLost)
    assert 3 not in rows(path) or statement != "ROLLBACK"


async def test_a_constraint_checked_at_commit_fails_the_batch_but_not_the_writer(path, run_blocking, nursery):
    writer = GroupCommit(connecting(path), run_blocking)
    await nursery.start(writer.run)

    def orphan(connection: apsw.Connection) -> None:
        connection.execute("INSERT INTO child VALUES (99)")

    with pytest.raises(TransactionLost) as caught:
        await writer.submit(orphan)

    assert isinstance(caught.value.__cause__, apsw.ConstraintError)
    assert await writer.submit(put(1)) == 1
    assert rows(path) == [1]


async def test_a_lock_of_another_process_fails_the_batch_but_not_the_writer(path, run_blocking, nursery, monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 1)
    writer = GroupCommit(connecting(path), run_blocking)
    await nursery.start(writer.run)
    other = connecting(path)()
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StorageBusy):
        await writer.submit(put(1))
    other.execute("ROLLBACK")

    assert await writer.submit(put(2)) == 2
    assert rows(path) == [2]


async def test_a_database_that_cannot_be_opened_ends_the_writer_at_once(tmp_path, run_blocking):
    writer = GroupCommit(connecting(tmp_path / "absent" / "rows.db"), run_blocking)

    with pytest.raises(sqlite.StorageUnwritable):
        await writer.run()

    with pytest.raises(WriterStopped):
        await writer.submit(put(1))


async def test_a_caller_that_leaves_before_its_turn_is_not_served(path, run_blocking):
    writer = GroupCommit(connecting(path), run_blocking)
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(attempt, writer, put(1), {}, "stays")
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            await writer.submit(put(2))
        async with trio.open_nursery() as leaving:
            leaving.start_soon(attempt, writer, put(3), {}, "leaves")
            await trio.testing.wait_all_tasks_blocked()
            leaving.cancel_scope.cancel()

        await nursery.start(writer.run)
        await writer.close()

    assert rows(path) == [1]
    assert writer.statistics().dropped == 1


async def test_a_caller_that_leaves_during_its_turn_breaks_nobodys_work(path, nursery):
    started, go_on = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()
    writer = GroupCommit(connecting(path), in_thread)
    await nursery.start(writer.run)
    outcomes: dict = {}
    noted: list[int] = []

    def slow(connection: apsw.Connection) -> int:
        token.run_sync_soon(started.set)
        assert go_on.wait(5)
        return put(1)(connection)

    async with trio.open_nursery() as callers:
        scope = trio.CancelScope()

        async def leaver():
            with scope:
                await writer.submit(slow, on_commit=noted.append)

        callers.start_soon(leaver)
        await started.wait()
        callers.start_soon(attempt, writer, put(2), outcomes, "next")
        scope.cancel()
        go_on.set()

    assert scope.cancelled_caught
    assert outcomes["next"].unwrap() == 2
    assert noted == [1]  # the owner of the row hears of it although the caller is gone
    assert rows(path) == [1, 2]


async def test_what_was_committed_is_told_in_the_order_of_the_jobs(path, run_blocking, nursery):
    writer = GroupCommit(connecting(path), run_blocking, max_batch=7)
    told: list[int] = []
    written: list[int] = []

    def job(x):
        def write(connection: apsw.Connection) -> int:
            written.append(put(x)(connection))
            return x

        return write

    async with trio.open_nursery() as callers:
        for n in range(50):
            callers.start_soon(lambda n=n: writer.submit(job(n), on_commit=told.append))
        await nursery.start(writer.run)

    assert told == written
    assert sorted(told) == list(range(50))


async def test_a_cancelled_writer_answers_everybody_who_waits(path, run_blocking):
    outcomes: dict = {}
    writer = GroupCommit(connecting(path), run_blocking, max_queued=2)
    async with trio.open_nursery() as callers:
        for n in range(5):  # two in the queue, three waiting for a place in it
            callers.start_soon(attempt, writer, put(n), outcomes, n)
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await writer.run()

    assert {type(error_of(result)) for result in outcomes.values()} == {WriterStopped}
    assert len(outcomes) == 5


async def test_a_writer_cancelled_while_it_commits_finishes_that_commit(path):
    started, go_on = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()
    writer = GroupCommit(connecting(path), in_thread)
    outcomes: dict = {}

    def slow(connection: apsw.Connection) -> int:
        token.run_sync_soon(started.set)
        assert go_on.wait(5)
        return put(1)(connection)

    async with trio.open_nursery() as callers, trio.open_nursery() as life:
        await life.start(writer.run)
        callers.start_soon(attempt, writer, slow, outcomes, "slow")
        await started.wait()
        callers.start_soon(attempt, writer, put(2), outcomes, "late")
        await trio.testing.wait_all_tasks_blocked()
        life.cancel_scope.cancel()
        go_on.set()

    assert outcomes["slow"].unwrap() == 1
    assert isinstance(error_of(outcomes["late"]), WriterStopped)
    assert rows(path) == [1]


async def test_closing_finishes_what_waits_and_takes_nothing_more(path, run_blocking):
    writer = GroupCommit(connecting(path), run_blocking)
    outcomes: dict = {}
    async with trio.open_nursery() as nursery:
        for n in range(20):
            nursery.start_soon(attempt, writer, put(n), outcomes, n)
        await trio.testing.wait_all_tasks_blocked()
        await nursery.start(writer.run)
        await writer.close()
        with pytest.raises(WriterStopped):
            await writer.submit(put(99))

    assert sorted(result.unwrap() for result in outcomes.values()) == list(range(20))
    assert rows(path) == list(range(20))


async def test_closing_a_writer_that_never_ran_answers_who_waits(path):
    writer = GroupCommit(connecting(path), inline)
    outcomes: dict = {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attempt, writer, put(1), outcomes, 1)
        await trio.testing.wait_all_tasks_blocked()
        await writer.close()
        await writer.close()

        await writer.run()

    assert isinstance(error_of(outcomes[1]), WriterStopped)
    assert not path.exists()


async def test_a_writer_runs_once(path, nursery):
    writer = GroupCommit(connecting(path), inline)
    await nursery.start(writer.run)

    with pytest.raises(trio.BusyResourceError):
        await writer.run()
    with pytest.raises(ValueError, match="max_batch"):
        GroupCommit(connecting(path), inline, max_batch=0)


KINDS = st.lists(st.sampled_from(["good", "raises", "constraint", "leaves", "savepoint"]), min_size=1, max_size=25)


@pytest.mark.parametrize("run_blocking_", [inline, in_thread], ids=["inline", "threads"])
@settings(max_examples=examples(25), deadline=None)
@given(kinds=KINDS, max_batch=st.integers(1, 6), breaks_at=st.none() | st.integers(0, 24))
async def test_whoever_was_told_yes_is_on_disk_and_nobody_told_no_is(
    tmp_path_factory, run_blocking_, kinds, max_batch, breaks_at
):
    path = tmp_path_factory.mktemp("mix") / "rows.db"
    disk = FaultyDisk()
    writer = GroupCommit(connecting(path, disk.name), run_blocking_, max_batch=max_batch)
    outcomes: dict = {}

    def job(x, kind):
        def write(connection: apsw.Connection) -> int:
            if breaks_at == x:
                disk.fail["sync", "-wal"] = apsw.IOError("flush")
            if kind == "savepoint":
                with connection:
                    return put(x)(connection)
            put(x)(connection)
            if kind == "raises":
                raise NotThisOne(x)
            if kind == "constraint":
                put(x)(connection)
            return x

        return write

    async def caller(x, kind):
        with trio.CancelScope() as scope:
            if kind == "leaves":
                scope.deadline = trio.current_time()
            await attempt(writer, job(x, kind), outcomes, x)

    ends: list = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_to_its_end, writer, ends)
        async with trio.open_nursery() as callers:
            for x, kind in enumerate(kinds):
                callers.start_soon(caller, x, kind)
        await writer.close()

    on_disk = set(rows(path))
    for x, kind in enumerate(kinds):
        result = outcomes.get(x)
        if isinstance(result, outcome.Value):
            assert kind in ("good", "savepoint", "leaves")
            assert x in on_disk
        elif isinstance(result, outcome.Error) and isinstance(result.error, (NotThisOne, apsw.ConstraintError)):
            assert x not in on_disk
        elif isinstance(result, outcome.Error) and not isinstance(result.error, trio.Cancelled):
            assert isinstance(result.error, StorageFailed)
            assert breaks_at is not None
    if isinstance(ends[0], outcome.Value):
        assert {x for x, kind in enumerate(kinds) if kind in ("good", "savepoint")} <= on_disk
