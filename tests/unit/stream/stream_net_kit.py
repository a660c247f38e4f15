"""What the tests of the stream's network side share: the reference's dialogues, streams to serve, plain sockets."""

import json
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio
from attestrio.stream.bookmarks import DataStream, MemoryBookmarks
from attestrio.stream.entries import Entry
from attestrio.stream.file import StreamFile
from attestrio.stream.live import LiveStream
from attestrio.stream.messages import BatchEnd, BatchStart, Bookmark, L2Block, L2BlockEnd, Transaction
from attestrio.stream.protocol import PacketReader
from attestrio.stream.server import StreamLimits, serve_stream
from suite import patient

GOLDEN = Path(__file__).parents[2] / "golden" / "datastream"
TRANSCRIPTS = {one["name"]: one for one in json.loads((GOLDEN / "transcripts.json").read_text("utf-8"))["transcripts"]}
LIMITS = StreamLimits(full_pause_s=0.0)


def streamed(raw):
    """The entries among a server's packets."""
    reader, found = PacketReader(), []
    reader.feed(raw)
    while (packet := reader.next_packet()) is not None:
        if isinstance(packet, Entry):
            found.append(packet)
    return found


def entries_of_a():
    """Stream a of the vectors: what the reference sent of it from entry 0 on."""
    return streamed(bytes.fromhex(TRANSCRIPTS["start_stop"]["steps"][0]["recv"]))


def pairs(entries):
    return [(entry.type, entry.data) for entry in entries]


def make_stream(path, entries=(), *, pages=1):
    """A stream of these entries (type, data), in one atomic operation."""
    stream = DataStream(StreamFile.create(path, pages=pages), MemoryBookmarks())
    with stream.atomic():
        for entry_type, data in entries:
            stream.add(entry_type, data)
    return stream


def block(number, batch, salt=0, transactions=1):
    """Entries of one block; another `salt`, another hash."""
    made = [Bookmark.block(number), L2Block(number, batch, 1000 + number, hash=bytes([salt, number % 256]) * 16)]
    made += [Transaction(number, encoded=bytes([salt, index % 256]) * 40) for index in range(transactions)]
    return [(one.TYPE, one.encode()) for one in [*made, L2BlockEnd(number)]]


def batch(number, blocks, salt=0, transactions=1, *, ended=True):
    """Entries of a batch with blocks of these numbers."""
    made = [(one.TYPE, one.encode()) for one in (Bookmark.batch(number), BatchStart(number))]
    for one in blocks:
        made += block(one, number, salt, transactions)
    end = BatchEnd(number, state_root=bytes([salt]) * 32)
    return made + ([(end.TYPE, end.encode())] if ended else [])


def chain(batches, per_batch=2, salt=0, transactions=1):
    """Entries of batches 0, 1, ... with so many blocks each."""
    return [
        one
        for number in range(batches)
        for one in batch(number, range(number * per_batch, (number + 1) * per_batch), salt, transactions)
    ]


@asynccontextmanager
async def served(stream, limits=LIMITS):
    """A `LiveStream` and the address at which it is served."""
    live = LiveStream(stream)
    async with trio.open_nursery() as nursery:
        address = await nursery.start(serve_stream, live, "127.0.0.1:0", limits)
        yield live, address
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def dialled(address):
    """A plain TCP connection."""
    host, port = address.rsplit(":", 1)
    with trio.fail_after(patient(20)):
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            yield Socket(stream)


class Socket:
    """Reads exactly as much as is asked for."""

    def __init__(self, stream):
        self.stream = stream
        self._buffer = bytearray()

    async def send(self, data):
        await self.stream.send_all(data)

    async def exactly(self, size):
        while len(self._buffer) < size and (data := await self._some()):
            self._buffer += data
        got = bytes(self._buffer[:size])
        del self._buffer[:size]
        return got

    async def rest(self):
        """Everything until the server closes."""
        while data := await self._some():
            self._buffer += data
        got = bytes(self._buffer)
        self._buffer.clear()
        return got

    async def _some(self):
        try:
            return await self.stream.receive_some(1 << 16)
        except trio.BrokenResourceError:  # a close with bytes that the server had not read
            return b""


@asynccontextmanager
async def scripted(*scripts):
    """A server that does to its first connection what the first script says, and so on; to all others the last."""
    left = list(scripts)

    async def handle(stream):
        script = left.pop(0) if len(left) > 1 else left[0]
        try:
            await script(Socket(stream))
        except trio.BrokenResourceError:
            return

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        yield f"127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()
