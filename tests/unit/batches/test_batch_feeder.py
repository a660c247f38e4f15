"""A main node's batches on their way into its store: in order, none left out."""

import logging

import pytest
import trio
from attestrio.batches import BatchFeeder, BatchFileUnusable, LocalBatches, LocalFeeder
from attestrio.duty import DutyLog, Reason, Step
from attestrio.errors import SourceError
from attestrio.kit.blocking import inline
from attestrio.roles import Batch, BatchHash, BatchNumber, GenesisHash
from attestrio.store.api import BatchConflict
from attestrio.store.memory import MemoryBatchStore

GENESIS = GenesisHash(b"\x11" * 32)


def batch(number, seed=0):
    return Batch(BatchNumber(number), BatchHash(bytes([number, seed]) * 16), GENESIS)


def lines(first, end, seed=0):
    form = '{{"number": {}, "hash": "{}"}}\n'
    return "".join(form.format(number, batch(number, seed).hash.to_text()) for number in range(first, end))


class MainNode:
    """A store, the file beside it, and the feeder between them, asking every second."""

    def __init__(self, path, first=0):
        self.path, self.duty = path, DutyLog(trio.current_time)
        self.store = MemoryBatchStore(GENESIS, BatchNumber(first))
        self.feeder = LocalFeeder(LocalBatches(path, GENESIS, inline), self.store, 1.0, self.duty)

    def append(self, text):
        with self.path.open("a") as file:
            file.write(text)

    def holds(self):
        return self.store.persisted.first, self.store.persisted.last


@pytest.fixture
async def node(nursery, tmp_path):
    node = MainNode(tmp_path / "batches.jsonl")
    await nursery.start(node.store.run)
    return node


async def test_batches_are_stored_as_the_file_grows(node, nursery, autojump_clock):
    node.append(lines(0, 3))
    await nursery.start(node.feeder.run)
    await trio.sleep(0.5)
    at_first = node.holds()

    node.append(lines(3, 5))
    await trio.sleep(1.0)

    assert (at_first, node.holds()) == ((0, 2), (0, 4))
    assert await node.store.batch_to_sign(BatchNumber(4)) == batch(4)
    assert [event.step for event in node.duty.timeline(BatchNumber(4))] == [Step.PERSISTED]


async def test_an_empty_store_begins_where_the_file_does(node, nursery, autojump_clock):
    node.append(lines(40, 43))

    await nursery.start(node.feeder.run)
    await trio.sleep(0.5)

    assert node.holds() == (40, 42)


async def test_a_store_with_a_first_batch_leaves_out_what_stands_before_it(nursery, tmp_path, autojump_clock):
    node = MainNode(tmp_path / "batches.jsonl", first=5)
    await nursery.start(node.store.run)
    node.append(lines(3, 8))

    await nursery.start(node.feeder.run)
    await trio.sleep(0.5)

    assert node.holds() == (5, 7)
    assert await node.store.batch_to_sign(BatchNumber(4)) is None


async def test_a_restart_goes_on_where_it_ended(node, nursery, autojump_clock):
    for number in range(3):
        await node.store.put_batch_to_sign(batch(number))
    node.append(lines(0, 5))

    await nursery.start(node.feeder.run)
    await trio.sleep(0.5)

    assert node.holds() == (0, 4)
    assert node.duty.batches() == (2, 3, 4)  # 2 was compared once more


async def test_a_file_rewritten_between_two_starts_ends_the_epoch(node, autojump_clock):
    for number in range(3):
        await node.store.put_batch_to_sign(batch(number))
    node.append(lines(0, 5, seed=1))

    with pytest.raises(BatchConflict):
        await node.feeder.run()

    assert node.duty.end_reason(BatchNumber(2)) is Reason.BATCH_CONFLICT


async def test_a_rotated_file_that_goes_on_with_the_next_batch_is_followed(node, nursery, autojump_clock):
    node.append(lines(0, 3))
    await nursery.start(node.feeder.run)
    await trio.sleep(0.5)

    node.path.unlink()
    node.append(lines(3, 5))
    await trio.sleep(1.0)

    assert node.holds() == (0, 4)


async def test_a_gap_is_never_jumped_and_is_said_once(node, nursery, caplog, autojump_clock):
    caplog.set_level(logging.INFO, "attestrio.batches")
    node.append(lines(0, 3))
    await nursery.start(node.feeder.run)
    await trio.sleep(0.5)

    node.path.unlink()
    node.append(lines(7, 9))
    await trio.sleep(5.0)

    assert node.holds() == (0, 2)
    assert [record.getMessage() for record in caplog.records] == [
        "batch file not followed, asking again every 1 s: the batch file begins with batch 7, batch 3 is next"
    ]
    assert node.duty.timeline(BatchNumber(3))[-1].detail == "batch_gap"


async def test_a_bad_line_stops_the_start(node, autojump_clock):
    node.append("oops\n")

    with pytest.raises(BatchFileUnusable, match="line 1"):
        await node.feeder.run()


async def test_a_bad_line_that_comes_later_is_waited_out(node, nursery, autojump_clock):
    node.append(lines(0, 3))
    await nursery.start(node.feeder.run)
    node.append("oops\n")
    await trio.sleep(3.5)
    node.path.write_text(lines(0, 5))

    await trio.sleep(1.0)

    assert node.holds() == (0, 4)


class FlakySource:
    """Knows batches below `sealed`; raises every other time it is asked."""

    def __init__(self, sealed):
        self.sealed, self.calls = sealed, 0

    async def batch_to_sign(self, number):
        await trio.lowlevel.checkpoint()
        self.calls += 1
        if self.calls % 2:
            raise SourceError("away")
        return batch(number) if number < self.sealed else None


async def test_any_other_source_is_fed_in_order_through_its_outages(node, nursery, caplog, autojump_clock):
    nursery.start_soon(BatchFeeder(FlakySource(sealed=3), node.store, 1.0, node.duty).run)

    await trio.sleep(2.5)  # away at 0, 1 and 2; one batch follows each

    assert node.holds() == (0, 1)
    assert [event.reason for event in node.duty.timeline(BatchNumber(1))] == [Reason.SOURCE_FAILED, Reason.OK]
