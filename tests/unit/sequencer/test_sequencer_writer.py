"""Database and stream, side by side: what is written, and how both are made equal again."""

from __future__ import annotations

from itertools import groupby

import pytest
import trio
from attestrio.kit.blocking import in_thread
from attestrio.sequencer.builder import Added, BatchBuilder
from attestrio.sequencer.db import Unwound
from attestrio.sequencer.errors import StreamDiverged, StreamMissing
from attestrio.sequencer.genesis import begin, inject
from attestrio.sequencer.leaves import MemoryLeaves
from attestrio.sequencer.sink import LiveSink
from attestrio.sequencer.writer import Aligned, ChainWriter, StreamAhead
from attestrio.stream import BatchType, Bookmark, L2Block, OrderChecker
from attestrio.stream.live import LiveStream
from sequencer_kit import (
    Site,
    add_batch,
    blocks_a,
    entries_a,
    genesis_a,
    injected_by,
    leaves_a,
    own_chain,
    own_rules,
    rules_a,
    tx,
)


class Killed(BaseException):
    """The process is gone."""


class Steps:
    """Counts the steps a chain takes, and kills it before the one that is told; around a database and a sink."""

    def __init__(self, site, kill_at=None):
        self.done, self._kill_at = 0, kill_at
        db, sink = site.db, site.sink
        for owner, verbs in ((db, ("put_block", "close_batch", "put_chain_id")), (sink, ("append", "truncate"))):
            for verb in verbs:
                setattr(owner, verb, self.around(getattr(owner, verb)))

    def around(self, work):
        def stepped(*args, **kwargs):
            self.step()
            result = work(*args, **kwargs)
            self.step()
            return result

        return stepped

    def step(self):
        if self.done == self._kill_at:
            raise Killed
        self.done += 1


def build_a(site):
    """Stream a, from wherever database and stream are: what is under way is taken back to the end of a batch."""
    if site.db.tip is None:
        begin(site.db, genesis_a())
    aligned = site.writer.align(close=False)
    assert isinstance(aligned, Aligned)
    last = site.db.last_batch
    if not last.closed:
        site.writer.truncate(last.number)
        site.db.unwind_to_end_of(last.number - 1)
    builder = BatchBuilder(site.db, rules_a(), leaves_a())
    if site.db.tip.number == 0:
        site.writer.write([inject(builder, injected_by(blocks_a()[1]))[0]])
    for number, told in groupby(blocks_a()[2:], key=lambda one: one.block.batch_number):
        if number > site.db.last_batch.number:
            builder.begin_batch(number)
            for one in told:
                builder.begin_block(one.block.timestamp, one.block.l1_infotree_index)
                assert all(isinstance(builder.add(encoded), Added) for encoded in one.txs)
                site.writer.write([builder.seal_block()])
            builder.close_batch()
    site.writer.end_batch()


def steps_of_a(folder):
    with Site(folder) as site:
        steps = Steps(site)
        build_a(site)
        assert site.entries() == list(entries_a())
        return steps.done


def in_order(site):
    """Checks the order of the stream and that its blocks are those of the database."""
    checker = OrderChecker()
    messages = [checker.feed(entry) for entry in site.entries()]
    assert [one.hash for one in messages if isinstance(one, L2Block)] == site.hashes()
    return checker.counts


# --- killed


@pytest.mark.slow
def test_wherever_it_is_killed_the_stream_ends_as_if_it_had_not_been(tmp_path):
    (tmp_path / "whole").mkdir()
    for kill_at in range(steps_of_a(tmp_path / "whole")):
        folder = tmp_path / str(kill_at)
        folder.mkdir()
        site = Site(folder)
        Steps(site, kill_at)
        with pytest.raises(Killed):
            build_a(site)
        site.close()

        with Site(folder) as site:
            build_a(site)

            assert site.entries() == list(entries_a()), kill_at


@pytest.mark.slow
def test_wherever_it_is_killed_a_usual_start_makes_both_end_alike(tmp_path):
    (tmp_path / "whole").mkdir()
    for kill_at in range(2, steps_of_a(tmp_path / "whole")):
        folder = tmp_path / str(kill_at)
        folder.mkdir()
        site = Site(folder)
        Steps(site, kill_at)
        with pytest.raises(Killed):
            build_a(site)
        site.close()

        with Site(folder) as site:
            if site.db.tip is None:
                continue
            aligned = site.writer.align()

            counts = in_order(site)
            assert (counts.last_batch, counts.last_block) == (aligned.batch, aligned.block), kill_at
            assert not counts.open_batch
            assert site.db.last_batch.closed
            assert site.writer.align() == Aligned(aligned.batch, aligned.block), "and a second time nothing is done"


# --- aligned


@pytest.fixture
def site(tmp_path):
    """Batches 0 and 1 in both."""
    with Site(tmp_path, own_chain) as made:
        made.writer.align()
        yield made


def builder_of(site):
    return BatchBuilder(site.db, own_rules(), MemoryLeaves())


def written_batch(site, *blocks, kind=BatchType.REGULAR):
    """A batch in database and stream."""
    first = site.db.tip.number + 1
    batch = add_batch(builder_of(site), *blocks, kind=kind)
    site.writer.write([site.db.block(number) for number in range(first, first + batch.blocks)] or [batch])
    return batch


def test_a_new_stream_begins_with_what_the_chain_has_got_so_far(tmp_path):
    with Site(tmp_path, own_chain) as site:
        aligned = site.writer.align()

        assert aligned == Aligned(1, 1)
        assert in_order(site).last_batch == 1
        assert site.writer.align() == Aligned(1, 1)


def test_an_empty_stream_beside_a_grown_chain_is_refused(tmp_path):
    with Site(tmp_path, own_chain) as site:
        add_batch(builder_of(site), [tx(0)])

        with pytest.raises(StreamMissing, match="batch 2, block 2"):
            site.writer.align()

        assert site.db.tip.number == 2


def test_a_chain_that_has_not_begun_is_not_aligned(tmp_path):
    with Site(tmp_path) as site, pytest.raises(RuntimeError, match="begun"):
        site.writer.align()


def test_the_last_batch_stays_open_in_the_stream_until_the_next_begins(site):
    written_batch(site, [tx(0)])
    open_batch = in_order(site).open_batch
    written_batch(site, [tx(1)])
    counts = in_order(site)
    site.writer.end_batch()

    assert open_batch
    assert (counts.last_batch, counts.open_batch) == (3, True)
    assert not in_order(site).open_batch


@pytest.mark.parametrize("close", [True, False])
def test_what_the_database_has_more_is_taken_back(site, close):
    builder = builder_of(site)
    builder.begin_batch(2)
    for nonce in range(3):
        builder.begin_block(site.db.tip.timestamp)
        builder.add(tx(nonce))
        sealed = builder.seal_block()
        if nonce == 0:
            site.writer.write([sealed])

    aligned = site.writer.align(close=close)

    assert aligned == Aligned(2, 2, Unwound(2, 2, 0, 2))
    assert in_order(site).open_batch is not close
    assert site.db.last_batch.closed is close


def test_a_stream_that_is_ahead_is_told_and_nothing_is_changed(site):
    written_batch(site, [tx(0)])
    written_batch(site, kind=BatchType.INVALID)
    written_batch(site, [tx(1)], [])
    before = site.entries()

    ahead = []
    for back in (
        lambda: site.db.unwind_to_block(3),
        lambda: site.db.unwind_to_batch(2),
        lambda: site.db.unwind_to_batch(1),
    ):
        back()
        ahead.append(site.writer.align())

    assert ahead == [StreamAhead(4, 4), StreamAhead(3, 4), StreamAhead(2, 4)]
    assert site.entries() == before


def test_a_stream_with_only_a_batch_without_blocks_more_is_ahead_too(site):
    written_batch(site, [tx(0)])
    written_batch(site, kind=BatchType.INVALID)
    site.db.unwind_to_batch(2)

    assert site.writer.align() == StreamAhead(3, 3)


def test_a_batch_without_blocks_is_written_back_and_survives_a_start(site):
    written_batch(site, [tx(0)])
    written_batch(site, kind=BatchType.INVALID)

    aligned = site.writer.align()
    counts = in_order(site)
    written_batch(site, [tx(1)])

    assert aligned == Aligned(3, 2)
    assert (counts.last_batch, counts.open_batch) == (3, False)
    assert in_order(site).last_batch == 4


def test_a_batch_without_blocks_that_did_not_get_into_the_stream_is_taken_back(site):
    written_batch(site, [tx(0)])
    add_batch(builder_of(site), kind=BatchType.INVALID)

    assert site.writer.align() == Aligned(2, 2, Unwound(2, 2, 1, 0))


@pytest.mark.parametrize(("kept", "cut"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)])
def test_the_beginning_of_a_batch_that_lost_its_block_is_cut_off(site, kept, cut):
    written_batch(site, [tx(0)])
    at = len(site.entries())
    written_batch(site, [tx(1), tx(2)])
    site.stream.truncate(at + 1 + kept)  # behind the end of batch 2

    aligned = site.writer.align()

    assert aligned == Aligned(2, 2, Unwound(2, 2, 1, 1), cut)
    assert not in_order(site).open_batch
    written_batch(site, [tx(1)])
    assert in_order(site).last_block == 3


def test_a_stream_of_another_past_is_not_touched(site):
    written_batch(site, [tx(0)])
    written_batch(site, [tx(1)])
    before = site.entries()
    site.db.unwind_to_batch(1)
    add_batch(builder_of(site), [tx(0, value=2)])

    for block in (2, 3):  # it does not matter which of them is longer
        with pytest.raises(StreamDiverged, match=f"block {block} is"):
            site.writer.align()
        add_batch(builder_of(site), [], [])

    assert site.entries() == before


def test_a_block_that_does_not_follow_is_not_written(site):
    builder = builder_of(site)
    builder.begin_batch(2)
    builder.begin_block(site.db.tip.timestamp)
    builder.seal_block()
    builder.begin_block(site.db.tip.timestamp)
    before = site.entries()

    with pytest.raises(RuntimeError, match="block 3 of batch 2"):
        site.writer.write([builder.seal_block()])

    assert site.entries() == before


def test_a_truncated_stream_ends_with_the_batch_before(site):
    written_batch(site, [tx(0)])
    entries = site.entries()
    written_batch(site, [tx(1)])
    site.writer.end_batch()

    gone = site.writer.truncate(3)

    assert gone == 7
    assert site.entries()[:-1] == entries  # and the end of batch 2
    assert site.writer.truncate(3) == 0
    assert site.stream.find(Bookmark.batch(3).encode()) is None


def test_much_at_once_is_the_same_stream(tmp_path, site):
    for nonce in range(3):
        written_batch(site, [tx(nonce)], [])
    (tmp_path / "again").mkdir()

    with Site(tmp_path / "again", lambda path: site.db) as again:
        again.writer.write([site.db.block(number) for number in range(8)], together=True)

        assert again.entries() == site.entries()


# --- served


async def test_a_served_stream_tells_its_readers_of_each_block(tmp_path):
    with Site(tmp_path, own_chain) as site:
        live = LiveStream(site.stream)
        writer = ChainWriter(site.db, LiveSink(live, site.stream))
        seen = live.state

        await in_thread(writer.align)
        begun = await live.wait_other(seen)
        block = await in_thread(lambda: seal(site))
        await in_thread(lambda: writer.write([block]))
        grown = await live.wait_other(begun)
        found = await in_thread(lambda: writer.sink.find(Bookmark.batch(2).encode()))
        await in_thread(lambda: writer.truncate(2))
        cut = await live.wait_other(grown)

        assert (seen.header.total_entries, found) == (0, begun.header.total_entries)
        assert grown.header.total_entries - begun.header.total_entries == 6
        assert (cut.header.total_entries, cut.cuts) == (found, 1)


def seal(site):
    builder = builder_of(site)
    builder.begin_batch(2)
    builder.begin_block(site.db.tip.timestamp)
    builder.add(tx(0))
    return builder.seal_block()


async def test_a_cancelled_writer_leaves_a_stream_that_a_start_mends(tmp_path):
    with Site(tmp_path, own_chain) as site:
        writer = ChainWriter(site.db, LiveSink(LiveStream(site.stream), site.stream))
        await in_thread(writer.align)
        block = await in_thread(lambda: seal(site))
        before = site.entries()

        with trio.CancelScope() as scope:
            scope.cancel()
            with trio.CancelScope(shield=True):
                await in_thread(lambda: None)
            await in_thread(lambda: writer.write([block]))
        aligned = await in_thread(writer.align)

        assert scope.cancelled_caught
        assert site.entries() == before
        assert aligned == Aligned(1, 1, Unwound(1, 1, 1, 1))
