"""Batches as the chain has committed them: to be attested, or to compare with what somebody else says. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol

from attestrio.batches.api import BatchSource
from attestrio.duty import Reason
from attestrio.errors import SourceError
from attestrio.roles import Batch, BatchHash, BatchNumber, GenesisHash


class ChainContradicts(SourceError):
    """The chain has committed another batch than the one named by the main node or held here: it is not signed."""

    code: ClassVar[str] = "chain_contradicts"

    def __init__(self, batch: Batch, committed: BatchHash) -> None:
        super().__init__(
            f"batch {batch.number}: {batch.hash.to_text()} is to be signed, the chain has {committed.to_text()}"
        )
        self.batch, self.committed = batch, committed


class NotOnChain(SourceError):
    """The chain does not have the batch at the finality that is asked for: it is not signed yet."""

    code: ClassVar[str] = "not_on_chain"

    def __init__(self, number: BatchNumber) -> None:
        super().__init__(f"batch {number} is not on the chain")
        self.number = number


def reason_of(exc: SourceError) -> Reason:
    """Why there is no batch, or no vote, when `exc` was all that a source, a store or a signer had to say."""
    if isinstance(exc, ChainContradicts):
        return Reason.CHAIN_CONTRADICTS
    return Reason.NOT_ON_CHAIN if isinstance(exc, NotOnChain) else Reason.SOURCE_FAILED


class KnowsCommitted(Protocol):
    """Whoever reads the rollup's contract."""

    async def hash_of(self, number: BatchNumber) -> BatchHash | None:
        """What the chain has for this number now, None while it has nothing. Raises SourceError."""
        ...


class Verdict(StrEnum):
    """How a batch stands to the chain."""

    SAME = "same"
    ABSENT = "absent"  # the chain has none of this number (any more, or yet)
    OTHER = "other"
    UNREAD = "unread"  # the chain did not answer


@dataclass(frozen=True, slots=True)
class ChainCheck:
    """The comparison of a batch with the chain. Costs three calls each time, so that no answer is older than it."""

    committed: KnowsCommitted
    tell: Callable[[Verdict], object]
    """Hears the outcome of each comparison."""

    async def require(self, batch: Batch) -> None:
        """Return if the chain has exactly this batch. Raises ChainContradicts, NotOnChain, SourceError of the chain."""
        try:
            found = await self.committed.hash_of(batch.number)
        except SourceError:
            self.tell(Verdict.UNREAD)
            raise
        if found is None:
            self.tell(Verdict.ABSENT)
            raise NotOnChain(batch.number)
        if found != batch.hash:
            self.tell(Verdict.OTHER)
            raise ChainContradicts(batch, found)
        self.tell(Verdict.SAME)


@dataclass(frozen=True, slots=True)
class CommittedBatches:
    """A BatchSource over the chain alone. The chain knows no genesis: its batches are taken for the epoch's."""

    committed: KnowsCommitted
    genesis: GenesisHash

    async def batch_to_sign(self, number: BatchNumber) -> Batch | None:
        """Raises what the chain raises."""
        found = await self.committed.hash_of(number)
        return None if found is None else Batch(number, found, self.genesis)


@dataclass(frozen=True, slots=True)
class CheckedBatches:
    """A BatchSource whose batches are let through once the chain has the same."""

    source: BatchSource
    check: ChainCheck

    async def batch_to_sign(self, number: BatchNumber) -> Batch | None:
        """None also while the chain has none. Raises ChainContradicts, and what source and chain raise."""
        batch = await self.source.batch_to_sign(number)
        if batch is None:
            return None
        try:
            await self.check.require(batch)
        except NotOnChain:
            return None
        return batch
