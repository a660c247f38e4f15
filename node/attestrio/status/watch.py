"""The status of one epoch: one writer moves it forward, many readers wait on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import trio
from trio_util import AsyncValue

from attestrio.errors import NodeError, SafetyError
from attestrio.roles import BatchNumber, GenesisHash
from attestrio.status.api import AttestationStatus

T = TypeVar("T")


class GenesisChanged(SafetyError):
    """The main node follows another genesis: nothing signed under the old one counts there."""

    code = "genesis_changed"

    def __init__(self, old: GenesisHash, new: GenesisHash) -> None:
        super().__init__(f"the attestation status genesis changed: {old.to_text()} -> {new.to_text()}")
        self.old, self.new = old, new


class MovedBackwards(SafetyError):
    """The main node names a lower number: votes below the floor are gone, and peers do not send them twice."""

    code = "moved_backwards"

    def __init__(self, old: BatchNumber, new: BatchNumber) -> None:
        super().__init__(f"next batch to attest moved backwards: {old} -> {new}")
        self.old, self.new = old, new


class AttestationStatusWatch:
    """One writer, many readers: which batch the main node wants attested next.

    The genesis is fixed for the life of the watch and the number only grows. Use it from the trio thread only: a
    value set from another thread would wake nobody.

    Source: era-consensus d1d3b51e, network/gossip/attestation_status.rs; subscribers there have "seen" the current
    value and must say otherwise, here they get it first.
    """

    def __init__(self, genesis: GenesisHash) -> None:
        self._status = AsyncValue(AttestationStatus(genesis, next_batch=None))
        # Set when the status is replaced, then replaced too. Subscribers want every change, so they share this; through
        # AsyncValue each pays for a predicate and its reference count, 1.5 times the price (bench/watch.py).
        self._replaced = trio.Event()

    @property
    def status(self) -> AttestationStatus:
        """The status now."""
        return self._status.value

    def update(self, told: AttestationStatus) -> bool:
        """Move forward to `told`, leaving gaps if it jumps. True when that was news.

        Equal values, and a `told` without a number, change nothing and wake nobody. Raises GenesisChanged and
        MovedBackwards, and then leaves the status as it was.
        """
        now = self._status.value
        if told.genesis != now.genesis:
            raise GenesisChanged(now.genesis, told.genesis)
        if told.next_batch is None or told == now:
            return False
        if now.next_batch is not None and told.next_batch < now.next_batch:
            raise MovedBackwards(now.next_batch, told.next_batch)
        replaced, self._replaced = self._replaced, trio.Event()
        self._status.value = told
        replaced.set()
        return True

    def subscribe(self) -> AsyncIterator[AttestationStatus]:
        """The current status at once, then the newest after each change; may skip what came between. Never ends.

        Needs no closing: it is an object, not a generator. 10,000 of them cost a wake-up each and nothing more.
        """
        return _Subscription(self)

    async def wait_for(self, predicate: Callable[[AttestationStatus], bool]) -> AttestationStatus:
        """The first status for which `predicate` holds, beginning with the current one.

        It is asked in the waiter's own task, so that one that raises fails its caller and nobody else. Statuses may
        be skipped: ask for "at least", not for "exactly".
        """
        statuses = self.subscribe()
        while not predicate(status := await anext(statuses)):
            pass
        return status

    async def wait_past(self, number: BatchNumber) -> AttestationStatus:
        """The first status whose number is greater than `number`."""
        # Asked inside update(), so it must not raise, and does not: it only compares numbers.
        return await self._status.wait_value(lambda now: now.next_batch is not None and now.next_batch > number)


class _Subscription(AsyncIterator[AttestationStatus]):
    """One reader's place. Statuses are replaced, never mutated, so identity says whether this one was seen."""

    __slots__ = ("_seen", "_watch")

    def __init__(self, watch: AttestationStatusWatch) -> None:
        self._watch = watch
        self._seen: AttestationStatus | None = None

    async def __anext__(self) -> AttestationStatus:
        watch = self._watch
        if self._seen is watch._status.value:
            await watch._replaced.wait()
        else:
            await trio.lowlevel.checkpoint()  # there is news already: still a cancel point
        self._seen = now = watch._status.value
        return now


async def while_current(
    watch: AttestationStatusWatch, number: BatchNumber, work: Callable[[], Awaitable[T]]
) -> T | None:
    """What `work` returns, or None when the status moved past `number` first; `work` is then cancelled.

    What finished in the same scheduler pass counts as finished. A NodeError of `work` comes out as it is; the
    nursery would put it in a group, and callers here tell SourceError from the rest.
    """
    result: T | None = None
    error: NodeError | None = None

    async def cancel_when_past() -> None:
        await watch.wait_past(number)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_when_past)
        try:
            result = await work()
        except NodeError as exc:
            error = exc
        nursery.cancel_scope.cancel()
    if error is not None:
        raise error
    return result
