"""What the page of a sequencer shows: its head, what it hears of L1, and how far a re-sequencing has got."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import trio

from attestrio.app.page import RolePage, Sections, l1_answers, l1_view
from attestrio.kit.metrics import Metrics
from attestrio.l1.provider import L1Provider
from attestrio.l1.scan import LogScanner
from attestrio.resequence.report import Progress, Report
from attestrio.sequencer.pool import Pool
from attestrio.sequencer.shared import NOTHING, SharedChain
from attestrio.web.api import ChainView, QueueView, ResequenceView
from attestrio.web.health import Finding


@dataclass(slots=True, eq=False)
class SequencerSeen:
    """What the page reads, filled by the parts as they come to be."""

    chain: SharedChain
    l1: tuple[L1Provider, LogScanner] | None = None
    finality: str = ""
    stream_address: str | None = None
    rpc_url: str | None = None
    pool: Pool | None = None
    pool_limit: int | None = None
    entries: Callable[[], int] | None = None
    """How many entries the data stream has."""
    now: Callable[[], float] = time.time
    block_at: float | None = None
    """When the newest block came."""
    progress: Progress | None = None
    """Of a re-sequencing; set from the thread that makes it, whole."""
    report: Report | None = None
    """How the last one ended."""

    async def follow(self) -> NoReturn:
        """Note when each block comes."""
        while True:
            seen = self.chain.head
            await self.chain.wait_head(lambda head, seen=seen: head.hash != seen.hash)  # type: ignore[misc]
            if seen != NOTHING:  # the first is what the disk has
                self.block_at = self.now()

    async def sections(self) -> Sections:
        await trio.lowlevel.checkpoint()
        head, l1 = self.chain.head, None
        if self.l1 is not None:
            provider, scanner = self.l1
            l1 = l1_view(provider, scanner.scanned + 1, self.finality)
        chain = ChainView(
            batch=head.batch, block=head.block, hash=f"0x{head.hash.hex()}", block_at=self.block_at,
            halted=head.halted or "", stream_entries=None if self.entries is None else self.entries(),
        )  # fmt: skip
        queues = []
        if self.pool is not None:
            queues.append(QueueView(name="transactions", waiting=len(self.pool), limit=self.pool_limit))
        return Sections(chain=chain, l1=l1, queues=queues, resequence=self._resequence())

    def changed(self) -> object:
        waiting = None if self.pool is None else len(self.pool)
        scanned = None if self.l1 is None else self.l1[1].scanned
        return self.chain.head, waiting, self.progress, self.report, scanned

    def building(self) -> Finding:
        """A check: whether blocks are built."""
        halted = self.chain.head.halted
        if halted is not None:
            return Finding(False, f"nothing is built: {halted}")
        if self.progress is not None and self.report is None:
            return Finding(False, "batches are built again; new ones wait for that")
        return Finding(True, "blocks are built")

    def hears_l1(self) -> Finding:
        """A check: whether L1 answers."""
        if self.l1 is None:
            return Finding(True, "L1 is not heard yet")
        return l1_answers(self.l1[0])()

    def _resequence(self) -> ResequenceView | None:
        progress, report = self.progress, self.report
        if report is not None and not report.nothing_to_do:
            last = report.kept_batch + report.old_batches
            return ResequenceView(
                phase="done", first=report.kept_batch + 1, last=last, at=None, done=report.old_blocks,
                total=report.old_blocks, detail=f"{report.old_batches} batches became {report.new_batches}",
            )  # fmt: skip
        if progress is None:
            return None
        return ResequenceView(
            phase="building", first=None, last=None, at=progress.old_batch, done=progress.blocks,
            total=progress.of_blocks, detail=f"batch {progress.new_batch} is the last one made",
        )  # fmt: skip


def sequencer_page(metrics: Metrics, seen: SequencerSeen, *, has_l1: bool) -> RolePage:
    page = RolePage(
        "sequencer", metrics, seen.sections, listening=lambda: seen.stream_address, api_url=lambda: seen.rpc_url,
        changed=seen.changed,
    )  # fmt: skip
    page.health.add("building", seen.building)
    if has_l1:
        page.health.add("l1", seen.hears_l1)
    return page
