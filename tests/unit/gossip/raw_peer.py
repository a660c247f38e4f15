"""A peer that a test plays: it speaks the protocol with our own machines, on either side, and can stop at any layer.

`open_channel`, `greet` and `talking` are the three steps of a connection done properly; between and instead of them
`send_raw` puts any bytes on the wire and `send` any bytes into the channel.
"""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from dataclasses import replace

import trio
import trio.testing
from attestrio.gossip.errors import PeerClosed
from attestrio.gossip.frame import FrameDecoder
from attestrio.gossip.handshake import hello
from attestrio.gossip.limiter import UNLIMITED
from attestrio.gossip.noise import (
    FIRST,
    SECOND,
    HandshakeDecoder,
    NNHandshake,
    NoiseReceiver,
    NoiseSender,
    frame_handshake,
)
from attestrio.gossip.preface import ENCRYPTION_NOISE_NN, ENDPOINT_GOSSIP
from attestrio.gossip.rpc import get_batch, get_block, ping
from attestrio.gossip.rpc.calls import CallFailed, Calls, Request, Response
from attestrio.gossip.rpc.methods import METHODS
from net_world import attester, genesis_of, node_key

LIMIT_S = 60.0  # for anything that is waited for; virtual in most tests
DIALLER, ACCEPTOR = "dialler", "acceptor"
SPECS = {spec.name: replace(spec, rate=UNLIMITED, timeout_s=None, max_resp=1 << 24) for spec in METHODS}
GENESIS = genesis_of([attester(index) for index in range(1, 5)]).hash()
"""Of whom a raw peer is, unless it is told otherwise."""
HOLD = object()
"""What an entry of `RawPeer.answers` returns to leave the call open."""


def _done(_body):
    return b""


ANSWERS = {
    **dict.fromkeys(SPECS, _done),
    "ping": ping.answer_untrusted,
    "get_block": lambda _body: get_block.NOT_AVAILABLE,
    "get_batch": lambda _body: get_batch.NOT_AVAILABLE,
}


class RawPeer:
    """One connection, played from the outside.

    Args:
      role: DIALLER or ACCEPTOR, of this peer.
      serves: names of the methods it offers. `answers` has a function of the body for each: the response, None to
        close without one, HOLD to let the caller wait.
    """

    def __init__(self, stream, role, secret, genesis, serves=tuple(SPECS)):
        self.stream = stream
        self.role = role
        self.secret = secret
        self.genesis = genesis  # GenesisHash
        self.serves = {SPECS[name].capability: SPECS[name] for name in serves}
        self.answers = dict(ANSWERS)
        self.session_id = b""
        self.requests: list[Request] = []  # what the node has called, in order
        self.closed = trio.Event()  # by the node
        self.calls: Calls | None = None
        self._frames = FrameDecoder(1 << 20)
        self._sender: NoiseSender | None = None
        self._receiver: NoiseReceiver | None = None
        self._ended: dict[int, Response | CallFailed] = {}
        self._changed = trio.Condition()
        self._lock = trio.Lock()

    # --- bytes

    async def send_raw(self, data):
        await self.stream.send_all(data)

    async def receive_raw(self):
        """Empty at the end, however it came."""
        try:
            return bytes(await self.stream.receive_some(1 << 17))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    async def wait_end(self):
        """Read until the node closes; what came."""
        with trio.fail_after(LIMIT_S):
            got = b""
            while piece := await self.receive_raw():
                got += piece
            return got

    def reset(self):
        """Leave with a RST, as a crashed system does. Over TCP only."""
        self.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.stream.socket.close()

    # --- the channel

    async def open_channel(self):
        """Preface without its last word, and Noise."""
        if self.role is DIALLER:
            noise, second = NNHandshake(initiator=True), HandshakeDecoder(SECOND)
            await self.send_raw(ENCRYPTION_NOISE_NN + frame_handshake(noise.write_e()))
            forth, back = noise.read_e_ee(await self._message(second))
            self.set_channel(noise.h, forth, back, second.rest())
        else:
            clear, first = FrameDecoder(1024), HandshakeDecoder(FIRST)
            while (asked := clear.next_frame()) is None:
                clear.feed(await self._some_raw())
            assert asked == b"\x0a\x00"
            first.feed(clear.rest())
            noise = NNHandshake(initiator=False)
            noise.read_e(await self._message(first))
            message, (forth, back) = noise.write_e_ee()
            await self.send_raw(frame_handshake(message))
            self.set_channel(noise.h, forth, back, first.rest())

    def set_channel(self, session_id, forth, back, rest=b""):
        self.session_id = session_id
        self._sender, self._receiver = NoiseSender(forth), NoiseReceiver(back)
        self._receiver.feed(rest)

    async def send(self, plaintext):
        async with self._lock:
            await self.send_raw(self._sender.seal(plaintext))

    async def receive(self):
        """Plaintext; raises PeerClosed at the end."""
        while not (plain := self._receiver.read()):
            self._receiver.feed(await self._some_raw())
        return plain

    async def frame(self):
        """The next proto frame."""
        while (body := self._frames.next_frame()) is None:
            self._frames.feed(await self.receive())
        return body

    async def _some_raw(self):
        if not (data := await self.receive_raw()):
            raise PeerClosed("the node closed the connection")
        return data

    async def _message(self, decoder):
        while (message := decoder.next_message()) is None:
            decoder.feed(await self._some_raw())
        return message

    # --- the handshake

    def hello(self):
        return hello(self.secret, self.session_id, self.genesis, False)

    async def greet(self):
        """All up to the mux, done properly; the node's handshake."""
        with trio.fail_after(LIMIT_S):
            await self.open_channel()
            if self.role is DIALLER:
                await self.send(ENDPOINT_GOSSIP + self.hello())
                return await self.frame()
            assert await self.frame() == b"\x12\x00"
            told = await self.frame()
            await self.send(self.hello())
            return told

    # --- calls

    @asynccontextmanager
    async def talking(self):
        """The mux and what is said on it, until the block ends; the connection stays open."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._talk)
            yield self
            nursery.cancel_scope.cancel()

    async def _talk(self, *, task_status=trio.TASK_STATUS_IGNORED):
        everything = {spec.capability: spec for spec in SPECS.values()}
        self.calls = Calls.build(self.serves, everything, trio.current_time())
        await self._flush()
        task_status.started()
        try:
            rest = self._frames.rest()
            await self._take(rest)
            while True:
                await self._take(await self.receive())
        except (PeerClosed, trio.BrokenResourceError, trio.ClosedResourceError):
            self.closed.set()
            async with self._changed:
                self._changed.notify_all()

    async def _take(self, plaintext):
        if not plaintext:
            return
        events = self.calls.feed(plaintext, trio.current_time())
        while events:
            for event in events:
                if isinstance(event, Request):
                    self.requests.append(event)
                    answer = self.answers[event.spec.name](event.body)
                    if answer is None:
                        self.calls.refuse(event.stream, trio.current_time())
                    elif answer is not HOLD:
                        self.calls.respond(event.stream, answer, trio.current_time())
                elif isinstance(event, Response | CallFailed):
                    self._ended[event.call_id] = event
            events = self.calls.take_events()
        await self._flush()
        async with self._changed:
            self._changed.notify_all()

    async def _flush(self):
        async with self._lock:
            if out := self.calls.take_output():
                await self.send_raw(self._sender.seal(out))

    async def call(self, name, body):
        """Call the node: its response, or None when it closed without one. Raises PeerClosed with the connection."""
        id_ = self.calls.call(SPECS[name], body, trio.current_time())
        await self._flush()
        await self._until(lambda: id_ in self._ended)
        ended = self._ended.pop(id_)
        return ended.body if isinstance(ended, Response) else None

    async def respond(self, request, body):
        """Answer what was held."""
        self.calls.respond(request.stream, body, trio.current_time())
        await self._flush()

    async def wait_requests(self, name, count=1):
        """The first `count` calls of a method by the node."""
        await self._until(lambda: len(self.of(name)) >= count)
        return self.of(name)[:count]

    def of(self, name):
        return [request for request in self.requests if request.spec.name == name]

    async def _until(self, condition):
        with trio.fail_after(LIMIT_S):
            async with self._changed:
                while not condition():
                    if self.closed.is_set():
                        raise PeerClosed("the node closed the connection")
                    await self._changed.wait()

    async def wait_closed(self, limit_s=LIMIT_S):
        with trio.fail_after(limit_s):
            await self.closed.wait()


@asynccontextmanager
async def dialled(address, index=9, genesis=None, **how):
    """A raw peer on a socket to the node at `address`, before its first byte."""
    host, _, port = address.rpartition(":")
    stream = await trio.open_tcp_stream(host.strip("[]"), int(port))
    async with stream:
        yield RawPeer(stream, DIALLER, node_key(index), genesis or GENESIS, **how)


class MemoryListener:
    """A listening socket without a network."""

    address = "memory"

    def __init__(self):
        self._coming, self._come = trio.open_memory_channel(math.inf)

    async def accept(self):
        return await self._come.receive()

    def dial(self, make_pair=trio.testing.memory_stream_pair):
        """The dialler's end of a new connection."""
        ours, theirs = make_pair()
        self._coming.send_nowait((ours, self.address))
        return theirs

    def close(self):
        self._coming.close()
