"""The server on real sockets, against what the reference has said to the same client."""

import math
import random
from contextlib import suppress

import pytest
import trio
from attestrio.stream.entries import NOT_FOUND, Entry
from attestrio.stream.errors import StreamRewritten
from attestrio.stream.live import LiveStream
from attestrio.stream.protocol import RESULTS, Command, Request, Status
from attestrio.stream.server import Connection, StreamLimits
from stream_net_kit import (
    LIMITS,
    TRANSCRIPTS,
    batch,
    chain,
    dialled,
    entries_of_a,
    make_stream,
    pairs,
    served,
    streamed,
)
from suite import examples, patient

A = entries_of_a()
OK = RESULTS[Status.OK]
HEADER, STOP = Request(Command.HEADER).encode(), Request(Command.STOP).encode()
OPENED = frozenset({"live_broadcast", "truncate_under_a_connected_client"})  # one server, carried from step to step
TIMED = frozenset({"inactivity_kill", "inactivity_kill_while_streaming"})

HEADER_OF_A = bytes.fromhex(TRANSCRIPTS["header"]["steps"][0]["recv"])


def without_last_entry(name, step):
    """What the reference sent in this step, less the entry behind the end."""
    recv = bytes.fromhex(TRANSCRIPTS[name]["steps"][step]["recv"])
    return recv[: -len(streamed(recv)[-1].encode())]


# Where ours differs on purpose: the step, what we send instead, whether we close, and why.
OURS = {
    ("start_bad_entry_leaves_client_wedged", 1): (HEADER_OF_A, False, "a refused start leaves the client stopped"),
    ("start_bookmark_missing", 1): (HEADER_OF_A, False, "a refused start leaves the client stopped"),
    ("after_truncate_phantom_entry", 1): (
        without_last_entry("after_truncate_phantom_entry", 1),
        False,
        "no entry from behind the end is sent",
    ),
    ("after_truncate_phantom_entry", 5): (
        RESULTS[Status.BAD_FROM_BOOKMARK],
        False,
        "a bookmark whose entry is gone is unknown",
    ),
    ("after_truncate_phantom_entry", 6): (RESULTS[Status.ALREADY_STOPPED], False, "so there is nothing to stop"),
    ("truncate_under_a_connected_client", 0): (
        without_last_entry("truncate_under_a_connected_client", 0),
        False,
        "no entry from behind the end is sent",
    ),
    ("truncate_under_a_connected_client", 1): (b"", True, "who follows is sent away by a truncation"),
    ("truncate_under_a_connected_client", 2): (b"", True, "and gone when other entries are committed"),
}


async def replay(name, address, act=None):
    """Say what the client said, step by step; all that comes back has to be what the reference or ours answers."""
    steps = TRANSCRIPTS[name]["steps"]
    async with dialled(address) as client:
        for index, step in enumerate(steps):
            said, closes, _why = OURS.get(
                (name, index), (bytes.fromhex(step["recv"]), step["closed_by_server"], "as the reference")
            )
            if act is not None:
                await act(index)
            if step["send"]:
                await client.send(bytes.fromhex(step["send"]))
            got = await (client.rest() if closes else client.exactly(len(said)))
            assert got == said, f"{name}, step {index}: {step['note']}"
        if not closes:
            await client.stream.send_eof()
            assert await client.rest() == b""  # nothing more than was expected, in any of the steps


@pytest.fixture
def stream_of(tmp_path):
    """The streams of the vectors by name, made from their entries."""
    made = []

    def make(name):
        stream = make_stream(tmp_path / f"{name}.bin", [] if name == "b" else pairs(A))
        if name == "d2":
            stream.truncate(30)
        made.append(stream)
        return stream

    yield make
    for stream in made:
        stream.close()


@pytest.mark.parametrize("name", sorted(TRANSCRIPTS.keys() - OPENED - TIMED - {"connection_limit"}))
async def test_a_client_sees_no_difference_to_the_reference(name, stream_of):
    async with served(stream_of(TRANSCRIPTS[name]["stream"])) as (_, address):
        await replay(name, address)


async def test_live_entries_and_a_truncation_reach_clients_as_with_the_reference(stream_of):
    """Two dialogues with one server, in the order in which they were recorded."""
    stream = stream_of("a")
    commit = streamed(bytes.fromhex(TRANSCRIPTS["live_broadcast"]["steps"][1]["recv"]))
    async with served(stream) as (live, address):

        async def broadcast(index):
            if index == 1:
                await live.append(pairs(commit))
            if index == 2:
                stream.begin()
                stream.add(176, bytes.fromhex("08021008"))
            if index == 3:
                stream.rollback()

        async def truncate(index):
            if index == 1:
                await live.truncate(20)
            if index == 2:
                await live.append([(176, bytes.fromhex("08011009")), (1, b"\x08\x09")])

        await replay("live_broadcast", address, broadcast)
        await replay("truncate_under_a_connected_client", address, truncate)


@pytest.mark.parametrize("name", sorted(TIMED))
async def test_who_is_silent_for_too_long_is_dropped_whether_it_follows_or_not(name, stream_of):
    """1.5 s with the reference; the same dialogue with a thirtieth of the time."""
    stream = stream_of("a")
    stream.truncate(0x16)  # where the recorded client starts
    async with served(stream, StreamLimits(inactivity_s=0.05, check_s=0.02)) as (_, address):
        began = trio.current_time()
        await replay(name, address)

        assert trio.current_time() - began > 0.04


async def test_the_hundred_and_first_client_is_closed_without_a_word(stream_of):
    async with served(stream_of("a")) as (_, address), trio.open_nursery() as nursery:
        done, ready = trio.Event(), []

        async def hold(task_status):
            async with dialled(address) as client:
                await client.send(HEADER)
                ready.append(await client.exactly(len(HEADER_OF_A)))
                task_status.started()
                await done.wait()

        for _ in range(LIMITS.max_connections):
            await nursery.start(hold)
        await replay("connection_limit", address)
        done.set()

    assert ready == [HEADER_OF_A] * 100


async def test_a_client_that_left_makes_room_for_another(stream_of):
    async with served(stream_of("a"), StreamLimits(max_connections=1, full_pause_s=0.0)) as (_, address):
        for _ in range(3):
            async with dialled(address) as client:
                await client.send(HEADER)
                assert await client.exactly(len(HEADER_OF_A)) == HEADER_OF_A
                await client.stream.send_eof()
                assert await client.rest() == b""


async def test_commands_may_come_byte_by_byte(stream_of):
    async with served(stream_of("a")) as (_, address), dialled(address) as client:
        for byte in HEADER + Request(Command.ENTRY, 10**9).encode() + Request(Command.START, 40).encode() + STOP:
            await client.send(bytes([byte]))

        assert (
            await client.exactly(len(HEADER_OF_A + OK + NOT_FOUND + OK + OK)) == HEADER_OF_A + OK + NOT_FOUND + OK + OK
        )


async def test_a_start_that_was_refused_can_be_followed_by_one_that_is_not(stream_of):
    async with served(stream_of("a")) as (_, address), dialled(address) as client:
        await client.send(Request(Command.START, 41).encode() + Request(Command.START, 39).encode())
        wanted = RESULTS[Status.BAD_FROM_ENTRY] + OK + A[39].encode()

        assert await client.exactly(len(wanted)) == wanted


async def test_entries_over_many_pages_arrive_without_what_lies_between_them(tmp_path):
    rng = random.Random(7)
    wanted = [(3, rng.randbytes(rng.randrange(400_000))) for _ in range(20)]
    with make_stream(tmp_path / "s.bin", wanted) as stream:
        assert stream.file.pages > 3
        async with served(stream) as (_, address), dialled(address) as client:
            await client.send(Request(Command.START, 0).encode())
            whole = OK + b"".join(Entry(number, *one).encode() for number, one in enumerate(wanted))

            assert await client.exactly(len(whole)) == whole


async def test_commits_during_a_sync_are_sent_once_and_in_order(tmp_path):
    with make_stream(tmp_path / "s.bin", chain(4, transactions=50)) as stream:
        async with served(stream) as (live, address), trio.open_nursery() as nursery:
            got = []

            async def follow(start):
                async with dialled(address) as client:
                    await client.send(Request(Command.START, start).encode())
                    assert await client.exactly(len(OK)) == OK
                    size = total - stream.file.locate(start)
                    got.append(
                        [one.number for one in streamed(await client.exactly(size))] == list(range(start, count))
                    )

            added = [batch(number, [2 * number, 2 * number + 1]) for number in range(4, 40)]
            raw = [Entry(0, *one).encode() for each in added for one in each]
            total = stream.header.total_length + sum(map(len, raw))
            count = stream.header.total_entries + len(raw)
            for start in (0, 7, stream.header.total_entries):
                nursery.start_soon(follow, start)
            for each in added:
                await live.append(each)

    assert got == [True] * 3


async def test_a_stop_ends_the_stream_at_a_whole_entry(tmp_path):
    with make_stream(tmp_path / "s.bin", chain(2)) as stream:
        async with served(stream) as (live, address), dialled(address) as client:
            await client.send(Request(Command.START, stream.header.total_entries).encode())
            await client.exactly(len(OK))
            first = stream.header.total_entries
            await live.append(batch(2, [4, 5], transactions=20))
            head = await client.exactly(30)  # of the first one, and something of the next
            await client.send(STOP)
            await live.append(batch(3, [6, 7]))
            await client.send(HEADER)
            await client.stream.send_eof()
            said = head + await client.rest()

    numbers = [one.number for one in streamed(said)]
    assert len(numbers) >= 2
    assert numbers == list(range(first, first + len(numbers)))
    assert said.endswith(OK + OK + stream.header.encode())


async def test_a_reader_that_never_reads_is_dropped_and_costs_nobody_else_anything(tmp_path):
    """More than the system buffers between the two; 20 s of patience cut to a fraction."""
    entries = [(3, bytes(500_000)) for _ in range(40)]
    limits = StreamLimits(max_connections=2, write_s=0.1, full_pause_s=0.001)
    with make_stream(tmp_path / "s.bin", entries, pages=1) as stream:
        async with served(stream, limits) as (live, address), dialled(address) as lazy, dialled(address) as other:
            await lazy.send(Request(Command.START, 0).encode())
            await other.send(Request(Command.START, 40).encode())
            assert await other.exactly(len(OK)) == OK
            await live.append(batch(0, [0]))
            wanted = b"".join(Entry(40 + index, *one).encode() for index, one in enumerate(batch(0, [0])))
            assert await other.exactly(len(wanted)) == wanted

            said = b""
            while not said:  # turned away as long as the lazy one has its place
                async with dialled(address) as third:
                    with suppress(trio.BrokenResourceError):
                        await third.send(HEADER)
                    said = await third.exactly(len(HEADER_OF_A))

            assert said == OK + stream.header.encode()
            assert len(await lazy.rest()) < 20_000_000


@pytest.mark.check
async def test_noise_on_the_socket_costs_a_connection_and_nothing_else(stream_of):
    rng = random.Random(1)
    heads = [number.to_bytes(8, "big") + (1).to_bytes(8, "big") for number in (*range(8), 2**64 - 1)]
    async with served(stream_of("a")) as (_, address):
        for _ in range(examples(100)):
            async with dialled(address) as client:
                noise = b"".join(
                    rng.choice(heads) if rng.random() < 0.7 else rng.randbytes(rng.randrange(40))
                    for _ in range(rng.randrange(1, 12))
                )
                try:
                    await client.send(noise)
                    await client.stream.send_eof()
                except trio.BrokenResourceError:
                    continue
                await client.rest()
        async with dialled(address) as client:
            await client.send(HEADER)

            assert await client.exactly(len(HEADER_OF_A)) == HEADER_OF_A


async def test_strangers_who_come_and_go_do_not_fill_the_log(stream_of, caplog):
    caplog.set_level("INFO", "attestrio.stream")
    stream, limits = stream_of("a"), StreamLimits(max_connections=1, full_pause_s=0.0)
    async with served(stream) as (_, address):
        for _ in range(60):
            async with dialled(address) as client:
                await client.send(bytes(16))  # no command of this protocol
                assert await client.rest() == b""
    async with served(stream, limits) as (_, address), dialled(address) as first:
        await first.send(HEADER)
        await first.exactly(len(HEADER_OF_A))
        for _ in range(60):
            async with dialled(address) as client:
                await client.rest()

    said = [record.getMessage() for record in caplog.records]
    assert any(one.startswith("connection closed: stream type 0, not 1") for one in said)
    assert any(one.startswith("connection refused: 1 are open") for one in said)
    assert len(said) < 40, said  # of 120, one of a kind in ten seconds


async def test_nobody_is_dropped_for_silence_when_that_is_wished(stream_of):
    limits = StreamLimits(inactivity_s=math.inf, check_s=0.001)
    async with served(stream_of("a"), limits) as (_, address), dialled(address) as client:
        await client.send(HEADER)
        await client.exactly(len(HEADER_OF_A))
        await client.send(HEADER)

        assert await client.exactly(len(HEADER_OF_A)) == HEADER_OF_A


async def test_starts_while_the_stream_is_cut_are_answered_or_closed(tmp_path):
    """Many at once, so that some fall between looking up a number and finding its place."""
    with make_stream(tmp_path / "s.bin", chain(20)) as stream:
        last = stream.header.total_entries
        async with served(stream) as (live, address), trio.open_nursery() as nursery:
            said = []

            async def start(number):
                async with dialled(address) as client:
                    with suppress(trio.BrokenResourceError):
                        await client.send(Request(Command.START, number).encode())
                        said.append(await client.exactly(len(OK)))

            for number in range(last - 40, last + 1):
                nursery.start_soon(start, number)
            for number in range(last - 1, last - 60, -3):
                await live.truncate(number)

        assert set(said) <= {OK, RESULTS[Status.BAD_FROM_ENTRY][: len(OK)], b""}


async def test_the_place_of_an_entry_that_is_gone_is_not_told(tmp_path):
    with make_stream(tmp_path / "s.bin", chain(1)) as stream, pytest.raises(StreamRewritten):
        await LiveStream(stream).locate(stream.header.total_entries + 1)


async def test_who_talks_is_not_silent_even_before_there_is_anything_to_answer(stream_of):
    ours, theirs = trio.socket.socketpair()
    with ours, theirs, trio.fail_after(patient(20)):
        connection = Connection(trio.SocketStream(ours), LiveStream(stream_of("a")))
        connection.active_at = long_ago = -1e9
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            await theirs.send(HEADER[:1])
            while connection.active_at == long_ago:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

    assert connection.active_at <= trio.current_time()
