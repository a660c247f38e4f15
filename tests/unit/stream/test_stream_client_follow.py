"""A copy that follows a server, through everything a server and a network can do to it."""

import logging
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import pytest
import trio
from attestrio.stream.bookmarks import DataStream, MemoryBookmarks
from attestrio.stream.entries import Header
from attestrio.stream.errors import StreamRewritten
from attestrio.stream.file import StreamFile
from attestrio.stream.follow import StreamFollower
from attestrio.stream.live import LiveStream
from attestrio.stream.merge import Merge, Verdict, merge, runs
from attestrio.stream.messages import BatchEnd
from attestrio.stream.protocol import RESULTS, Command, RequestReader, Status
from attestrio.stream.server import serve_stream
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_net_kit import LIMITS, batch, block, chain, entries_of_a, make_stream, pairs, scripted, served
from suite import examples, patient

A = entries_of_a()
OK = RESULTS[Status.OK]


@pytest.fixture
def empty(tmp_path):
    with make_stream(tmp_path / "copy.bin") as made:
        yield made


@asynccontextmanager
async def following(address, stream, **options):
    """A follower that writes to `stream`; gives what is copied."""
    copy = LiveStream(stream)
    options = {"waits_s": (0.001, 0.01), **options}
    with trio.fail_after(patient(20)):
        async with trio.open_nursery() as nursery:
            follower = StreamFollower(address, copy, **options)
            nursery.start_soon(follower.run)
            yield follower
            nursery.cancel_scope.cancel()


async def until(follower, wanted):
    """Until the copy has exactly these entries (type, data)."""
    copy = follower.copy
    while True:
        state = copy.state
        with suppress(StreamRewritten):  # the follower is faster
            if await all_of(copy) == list(wanted):
                return
        await copy.wait_other(state)


async def all_of(copy):
    return pairs(await copy.entries(0, copy.state.header.total_entries))


async def test_a_copy_has_the_same_bytes_and_goes_on_with_every_commit(tmp_path, empty):
    wanted = chain(30) + [(3, bytes(300_000))] * 5
    with make_stream(tmp_path / "s.bin", wanted) as stream:
        async with served(stream) as (live, address), following(address, empty) as follower:
            await until(follower, wanted)
            for number in range(30, 35):
                await live.append(batch(number, [2 * number, 2 * number + 1]))
                wanted += batch(number, [2 * number, 2 * number + 1])
            await until(follower, wanted)

        size = stream.header.total_length
        assert size > 1 << 20
        assert empty.file.path.read_bytes()[:size] == stream.file.path.read_bytes()[:size]


async def test_a_copy_goes_on_where_it_ended_when_the_server_comes_back(tmp_path, empty):
    with make_stream(tmp_path / "s.bin", chain(3)) as stream:
        async with served(stream) as (_, address), following(address, empty) as follower:
            await until(follower, chain(3))
            first = address
        with stream.atomic():
            for one in batch(3, [6, 7]):
                stream.add(*one)

        async with following(first, empty) as follower, trio.open_nursery() as nursery:
            nursery.start_soon(serve_stream, LiveStream(stream), first, LIMITS)
            await until(follower, chain(4))
            nursery.cancel_scope.cancel()


async def test_a_copy_follows_a_server_that_is_truncated_and_written_anew_while_it_looks(tmp_path, empty):
    with make_stream(tmp_path / "s.bin", chain(6)) as stream:
        async with served(stream) as (live, address), following(address, empty) as follower:
            await until(follower, chain(6))
            await live.truncate(len(chain(3)))
            other = chain(3) + [one for number in (3, 4) for one in batch(number, [2 * number, 2 * number + 1], salt=9)]
            await live.append(other[len(chain(3)) :])

            await until(follower, other)


async def test_a_copy_that_slept_through_a_new_version_is_cut_where_the_two_part(tmp_path):
    """Batch 3 of blocks 6, 7 and batch 4 of 8, 9 have become 3 of 6, then 4 of 7, then 5 of 8 and 9."""
    before = chain(5)
    after = chain(3) + batch(3, [6]) + batch(4, [7]) + batch(5, [8, 9])
    with make_stream(tmp_path / "s.bin", after) as stream, make_stream(tmp_path / "c.bin", before) as copy:
        async with served(stream) as (_, address), following(address, copy) as follower:
            await until(follower, after)


async def test_a_difference_behind_the_last_common_block_is_found(tmp_path):
    """Only the end of batch 3 differs, and blocks after it."""
    end = BatchEnd(3, local_exit_root=b"\7" * 32, state_root=bytes(32))
    before = chain(6)
    after = [*chain(4)[:-1], (end.TYPE, end.encode()), *batch(4, [8, 9], salt=4)]
    with make_stream(tmp_path / "s.bin", after) as stream, make_stream(tmp_path / "c.bin", before) as copy:
        async with served(stream) as (_, address), following(address, copy) as follower:
            await until(follower, after)


async def test_a_copy_of_another_chain_is_replaced_from_the_first_difference(tmp_path):
    with make_stream(tmp_path / "s.bin", chain(3, salt=1)) as stream, make_stream(tmp_path / "c.bin", chain(5)) as copy:
        async with served(stream) as (_, address), following(address, copy) as follower:
            await until(follower, chain(3, salt=1))


async def test_a_stream_that_only_became_shorter_changes_nothing_until_it_says_something_else(tmp_path):
    with make_stream(tmp_path / "s.bin", chain(3)) as stream, make_stream(tmp_path / "c.bin", chain(5)) as copy:
        async with served(stream) as (live, address), following(address, copy) as follower:
            await live.append(batch(3, [6, 7]))
            await follower.progress.wait_value(lambda one: one is not None and one.entries == len(chain(4)))
            assert await all_of(follower.copy) == chain(5)

            await live.append(batch(4, [8, 9], salt=5))
            await until(follower, chain(4) + batch(4, [8, 9], salt=5))


@pytest.mark.parametrize("left", [len(chain(3)), len(chain(4)) - 1, 5], ids=["batches", "an end", "inside a batch"])
async def test_a_copy_is_cut_to_a_server_that_stays_shorter(tmp_path, left):
    with make_stream(tmp_path / "s.bin", chain(4)[:left]) as stream, make_stream(tmp_path / "c.bin", chain(4)) as copy:
        async with served(stream) as (_, address), following(address, copy, shorter_s=0.05) as follower:
            await until(follower, chain(4)[:left])


async def test_a_copy_is_not_cut_while_a_server_writes_again_what_it_had(tmp_path):
    cuts = 0
    with make_stream(tmp_path / "s.bin", chain(5)) as stream, make_stream(tmp_path / "c.bin", chain(5)) as copy:
        async with served(stream) as (live, address), following(address, copy, shorter_s=5.0) as follower:
            await follower.progress.wait_value(lambda now: now is not None and now.caught_up)
            await live.truncate(len(chain(2)))
            for number in range(2, 6):
                await live.append(batch(number, [2 * number, 2 * number + 1]))
            await until(follower, chain(6))
            cuts = follower.copy.state.cuts

    assert cuts == 0


async def test_a_copy_keeps_what_a_server_with_an_empty_stream_has_lost(tmp_path):
    with make_stream(tmp_path / "s.bin") as stream, make_stream(tmp_path / "c.bin", chain(2)) as copy:
        async with served(stream) as (live, address), following(address, copy, shorter_s=0.01, refresh_s=0.02) as one:
            await one.progress.wait_value(lambda now: now is not None and now.entries == 0)
            await trio.sleep(0.1)
            assert await all_of(one.copy) == chain(2)

            await live.append(chain(3))
            await until(one, chain(3))


class Killed(BaseException):
    """The process is gone."""


class Dying(LiveStream):
    """Ends with its process right after or right before the `write`-th change that it makes to its file."""

    def __init__(self, stream, write, *, done):
        super().__init__(stream)
        self._left, self._done = write, done

    async def _write(self, work):
        self._left -= 1
        if not self._left and not self._done:
            raise Killed
        await super()._write(work)
        if not self._left:
            raise Killed


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", [1, 2])
async def test_a_follower_killed_while_it_unwinds_goes_on_to_the_servers_bytes(tmp_path, write, done):
    """The first change is the cut to the common ancestor, the second the new entries."""
    before, after = chain(5), chain(2) + batch(2, [4]) + batch(3, [5], salt=1) + batch(4, [6, 7], salt=1)
    path = tmp_path / "c.bin"
    make_stream(path, before).close()

    with make_stream(tmp_path / "s.bin", after) as stream:
        async with served(stream) as (_, address):
            with (
                DataStream(StreamFile.open(path), MemoryBookmarks()) as copy,
                pytest.RaisesGroup(Killed, flatten_subgroups=True),
            ):
                copy.catch_up()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(StreamFollower(address, Dying(copy, write, done=done), waits_s=(0.001,)).run)
            with DataStream.open(StreamFile.open(path), MemoryBookmarks()) as copy:
                async with following(address, copy) as follower:
                    await until(follower, after)
            assert (
                path.read_bytes()[: stream.header.total_length]
                == stream.file.path.read_bytes()[: stream.header.total_length]
            )


async def test_a_copy_that_parts_from_a_shorter_stream_is_not_up_to_date(tmp_path):
    tip = block(9, 1)
    ours, theirs = (
        [*chain(1), *batch(1, range(2, 9), ended=False), *tip],
        [*chain(1), *batch(1, [2], ended=False), *tip],
    )
    with make_stream(tmp_path / "s.bin", theirs) as stream, make_stream(tmp_path / "copy.bin", ours) as held:
        async with served(stream) as (_, address), following(address, held) as follower:
            await follower.progress.wait_value(lambda now: now is not None and now.caught_up)
            reached = await all_of(follower.copy)

    assert reached == theirs


async def test_a_server_that_is_not_there_is_told_once(empty, caplog):
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    caplog.set_level(logging.INFO, "attestrio.stream")

    with trio.fail_after(patient(20)):
        async with following(f"127.0.0.1:{port}", empty):
            while len(caplog.records) < 3:
                await trio.lowlevel.checkpoint()

    levels = [record.levelno for record in caplog.records]
    assert levels[:3] == [logging.WARNING, logging.INFO, logging.INFO]


async def test_a_quiet_stream_is_asked_again_so_that_a_silent_truncation_is_noticed(tmp_path, empty):
    """A server that tells nobody: what it says to a connection changes only for the next one."""
    wanted = chain(2) + block(9, 2)
    with make_stream(tmp_path / "s.bin", chain(3)) as old, make_stream(tmp_path / "t.bin", wanted) as new:
        async with served(old) as (_, before), served(new) as (_, after):
            said = [before, after]

            async def forward(client):
                address = said.pop(0) if len(said) > 1 else said[0]
                host, port = address.rsplit(":", 1)
                async with await trio.open_tcp_stream(host, int(port)) as server, trio.open_nursery() as nursery:
                    nursery.start_soon(pump, client.stream, server, nursery)
                    nursery.start_soon(pump, server, client.stream, nursery)

            async with scripted(forward) as address, following(address, empty, refresh_s=0.05) as follower:
                await until(follower, chain(3))
                await until(follower, wanted)


async def pump(source, target, nursery):
    try:
        async for data in source:
            await target.send_all(data)
    finally:
        nursery.cancel_scope.cancel()


# --- servers that are not ours


def upstream(entries, *, total, then=()):
    """A server as the reference's can be: says it has `total` entries, sends `entries`, then each of `then`."""

    async def script(client):
        reader = RequestReader()
        while True:
            while (asked := reader.next_request(started=False)) is None:
                if not (data := await client.exactly(1)):
                    return
                reader.feed(data)
            if asked.command == Command.HEADER:
                await client.send(OK + Header(5000, total).encode())
            elif asked.command == Command.BOOKMARK:
                after = [one for one in entries if one.type != 176]
                at = next(one.number for one in entries if one.data == asked.bookmark)
                await client.send(OK + next(one for one in after if one.number > at).encode())
            else:
                start = asked.number
                if asked.command == Command.START_BOOKMARK:
                    start = next(one.number for one in entries if one.data == asked.bookmark)
                await client.send(OK + b"".join(one.encode() for one in entries if one.number >= start))
                for one in then:
                    await client.send(one.encode())

    return script


async def test_an_entry_from_behind_the_servers_end_is_replaced_by_the_real_one(empty):
    phantom, real = A[30], A[8]
    real = type(real)(30, real.type, real.data)
    server = upstream(A[:31], total=30, then=[real])
    assert phantom != real
    async with scripted(server) as address, following(address, empty) as follower:
        await until(follower, pairs([*A[:30], real]))


async def test_what_comes_twice_is_in_the_copy_once(empty):
    server = upstream(A[:20], total=20, then=[*A[15:25], *A[20:40]])
    async with scripted(server) as address, following(address, empty) as follower:
        await until(follower, pairs(A))


async def test_a_gap_is_filled_by_a_new_connection(empty):
    scripts = [upstream(A[:20], total=40, then=A[25:]), upstream(A, total=40)]
    async with scripted(*scripts) as address, following(address, empty) as follower:
        await until(follower, pairs(A))


async def test_a_connection_that_breaks_inside_an_entry_loses_nothing(empty):
    async def half(client):
        await client.exactly(16)
        await client.send(OK + Header(5000, 40).encode())
        await client.exactly(24)
        await client.send((OK + b"".join(one.encode() for one in A))[:3000])

    async with scripted(half, upstream(A, total=40)) as address, following(address, empty) as follower:
        await until(follower, pairs(A))


async def test_a_copy_is_served_while_it_follows(tmp_path, empty):
    rewritten = chain(1) + batch(1, [2, 3], salt=8)
    with make_stream(tmp_path / "s.bin", chain(2)) as stream, make_stream(tmp_path / "third.bin") as third:
        async with (
            served(stream) as (live, address),
            following(address, empty) as middle,
            trio.open_nursery() as both,
        ):
            relay = await both.start(serve_stream, middle.copy, "127.0.0.1:0", LIMITS)
            async with following(relay, third) as last:
                await live.append(batch(2, [4, 5]))
                await until(last, chain(3))
                await live.truncate(len(chain(1)))
                await live.append(rewritten[len(chain(1)) :])

                await until(last, rewritten)
            both.cancel_scope.cancel()


# --- what is decided about numbers, alone


@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 12), st.integers(0, 12), st.integers(0, 12))
@settings(max_examples=examples(100))
def test_what_is_done_with_entries_follows_from_the_first_that_is_new(total, start, count, differs, cut_from):
    ours = [type(A[0])(number, 1, b"same") for number in range(total)]
    run = [type(A[0])(number, 1, b"same" if number < differs else b"other") for number in range(start, start + count)]

    done = merge(run, ours[start : start + count], total, cut_from)

    first = next((one.number for one in run if one.number >= total or one != ours[one.number]), None)
    if first is None:
        assert done == Merge(Verdict.NOTHING, count)
        return
    assert run[done.news].number == first
    if first >= total:
        assert done.verdict is (Verdict.APPEND if first == total else Verdict.GAP)
    else:
        assert done.verdict is (Verdict.REPLACE if first >= min(cut_from, total - 1) else Verdict.REWRITTEN)


@given(st.lists(st.integers(0, 6), max_size=20))
@settings(max_examples=examples(60))
def test_entries_are_cut_where_numbers_do_not_count_on(numbers):
    entries = [type(A[0])(number, 1, b"") for number in numbers]

    cut = list(runs(entries))

    assert [one for run in cut for one in run] == entries
    assert all(one.number == run[0].number + index for run in cut for index, one in enumerate(run))
    assert all(right[0].number != left[-1].number + 1 for left, right in pairwise(cut))
