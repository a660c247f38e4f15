"""Whom a process talks to: TCP addresses, peers up to the secure channel. Every wait is bounded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import trio

from attestrio.app.doctor.finding import Finding, fail, ok, warn
from attestrio.errors import PeerError
from attestrio.gossip.dialling import connect
from attestrio.gossip.io import PREFACE_S
from attestrio.gossip.noise import SECOND, HandshakeDecoder, NNHandshake, frame_handshake
from attestrio.gossip.preface import ENCRYPTION_NOISE_NN
from attestrio.gossip.wire import Wire
from attestrio.roles import NodePublicKey

MOST_PEERS: Final = 100
AT_ONCE: Final = 16
SLOW_PEER_S: Final = 1.0

T = TypeVar("T")
R = TypeVar("R")


async def address(key: str, where: str) -> Finding:
    """One TCP connection."""
    about = f"{key} {where}"
    began = trio.current_time()
    try:
        with trio.fail_after(PREFACE_S):
            stream = await connect(where)
    except (PeerError, trio.TooSlowError) as exc:
        return fail("address", about, str(exc) or f"no connection within {PREFACE_S:g} s", "is it up, and let through?")
    took = trio.current_time() - began
    await trio.aclose_forcefully(stream)
    return ok("address", about, f"connected in {took * 1e3:.1f} ms", connect_s=took)


async def peers(outbound: dict[NodePublicKey, str]) -> list[Finding]:
    """Each static peer, as far as the secure channel: nothing is said about who we are, so a node with our key may run
    and be connected to them."""
    chosen = list(outbound.items())[:MOST_PEERS]
    found = await at_once(chosen, lambda one: _peer(*one))
    if len(outbound) > len(chosen):
        found.append(warn("peer", "", f"{len(outbound) - len(chosen)} more were not tried", ""))
    return found


async def _peer(key: NodePublicKey, where: str) -> Finding:
    about = f"{key}@{where}"
    try:
        with trio.fail_after(PREFACE_S):
            connected_s, answered_s = await round_trip(where)
    except trio.TooSlowError:
        return fail("peer", about, f"no answer within {PREFACE_S:g} s", "is it up, and does a firewall let it through?")
    except PeerError as exc:
        return fail("peer", about, f"{exc} ({exc.code})", "is it up, and is this its gossip address?")
    text, values = f"answered in {answered_s * 1e3:.1f} ms", {"connect_s": connected_s, "answer_s": answered_s}
    if answered_s > SLOW_PEER_S:
        return warn("peer", about, text, "votes to it are as slow: look at the network", **values)
    return ok("peer", about, text, **values)


async def round_trip(where: str) -> tuple[float, float]:
    """Seconds until TCP was up, and until the peer's half of the Noise handshake was there. Raises PeerError."""
    began = trio.current_time()
    wire = Wire(await connect(where), where)
    try:
        connected = trio.current_time()
        noise, second = NNHandshake(initiator=True), HandshakeDecoder(SECOND)
        await wire.send(ENCRYPTION_NOISE_NN + frame_handshake(noise.write_e()))
        while (message := second.next_message()) is None:
            second.feed(await wire.receive())
        noise.read_e_ee(message)
        return connected - began, trio.current_time() - began
    finally:
        await wire.aclose()


async def at_once(items: Sequence[T], ask: Callable[[T], Awaitable[R]]) -> list[R]:
    """The answers in the order of the items, some of them asked at the same time."""
    answers: dict[int, R] = {}
    room = trio.CapacityLimiter(AT_ONCE)

    async def one(index: int, item: T) -> None:
        async with room:
            answers[index] = await ask(item)

    async with trio.open_nursery() as nursery:
        for index, item in enumerate(items):
            nursery.start_soon(one, index, item)
    return [answers[index] for index in range(len(items))]
