"""Our data stream against the published Go module, in both directions, and over whole processes."""

import hashlib
import json
import random
import signal
import tarfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import go_peer
import processes
import pytest
import stream_peer
import trio
from attestrio.stream.bookmarks import DataStream, MemoryBookmarks
from attestrio.stream.client import connect
from attestrio.stream.errors import StreamRewritten
from attestrio.stream.file import StreamFile
from attestrio.stream.follow import StreamFollower
from attestrio.stream.live import LiveStream
from attestrio.stream.messages import Bookmark
from attestrio.stream.server import serve_stream
from attestrio.stream.verify import verify
from stream_peer import ask, go_server
from suite import free_port, needs, patient

pytestmark = [pytest.mark.real, pytest.mark.slow]
with_go = needs(go_peer.GO)

# chain-779, a real network's stream, lies beside the repository where it is at all
CHAIN_779 = next(
    (
        found
        for folder in Path(__file__).parents
        if (found := folder / "shared" / "vectors" / "chain-779" / "data-stream.tar.gz").is_file()
    ),
    None,
)
with_chain_779 = pytest.mark.skipif(CHAIN_779 is None, reason="the vectors of chain 779 are not beside the repository")


@pytest.fixture(scope="session")
def peer(tmp_path_factory):
    return stream_peer.build(tmp_path_factory.mktemp("gostream"))


def block(number, batch, salt=0):
    """Entries (type, data) of a block, with bytes that only have to be the same on both sides."""
    mark = Bookmark.block(number).encode()
    return [
        (176, mark),
        (2, bytes([8, number, 16, batch, 24, salt + 1])),
        (3, bytes([8, number, 34, 1, salt])),
        (6, bytes([8, number])),
    ]


def chain(batches, salt=0):
    entries = []
    for number in range(batches):
        entries += [(176, Bookmark.batch(number).encode()), (1, bytes([8, number]) if number else b"")]
        entries += block(2 * number, number, salt) + block(2 * number + 1, number, salt)
        entries.append((4, bytes([8, number, 26, 1, salt])))
    return entries


def new_stream(path, entries=()):
    stream = DataStream(StreamFile.create(path), MemoryBookmarks())
    with stream.atomic():
        for one in entries:
            stream.add(*one)
    return stream


@asynccontextmanager
async def our_server(stream):
    live = LiveStream(stream)
    async with trio.open_nursery() as nursery:
        yield live, await nursery.start(serve_stream, live, "127.0.0.1:0")
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def following(address, stream):
    copy = LiveStream(stream)
    with trio.fail_after(patient(60)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(StreamFollower(address, copy, waits_s=(0.02, 0.2), refresh_s=0.5).run)
            yield copy
            nursery.cancel_scope.cancel()


async def until(copy, wanted, more=0):
    """Until the copy has these entries; Go may send one `more`, from behind its end."""
    while True:
        state = copy.state
        with suppress(StreamRewritten):  # the follower is faster
            held = [(one.type, one.data) for one in await copy.entries(0, state.header.total_entries)]
            if held[: len(wanted)] == wanted and len(held) <= len(wanted) + more:
                return
        await copy.wait_other(state)


# --- Go's client

ASKED = [
    "header",
    "entry=0",
    "entry=5",
    "entry=99999",
    "bookmark=0801",
    "bookmark=08011002",
    "bookmark=08011063",
    "header",
]


@with_go
async def test_gos_client_hears_the_same_from_our_server_as_from_gos(peer, tmp_path):
    async with go_server(peer, tmp_path / "go") as server:
        await server.commit(chain(4))
        gos = await ask(peer, server.address, *ASKED)
    with new_stream(tmp_path / "ours.bin", chain(4)) as stream:
        async with our_server(stream) as (_, address):
            ours = await ask(peer, address, *ASKED)

    assert ours == gos
    assert len(ours) == len(ASKED)
    assert (tmp_path / "ours.bin").read_bytes() == (tmp_path / "go.bin").read_bytes()


@with_go
async def test_gos_client_follows_our_server(peer, tmp_path):
    with new_stream(tmp_path / "ours.bin", chain(3)) as stream, new_stream(tmp_path / "more.bin", chain(4)) as more:
        wanted = [one.encode().hex() for one in more.file.entries()]
        async with our_server(stream) as (live, address):
            got = []

            async def follow():
                got.extend(await ask(peer, address, "start=0", "until=60000", until=f"entry {wanted[-1]}"))

            with trio.fail_after(patient(60)):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(follow)
                    await live.append(chain(4)[len(chain(3)) :])

    assert [line.split()[1] for line in got if line.startswith("entry")] == wanted


@with_go
async def test_gos_client_starts_at_a_bookmark_and_stops(peer, tmp_path):
    with new_stream(tmp_path / "ours.bin", chain(3)) as stream:
        wanted = [one.encode().hex() for one in stream.file.entries(22)]
        size = stream.header.total_length
        async with our_server(stream) as (_, address):
            said = await ask(peer, address, "from=08011002", "stop", "header", "start=33", "stop", "until=300")

    kept = [line for line in said if not line.startswith("entry")]
    assert kept == ["from=08011002 <nil>", "stop <nil>", f"header 2 1 {size} 33 <nil>", "start=33 <nil>", "stop <nil>"]
    assert [line.split()[1] for line in said if line.startswith("entry")] == wanted


@with_go
async def test_gos_client_is_refused_with_gos_numbers(peer, tmp_path):
    async with go_server(peer, tmp_path / "go") as server:
        await server.commit(chain(1))
        gos = [await ask(peer, server.address, word) for word in ("start=1000", "from=08011063", "stop")]
    with new_stream(tmp_path / "ours.bin", chain(1)) as stream:
        async with our_server(stream) as (_, address):
            ours = [await ask(peer, address, word) for word in ("start=1000", "from=08011063", "stop")]

    assert ours == gos
    assert all("error" in line for (line,) in ours)


# --- Go's server


@with_go
async def test_our_client_asks_gos_server(peer, tmp_path):
    async with go_server(peer, tmp_path / "go") as server:
        count, size = await server.commit(chain(3))
        async with connect(server.address) as client:
            header = await client.header()
            entries = [await client.entry(number) for number in (0, 5, count - 1, count)]
            after = [
                await client.after(mark)
                for mark in (b"\x08\1", Bookmark.batch(2).encode(), Bookmark.batch(50).encode())
            ]
            await client.start_bookmark(Bookmark.block(4).encode())
            got = []
            while not got or got[-1].number < count - 1:
                got += await client.entries()
            await client.stop()
            again = await client.header()

    wanted = chain(3)
    assert (header.total_entries, header.total_length) == (count, size) == (len(wanted), again.total_length)
    assert [one and (one.type, one.data) for one in entries] == [wanted[0], wanted[5], wanted[-1], None]
    assert [one and one.number for one in after] == [1, 23, None]
    assert [(one.type, one.data) for one in got] == wanted[24:]


@with_go
async def test_our_copy_of_gos_stream_has_its_bytes_whatever_happens_to_it(peer, tmp_path):
    """Commits, a rollback, a truncation that Go tells nobody of, other entries under old numbers, a new process."""
    with new_stream(tmp_path / "copy.bin") as stream:
        port = free_port()
        async with following(f"127.0.0.1:{port}", stream) as copy:
            async with go_server(peer, tmp_path / "go", port) as server:
                await server.commit(chain(3))
                await until(copy, chain(3))
                await server.do("rollback", "176:08021063")
                await server.commit(chain(6)[len(chain(3)) :])
                await until(copy, chain(6))
                await server.do("truncate", str(len(chain(2))))
                other = chain(2) + chain(5, salt=7)[len(chain(2)) :]
                await server.commit(other[len(chain(2)) :])
                await until(copy, other, more=1)
            async with go_server(peer, tmp_path / "go", port) as server:
                more = other + chain(7, salt=7)[len(other) :]
                await server.commit(more[len(other) :])
                await until(copy, more)
        size = stream.header.total_length

    assert (tmp_path / "copy.bin").read_bytes()[:size] == (tmp_path / "go.bin").read_bytes()[:size]


@with_go
async def test_what_we_wrote_go_opens_and_goes_on_with(peer, tmp_path):
    new_stream(tmp_path / "s.bin", chain(3)).close()

    async with go_server(peer, tmp_path / "s") as server:
        await server.commit(chain(4)[len(chain(3)) :])

    with StreamFile.open(tmp_path / "s.bin") as file:
        assert [(one.type, one.data) for one in file.entries()] == chain(4)


# --- a real network's stream


@pytest.fixture
def network(tmp_path):
    with tarfile.open(CHAIN_779) as archive:
        archive.extractall(tmp_path / "chain", filter="data")
    return next((tmp_path / "chain").rglob("data-stream.bin"))


@with_chain_779
async def test_a_real_networks_stream_is_followed_to_the_same_file(network, tmp_path):
    with DataStream.open(StreamFile.open(network), MemoryBookmarks()) as stream:
        header = stream.header
        with new_stream(tmp_path / "copy.bin") as copied:
            async with our_server(stream) as (_, address), following(address, copied) as copy:
                while (state := copy.state).header.total_entries < 34_723:
                    await copy.wait_other(state)
            assert copied.header == header

    assert (
        hashlib.sha256(network.read_bytes()).digest() == hashlib.sha256((tmp_path / "copy.bin").read_bytes()).digest()
    )


@with_chain_779
async def test_a_copy_that_is_killed_again_and_again_ends_equal(network, tmp_path):
    """The command line as a process, over a server that is one too."""
    rng = random.Random(779)
    copy = tmp_path / "copy.bin"
    async with processes.started(
        "stream", "serve", network, "--bind", "127.0.0.1:0", "--json", timeout_s=patient(60)
    ) as server:
        await server.wait_said("serving")
        address = json.loads(server.out.splitlines()[0])["address"]
        for _ in range(8):
            async with processes.started("stream", "follow", address, copy) as follower:
                await trio.sleep(rng.uniform(0.3, 0.9))  # the moment of the kill is what is tried
                await follower.stop(signal.SIGKILL)
            if copy.exists():
                assert verify(copy).ok
        async with processes.started("stream", "follow", address, copy, "--once", "--json") as follower:
            assert await follower.ended() == 0
        async with processes.started("stream", "backup", network, tmp_path / "kept", "--json") as backup:
            assert await backup.ended() == 0
        assert (await server.stop(signal.SIGTERM))[0] == 143

    assert copy.read_bytes() == network.read_bytes()
    kept = (tmp_path / "kept" / "stream.bin").read_bytes()
    assert kept == network.read_bytes()[: len(kept)]
