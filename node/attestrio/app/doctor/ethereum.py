"""The endpoints of Ethereum: their chain, their clocks, whether they agree, and whether the contracts are there.

Imported when it is needed: not every process has to do with Ethereum, and this takes a while.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import trio

from attestrio.app.doctor.clock import Clock
from attestrio.app.doctor.far import at_once
from attestrio.app.doctor.finding import Finding, fail, ok, warn
from attestrio.app.doctor.subject import L1Access
from attestrio.errors import SourceError
from attestrio.kit.http import BadUrl, client, shown
from attestrio.l1.api import BlockNumber
from attestrio.l1.endpoint import Endpoint
from attestrio.l1.errors import ChainChanged, WrongChain
from attestrio.l1.provider import L1Provider
from attestrio.l1.wire import data_untrusted

LAG_BLOCKS: Final = 10  # by which one endpoint may be behind another
DEPTH: Final = 10  # blocks below the lowest head at which all have to have the same one


async def chain(access: L1Access) -> list[Finding]:
    """Each endpoint: its chain, its head and its clock; whether they follow one chain; and whether that has the
    contracts."""
    seen = _Seen(access)
    found = await at_once(access.urls, seen.look)
    if len(seen.heads) > 1:
        await at_once(list(seen.heads), seen.compare)
    found.append(_agreement(access, seen.heads, seen.hashes))
    if seen.heads:  # whoever is furthest: the others may not have a new contract yet
        async with seen.provider(max(seen.heads, key=seen.heads.__getitem__)) as one:
            found += await at_once(access.contracts, lambda named: _contract(one, *named))
    return found + [seen.clocks[url] for url in access.urls if url in seen.clocks]


@dataclass(slots=True)
class _Seen:
    """What the endpoints that answered have said, by URL."""

    access: L1Access
    heads: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, bytes] = field(default_factory=dict)
    """Of the block that all of them should have alike."""
    clocks: dict[str, Finding] = field(default_factory=dict)

    def provider(self, url: str, clock: Clock | None = None) -> L1Provider:
        """Of one endpoint, asked once. Raises BadUrl."""
        http = client(url, timeout_s=self.access.timeout_s)
        endpoint = Endpoint(url, self.access.chain_id, timeout_s=self.access.timeout_s, http=http)
        if clock is not None:
            http.event_hooks["response"].append(clock.look)
        return L1Provider([endpoint], schedule=(), deadline_s=self.access.timeout_s)

    async def look(self, url: str) -> Finding:
        about, began, clock = shown(url), trio.current_time(), Clock()
        try:
            async with self.provider(url, clock) as one:
                await one.start()
                answered_s = trio.current_time() - began
                head = await one.block("latest")
        except BadUrl as exc:
            return fail("l1", about, str(exc), "correct l1.rpc_urls")
        except (ChainChanged, WrongChain) as exc:
            return fail("l1", about, f"{exc} ({exc.code})", "correct l1.rpc_urls or l1.chain_id")
        except SourceError as exc:
            return fail("l1", about, f"{exc} ({exc.code})", "is it up, and is the URL right?")
        self.clocks[url] = clock.finding(about, answered_s)
        if head is None:
            return warn("l1", about, "serves the right chain, and has no block", "wait until it has synchronised")
        self.heads[url], took = int(head.number), trio.current_time() - began
        text = f"chain {self.access.chain_id}, head {head.number}, answered in {took * 1e3:.0f} ms"
        return ok("l1", about, text, head=int(head.number), answer_s=took)

    async def compare(self, url: str) -> None:
        number = max(min(self.heads.values()) - DEPTH, 0)
        try:
            async with self.provider(url) as one:
                header = await one.block(BlockNumber(number))
        except SourceError:
            return  # it has just answered: the next run says more
        if header is not None:
            self.hashes[url] = header.hash


async def _contract(asked: L1Provider, key: str, address: str) -> Finding:
    """Whether there is any: of an address with a slip in it, or of another chain, no event ever comes."""
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
