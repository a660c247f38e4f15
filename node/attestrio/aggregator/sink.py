"""From events to tasks and keys: what the scanner brings is worked in, in one transaction with the scanner's place."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from attestrio.aggregator import rows
from attestrio.aggregator.change import Change
from attestrio.aggregator.rows import OperatorKey, Place, Task
from attestrio.aggregator.settings import USUAL
from attestrio.aggregator.state import AggregatorState
from attestrio.aggregator.surface import (
    BATCH_VERIFIED,
    NEW_BATCH_V2,
    NEW_BATCH_V3,
    NEW_PUBKEY_REGISTRATION,
    Contracts,
    identifier_hash,
)
from attestrio.bls import BadPoint, encode_g1, encode_g2, g1_from_words_untrusted, g2_from_words_untrusted, operator_id
from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.l1.api import Chain, Log, Step
from attestrio.l1.errors import BlockMissing, UnreadableEvent

log = logging.getLogger("attestrio.aggregator")

NEW_BATCH: Final = {event.topic: event for event in (NEW_BATCH_V2, NEW_BATCH_V3)}

Told = Callable[[Change], object]
"""One event, read: what it changes."""


class LogSink:
    """A `LogSink` of the scanner. Steps come one after the other, from one task.

    Keys are taken from the first block that is scanned on. Tasks are taken up from `fetch_range_blocks` below the head
    of the first start ever on: what is older was answered, or is found when an operator signs it.
    """

    def __init__(
        self,
        state: AggregatorState,
        chain: Chain,
        contracts: Contracts,
        fetch_range_blocks: int = USUAL.recovery.fetch_range_blocks,
        run_blocking: RunBlocking = in_thread,
    ) -> None:
        self._state, self._chain, self._contracts = state, chain, contracts
        self._range, self._run_blocking = fetch_range_blocks, run_blocking

    async def cursor(self) -> bytes | None:
        """Also decides, the first time ever, from where on tasks count. Raises SourceError: the scanner asks again."""
        if self._state.first is None:
            head = await self._chain.block("latest")
            if head is None:
                raise BlockMissing(0, 0)
            await self._state.begin_at(max(0, head.number - self._range))
        return await self._state.journal.cursor(rows.SCAN)

    async def record(self, step: Step) -> None:
        """Undo what is void, take in what is new; see `l1.LogSink.record`."""
        told = [change for one in step.logs if (change := await self._read(one)) is not None]
        end = Place(step.scanned + 1)
        if step.logs and step.logs[-1].block.number == step.scanned:  # the rest of the block may follow
            end = Place(step.scanned, step.logs[-1].index + 1)

        def make(change: Change) -> None:
            if step.void_above is not None:
                change.undo_above(step.void_above)
            for apply in told:
                apply(change)
            change.passed(self._state.ahead, end)

        await self._state.commit(make, cursor=step.cursor, end=end, scanned=step.scanned)

    async def _read(self, one: Log) -> Told | None:
        """What a log changes; None: nothing, because it cannot be read or is another contract's."""
        topic = one.topics[0]
        try:
            if topic == NEW_PUBKEY_REGISTRATION.topic:
                if one.address == self._contracts.key_registry:
                    return await self._registered(one, NEW_PUBKEY_REGISTRATION.read_untrusted(one))
            elif one.address == self._contracts.manager:
                if topic == BATCH_VERIFIED.topic:
                    return _verified(one, BATCH_VERIFIED.read_untrusted(one))
                return self._new_batch(one, NEW_BATCH[topic].read_untrusted(one))
        except (UnreadableEvent, BadPoint) as exc:
            log.warning("log %d of block %s dropped: %s (%s)", one.index, one.block, exc, exc.code)
            self._state.metrics.events_dropped.inc()
        return None

    def _new_batch(self, one: Log, told: Mapping[str, Any]) -> Told:
        task = Task(
            told["batchMerkleRoot"], told["senderAddress"], int(one.block.number), one.block.hash, one.index,
            told.get("respondToTaskFeeLimit", 0), told["batchDataPointer"][: rows.MAX_POINTER],
        )  # fmt: skip
        identifier, first = identifier_hash(task.root, task.sender), self._state.first or 0

        def apply(change: Change) -> None:
            if task.created >= first or change.task(identifier) is not None:
                change.posted(task)

        return apply

    async def _registered(self, one: Log, told: Mapping[str, Any]) -> Told:
        """Raises BadPoint. 5 ms in a worker for the check of the key in G2."""
        g1 = g1_from_words_untrusted(*told["pubkeyG1"])
        g2 = await self._run_blocking(lambda: g2_from_words_untrusted(*told["pubkeyG2"]))
        key = OperatorKey(told["operator"], encode_g1(g1), encode_g2(g2), int(one.block.number))
        id = operator_id(g1)
        return lambda change: change.registered(id, key)


def _verified(one: Log, told: Mapping[str, Any]) -> Told:
    identifier = identifier_hash(told["batchMerkleRoot"], told["senderAddress"])
    block = int(one.block.number)
    return lambda change: change.verified(identifier, block)
