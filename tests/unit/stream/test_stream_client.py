"""The client of one connection, against our server and against servers that misbehave."""

import random

import pytest
import trio
from attestrio.stream.client import ClientTimes, StreamClient, connect
from attestrio.stream.entries import NOT_FOUND, Entry
from attestrio.stream.messages import Bookmark
from attestrio.stream.protocol import RESULTS, Command, Request, Status
from attestrio.stream.wire_errors import BadStreamAddress, StreamLost, StreamRefused, StreamUnreachable
from stream_net_kit import TRANSCRIPTS, batch, chain, entries_of_a, make_stream, pairs, scripted, served
from suite import examples
from trio.testing import memory_stream_pair

A = entries_of_a()
OK = RESULTS[Status.OK]
QUICK = ClientTimes(connect_s=5.0, answer_s=0.05)
HEADER = Request(Command.HEADER).encode()


@pytest.fixture
def stream(tmp_path):
    with make_stream(tmp_path / "a.bin", pairs(A)) as made:
        yield made


async def test_what_is_asked_is_answered(stream):
    async with served(stream) as (_, address), connect(address) as client:
        assert await client.header() == stream.header
        assert await client.entry(9) == A[9]
        assert await client.entry(40) is None
        assert await client.entry(1 << 63) is None
        assert await client.after(Bookmark.batch(2).encode()) == A[14]
        assert await client.after(Bookmark.batch(99).encode()) is None


async def test_a_stream_is_read_and_followed_and_stopped(stream):
    async with served(stream) as (live, address), connect(address) as client:
        await client.start_bookmark(Bookmark.block(4).encode())
        got = []
        while len(got) < len(A) - 23:
            got += await client.entries()
        await live.append(batch(4, [7]))
        while len(got) < len(A) - 23 + len(batch(4, [7])):
            got += await client.entries()
        await client.stop()

        assert pairs(got) == pairs(A[23:]) + batch(4, [7])
        assert (await client.header()).total_entries == 40 + len(batch(4, [7]))


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (lambda client: client.start(41), r"START: Bad from entry \(3\)"),
        (lambda client: client.start_bookmark(b"\x08\x01\x10\x4d"), r"START_BOOKMARK: Bad from bookmark \(4\)"),
    ],
)
async def test_a_place_that_does_not_exist_is_refused_by_name(stream, start, said):
    async with served(stream) as (_, address), connect(address) as client:
        with pytest.raises(StreamRefused, match=said):
            await start(client)


@pytest.mark.parametrize("size", [0, 17])
async def test_a_bookmark_that_no_server_would_answer_is_never_sent(stream, size):
    async with served(stream) as (_, address), connect(address) as client:
        with pytest.raises(ValueError, match=f"bookmark of {size} bytes"):
            await client.after(bytes(size))
        with pytest.raises(ValueError, match=f"bookmark of {size} bytes"):
            await client.start_bookmark(bytes(size))


@pytest.mark.parametrize("address", ["", "host", "host:", "host:x", "1:2:3", "host:70000"])
async def test_an_address_that_is_none_is_told(address):
    with pytest.raises(BadStreamAddress):
        async with connect(address):
            pass


async def test_nobody_listening_is_told():
    with trio.socket.socket() as sock:
        await sock.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(StreamUnreachable, match=f"dial tcp {address}"):
            async with connect(address):
                pass


async def test_a_server_that_leaves_is_told():
    async def leave(client):
        await client.exactly(len(HEADER))

    async with scripted(leave) as address, connect(address) as client:
        with pytest.raises(StreamLost, match="the server has closed the connection"):
            await client.header()


async def test_a_server_that_does_not_answer_is_told():
    async def say_nothing(client):
        await client.rest()

    async with scripted(say_nothing) as address, connect(address, QUICK) as client:
        with pytest.raises(StreamLost, match=r"silent for 0\.05 s"):
            await client.header()


async def test_a_server_that_stops_inside_an_entry_is_told():
    async def half(client):
        await client.exactly(24)
        await client.send(OK + A[9].encode()[:-1])
        await client.rest()

    async with scripted(half) as address, connect(address, QUICK) as client:
        await client.start(9)
        with pytest.raises(StreamLost, match="silent for"):
            await client.entries()


async def test_a_quiet_stream_is_waited_for_but_not_an_answer(autojump_clock):
    ours, servers = memory_stream_pair()
    client = StreamClient(ours, "there:1", ClientTimes(answer_s=30.0))

    async def server():
        await servers.receive_some()
        await servers.send_all(OK)
        await trio.sleep(86_400.0)
        await servers.send_all(A[0].encode())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server)
        await client.start(0)
        assert await client.entries() == [A[0]]
        with pytest.raises(StreamLost, match="silent for 30 s"):
            await client.stop()

    assert trio.current_time() == 86_430.0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        OK + b"\x02" + (2**32 - 1).to_bytes(4, "big"),
        OK + NOT_FOUND,
        A[0].encode(),
        OK + b"\x01" + (38).to_bytes(4, "big") + bytes(33),
    ],
    ids=["another protocol", "an entry of 4 GiB", "the answer to something else", "an entry", "a header of zeros"],
)
async def test_a_server_that_talks_nonsense_is_told(answer):
    async def nonsense(client):
        await client.exactly(len(HEADER))
        await client.send(answer)
        await client.rest()

    async with scripted(nonsense) as address, connect(address) as client:
        with pytest.raises(StreamLost):
            await client.header()


async def read_on(address):
    async with connect(address) as client:
        await client.start(0)
        while True:
            await client.entries()


@pytest.mark.check
async def test_noise_from_a_server_ends_in_one_named_error():
    rng = random.Random(3)
    packets = [OK, NOT_FOUND, A[0].encode(), A[9].encode(), RESULTS[Status.ALREADY_STARTED], HEADER]

    async def noise(client):
        await client.exactly(16)
        for _ in range(rng.randrange(6)):
            await client.send(rng.choice(packets) if rng.random() < 0.7 else rng.randbytes(rng.randrange(1, 50)))

    async with scripted(noise) as address:
        for _ in range(examples(40)):
            with pytest.raises((StreamLost, StreamRefused)):
                await read_on(address)


@pytest.mark.parametrize("kind", [Entry.encode, lambda entry: b"\xfe" + entry.encode()[1:]], ids=["02", "FE"])
async def test_an_answer_may_come_as_either_kind_of_entry(kind):
    async def answer(client):
        await client.exactly(24)
        await client.send(OK + kind(A[9]))

    async with scripted(answer) as address, connect(address) as client:
        assert await client.entry(9) == A[9]


@pytest.mark.parametrize("name", ["header", "entry", "bookmark", "pipelined"])
async def test_the_references_answers_come_out_as_values(name):
    steps = TRANSCRIPTS[name]["steps"]
    sent = [bytes.fromhex(step["send"]) for step in steps]

    async def reference(client):
        for raw, step in zip(sent, steps, strict=True):
            if await client.exactly(len(raw[:16])) and name != "pipelined":
                await client.exactly(len(raw) - 16)
            await client.send(bytes.fromhex(step["recv"]))
        await client.rest()

    async with scripted(reference) as address, connect(address) as client:
        match name:
            case "header":
                assert [(await client.header()).total_entries for _ in range(2)] == [40, 40]
            case "entry":
                asked = [0, 9, 39, 40, 1 << 63]
                assert [await client.entry(number) for number in asked] == [A[0], A[9], A[39], None, None]
            case "bookmark":
                asked = ["08011002", "08021003", "0801", "08011063"]
                got = [await client.after(bytes.fromhex(one)) for one in asked]
                assert got == [A[14], A[21], A[1], None]
            case "pipelined":
                assert (await client.header()).total_entries == 40
                assert await client.entry(0) == A[0]
                assert await client.after(bytes.fromhex("08021002")) == A[16]


async def test_a_large_stream_arrives_whole(tmp_path):
    with make_stream(tmp_path / "s.bin", chain(20, transactions=30)) as stream:
        async with served(stream) as (_, address), connect(address) as client:
            await client.start(0)
            got = []
            while len(got) < stream.header.total_entries:
                got += await client.entries()

        assert got == list(stream.file.entries())
