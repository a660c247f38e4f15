"""The batch store as the rest of the node sees it.

Three things are kept per batch number: the batch as it was synchronised (payloads), the batch to sign (number, hash,
genesis), and the certificate. A node without a chain of its own has only the second and third.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from attestrio.errors import SafetyError, SetupError, SourceError
from attestrio.roles import Batch, BatchHash, BatchNumber, BatchQC, GenesisHash, SyncBatch

if TYPE_CHECKING:
    import trio

NextRule = Literal["gap", "max"]
"""Which batch a main node wants attested next: "gap" the lowest without a certificate, "max" the highest certificate
plus one, whatever lies below (what era's main node answers; section 5.2 of the specification)."""

FROM_ZERO = BatchNumber(0)
MAX_NUMBER = (1 << 63) - 2
"""The highest batch number that is stored: SQLite's integers are signed, and one more must still be expressible. The
reference refuses numbers above 2^63-1 too."""


class BatchConflict(SafetyError):
    """Another hash for a number that already has one: whoever told us so would have us sign two batches."""

    code: ClassVar[str] = "batch_conflict"

    def __init__(self, number: BatchNumber, got: BatchHash, stored: BatchHash) -> None:
        super().__init__(f"batch {number} has the hash {stored.to_text()}, and now is said to have {got.to_text()}")
        self.number, self.got, self.stored = number, got, stored


class QCConflict(SafetyError):
    """A certificate for another hash than the one we hold for that number."""

    code: ClassVar[str] = "qc_conflict"

    def __init__(self, number: BatchNumber, got: BatchHash, stored: BatchHash) -> None:
        super().__init__(f"batch {number}: a certificate and our store differ: {got.to_text()}, {stored.to_text()}")
        self.number, self.got, self.stored = number, got, stored


class OtherGenesis(SafetyError):
    """A batch or certificate of another chain, or of this chain before a fork, reached the store."""

    code: ClassVar[str] = "other_genesis"

    def __init__(self, number: BatchNumber, got: GenesisHash, want: GenesisHash) -> None:
        super().__init__(f"batch {number} belongs to {got.to_text()}, this store to {want.to_text()}")
        self.number, self.got, self.want = number, got, want


class StoreOfOtherGenesis(SetupError):
    """The database holds the batches of another genesis."""

    code: ClassVar[str] = "store_of_other_genesis"

    def __init__(self, path: str, epoch: int, got: GenesisHash, want: GenesisHash) -> None:
        super().__init__(
            f"{path} holds the batches of {got.to_text()} (epoch {epoch}), the node is set to {want.to_text()}:"
            " choose another data directory or the right genesis"
        )
        self.path, self.epoch, self.got, self.want = path, epoch, got, want


class BatchNumberTooLarge(SourceError):
    """A batch number no store can hold; no chain gets there, so whoever named it is wrong."""

    code: ClassVar[str] = "batch_number_too_large"

    def __init__(self, number: int, limit: int) -> None:
        super().__init__(f"batch number {number}, limit {limit}")
        self.number, self.limit = number, limit


class StoreClosed(SourceError):
    """The store was asked before `run` had opened it, or after it had ended."""

    code: ClassVar[str] = "store_closed"

    def __init__(self) -> None:
        super().__init__("the batch store is not running")


@dataclass(frozen=True, slots=True)
class StoreState:
    """A continuous range of batch numbers. `last` None: empty, and `first` is where it will begin."""

    first: BatchNumber
    last: BatchNumber | None = None

    def __post_init__(self) -> None:
        if self.last is not None and self.last < self.first:
            raise ValueError(f"range {self.first}..{self.last} ends before it begins")

    def contains(self, number: int) -> bool:
        return self.last is not None and self.first <= number <= self.last

    def next(self) -> BatchNumber:
        """The number that would extend the range."""
        return self.first if self.last is None else self.last.next()


class BatchStore(Protocol):
    """Every write returns only after it is durable. Before `run` has started, and after it ended: StoreClosed."""

    @property
    def queued(self) -> StoreState:
        """What the node has, on disk or on its way there: what peers may be told. Never behind `persisted`."""
        ...

    @property
    def persisted(self) -> StoreState:
        """What is durable. `next()` never moves backwards once the range is not empty."""
        ...

    @property
    def held(self) -> StoreState:
        """What can be given to others: `batch` has an answer for each. The unbroken run that ends at `queued.last`.

        Empty when of the last one only the hash is known, so that `held.next()` is always `queued.next()`. To announce
        more would be a trap: a peer that is refused what was announced to it drops the connection.
        """
        ...

    @property
    def pruned_first_batch(self) -> bool:
        """Attestation can never begin: the batch to begin with lies below the range, and no certificate exists."""
        ...

    async def run(self, *, task_status: trio.TaskStatus[None] = ...) -> None:
        """Open the store, then write what is queued; returns after `close()`. Raises StorageUnusable, SetupError."""
        ...

    async def close(self) -> None:
        """Write what is queued and what callers wait for, take nothing more, end `run`."""
        ...

    async def queue_batch(self, batch: SyncBatch) -> None:
        """Take a synchronised batch, unverified, to be written soon.

        Waits until every batch before it is queued, and while too many wait to be written. A number already queued is
        ignored: the first one stays. Raises BatchNumberTooLarge.
        """
        ...

    async def batch(self, number: BatchNumber) -> SyncBatch | None:
        """The batch as synchronised; None when it is not in `queued`, or only its hash is known. 5 µs, inline.

        Never None for what was in `held` a moment ago, unless the range has begun anew above it since.
        """
        ...

    async def wait_until_queued(self, number: BatchNumber) -> StoreState:
        """Wait until `queued.next()` lies above `number`. At once for numbers below the range, pruned or not."""
        ...

    async def wait_until_persisted(self, number: BatchNumber) -> StoreState:
        """The same for `persisted`."""
        ...

    async def wait_held_changed(self, seen: StoreState) -> StoreState:
        """Wait until `held` is another than `seen`; at once when it is."""
        ...

    async def wait_moved(self, queued: StoreState, persisted: StoreState) -> None:
        """Wait until the store's `queued` or `persisted` is another than these; at once when one is."""
        ...

    async def put_batch_to_sign(self, batch: Batch) -> None:
        """Keep (number, hash, genesis). The same again is harmless.

        A number from `persisted.next()` on counts as persisted from now on: the next one extends the range, a higher
        one begins it anew there (a node without a chain does not see what came between).

        Raises BatchConflict, QCConflict (a certificate for another hash is stored), OtherGenesis, BatchNumberTooLarge.
        """
        ...

    async def batch_to_sign(self, number: BatchNumber) -> Batch | None:
        """The exact message; None while the hash is not known. Also for numbers below the range."""
        ...

    async def persist_qc(self, qc: BatchQC) -> None:
        """Keep a certificate the caller has verified; waits until its batch is persisted.

        For one number the first is kept; another one for the same hash is ignored. Raises QCConflict when the batch to
        sign or the certificate already stored has another hash, OtherGenesis, BatchNumberTooLarge.
        """
        ...

    async def qc(self, number: BatchNumber) -> BatchQC | None:
        """The certificate of the batch."""
        ...

    async def last_qc(self) -> BatchQC | None:
        """The certificate with the highest number."""
        ...

    async def qcs(self, first: BatchNumber, limit: int) -> tuple[BatchQC, ...]:
        """At most `limit` certificates from `first` on, by number; gaps are left out. A checkpoint for each."""
        ...

    async def certified(self, first: BatchNumber, limit: int) -> tuple[BatchNumber, ...]:
        """The numbers of at most `limit` certificates from `first` on, in order. 0.2 µs each, inline."""
        ...

    async def next_batch_to_attest(self) -> BatchNumber | None:
        """What a main node over this store asks to be attested; see `NextRule` and `rules.next_to_attest`."""
        ...
