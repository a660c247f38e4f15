"""What both stores decide alike: ranges, conflicts, and which batch is to be attested next. Values in, values out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from attestrio.errors import SafetyError
from attestrio.roles import Batch, BatchHash, BatchNumber, BatchQC, GenesisHash
from attestrio.store.api import (
    FROM_ZERO,
    MAX_NUMBER,
    BatchConflict,
    BatchNumberTooLarge,
    NextRule,
    OtherGenesis,
    QCConflict,
    StoreState,
)

NONE_WHOLE = StoreState(FROM_ZERO)


class HeadMovedBackwards(SafetyError):
    """The durable range shrank at its upper end while the node ran: somebody else writes to the store."""

    code: ClassVar[str] = "head_moved_backwards"

    def __init__(self, got: StoreState, was: StoreState) -> None:
        super().__init__(f"the stored range went from {was.first}..{was.last} back to {got.first}..{got.last}")
        self.got, self.was = got, was


@dataclass(frozen=True, slots=True)
class Ranges:
    """What is durable, what is queued on top of it, and the newest run of batches that are here whole."""

    persisted: StoreState
    queued: StoreState
    whole: StoreState = NONE_WHOLE  # grows by `extended`; may begin below `queued`, and end below it

    @property
    def held(self) -> StoreState:
        """See `BatchStore.held`."""
        if self.queued.last is None or self.whole.last != self.queued.last:
            return StoreState(self.queued.next())
        return StoreState(max(self.whole.first, self.queued.first), self.queued.last)

    def enqueued(self) -> Ranges:
        """With the next batch queued."""
        number = self.queued.next()
        return Ranges(self.persisted, StoreState(self.queued.first, number), extended(self.whole, number))

    def moved(self, persisted: StoreState, written: Iterable[BatchNumber] = ()) -> Ranges:
        """After the durable range has become `persisted`, by this queue or past it; `written` are whole on disk now.

        The rule of the reference's block store (its batch store lacks it, so that batches stored by another way are
        neither told nor served, and fetched for ever): the lower ends agree, and when the durable range has overtaken
        the queue, the queue begins again from there. Raises HeadMovedBackwards.
        """
        was = self.persisted
        if was.last is not None and persisted.next() < was.next():
            raise HeadMovedBackwards(persisted, was)
        backwards = persisted.next() < self.queued.first  # an empty store that begins lower than expected: no holes
        whole = NONE_WHOLE if backwards else self.whole  # what was queued is taken back, until it is written after all
        for number in written:
            whole = extended(whole, number)
        last = self.queued.last
        if backwards or last is None or last.next() < persisted.next():
            return Ranges(persisted, persisted, whole)
        first = persisted.first if persisted.last is not None else max(self.queued.first, persisted.first)
        return Ranges(persisted, StoreState(first, last if last >= first else None), whole)


def extended(state: StoreState, number: BatchNumber) -> StoreState:
    """The range once batch `number` is in it: grown by one, begun anew above it, or unchanged when that lies below."""
    after = state.next()
    if state.last is None or number > after:
        return StoreState(number, number)
    return StoreState(state.first, number) if number == after else state


def check_number(number: int) -> None:
    if number > MAX_NUMBER:
        raise BatchNumberTooLarge(number, MAX_NUMBER)


def check_genesis(number: BatchNumber, got: GenesisHash, want: GenesisHash) -> None:
    if got != want:
        raise OtherGenesis(number, got, want)


def check_batch(batch: Batch, stored: BatchHash | None, certified: BatchHash | None) -> None:
    """Raise unless `batch` agrees with the batch to sign and the certificate that are stored for its number."""
    if stored is not None and stored != batch.hash:
        raise BatchConflict(batch.number, batch.hash, stored)
    if certified is not None and certified != batch.hash:
        raise QCConflict(batch.number, batch.hash, certified)


def check_qc(qc: BatchQC, stored: BatchHash | None, certified: BatchHash | None) -> None:
    """Raise unless the certificate agrees with the batch to sign and the certificate that are stored."""
    for known in (stored, certified):
        if known is not None and known != qc.batch.hash:
            raise QCConflict(qc.batch.number, qc.batch.hash, known)


def is_pruned(first_batch: BatchNumber, persisted: StoreState, last_certified: BatchNumber | None) -> bool:
    """Whether the batch to begin with is gone before anything was certified. Waiting does not bring it back."""
    return last_certified is None and first_batch < persisted.first


def next_to_attest(
    rule: NextRule,
    first_batch: BatchNumber,
    persisted: StoreState,
    last_certified: BatchNumber | None,
    first_gap: Callable[[BatchNumber], BatchNumber],
) -> BatchNumber | None:
    """The batch a main node wants attested next, or None: not known yet (or never, see `is_pruned`).

    Args:
      first_batch: the batch of `genesis.first_block`, where attestation begins on every node alike.
      first_gap: the lowest number from the given one on that has no certificate.

    Without a certificate: `first_batch`, if it exists or is the one being made. After that by `rule`: "max" is the
    highest certificate plus one, whether or not that batch exists; "gap" the lowest in the range that has none, so that
    a batch passed over is asked for again. Numbers below the range cannot be attested any more and are left out.

    Source: section 5.2 rules 2 to 4 and 3.3 (the reference's memory store is gap-aware, its SQL is not).
    """
    if last_certified is None:
        return first_batch if persisted.first <= first_batch <= persisted.next() else None
    if rule == "max":
        return last_certified.next()
    gap = first_gap(max(first_batch, persisted.first))
    return gap if gap <= persisted.next() else None
