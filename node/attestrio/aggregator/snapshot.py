"""Who was in the quorum at a task's block, read once for each block however many tasks and operators there are."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from typing import Any, Final

import trio

from attestrio.aggregator.errors import SnapshotUnreadable
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.rows import Task
from attestrio.aggregator.settings import USUAL, CollectSettings
from attestrio.aggregator.surface import GET_OPERATOR_STATE, QUORUMS, Contracts
from attestrio.aggregator.tally import Snapshot
from attestrio.errors import SourceError
from attestrio.kit.retry import retry
from attestrio.l1.api import BlockNumber, Chain, Header
from attestrio.l1.contract import Contract
from attestrio.l1.shared import SingleFlight

log = logging.getLogger("attestrio.aggregator")

HEAD_S: Final = 1.0  # how long a head is good enough: it has to be above the tasks' blocks, nothing else

Key = tuple[int, bytes]
"""Block number and hash: after a reorg the same number is another block, perhaps with other operators."""


class Snapshots:
    """Reads and remembers snapshots; the least recently used are forgotten above `settings.snapshots`."""

    def __init__(
        self,
        chain: Chain,
        contracts: Contracts,
        settings: CollectSettings = USUAL.collect,
        metrics: AggregatorMetrics | None = None,
    ) -> None:
        self._chain, self._contracts, self._settings, self._metrics = chain, contracts, settings, metrics
        self._known: OrderedDict[Key, Snapshot] = OrderedDict()
        self._flights: SingleFlight[Snapshot] = SingleFlight()
        self._heads: SingleFlight[Header | None] = SingleFlight()
        self._head: Header | None = None
        self._head_at = -math.inf

    async def at(self, task: Task) -> Snapshot:
        """The snapshot a task is judged by. Raises SourceError when the schedule is used up."""
        known = self.cached(task)
        if known is not None:
            return known
        key = task.created, task.created_hash
        snapshot = await self._flights.do(key, lambda: self._read_with_patience(key))
        self._known[key] = snapshot
        self._known.move_to_end(key)
        while len(self._known) > self._settings.snapshots:
            self._known.popitem(last=False)
        return snapshot

    def cached(self, task: Task) -> Snapshot | None:
        """What is remembered; never asks the chain."""
        key = task.created, task.created_hash
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
        return known

    def forget(self, task: Task) -> None:
        """Read it again next time: the contract did not agree with it."""
        self._known.pop((task.created, task.created_hash), None)

    async def _read_with_patience(self, key: Key) -> Snapshot:
        def told(exc: Exception, wait_s: float) -> None:
            log.info("operators of block %d: asked again in %g s: %s", key[0], wait_s, exc)

        try:
            snapshot = await retry(self._settings.snapshot_schedule, lambda: self._read(key), told=told)
        except SourceError:
            self._count("failed")
            raise
        self._count("read")
        return snapshot

    async def _read(self, key: Key) -> Snapshot:
        """Two questions, and one for the head with others. The contract is asked at the head, since most nodes have no
        state of old blocks, and it keeps a history; at the head's number, so that an endpoint which lags behind it
        fails instead of answering with what it has. The history is the task's only if the task's block is on that
        chain.
        """
        block, block_hash = key
        head = await self._head_above(block)
        if head is None or head.number < block:
            raise SnapshotUnreadable(block, f"the head is {'missing' if head is None else head.number}")
        retriever = Contract(self._chain, self._contracts.retriever)
        (state,) = await retriever.call(
            GET_OPERATOR_STATE, self._contracts.coordinator, QUORUMS, block, at=BlockNumber(head.number)
        )
        there = await self._chain.block(BlockNumber(block))
        if there is None or there.hash != block_hash:
            raise SnapshotUnreadable(block, "a reorg has taken that block away")
        return Snapshot.of(block, _stakes(state, block))

    async def _head_above(self, block: int) -> Header | None:
        """The head of this moment or of the last one, which many readers share after a long absence."""
        head = self._head
        if head is None or head.number < block or trio.current_time() - self._head_at >= HEAD_S:
            head = await self._heads.do("head", lambda: self._chain.block("latest"))
            self._head, self._head_at = head, trio.current_time()
        return head

    def _count(self, result: str) -> None:
        if self._metrics is not None:
            self._metrics.snapshots.labels(result).inc()


def _stakes(state: tuple[tuple[tuple[Any, bytes, int], ...], ...], block: int) -> dict[bytes, int]:
    """Stakes by operator id, of the one quorum there is. Raises SnapshotUnreadable."""
    if len(state) != len(QUORUMS):
        raise SnapshotUnreadable(block, f"{len(state)} quorums, {len(QUORUMS)} asked for")
    stakes = {id: stake for _, id, stake in state[0]}
    if len(stakes) != len(state[0]):
        raise SnapshotUnreadable(block, "one operator twice")
    return stakes
