"""One query for all who want the same at the same time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

import trio

from attestrio.l1.api import Address, At, BlockNumber, BlockRef, Chain, Header, Log, LogFilter

V = TypeVar("V")


class SingleFlight(Generic[V]):
    """Calls with the same key, while one is under way, share its outcome. Nothing is kept once it is over."""

    def __init__(self) -> None:
        self._flying: dict[Hashable, _Flight[V]] = {}

    async def do(self, key: Hashable, fn: Callable[[], Awaitable[V]]) -> V:
        """What `fn` returns or raises, called by one of those who ask; if that one is cancelled, the next calls it."""
        while (flight := self._flying.get(key)) is not None:
            await flight.over.wait()
            if flight.error is not None:
                raise flight.error
            if flight.done:
                return flight.value
        flight = self._flying[key] = _Flight()
        try:
            value = await fn()
        except Exception as exc:  # whatever it is, those who wait get it too
            flight.error = exc
            raise
        else:
            flight.value, flight.done = value, True
            return value
        finally:
            del self._flying[key]
            flight.over.set()


class _Flight(Generic[V]):
    """One call under way; neither `done` nor an `error` when it is over: who called was cancelled."""

    __slots__ = ("done", "error", "over", "value")

    value: V

    def __init__(self) -> None:
        self.over = trio.Event()
        self.done = False
        self.error: Exception | None = None


class SharedChain:
    """`chain`, where identical questions asked at the same time are one query: N who want one log cost one."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._blocks: SingleFlight[Header | None] = SingleFlight()
        self._logs: SingleFlight[Sequence[Log]] = SingleFlight()
        self._calls: SingleFlight[bytes] = SingleFlight()

    @property
    def chain_id(self) -> int:
        return self._chain.chain_id

    async def block(self, at: At) -> Header | None:
        return await self._blocks.do(at, lambda: self._chain.block(at))

    async def logs(self, wanted: LogFilter, first: BlockNumber, last: BlockNumber) -> Sequence[Log]:
        return await self._logs.do((wanted, first, last), lambda: self._chain.logs(wanted, first, last))

    async def logs_of(self, wanted: LogFilter, block: BlockRef) -> Sequence[Log]:
        return await self._logs.do((wanted, block), lambda: self._chain.logs_of(wanted, block))

    async def call(self, to: Address, data: bytes, at: At) -> bytes:
        return await self._calls.do((to, data, at), lambda: self._chain.call(to, data, at))
