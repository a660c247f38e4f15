"""Whom a process talks to: TCP addresses, peers up to the secure channel, Ethereum. Every wait is bounded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from attestrio.app.doctor.clock import Clock
from attestrio.app.doctor.finding import Finding, fail, ok, warn
from attestrio.app.doctor.subject import L1Access
from attestrio.errors import PeerError, SourceError
from attestrio.gossip.dialling import connect
from attestrio.gossip.io import PREFACE_S
from attestrio.gossip.noise import SECOND, HandshakeDecoder, NNHandshake, frame_handshake
from attestrio.gossip.preface import ENCRYPTION_NOISE_NN
from attestrio.gossip.wire import Wire
from attestrio.kit.http import BadUrl, client, shown
from attestrio.roles import NodePublicKey

if TYPE_CHECKING:
    from attestrio.l1.provider import L1Provider

MOST_PEERS: Final = 100
AT_ONCE: Final = 16
SLOW_PEER_S: Final = 1.0
LAG_BLOCKS: Final = 10  # by which one endpoint may be behind another
DEPTH: Final = 10  # blocks below the lowest head at which all have to have the same one

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


async def chain(access: L1Access) -> list[Finding]:
    """Each endpoint: its chain, its head and its clock; whether they follow one chain; and whether that has the
    contracts."""
    from attestrio.l1.api import BlockNumber, Header
    from attestrio.l1.endpoint import Endpoint
    from attestrio.l1.errors import ChainChanged, WrongChain
    from attestrio.l1.provider import L1Provider

    heads: dict[str, int] = {}
    hashes: dict[str, bytes] = {}
    clocks: dict[str, Finding] = {}

    def provider(url: str, clock: Clock | None = None) -> L1Provider:
        http = client(url, timeout_s=access.timeout_s)
        endpoint = Endpoint(url, access.chain_id, timeout_s=access.timeout_s, http=http)
        if clock is not None:
            http.event_hooks["response"].append(clock.look)
        return L1Provider([endpoint], schedule=(), deadline_s=access.timeout_s)

    async def look(url: str) -> Finding:
        about, began, clock = shown(url), trio.current_time(), Clock()
        try:
            async with provider(url, clock) as one:
                await one.start()
                answered_s = trio.current_time() - began
                head = await one.block("latest")
        except BadUrl as exc:
            return fail("l1", about, str(exc), "correct l1.rpc_urls")
        except (ChainChanged, WrongChain) as exc:
            return fail("l1", about, f"{exc} ({exc.code})", "correct l1.rpc_urls or l1.chain_id")
        except SourceError as exc:
            return fail("l1", about, f"{exc} ({exc.code})", "is it up, and is the URL right?")
        clocks[url] = clock.finding(about, answered_s)
        if head is None:
            return warn("l1", about, "serves the right chain, and has no block", "wait until it has synchronised")
        heads[url], took = int(head.number), trio.current_time() - began
        text = f"chain {access.chain_id}, head {head.number}, answered in {took * 1e3:.0f} ms"
        return ok("l1", about, text, head=int(head.number), answer_s=took)

    async def compare(url: str, number: int) -> None:
        try:
            async with provider(url) as one:
                header: Header | None = await one.block(BlockNumber(number))
        except SourceError:
            return  # it has just answered: the next run says more
        if header is not None:
            hashes[url] = header.hash

    found = await at_once(access.urls, look)
    if len(heads) > 1:
        at = max(min(heads.values()) - DEPTH, 0)
        await at_once(list(heads), lambda url: compare(url, at))
    found.append(_agreement(access, heads, hashes))
    if heads:  # whoever is furthest: the others may not have a new contract yet
        async with provider(max(heads, key=heads.__getitem__)) as one:
            found += await at_once(access.contracts, lambda named: _contract(one, *named))
    return found + [clocks[url] for url in access.urls if url in clocks]


async def _contract(asked: L1Provider, key: str, address: str) -> Finding:
    """Whether there is any: of an address with a slip in it, or of another chain, no event ever comes."""
    from attestrio.l1.wire import data_untrusted

    about = f"{key} {address}"
    try:
        code = await asked.ask("eth_getCode", (address, "latest"), data_untrusted)
    except SourceError as exc:
        return warn("contract", about, f"cannot be looked for: {exc} ({exc.code})", "is the endpoint up?")
    if not code:
        return fail("contract", about, "there is no contract", f"correct {key}, or l1.chain_id and l1.rpc_urls")
    return ok("contract", about, f"there, {len(code)} bytes", code_bytes=len(code))


def _agreement(access: L1Access, heads: dict[str, int], hashes: dict[str, bytes]) -> Finding:
    if len(heads) < access.agree:
        return fail(
            "l1_agreement", "", f"{len(heads)} of {len(access.urls)} endpoints answer, {access.agree} have to agree",
            "bring the others back, or name more",
        )  # fmt: skip
    if len(set(hashes.values())) > 1:
        return fail(
            "l1_agreement", "", "the endpoints have different blocks at the same height",
            "find out which one is wrong, and take it out",
        )  # fmt: skip
    behind = [shown(url) for url, head in heads.items() if max(heads.values()) - head > LAG_BLOCKS]
    if behind:
        return warn("l1_agreement", "", f"more than {LAG_BLOCKS} blocks behind: {', '.join(behind)}", "look at those")
    return ok("l1_agreement", "", f"{len(heads)} of {len(access.urls)} endpoints answer, {access.agree} have to agree")


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
