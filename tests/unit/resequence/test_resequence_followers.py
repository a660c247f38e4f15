"""Copies of a stream while its sequencer builds batches again: they end with its bytes, and so do copies of copies."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
import trio
from attestrio.resequence.journal import Journal
from attestrio.resequence.runner import Resequencer
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.sink import LiveSink
from attestrio.sequencer.writer import ChainWriter
from attestrio.sim.l2 import demo_plan
from attestrio.sim.resequence_demo import CHAIN, KEPT, SCENARIOS, STREAM, open_stream, write_chain
from attestrio.stream.bookmarks import DataStream, MemoryBookmarks
from attestrio.stream.errors import StreamRewritten
from attestrio.stream.file import StreamFile
from attestrio.stream.follow import StreamFollower
from attestrio.stream.live import LiveStream
from attestrio.stream.messages import Bookmark, L2Block, message_untrusted
from attestrio.stream.server import StreamLimits, serve_stream
from suite import patient

pytestmark = pytest.mark.slow  # chains are built and executed, on the real clock

PLAN = demo_plan(odd=True)
LIMITS = StreamLimits(full_pause_s=0.0)


@pytest.fixture
def folder(tmp_path):
    write_chain(tmp_path / "chain", PLAN)
    return tmp_path / "chain"


@asynccontextmanager
async def served(live, bind="127.0.0.1:0"):
    async with trio.open_nursery() as nursery:
        yield await nursery.start(serve_stream, live, bind, LIMITS)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def copying(address, path):
    """A copy that is kept, and served on."""
    file = StreamFile.open(path) if path.exists() else StreamFile.create(path, pages=1)
    with DataStream.open(file, MemoryBookmarks()) as stream:
        copy = LiveStream(stream)
        async with trio.open_nursery() as nursery, served(copy) as relay:
            follower = StreamFollower(address, copy, shorter_s=0.3, waits_s=(0.01, 0.02))
            nursery.start_soon(follower.run)
            yield copy, relay
            nursery.cancel_scope.cancel()


async def wait_same(first, *others):
    """Until all of them have the entries of the first."""
    wanted = await first.entries(0, first.state.header.total_entries)
    with trio.fail_after(patient(20)):
        for stream in others:
            while True:
                state = stream.state
                with suppress(StreamRewritten):  # the follower is faster
                    if await stream.entries(0, state.header.total_entries) == wanted:
                        break
                await stream.wait_other(state)


def used(path, length):
    return path.read_bytes()[:length]


def rebuild(db, live, stream, folder, scenario):
    """Go back, and build again while the stream is served; in a worker thread."""
    db.unwind_to_batch(KEPT)
    writer = ChainWriter(db, LiveSink(live, stream))
    leaves = PLAN.all_leaves() if scenario.new_leaves else PLAN.known_leaves()
    rules = replace(PLAN.rules, limits=scenario.limits)
    return Resequencer(writer, rules, leaves, Journal(folder / STREAM), scenario.options).run()


@pytest.mark.parametrize("number", [1, 3, 5])
async def test_followers_that_stay_connected_end_with_the_sequencers_bytes(folder, tmp_path, number):
    scenario = SCENARIOS[number - 1]
    with open_stream(folder) as stream, ChainDb.open(folder / CHAIN) as db:
        live = LiveStream(stream)
        async with (
            served(live) as address,
            copying(address, tmp_path / "copy.bin") as (copy, relay),
            copying(relay, tmp_path / "third.bin") as (third, _),
        ):
            await wait_same(live, copy, third)
            before = used(folder / STREAM, live.state.header.total_length)

            await trio.to_thread.run_sync(rebuild, db, live, stream, folder, scenario)
            await wait_same(live, copy, third)

            length = live.state.header.total_length
        after = used(folder / STREAM, length)
        assert (before == after) == (number == 1)
        assert used(tmp_path / "copy.bin", length) == after
        assert used(tmp_path / "third.bin", length) == after


async def test_a_follower_that_was_away_meanwhile_keeps_what_is_before_the_common_ancestor(folder, tmp_path):
    with open_stream(folder) as stream, ChainDb.open(folder / CHAIN) as db:
        live = LiveStream(stream)
        async with served(live) as address, copying(address, tmp_path / "copy.bin") as (copy, _):
            await wait_same(live, copy)
        await trio.to_thread.run_sync(rebuild, db, live, stream, folder, SCENARIOS[4])
        cuts = []

        async with served(live) as address, copying(address, tmp_path / "copy.bin") as (copy, _):
            truncate = copy.truncate

            async def noted(number):
                cuts.append(number)
                await truncate(number)

            copy.truncate = noted
            await wait_same(live, copy)

        (cut,) = cuts
        entries = list(stream.file.entries())
        blocks = [message_untrusted(one.type, one.data) for one in entries]
        first = next(one.number for one in blocks if isinstance(one, L2Block) and one.l1_infotree_index == 5)
        assert cut == stream.find(Bookmark.block(first).encode()) + 1  # the block itself is the first that differs


@pytest.mark.parametrize("died", [0, 1])
async def test_a_follower_that_dies_while_it_unwinds_ends_with_the_sequencers_bytes(folder, tmp_path, died):
    """It dies at one of the changes to its file: the cut, or what is written after it."""
    path = tmp_path / "copy.bin"
    with open_stream(folder) as stream, ChainDb.open(folder / CHAIN) as db:
        live = LiveStream(stream)
        async with served(live) as address, copying(address, path) as (copy, _):
            await wait_same(live, copy)
        await trio.to_thread.run_sync(rebuild, db, live, stream, folder, SCENARIOS[2])
        async with served(live) as address:
            with trio.fail_after(patient(20)), pytest.RaisesGroup(Died, flatten_subgroups=True):
                async with copying(address, path) as (copy, _):
                    left = died
                    write = copy._write

                    async def dying(work):
                        nonlocal left
                        if not left:
                            raise Died
                        left -= 1
                        await write(work)

                    copy._write = dying
                    await trio.sleep_forever()

            async with copying(address, path) as (copy, _):
                await wait_same(live, copy)
        length = stream.header.total_length
        assert used(path, length) == used(folder / STREAM, length)


class Died(BaseException):
    """The process is gone."""
