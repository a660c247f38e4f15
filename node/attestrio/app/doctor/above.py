"""The main nodes: whether they answer, agree on one genesis, and have our time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import trio

from attestrio.app.doctor.clock import Clock
from attestrio.app.doctor.far import at_once
from attestrio.app.doctor.finding import Finding, fail, ok, warn
from attestrio.config import MainNodeSection
from attestrio.errors import SourceError
from attestrio.kit.http import BadUrl, client, shown
from attestrio.mainnode.client import MainNodeClient
from attestrio.roles import Genesis


@dataclass(slots=True)
class Heard:
    """What one main node said."""

    url: str
    finding: Finding
    clock: Finding | None = None
    genesis: Genesis | None = None


async def main_nodes(section: MainNodeSection) -> list[Heard]:
    """Ask each of them for its genesis and its status, at the same time."""
    urls = section.urls or ((section.url,) if section.url is not None else ())
    return await at_once(urls, lambda url: _ask(url, section))


async def _ask(url: str, section: MainNodeSection) -> Heard:
    about, clock = shown(url), Clock()
    try:
        http = client(url, timeout_s=section.timeout_s)
    except BadUrl as exc:
        return Heard(about, fail("main_node", about, str(exc), "correct main_node.url"))
    http.event_hooks = {"response": [clock.look]}
    bounds = {"timeout_s": section.timeout_s, "max_answer_bytes": section.max_answer_bytes}
    async with MainNodeClient(url, http=http, **bounds) as asked:  # type: ignore[arg-type]
        began = trio.current_time()
        try:
            genesis = await asked.consensus_genesis()
            took = trio.current_time() - began
            status = await asked.attestation_status()
        except SourceError as exc:
            return Heard(about, fail("main_node", about, f"{exc} ({exc.code})", "is it up, and is the URL right?"))
    told = clock.finding(about, took)
    if genesis is None or status is None:
        text = f"answered in {took * 1e3:.0f} ms, and names no {'genesis' if genesis is None else 'batch'} yet"
        return Heard(about, warn("main_node", about, text, "wait until it has one", answer_s=took), told, genesis)
    batch = "no batch yet" if status.next_batch is None else f"batch {status.next_batch}"
    text = f"answered in {took * 1e3:.0f} ms, names {batch}"
    return Heard(about, ok("main_node", about, text, answer_s=took), told, genesis)


def agreement(section: MainNodeSection, heard: list[Heard], of_file: Genesis | None) -> tuple[Finding, Genesis | None]:
    """Whether all follow one genesis; and which this node would follow, None where nobody knows."""
    counts = Counter(one.genesis.hash() for one in heard if one.genesis is not None)
    known = {one.genesis.hash(): one.genesis for one in heard if one.genesis is not None}
    needed = 0 if not heard else (section.agree or len(heard) // 2 + 1) if section.urls else 1
    if of_file is not None:
        known[of_file.hash()] = of_file
    if not known:
        return warn("genesis", "", "nobody names one yet", "start the main node, or name a genesis.file"), None
    chosen = of_file.hash() if of_file is not None else counts.most_common(1)[0][0]
    text = ", ".join(f"{count} of {len(heard)} main nodes: {one.to_text()}" for one, count in counts.items())
    if of_file is not None:
        text = f"genesis.file: {of_file.hash().to_text()}{'; ' if text else ''}{text}"
    if len(known) > 1:
        todo = "find out which one is right before this node votes; a newer fork is taken over by itself"
        return fail("genesis", "", f"there are {len(known)}: {text}", todo), known[chosen]
    if sum(counts.values()) < needed:
        todo = "bring the others back, or name more"
        return fail("genesis", "", f"{needed} main nodes have to agree; {text or 'none answers'}", todo), known[chosen]
    return ok("genesis", "", text), known[chosen]
