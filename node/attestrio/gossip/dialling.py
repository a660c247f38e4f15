"""Who is dialled: one endless loop for each static peer."""

from __future__ import annotations

import logging
import random
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar, NoReturn

import trio

from attestrio.errors import PeerError
from attestrio.gossip.errors import PeerClosed
from attestrio.gossip.io import PREFACE_S, Identity, Session, dial, phase
from attestrio.gossip.node import GossipNode
from attestrio.gossip.peers import Direction
from attestrio.gossip.wire import Wire
from attestrio.roles import NodePublicKey

log = logging.getLogger("attestrio.gossip")


class PeerUnreachable(PeerError):
    """Nobody answers where a static peer should be."""

    code: ClassVar[str] = "peer_unreachable"

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"{address} not reached: {why}")
        self.address = address


@dataclass(frozen=True, slots=True)
class Dialler:
    """Keeps one link to one static peer: dial, talk, and again some time after it has ended, for whatever reason."""

    node: GossipNode
    key: NodePublicKey
    address: str
    me: Identity
    hold: Callable[[Session], Awaitable[None]]

    async def run(self) -> NoReturn:
        while True:
            try:
                await self._once()
            except PeerError as exc:
                log.info("outbound %s: %s", self.key, exc)
            await trio.sleep(self._pause_s())

    async def _once(self) -> None:
        wire: Wire | None = None
        try:
            began = trio.current_time()
            try:
                with phase("connection", PREFACE_S):
                    wire = Wire(await connect(self.address), self.address)
                session = await self._dial(wire, max(0.0, began + PREFACE_S - trio.current_time()))
            except PeerError as exc:
                self.node.began(Direction.OUTBOUND, exc)
                raise
            self.node.began(Direction.OUTBOUND, None)
            await self.hold(session)
        finally:
            if wire is not None:
                await wire.aclose()

    async def _dial(self, wire: Wire, preface_s: float) -> Session:
        try:
            return await dial(wire, self.me, self.key, preface_s)
        except PeerClosed:  # all that is ever said of a refusal
            raise PeerClosed(f"{self.address} closed before it answered: another genesis, or no room for us") from None

    def _pause_s(self) -> float:
        """Within a tenth of the configured time, so that peers that lost each other together do not dial together."""
        return self.node.rules.redial_s * random.uniform(0.9, 1.1)


async def connect(address: str) -> trio.SocketStream:
    """A connection to HOST:PORT: resolved anew, one of the answers at random, one attempt. Raises PeerUnreachable.

    The caller bounds the time.
    """
    host, _, port = address.rpartition(":")
    try:
        found = await trio.socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        family, kind, proto, _, where = random.choice(found)
        sock = trio.socket.socket(family, kind, proto)
        try:
            await sock.connect(where)
        except BaseException:  # also when cancelled: nobody else knows the socket
            sock.close()
            raise
    except (OSError, UnicodeError) as exc:  # UnicodeError: a label too long for DNS
        raise PeerUnreachable(address, getattr(exc, "strerror", None) or str(exc)) from None
    return trio.SocketStream(sock)
