"""Asking the chain about batches that nobody here has seen: one query for all of them, then the state of each found.

Each step has its schedule: the block number and the logs 1, 2, 4 s, the contract's state 1, 2, 4 blocks. A step that
fails once more than that ends what it was part of, which is begun again later.

Source: the retry table of aligned_layer pull request 1351 (2024-11). There the first log of a root is taken, whoever
sent it, and each signature asks for itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import trio

from attestrio.aggregator import rows
from attestrio.aggregator.rows import Task
from attestrio.aggregator.settings import RecoverySettings
from attestrio.aggregator.surface import (
    BATCH_VERIFIED,
    BATCHES_STATE,
    NEW_BATCH_V2,
    NEW_BATCH_V3,
    identifier_hash,
)
from attestrio.errors import SourceError
from attestrio.kit.http import AnswerTooLarge, AnswerTooLate
from attestrio.kit.retry import retry
from attestrio.l1.api import Address, BlockNumber, BlockRef, Chain, Log, LogFilter, Topic
from attestrio.l1.contract import Contract
from attestrio.l1.errors import BlockMissing, RangeRefused, UnreadableEvent
from attestrio.l1.logs import filter_for
from attestrio.operator.errors import TaskDiffers

log = logging.getLogger("attestrio.aggregator")

MAX_SPAN: Final = 1 << 24  # blocks in one query; more than any chain here has
CALLS: Final = 8  # of batchesState at the same time
EVENTS: Final = {event.topic: event for event in (NEW_BATCH_V2, NEW_BATCH_V3, BATCH_VERIFIED)}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the logs say of one batch."""

    root: bytes
    sender: bytes
    created: BlockRef
    index: int
    """Of the log in its block."""
    pointer: str
    verified: BlockNumber | None
    """The block of BatchVerified."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A batch to look for."""

    root: bytes
    blocks: int
    """How far below the head."""


@dataclass(frozen=True, slots=True)
class Searched:
    """What came of one search."""

    head: BlockNumber
    seen: Mapping[bytes, Seen]
    """Those of the batches that have a log, by identifier hash."""


class Lookup:
    """Reads of one contract. For one round at a time; `task` for any number of tasks."""

    def __init__(self, chain: Chain, manager: Address, settings: RecoverySettings) -> None:
        self._chain, self._manager, self._settings = chain, manager, settings
        self._span = MAX_SPAN
        self._calls = trio.CapacityLimiter(CALLS)

    async def search(self, wanted: Mapping[bytes, Wanted]) -> Searched:
        """Logs of the batches, which are named by identifier hash. Raises SourceError when a schedule is used up.

        One query for `max_roots` roots, over the longest range that any of them wants (several where the endpoints take
        less). Several senders may post one root, and the filter cannot tell them apart: every log is matched by both.
        """
        head = await retry(self._settings.network, self._head, told=_told("block number"))
        first = BlockNumber(max(0, head - max(one.blocks for one in wanted.values())))
        roots = sorted({one.root for one in wanted.values()})
        logs: list[Log] = []
        most = self._settings.max_roots
        for start in range(0, len(roots), most):
            some = tuple(Topic(root) for root in roots[start : start + most])
            events = filter_for(self._manager, NEW_BATCH_V2, NEW_BATCH_V3, BATCH_VERIFIED, where={1: some})
            logs += await self._logs(events, first, head)
        self._span = min(2 * self._span, MAX_SPAN)  # what refused may have been one endpoint of several
        return Searched(head, matched(logs, wanted))

    async def task(self, identifier: bytes, seen: Seen) -> Task:
        """The task of a batch that has a log. Raises SourceError when the schedule is used up, TaskDiffers at once.

        A state that is read too early, or from an endpoint that lags, has block 0 ("no such batch"): that is asked
        again too. Another block means that the log is of a block that is gone; the next search finds the new one.
        """
        contract = Contract(self._chain, self._manager)

        async def once() -> tuple[int, bool, int]:
            async with self._calls:
                created, responded, fee_limit = await contract.call(BATCHES_STATE, identifier)
            if created == 0:
                raise TaskDiffers(identifier, 0, seen.created.number)
            return created, responded, fee_limit

        created, responded, fee_limit = await retry(self._settings.chain, once, told=_told("batchesState"))
        if created != seen.created.number:
            raise TaskDiffers(identifier, created, seen.created.number)
        verified = seen.verified
        if responded and verified is None:  # since the logs were read: not after the present head
            verified = await retry(self._settings.network, self._head, told=_told("block number"))
        return Task(
            seen.root, seen.sender, int(seen.created.number), seen.created.hash, seen.index, fee_limit, seen.pointer,
            None if verified is None else int(verified),
        )  # fmt: skip

    async def _head(self) -> BlockNumber:
        header = await self._chain.block("latest")
        if header is None:
            raise BlockMissing(0, -1)
        return header.number

    async def _logs(self, wanted: LogFilter, first: BlockNumber, last: BlockNumber) -> Sequence[Log]:
        """All of the range, in as many parts as the endpoints want."""
        found: list[Log] = []
        while first <= last:
            to = BlockNumber(min(last, first + self._span - 1))
            logs = await self._part(wanted, first, to)
            if logs is not None:
                found += logs
                first = BlockNumber(to + 1)
        return found

    async def _part(self, wanted: LogFilter, first: BlockNumber, last: BlockNumber) -> Sequence[Log] | None:
        """None: it was too much at once, and less is asked for from now on."""

        async def once() -> Sequence[Log] | SourceError:
            try:
                return await self._chain.logs(wanted, first, last)
            except (RangeRefused, AnswerTooLarge) as exc:  # the same again would be refused again
                return exc

        span = last - first + 1
        try:
            answer = await retry(self._settings.network, once, told=_told("logs"))
        except AnswerTooLate:
            self._span = max(1, span // 2)  # perhaps it was too much: the next round asks for less
            raise
        if not isinstance(answer, SourceError):
            return answer
        if span == 1:
            raise answer
        self._span = max(1, min(span // 2, getattr(answer, "most", None) or span))
        log.info("recovery: asking for %d blocks at once from now on: %s", self._span, answer)
        return None


def matched(logs: Sequence[Log], wanted: Mapping[bytes, Wanted]) -> dict[bytes, Seen]:
    """What logs say of the wanted batches, by identifier hash; of several logs of one batch the last counts.

    A log that cannot be read is dropped: the contract that emitted it is to blame.
    """
    found: dict[bytes, Seen] = {}
    verified: dict[bytes, BlockNumber] = {}
    for one in logs:
        event = EVENTS[one.topics[0]]
        try:
            told = event.read_untrusted(one)
        except UnreadableEvent as exc:
            log.warning("event dropped: %s (%s)", exc, exc.code)
            continue
        root, sender = told["batchMerkleRoot"], told["senderAddress"]
        identifier = identifier_hash(root, sender)
        if identifier not in wanted:  # another sender's batch of the same root
            continue
        if event is BATCH_VERIFIED:
            verified[identifier] = one.block.number
        else:
            pointer = told["batchDataPointer"][: rows.MAX_POINTER]
            found[identifier] = Seen(root, sender, one.block, one.index, pointer, None)
    return {identifier: replace(seen, verified=verified.get(identifier)) for identifier, seen in found.items()}


def _told(what: str) -> Callable[[Exception, float], None]:
    def told(exc: Exception, wait_s: float) -> None:
        log.info("recovery: %s: asked again in %g s: %s", what, wait_s, exc)

    return told
