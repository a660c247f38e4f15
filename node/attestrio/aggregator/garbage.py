"""Forgetting what is over: batches that the chain has answered, long ago. One that is pending is never forgotten.

Source: specification of Aligned 3.8. There the age of a batch is all that counts, and pending ones go too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NoReturn

import trio

from attestrio.aggregator import rows
from attestrio.aggregator.rows import Phase
from attestrio.aggregator.settings import GarbageSettings
from attestrio.aggregator.state import AggregatorState
from attestrio.journal import Put

log = logging.getLogger("attestrio.aggregator")

PAGE: Final = 500  # batches in one transaction, and replies
PRUNE: Final = 10_000  # keys in one transaction
OVER: Final = (Phase.CONFIRMED, Phase.REVERTED)


@dataclass(frozen=True, slots=True)
class Garbage:
    """`run` it once, where the state is written."""

    state: AggregatorState
    settings: GarbageSettings
    _replies: set[bytes] = field(default_factory=set)  # that were there at the last pass

    async def run(self) -> NoReturn:
        """A pass at once, then one in each period. What the journal raises comes out."""
        while True:
            await self.collect()
            await trio.sleep(self.settings.every_s)

    async def collect(self) -> int:
        """One pass; how many batches are forgotten. O(batches that are remembered)."""
        state = self.state
        for topic in (rows.UNKNOWN, rows.DEAD):  # first: a batch that is forgotten may be claimed anew
            while await state.journal.prune(topic, 0.0, PRUNE) == PRUNE:
                await trio.lowlevel.checkpoint()
        old, forgotten = list(self._old()), 0
        for start in range(0, len(old), PAGE):
            # Looked at again: a reorg may have come while the page before was written.
            page = await state.forget(old[start : start + PAGE], self._is_old)
            state.metrics.collected.inc(page)
            forgotten += page
        await self._drop_replies()
        if forgotten:
            log.info("%d batches forgotten that were answered %d blocks ago", forgotten, self.settings.age_blocks)
        return forgotten

    def _old(self) -> Iterator[bytes]:
        return (identifier for identifier in self.state.tasks if self._is_old(identifier))

    def _is_old(self, identifier: bytes) -> bool:
        """Answered on the chain for so many blocks, and none of our transactions for it is under way."""
        state, task = self.state, self.state.tasks.get(identifier)
        if task is None:
            return False
        if task.void:  # it went off the chain for good, and nobody has signed it
            wanted = identifier in state.signed or identifier in state.claims or identifier in state.answers
            return not wanted and task.created + self.settings.age_blocks <= state.head.value
        answer = state.answers.get(identifier)
        under_way = answer is not None and answer.nonce is not None and answer.phase not in OVER
        return (
            state.is_finished(identifier)
            and task.verified is not None
            and task.verified + self.settings.age_blocks <= state.head.value
            and not under_way
        )

    async def _drop_replies(self) -> None:
        """Replies to commands that nobody has fetched since the last pass."""
        journal = self.state.journal
        there = {key for key, _ in await journal.scan(rows.REPLIES, PAGE)}
        if stale := there & self._replies:
            await journal.append(rows.UNKNOWN, (), put=[Put(rows.REPLIES, key, None) for key in stale])
        self._replies.clear()
        self._replies.update(there - stale)
