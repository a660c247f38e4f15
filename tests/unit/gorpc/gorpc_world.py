"""A server's methods, raw peers, and clients and servers joined without sockets."""

from contextlib import asynccontextmanager, suppress

import trio
from attestrio.errors import PeerError, SourceError
from attestrio.gorpc.client import ClientLimits, GoRpcClient
from attestrio.gorpc.errors import CannotConnect, ConnectionLost
from attestrio.gorpc.exchange import CONNECT, CONNECTED, HeadReader, PairReader
from attestrio.gorpc.gob import UINT64, GobEncoder, GobLimits
from attestrio.gorpc.messages import (
    PROCESS_SIGNED_TASK_RESPONSE,
    REQUEST,
    RESPONSE,
    SERVER_RUNNING,
    RequestHeader,
    RpcMethod,
)
from attestrio.gorpc.server import Connection, Handler, ServerLimits

SLOW = RpcMethod("Aggregator.Slow", UINT64, UINT64)  # seconds
FAIL = RpcMethod("Aggregator.Fail", UINT64, UINT64)


class Refused(PeerError):
    code = "test_refused"


class JournalDown(SourceError):
    code = "test_journal_down"


class Methods:
    def __init__(self):
        self.got = []
        self.under_way = self.most = 0

    async def process(self, response):
        self.got.append(response)
        return 0

    async def running(self, _):
        return 1

    async def slow(self, seconds):
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await trio.sleep(seconds)
        finally:
            self.under_way -= 1
        return seconds

    async def fail(self, kind):
        raise [Refused("not an operator"), JournalDown(""), ZeroDivisionError("a bug")][kind]

    def handlers(self):
        return [
            Handler(PROCESS_SIGNED_TASK_RESPONSE, self.process),
            Handler(SERVER_RUNNING, self.running),
            Handler(SLOW, self.slow),
            Handler(FAIL, self.fail),
        ]


class RawPeer:
    """The client's end of a stream, byte by byte if need be."""

    def __init__(self, stream):
        self.stream = stream
        self.encoder = GobEncoder()
        self.reader = PairReader(RESPONSE, GobLimits())
        self.seq = 0

    async def connect(self):
        await self.stream.send_all(CONNECT)
        assert await self.stream.receive_some(len(CONNECTED)) == CONNECTED

    def call(self, method, arg):
        """The bytes of a call."""
        header = RequestHeader(method.name, self.seq)
        self.seq += 1
        return self.encoder.encode(REQUEST, header) + self.encoder.encode(method.arg, arg)

    async def answer(self, method):
        """The next answer: its number and its reply, or its error text. None: the stream has ended."""
        while (pair := self.reader.next_pair()) is None:
            if not (data := await self.stream.receive_some()):
                return None
            self.reader.feed(data)
        return pair.header.seq, pair.header.error or self.reader.gob.value(pair.body, method.reply)


@asynccontextmanager
async def served(methods, limits=None, shared=None):
    """A raw peer, connected to a server's connection."""
    ours, theirs = trio.testing.memory_stream_pair()
    connection = Connection(
        theirs, {handler.method.name: handler for handler in methods.handlers()}, limits or ServerLimits(), shared
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        peer = RawPeer(ours)
        await peer.connect()
        yield peer
        nursery.cancel_scope.cancel()


class ScriptedServer:
    """The server's end: what it is asked is read, what is answered is up to the test."""

    def __init__(self, status=CONNECTED):
        self.status = status
        self.stream = None
        self.encoder = GobEncoder()
        self.reader = PairReader(REQUEST, GobLimits())
        self.dials = 0

    async def dial(self, host, port):
        self.dials += 1
        client, self.stream = trio.testing.memory_stream_pair()
        self.encoder, self.reader = GobEncoder(), PairReader(REQUEST, GobLimits())
        if self.status is not None:
            await self.stream.send_all(self.status)
        return client

    async def request(self, method):
        """The next call: its number and argument."""
        while (pair := self.reader.next_pair()) is None:
            data = await self.stream.receive_some()
            assert data
            if data.startswith(b"CONNECT"):
                head = HeadReader()
                head.feed(data)
                assert head.first_line() is not None
                data = head.rest()
            self.reader.feed(data)
        return pair.header.seq, self.reader.gob.value(pair.body, method.arg)

    async def answer(self, header, shape, value):
        await self.stream.send_all(self.encoder.encode(RESPONSE, header) + self.encoder.encode(shape, value))


@asynccontextmanager
async def client_of(server, limits=None):
    """A connected client; how its connection ends is in `.ended`."""
    client = GoRpcClient("aggregator:8090", limits or ClientLimits(), server.dial)

    async def run(task_status=trio.TASK_STATUS_IGNORED):
        with suppress(ConnectionLost, CannotConnect):
            await client.run(task_status=task_status)

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        yield client
        nursery.cancel_scope.cancel()
