"""The scanner: every log of a filter once and in order, whatever happens to endpoints, chain and process.

How it works, block by block near the end and in windows before it:

1. The place (a cursor) is what the sink stored last, in one transaction with the work it caused. It holds the hashes of
   some scanned blocks. Nothing else is remembered, so a kill at any moment loses and doubles nothing.
2. Before each step the newest of these blocks is looked up. If the chain has another one there, the scanner walks back
   to the newest remembered block that is still there, and tells the sink that what came after it is void.
3. Of the last `follow` blocks each is asked for by its hash and has to be the child of the one before it: an endpoint
   that lags behind cannot pass off its ignorance as silence. Older ones come in windows of many blocks, which halve
   when an endpoint refuses and grow again.
4. What cannot be is a SourceError, see `l1.errors`: the step is not made, the place stays, it is asked again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn

import trio
from trio_util import AsyncValue

from attestrio.errors import SourceError
from attestrio.kit.http import AnswerTooLarge, AnswerTooLate
from attestrio.kit.metrics import Metrics
from attestrio.l1.api import BlockNumber, BlockRef, Chain, Header, Log, LogFilter, LogSink, Step
from attestrio.l1.errors import (
    BlockImpossible,
    BlockMissing,
    HeadWentBack,
    LogHashDiffers,
    RangeRefused,
    ReorgTooDeep,
)
from attestrio.l1.place import CursorUnreadable, Place, Window

log = logging.getLogger("attestrio.l1")


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """Where a scan begins, how far it goes, and how much it asks for."""

    first: BlockNumber
    """No log before this block is wanted; the one in which the contract was created."""
    finality: int | Literal["safe", "finalized"] = 0
    """How far below the head a scan ends: that many blocks, or at the block of that tag. No reorg is seen within."""
    every_s: float = 5.0
    """Between two looks when there is nothing new."""
    follow: int = 16
    """The last blocks before the end, which are asked for one by one."""
    window: int = 1_000
    """Blocks in the first query."""
    max_window: int = 10_000
    max_logs: int = 5_000
    """In one step, that is in one transaction of the sink."""
    remember: int = 64
    """Scanned blocks whose hashes are kept: a reorg that removes all of them is ReorgTooDeep."""
    patience_s: float = 60.0
    """How long a head below what is scanned counts as an endpoint that lags; then as a chain that lost blocks."""

    def __post_init__(self) -> None:
        for name in ("follow", "window", "max_window", "max_logs", "remember"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")


class LogScanner:
    """Brings the logs of `wanted` on `chain` to `sink`. Run it, or call `advance` yourself."""

    def __init__(
        self,
        chain: Chain,
        wanted: LogFilter,
        sink: LogSink,
        settings: ScanSettings,
        *,
        name: str = "logs",
        metrics: Metrics | None = None,
    ) -> None:
        """`name` tells scanners apart in metrics and logs."""
        self._chain, self._wanted, self._sink, self._settings, self._name = chain, wanted, sink, settings, name
        self._window = Window(min(settings.window, settings.max_window), settings.max_window)
        self._place: Place | None = None
        self._low_since: float | None = None
        self._woken = trio.Event()
        self._scanned: AsyncValue[int] = AsyncValue(settings.first - 1)
        metrics = metrics or Metrics()
        labels = {"scan": [name]}
        self._delivered = metrics.counter("attestrio_l1_logs_total", "Logs handed to the sink.", labels).labels(name)
        self._reorgs = metrics.counter("attestrio_l1_reorgs_total", "Walks back after a reorg.", labels).labels(name)
        self._at = metrics.gauge("attestrio_l1_scanned_block", "The last block delivered whole.", labels).labels(name)
        self._failed = metrics.counter(
            "attestrio_l1_scan_errors_total", "Steps not made, by the code of the error.", {"scan": [name], "code": []}
        )

    @property
    def scanned(self) -> int:
        """The last block that is delivered whole; one less than the first before that."""
        return self._scanned.value

    async def wait_scanned(self, block: int) -> None:
        """Until `block` is delivered whole. A later reorg may take it back."""
        await self._scanned.wait_value(lambda scanned: scanned >= block)

    def wake(self) -> None:
        """Look now: somebody heard of a new block."""
        self._woken.set()

    async def run(self) -> NoReturn:
        """Scan for ever. SourceErrors are logged and asked again; everything else, of the sink too, comes out."""
        while True:
            self._woken = trio.Event()
            try:
                while await self.advance():
                    pass
            except SourceError as exc:
                log.info("%s: not scanned further: %s (%s)", self._name, exc, exc.code)
                self._failed.labels(scan=self._name, code=exc.code).inc()
            with trio.move_on_after(self._settings.every_s):
                await self._woken.wait()

    async def advance(self) -> bool:
        """One step, if there is one to make: whether there was. Raises SourceError, and what the sink raises.

        Not for two tasks at a time.
        """
        place = self._place or await self._load()
        head = await self._chain.block(
            "latest" if isinstance(self._settings.finality, int) else self._settings.finality
        )
        if head is None:  # a young chain has no safe block yet
            return False
        if (back := await self._walk_back(place, head)) is not None:
            await self._record(Step((), back.to_bytes(), back.block, back.block), back)
            self._reorgs.inc()
            return True
        confirmations = self._settings.finality if isinstance(self._settings.finality, int) else 0
        end = head.number - confirmations
        if place.next_block > end:
            return False
        if end - place.next_block < self._settings.follow:
            await self._take_block(place, head)
        else:
            await self._take_window(place, BlockNumber(end - self._settings.follow))
        return True

    async def _load(self) -> Place:
        raw = await self._sink.cursor()
        begin = Place(self._settings.first - 1)
        if raw is None:
            place = begin
        else:
            try:
                place = Place.from_bytes(raw)
            except CursorUnreadable as exc:
                log.error("%s: %s; scanning again from block %d", self._name, exc, self._settings.first)
                await self._record(Step((), begin.to_bytes(), begin.block, begin.block), begin)
                return begin
        self._moved(place)
        return place

    # --- reorgs

    async def _walk_back(self, place: Place, head: Header) -> Place | None:
        """The place to go on from when the newest scanned block is not on the chain any more; None: it is."""
        newest = place.newest
        other = any(ref.number == head.number and ref != head.ref for ref in place.checkpoints)  # a shorter chain
        if newest is None or await self._is_there(newest, head, patient=not other):
            self._low_since = None
            return None
        for ref in reversed(place.checkpoints[:-1]):
            if await self._is_there(ref, head, patient=False):
                back = place.back_to(ref)
                break
        else:
            if not place.whole:
                raise ReorgTooDeep(place.checkpoints[0])
            back = Place(self._settings.first - 1)
        self._low_since = None
        log.warning("%s: block %s is gone; what came after block %d is void", self._name, newest, back.block)
        return back

    async def _is_there(self, ref: BlockRef, head: Header, *, patient: bool) -> bool:
        """Whether the block is on the chain. Raises BlockMissing; HeadWentBack while that may be a lag."""
        found = head if head.number == ref.number else await self._chain.block(ref.number)
        if found is not None:
            return found.ref == ref
        if head.number >= ref.number:
            raise BlockMissing(ref.number, head.number)
        if patient:
            now = trio.current_time()
            if self._low_since is None:
                self._low_since = now
            if now - self._low_since < self._settings.patience_s:
                raise HeadWentBack(head.number, ref.number)
        return False

    # --- steps

    async def _take_block(self, place: Place, head: Header) -> None:
        """One block, by its hash."""
        number = place.next_block
        header = head if head.number == number else await self._header(number, head.number)
        newest = place.newest
        if newest is not None and newest.number == number - 1 and header.parent != newest.hash:
            raise BlockImpossible(number, f"not the child of {newest}")  # if that is gone, the next step sees it
        if newest is not None and newest.number == number and header.ref != newest:
            raise BlockImpossible(number, f"not {newest} any more")
        await self._deliver(place, await self._chain.logs_of(self._wanted, header.ref), header.ref)

    async def _take_window(self, place: Place, last: BlockNumber) -> None:
        """As many blocks as the endpoints take at once, `last` the last of them."""
        first = place.next_block
        last = BlockNumber(min(last, first + self._window.size - 1))
        end = await self._header(last, last)
        try:
            logs = await self._chain.logs(self._wanted, first, last)
        except (RangeRefused, AnswerTooLarge, AnswerTooLate) as exc:
            if not self._window.refused(getattr(exc, "most", None)):
                await self._take_block(place, await self._header(first, first))
                return
            log.info("%s: asking for %d blocks from now on: %s", self._name, self._window.size, exc)
            return
        await self._check_hashes(logs, end)
        await self._check_there(end.ref, place.newest)
        self._window.answered()
        await self._deliver(place, logs, end.ref)

    async def _header(self, number: BlockNumber, head: int) -> Header:
        header = await self._chain.block(number)
        if header is None:
            raise BlockMissing(number, head)
        return header

    async def _check_hashes(self, logs: Sequence[Log], end: Header) -> None:
        """That the newest logs are of the chain the headers are of. Each block would be a query of its own; the others
        lie below these and share their fate, and near the end every block is asked for by hash."""
        if not logs:
            return
        newest = logs[-1].block
        header = end if newest.number == end.number else await self._header(newest.number, end.number)
        if header.ref != newest:
            raise LogHashDiffers(self._name, f"logs of block {newest}, the chain has {header.ref}")

    async def _check_there(self, *blocks: BlockRef | None) -> None:
        """That no reorg came between the answers of a window: what lies around the logs is there still.

        Without it, silence about blocks of the old chain would pass for silence about the new ones.
        """
        for ref in blocks:
            if ref is not None and (await self._header(ref.number, ref.number)).ref != ref:
                raise BlockImpossible(ref.number, f"not {ref} any more")

    async def _deliver(self, place: Place, logs: Sequence[Log], end: BlockRef) -> None:
        """All of `logs` that are new and then the end of the block, in as many steps as their number needs."""
        if place.index is not None:
            after = (place.block, place.index)
            logs = [one for one in logs if one.place > after]
        most, remember = self._settings.max_logs, self._settings.remember
        for start in range(0, len(logs) - most, most):
            part = logs[start : start + most]
            place = place.reached(part[-1].block, part[-1].index, remember)
            await self._record(Step(part, place.to_bytes(), part[-1].block.number), place)
        rest = logs[(len(logs) - 1) // most * most :] if logs else ()
        place = place.reached(end, None, remember)
        await self._record(Step(rest, place.to_bytes(), end.number), place)

    async def _record(self, step: Step, place: Place) -> None:
        self._place = None  # should it not be known how this ends, the sink is asked
        await self._sink.record(step)
        self._delivered.inc(len(step.logs))
        self._moved(place)

    def _moved(self, place: Place) -> None:
        self._place = place
        self._scanned.value = place.next_block - 1
        self._at.set(place.next_block - 1)
