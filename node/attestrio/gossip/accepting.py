"""Who dials in."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, NoReturn

import trio

from attestrio.errors import PeerError
from attestrio.gossip.io import ConsensusNotServed, Identity, Session, accept
from attestrio.gossip.limiter import Limiter
from attestrio.gossip.listener import Listener
from attestrio.gossip.node import GossipNode
from attestrio.gossip.peers import Direction
from attestrio.gossip.wire import Wire

log = logging.getLogger("attestrio.gossip")

MAX_STRANGERS: Final = 64  # connections without a handshake; one more pushes out the oldest of them


@dataclass(frozen=True, slots=True)
class Acceptor:
    """Takes connections at the rate that the rules name, and brings each to its handshake.

    Bounds: `MAX_STRANGERS` that have not proved a key, each for at most 10 s; behind them the pool's own.
    """

    node: GossipNode
    listener: Listener
    me: Identity
    hold: Callable[[Session], Awaitable[None]]

    async def run(self) -> NoReturn:
        limiter = Limiter(self.node.rules.accept_rate, trio.current_time())
        strangers: dict[trio.CancelScope, None] = {}  # oldest first
        async with trio.open_nursery() as connections:
            while True:
                await self._permit(limiter)
                stream, address = await self.listener.accept()
                while len(strangers) >= MAX_STRANGERS:
                    oldest = next(iter(strangers))
                    del strangers[oldest]
                    oldest.cancel()
                connections.start_soon(self._serve, Wire(stream, address), strangers)

    async def _permit(self, limiter: Limiter) -> None:
        """Spent at once, whatever comes of the connection."""
        while not limiter.try_reserve(now := trio.current_time()):
            at = limiter.next_at(now)
            assert at is not None  # each permit is released as soon as it is taken
            await trio.sleep_until(at)
        limiter.release(trio.current_time())

    async def _serve(self, wire: Wire, strangers: dict[trio.CancelScope, None]) -> None:
        try:
            session = await self._greet(wire, strangers)
            if session is not None:
                await self.hold(session)
        except ConsensusNotServed:
            return
        except PeerError as exc:
            log.info("inbound %s: %s", wire.address, exc)
        finally:
            await wire.aclose()

    async def _greet(self, wire: Wire, strangers: dict[trio.CancelScope, None]) -> Session | None:
        """A session, or None when others came in the meantime."""
        with trio.CancelScope() as scope:
            strangers[scope] = None
            try:
                session = await accept(wire, self.me)
            except PeerError as exc:
                self.node.began(Direction.INBOUND, exc)
                raise
            finally:
                strangers.pop(scope, None)
            self.node.began(Direction.INBOUND, None)
            return session
        log.info("inbound %s: given up for newer ones before its handshake", wire.address)
        return None
