"""Which batch to ask whom for: consecutive numbers from the next one the store lacks, the lowest first. Pure.

Nothing that arrives here is verified (the network has no certificate for a whole batch), only that it is what was
asked for.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar, Final, Generic, TypeVar

from attestrio.errors import PeerError
from attestrio.roles import BatchNumber, SyncBatch
from attestrio.store.api import FROM_ZERO, MAX_NUMBER, StoreState

OUTSTANDING: Final = 20  # the reference's max_block_queue_size, which bounds batches too
NOTHING: Final = StoreState(FROM_ZERO)  # what a peer has until it says otherwise

P = TypeVar("P", bound=Hashable)


class BatchNotGiven(PeerError):
    """A peer that announced a batch answers that it has none."""

    code: ClassVar[str] = "batch_not_given"

    def __init__(self, number: BatchNumber) -> None:
        super().__init__(f"batch {number} was announced and not given")
        self.number = number


class WrongBatch(PeerError):
    """A peer answers with another batch than the one it was asked for."""

    code: ClassVar[str] = "wrong_batch"

    def __init__(self, got: BatchNumber, want: BatchNumber) -> None:
        super().__init__(f"batch {got} in answer to {want}")
        self.got, self.want = got, want


@dataclass(frozen=True, slots=True)
class FetchStatistics:
    """Where the numbers of the window are, at one moment."""

    waiting: int  # for a peer that has them
    asked: int  # of a peer, calls for withdrawn numbers included
    arrived: int  # here, and waiting for lower ones
    peers: int


class FetchQueue(Generic[P]):
    """The numbers that are wanted, and which of the peers was asked for each.

    Wanted are at most `limit` consecutive numbers, from the first one that is not queued to `limit` past the last one
    on disk: a slot is free again when its batch is durable, so what waits to be written is bounded too. A number that
    gets queued by any route is wanted no more. Each is asked of one peer at a time, and of the next one as soon as
    that peer has left without answering. With `named` nothing above that number is wanted: a peer announces what it
    likes, and nothing proves what it gives, so whoever dials in could fill the disk.

    A peer is whatever stands for one connection. Its life: `joined`, then any of `announced`, `take`, `arrived`, and
    `left` whatever the reason; a fault of its own ends its connection, so giving one number back is not needed.
    After each of these, and `moved`, others may have something to take. Who goes round the connections that can start
    a call, one `take` each, spreads the numbers over them.

    Cost: O(limit) a call, `left` O(limit). Memory: `limit` numbers and arrived batches, one range a peer, and the calls
    for withdrawn numbers that are still under way.

    Source: era-consensus d1d3b51e, gossip/fetch.rs and runner.rs. One difference: what has arrived waits here for the
    lower numbers and not inside its call, so that a slow peer does not run out the time of a good one.
    """

    def __init__(self, queued: StoreState, persisted: StoreState, limit: int = OUTSTANDING) -> None:
        if limit < 1:
            raise ValueError(f"limit={limit} must be at least 1")
        self._limit = limit
        self._after = MAX_NUMBER + 1  # the lowest number that is too high
        self._ranges: dict[P, StoreState] = {}
        self._asked: dict[int, P] = {}
        self._arrived: dict[int, SyncBatch] = {}
        self._next = self._end = 0  # wanted: next <= number < end
        self.moved(queued, persisted)

    def moved(self, queued: StoreState, persisted: StoreState) -> None:
        """The store is at `queued` and `persisted` now; to be called after every change of either."""
        self._next = int(queued.next())
        self._end = min(int(persisted.next()) + self._limit, MAX_NUMBER + 1)
        for number in [number for number in self._arrived if not self._wanted(number)]:
            del self._arrived[number]

    def named(self, number: BatchNumber | None) -> None:
        """Somebody who is believed says that batches up to `number` may exist; None: none yet."""
        self._after = 0 if number is None else number + 1

    def joined(self, peer: P) -> None:
        """A connection that can be asked; what it has is not known yet."""
        self._ranges[peer] = NOTHING

    def announced(self, peer: P, state: StoreState) -> None:
        """What `peer` says it has, instead of what it said before. KeyError when it has not joined."""
        if peer not in self._ranges:
            raise KeyError(peer)  # the range of nobody would stay for ever
        self._ranges[peer] = state

    def left(self, peer: P) -> None:
        """The connection ended. What it was asked for and did not give is wanted from others."""
        del self._ranges[peer]
        for number in [number for number, asked in self._asked.items() if asked == peer]:
            del self._asked[number]

    def lowest(self) -> BatchNumber | None:
        """The lowest number that is wanted and that nobody is asked for, or None."""
        for number in range(self._next, min(self._end, self._after)):
            if self._waits(number):
                return BatchNumber(number)
        return None

    def take(self, peer: P) -> BatchNumber | None:
        """The number to ask `peer` for now, which nobody else is asked for from here on; None: nothing at present.

        Only the lowest number is considered: while this peer does not have it, higher ones wait. Ask only when a call
        can start at once. KeyError when the peer has not joined.
        """
        has, number = self._ranges[peer], self.lowest()
        if number is None or not has.contains(number):
            return None
        self._asked[number] = peer
        return number

    def arrived(self, peer: P, number: BatchNumber, batch: SyncBatch | None) -> None:
        """The answer of `peer` to its call for `number`. Raises BatchNotGiven, WrongBatch: drop the connection.

        A batch that is not wanted any more is thrown away. KeyError when `peer` was not asked for it.
        """
        if self._asked.get(number) != peer:
            raise KeyError(number)
        if batch is None:
            raise BatchNotGiven(number)
        if batch.number != number:
            raise WrongBatch(batch.number, number)
        del self._asked[number]
        if self._wanted(number):
            self._arrived[number] = batch

    def ready(self) -> SyncBatch | None:
        """The batch the store needs next, once it is here; the same one until `moved` says that the store has it."""
        return self._arrived.get(self._next)

    def statistics(self) -> FetchStatistics:
        """For metrics and tests."""
        waiting = sum(1 for number in range(self._next, min(self._end, self._after)) if self._waits(number))
        return FetchStatistics(waiting, len(self._asked), len(self._arrived), len(self._ranges))

    def _wanted(self, number: int) -> bool:
        return self._next <= number < self._end

    def _waits(self, number: int) -> bool:
        return number not in self._asked and number not in self._arrived
