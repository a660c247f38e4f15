"""The duty book: what is on disk outlives the process, in whole, and never stops a node."""

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import apsw
import pytest
import trio
from attestrio.duty import DutyLog, EndState, EpochOf, Reason, Step
from attestrio.duty.book import DutyBook
from attestrio.duty.reader import BookUnreadable, open_book
from attestrio.errors import StorageUnusable
from attestrio.kit.blocking import inline
from attestrio.kit.sqlite import StorageCorrupt
from attestrio.roles import BatchNumber
from duty_kit import COMMITTEE, EIGHT, EPOCH, GENESIS, KEYS, PEERS, SEVEN, Clock, log_of, vote
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples

WRITER = Path(__file__).with_name("book_writer.py")


async def kept(path, duty, work=lambda: None, **options):
    """Run a book around `work`, which may be a coroutine function, and close it."""
    book = DutyBook(path, duty, inline, **options)
    async with trio.open_nursery() as nursery:
        await nursery.start(book.run)
        if duty.epoch is None:
            duty.begin_epoch(EPOCH)
        work()
        await book.close()


def whole_batch(duty, number=7):
    """Told, voted for, sent and certified."""
    duty.record(BatchNumber(number), Step.TOLD)
    duty.heard([vote(0, number)])
    duty.heard([vote(1, number)], PEERS[0])
    duty.delivered(PEERS[1], BatchNumber(number))
    duty.record(BatchNumber(number), Step.CERTIFIED, detail="of two")
    duty.end(BatchNumber(number), EndState.CERTIFIED)


async def test_a_story_comes_back_from_the_file_as_it_was(tmp_path, autojump_clock):
    duty = log_of(Clock(1_782_050_612.25))

    await kept(tmp_path / "duty.db", duty, lambda: whole_batch(duty))

    with open_book(tmp_path / "duty.db") as book:
        assert book.stories(SEVEN) == [duty.story(SEVEN)]
        assert book.newest(10) == [duty.story(SEVEN)]
        assert book.stories(EIGHT) == []


async def test_a_number_that_came_again_after_a_rollback_has_two_stories_the_newest_first(tmp_path, autojump_clock):
    duty = log_of(Clock())

    def work():
        duty.record(SEVEN, Step.TOLD)
        duty.begin_epoch(EpochOf(2, GENESIS, COMMITTEE, KEYS[0]))
        whole_batch(duty)

    await kept(tmp_path / "duty.db", duty, work)

    with open_book(tmp_path / "duty.db") as book:
        stories = book.stories(SEVEN)
    assert [(one.of.epoch, one.state, one.reason) for one in stories] == [
        (2, EndState.CERTIFIED, Reason.OK), (1, EndState.SKIPPED, Reason.EPOCH_ENDED),
    ]  # fmt: skip


async def test_the_next_run_goes_on_where_the_last_one_ended(tmp_path, autojump_clock):
    first, second = log_of(Clock()), DutyLog(Clock(2_000.0))
    await kept(tmp_path / "duty.db", first, lambda: (whole_batch(first), first.record(EIGHT, Step.TOLD)))

    await kept(tmp_path / "duty.db", second)

    assert second.story(SEVEN) == first.story(SEVEN)
    assert [event.reason for event in second.timeline(EIGHT)] == [Reason.OK, Reason.NODE_STOPPED]
    with open_book(tmp_path / "duty.db") as book:
        assert book.counts()[EndState.OPEN] == 1


async def test_changes_are_gathered_and_written_while_the_node_goes_on(tmp_path, nursery, autojump_clock):
    duty = log_of(Clock())
    book = DutyBook(tmp_path / "duty.db", duty, inline, group_s=0.25)
    await nursery.start(book.run)

    whole_batch(duty)
    await trio.sleep(0.2)
    with open_book(tmp_path / "duty.db") as file:
        at_once = file.newest(9)
    await trio.sleep(0.1)

    with open_book(tmp_path / "duty.db") as file:
        assert at_once == []
        assert file.newest(9) == [duty.story(SEVEN)]
    await book.close()


async def test_votes_that_memory_has_forgotten_stay_in_the_book(tmp_path, autojump_clock):
    duty = log_of(Clock(), max_ballots=1)

    def work():
        whole_batch(duty, 7)
        for number in range(8, 40):
            duty.record(BatchNumber(number), Step.TOLD)
        duty.record(SEVEN, Step.SUBMITTED)

    await kept(tmp_path / "duty.db", duty, work)

    assert duty.story(SEVEN).votes is None
    with open_book(tmp_path / "duty.db") as book:
        (story,) = book.stories(SEVEN)
    assert len(story.votes) == 2
    assert story.events[-1].step is Step.SUBMITTED


async def test_the_oldest_batches_are_deleted_and_stay_counted(tmp_path, autojump_clock):
    duty = log_of(Clock())

    def work():
        for number in range(600):
            whole_batch(duty, number)

    await kept(tmp_path / "duty.db", duty, work, keep=250)

    with open_book(tmp_path / "duty.db") as book:
        assert [int(one.number) for one in book.newest(1_000)] == list(range(350, 600))
        assert book.counts()[EndState.CERTIFIED] == 600


async def test_the_file_stays_about_as_large_as_it_may_be(tmp_path, nursery, autojump_clock):
    duty = log_of(Clock())
    path, bound = tmp_path / "duty.db", 200_000
    book = DutyBook(path, duty, inline, max_bytes=bound)
    await nursery.start(book.run)

    for start in range(0, 4_000, 100):
        for number in range(start, start + 100):
            whole_batch(duty, number)
        await trio.sleep(1.0)
    await book.close()

    with open_book(path) as file:
        assert 0 < len(file.newest(5_000)) < 2_000
        assert sum(file.counts().values()) == 4_000
    assert path.stat().st_size < 2 * bound


async def test_a_damaged_book_is_put_aside_and_a_new_one_begun(tmp_path, autojump_clock, caplog):
    path = tmp_path / "duty.db"
    path.write_bytes(b"SQLite format 3\0" + b"\x77" * 5_000)
    duty = log_of(Clock())

    await kept(path, duty, lambda: whole_batch(duty))

    assert (tmp_path / "duty.db.damaged").exists()
    assert "put aside" in caplog.text
    with open_book(path) as book:
        assert len(book.newest(9)) == 1


@pytest.mark.parametrize("table", ["epochs", "batches"])
async def test_a_book_without_one_of_its_tables_is_damaged(tmp_path, autojump_clock, caplog, table):
    path, duty, next_run = tmp_path / "duty.db", log_of(Clock()), log_of(Clock())
    await kept(path, duty, lambda: whole_batch(duty))
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute(f"DROP TABLE {table}")

    with open_book(path) as book, pytest.raises(StorageCorrupt, match=f"no such table: {table}"):
        _ = book.counts(), book.stories(SEVEN)
    await kept(path, next_run, lambda: whole_batch(next_run, 8))

    with open_book(path) as book:
        assert book.newest(10) == [next_run.story(EIGHT)]
    assert (tmp_path / "duty.db.damaged").exists()
    assert "put aside as duty.db.damaged" in caplog.text


async def test_a_disk_that_takes_nothing_costs_the_book_and_not_the_node(tmp_path, autojump_clock, caplog):
    duty = log_of(Clock())

    await kept(tmp_path / "no such folder" / "duty.db", duty, lambda: whole_batch(duty))

    assert "no duty book is kept" in caplog.text
    assert duty.end_state(SEVEN) is EndState.CERTIFIED
    assert not duty.unwritten.value


async def test_a_row_of_a_later_release_is_refused_by_the_reader_and_left_alone_by_a_node(tmp_path, autojump_clock):
    path, first, second = tmp_path / "duty.db", log_of(Clock()), DutyLog(Clock())
    await kept(path, first, lambda: whole_batch(first))
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE batches SET reason = 'of_the_future'")
    connection.close()

    await kept(path, second, lambda: whole_batch(second, 8))

    assert second.batches() == (8,)
    with open_book(path) as book:
        assert len(book.stories(EIGHT)) == 1
        with pytest.raises(BookUnreadable, match="of_the_future"):
            book.stories(SEVEN)


def test_a_file_that_is_no_book_is_refused(tmp_path):
    path = tmp_path / "duty.db"
    apsw.Connection(str(path)).execute("CREATE TABLE other(x)")

    with pytest.raises(StorageUnusable), open_book(path):
        pass


RUNS = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["told", "vote", "certified", "missed", "epoch"]), st.integers(0, 6)), max_size=12
    ),
    max_size=4,
)


@settings(max_examples=examples(30), deadline=None)
@given(RUNS)
def test_end_states_add_up_to_the_batches_seen_over_restarts_and_rollbacks(tmp_path_factory, runs):
    path = tmp_path_factory.mktemp("book") / "duty.db"
    seen, epoch = set(), 1

    def work(duty, actions):
        nonlocal epoch
        for verb, number in actions:
            batch = BatchNumber(number)
            if verb == "epoch":
                epoch += 1
                duty.begin_epoch(EpochOf(epoch, GENESIS, COMMITTEE, KEYS[0]))
                continue
            if verb == "told":
                duty.record(batch, Step.TOLD)
            elif verb == "vote":
                duty.heard([vote(1, number)], PEERS[0])
                continue
            else:
                duty.end(batch, EndState(verb), Reason.OK if verb == "certified" else Reason.SUPERSEDED)
            seen.add((epoch, number))

    for actions in runs:
        duty = DutyLog(Clock())

        async def run(duty=duty, actions=actions):
            book = DutyBook(path, duty, inline)
            async with trio.open_nursery() as nursery:
                await nursery.start(book.run)
                duty.begin_epoch(EpochOf(epoch, GENESIS, COMMITTEE, KEYS[0]))
                work(duty, actions)
                await book.close()

        trio.run(run)

    if seen:
        with open_book(path) as book:
            assert sum(book.counts().values()) == len(seen)
            assert {(one.of.epoch, int(one.number)) for one in book.newest(1_000)} == seen


@pytest.mark.slow
@pytest.mark.real
def test_a_process_that_is_killed_leaves_a_whole_file(tmp_path):
    path = tmp_path / "duty.db"
    counts = []
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, str(WRITER), str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()  # it writes
        time.sleep(0.4)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()

        with open_book(path) as book:
            assert book.connection.execute("PRAGMA integrity_check").get == "ok"
            stories = book.newest(100_000)
        numbers = [int(one.number) for one in stories]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert all(len(one.votes) == 3 for one in stories if one.state is EndState.CERTIFIED)
        counts.append(len(numbers))

    assert 0 < counts[0] < counts[1] < counts[2]
