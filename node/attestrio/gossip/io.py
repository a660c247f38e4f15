"""From a wire to a session: preface, Noise and handshake, each within its time. The machines decide; this waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Final

import trio

from attestrio.errors import PeerError
from attestrio.gossip.errors import HandshakeTimeout
from attestrio.gossip.frame import FrameDecoder
from attestrio.gossip.handshake import MAX_HANDSHAKE, hello, inbound_untrusted, outbound_untrusted
from attestrio.gossip.noise import (
    FIRST,
    SECOND,
    HandshakeDecoder,
    NNHandshake,
    NoiseReceiver,
    NoiseSender,
    frame_handshake,
)
from attestrio.gossip.preface import (
    ENCRYPTION_NOISE_NN,
    ENDPOINT_GOSSIP,
    MAX_PREFACE,
    Endpoint,
    encryption_untrusted,
    endpoint_untrusted,
)
from attestrio.gossip.wire import Wire
from attestrio.roles import GenesisHash, NodePublicKey, NodeSecretKey

PREFACE_S: Final = 5.0  # for the dialler it covers the TCP connection too
HANDSHAKE_S: Final = 5.0


class ConsensusNotServed(PeerError):
    """A validator looks for another one. It does nothing wrong, there is only nobody here: no word, no fault."""

    code: ClassVar[str] = "consensus_not_served"

    def __init__(self) -> None:
        super().__init__("the peer asks for the consensus network, which this node is not part of")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is, on which chain, and whom it expects to call. `static_inbound` is only told, never needed."""

    secret: NodeSecretKey
    genesis: GenesisHash
    static_inbound: frozenset[NodePublicKey] = frozenset()


@dataclass(frozen=True, slots=True)
class Session:
    """A channel to a peer that has proved its key; the mux begins here."""

    wire: Wire
    key: NodePublicKey
    sender: NoiseSender
    receiver: NoiseReceiver
    rest: bytes
    """Plaintext that came behind the peer's handshake."""


@contextmanager
def phase(name: str, limit_s: float) -> Iterator[None]:
    """Bound what is inside. Raises HandshakeTimeout."""
    try:
        with trio.fail_after(limit_s):
            yield
    except trio.TooSlowError:
        raise HandshakeTimeout(name, limit_s) from None


async def accept(wire: Wire, me: Identity) -> Session:
    """The acceptor's part. Raises PeerError: close the wire, nothing is said; ConsensusNotServed is no fault."""
    with phase("preface", PREFACE_S):
        clear = FrameDecoder(MAX_PREFACE)
        while (asked := clear.next_frame()) is None:
            clear.feed(await wire.receive())
        encryption_untrusted(asked)
        noise = NNHandshake(initiator=False)
        first = HandshakeDecoder(FIRST)
        first.feed(clear.rest())
        noise.read_e(await _message(first, wire))
        second, (forth, back) = noise.write_e_ee()
        await wire.send(frame_handshake(second))
        channel = _Channel(wire, NoiseSender(forth), NoiseReceiver(back), first.rest())
        if endpoint_untrusted(await channel.frame()) is Endpoint.CONSENSUS:
            raise ConsensusNotServed
    with phase("handshake", HANDSHAKE_S):
        key = inbound_untrusted(await channel.frame(), noise.h, me.genesis)
        await channel.send(hello(me.secret, noise.h, me.genesis, key in me.static_inbound))
    return channel.session(key)


async def dial(wire: Wire, me: Identity, expected: NodePublicKey, preface_s: float = PREFACE_S) -> Session:
    """The dialler's part after TCP; `preface_s` is what the connection has left of its time.

    Raises PeerError: close the wire.
    """
    with phase("preface", preface_s):
        noise = NNHandshake(initiator=True)
        await wire.send(ENCRYPTION_NOISE_NN + frame_handshake(noise.write_e()))
        second = HandshakeDecoder(SECOND)
        forth, back = noise.read_e_ee(await _message(second, wire))
        channel = _Channel(wire, NoiseSender(forth), NoiseReceiver(back), second.rest())
        await channel.send(ENDPOINT_GOSSIP)
    with phase("handshake", HANDSHAKE_S):
        await channel.send(hello(me.secret, noise.h, me.genesis, True))
        outbound_untrusted(await channel.frame(), noise.h, me.genesis, expected)
    return channel.session(expected)


async def _message(decoder: HandshakeDecoder, wire: Wire) -> bytes:
    while (message := decoder.next_message()) is None:
        decoder.feed(await wire.receive())
    return message


class _Channel:
    """Frames through Noise, before there is a mux."""

    def __init__(self, wire: Wire, sender: NoiseSender, receiver: NoiseReceiver, rest: bytes) -> None:
        self._wire, self._sender, self._receiver = wire, sender, receiver
        self._frames = FrameDecoder(max(MAX_PREFACE, MAX_HANDSHAKE))
        receiver.feed(rest)

    async def frame(self) -> bytes:
        while (body := self._frames.next_frame()) is None:
            while not (plain := self._receiver.read()):
                self._receiver.feed(await self._wire.receive())
            self._frames.feed(plain)
        return body

    async def send(self, plaintext: bytes) -> None:
        await self._wire.send(self._sender.seal(plaintext))

    def session(self, key: NodePublicKey) -> Session:
        return Session(self._wire, key, self._sender, self._receiver, self._frames.rest())
