"""What the sources said about each batch, kept until its receipt is written."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from attestrio.batches.api import BatchSource
from attestrio.protection.receipts import UpstreamAnswer
from attestrio.roles import Batch, BatchNumber

MAX_BATCHES = 64


class Evidence:
    """The answers about the newest `MAX_BATCHES` batches, by the name of who gave them. On the trio thread only."""

    def __init__(self) -> None:
        self._said: OrderedDict[BatchNumber, dict[str, str]] = OrderedDict()

    def note(self, batch: BatchNumber, said: Mapping[str, str]) -> None:
        """These answered in one round; a later round replaces it whole, so no answer outlives what it was about."""
        self._said[batch] = dict(said)
        self._said.move_to_end(batch)
        if len(self._said) > MAX_BATCHES:
            self._said.popitem(last=False)

    def begin_epoch(self) -> None:
        """Forget: the numbers come again."""
        self._said.clear()

    def of(self, batch: Batch) -> tuple[UpstreamAnswer, ...]:
        """Who said what about `batch`; the own store alone when it was known before this process began."""
        said = self._said.get(batch.number, {"own store": batch.hash.to_text()})
        return tuple(UpstreamAnswer(name, answer) for name, answer in said.items())


@dataclass(frozen=True, slots=True)
class NotedBatches:
    """A BatchSource whose answers are noted under `name`."""

    source: BatchSource
    name: str
    evidence: Evidence

    async def batch_to_sign(self, number: BatchNumber) -> Batch | None:
        """As the source's."""
        batch = await self.source.batch_to_sign(number)
        if batch is not None:
            self.evidence.note(number, {self.name: batch.hash.to_text()})
        return batch
