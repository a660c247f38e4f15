"""Several endpoints as one chain: the first that answers, or as many as have to agree."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

import trio
from msgspec import Raw

from attestrio.errors import SourceError
from attestrio.kit.http import AnswerTooLarge, AnswerTooLate
from attestrio.kit.jsonrpc import MethodMissing
from attestrio.l1 import wire
from attestrio.l1.api import Address, At, BlockNumber, BlockRef, Header, Log, LogFilter, Tag
from attestrio.l1.endpoint import Endpoint
from attestrio.l1.errors import CallReverted, ChainChanged, EndpointsDisagree, RangeRefused, RateLimited, WrongChain
from attestrio.l1.retries import NETWORK

log = logging.getLogger("attestrio.l1")

T = TypeVar("T")

FINAL: tuple[type[SourceError], ...] = (CallReverted, RangeRefused, AnswerTooLarge)
"""Answers, if unwelcome ones: neither is another endpoint asked, nor this one again."""


class L1Provider:
    """A `Chain` over one or more endpoints.

    With `agree` = 1 they stand in for each other: the one that answered last is asked first, the next when it fails.
    With more, all are asked at once and an answer counts when that many give the same; of heads and tags it is the
    highest block that many have reached. When nobody answers, everything is asked again after each wait of
    `schedule`, within `deadline_s` for the whole call.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        agree: int = 1,
        schedule: tuple[float, ...] = NETWORK,
        deadline_s: float = 60.0,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Raises ValueError: no endpoints, endpoints of two chains, or `agree` that two answers could reach."""
        ids = {endpoint.chain_id for endpoint in endpoints}
        if len(ids) != 1:
            raise ValueError(f"endpoints of {len(ids)} chains")
        if agree != 1 and not len(endpoints) // 2 < agree <= len(endpoints):
            raise ValueError(f"agree = {agree} of {len(endpoints)}: 1, or more than half and not more than all")
        self._chain_id = ids.pop()
        self._endpoints = list(endpoints)
        self._agree, self._schedule, self._deadline_s = agree, schedule, deadline_s
        self._wall = wall
        self.answered_at: float | None = None
        """When a question was answered last, in Unix seconds; None: none was."""
        self.problem = ""
        """The code of what the last question came to nothing by; "": it was answered, or none was asked."""
        self.head: BlockNumber | None = None
        """The newest block that was an answer to a tag: of the head, or of the finality that is asked for."""

    @property
    def chain_id(self) -> int:
        return self._chain_id

    async def start(self) -> None:
        """Ask every endpoint which chain it serves. Raises WrongChain; SourceError when too few answer.

        One that is away is asked again before its first use, and a wrong one then is a ChainChanged.
        """
        failed: list[SourceError] = []
        wrong: list[ChainChanged] = []

        async def check(endpoint: Endpoint) -> None:
            try:
                await endpoint.check()
            except ChainChanged as exc:
                wrong.append(exc)
            except SourceError as exc:
                failed.append(exc)

        async with trio.open_nursery() as nursery:
            for endpoint in self._endpoints:
                nursery.start_soon(check, endpoint)
        if wrong:
            raise WrongChain(wrong[0].source, wrong[0].got, wrong[0].want)
        if len(self._endpoints) - len(failed) < self._agree:
            raise failed[0]

    async def block(self, at: At) -> Header | None:
        number: At = at
        if self._agree > 1 and isinstance(at, str):
            reached = await self._agreed_number(at)
            if reached is None:
                return None
            number = reached
        if isinstance(number, bytes):
            method, which = "eth_getBlockByHash", wire.hex_bytes(number)
        else:
            method, which = "eth_getBlockByNumber", str(wire.at_json(number))
        header = await self.ask(method, (which, False), lambda raw, source: wire.header_untrusted(raw, number, source))
        if header is not None and isinstance(at, str) and (self.head is None or header.number > self.head):
            self.head = header.number
        return header

    async def logs(self, wanted: LogFilter, first: BlockNumber, last: BlockNumber) -> Sequence[Log]:
        where = {"fromBlock": wire.hex_number(first), "toBlock": wire.hex_number(last)}

        def read(raw: Raw, source: str) -> Sequence[Log]:
            return wire.logs_untrusted(raw, wanted, first, last, source)

        return await self.ask("eth_getLogs", (wire.filter_json(wanted, where),), read)

    async def logs_of(self, wanted: LogFilter, block: BlockRef) -> Sequence[Log]:
        where = {"blockHash": wire.hex_bytes(block.hash)}

        def read(raw: Raw, source: str) -> Sequence[Log]:
            return wire.logs_untrusted(raw, wanted, block.number, block.number, source, of=block)

        return await self.ask("eth_getLogs", (wire.filter_json(wanted, where),), read)

    async def call(self, to: Address, data: bytes, at: At) -> bytes:
        what = {"to": wire.hex_bytes(to), "data": wire.hex_bytes(data)}
        return await self.ask("eth_call", (what, wire.at_json(at)), wire.data_untrusted)

    async def ask(
        self,
        method: str,
        params: tuple[object, ...],
        read: Callable[[Raw, str], T],
        final: tuple[type[SourceError], ...] = FINAL,
    ) -> T:
        """Any method. `read(result, source)` checks and converts; an answer it refuses by a SourceError is a failure.

        With agreement, results are compared as `read` gives them. `final`: errors that are answers; for sending a
        transaction every RpcFailed is one ("already known", "nonce too low").
        """

        async def once() -> T:
            if self._agree == 1:
                return await self._first(lambda endpoint: endpoint.ask(method, params, read), final)
            return await self._most(method, lambda endpoint: endpoint.ask(method, params, read))

        with trio.move_on_after(self._deadline_s):
            return await self._again(once, final)
        raise AnswerTooLate(method, self._deadline_s)

    async def aclose(self) -> None:
        for endpoint in self._endpoints:
            await endpoint.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _again(self, once: Callable[[], Awaitable[T]], final: tuple[type[SourceError], ...]) -> T:
        """Ask, and ask again by the schedule; after a rate limit not before the first endpoint is free again."""
        for wait_s in self._schedule:
            try:
                return await self._once(once, final)
            except SourceError as exc:
                if isinstance(exc, (*final, MethodMissing)):
                    raise
                log.info("asking again in %g s: %s", wait_s, exc)
                rest_s = min(endpoint.rests_for_s for endpoint in self._endpoints)
                await trio.sleep(max(wait_s, rest_s if isinstance(exc, RateLimited) else 0.0))
        return await self._once(once, final)

    async def _once(self, once: Callable[[], Awaitable[T]], final: tuple[type[SourceError], ...]) -> T:
        """Ask, and remember how that went: an unwelcome answer is one too."""
        try:
            answer = await once()
        except SourceError as exc:
            if not isinstance(exc, final):
                self.problem = exc.code
                raise
            self.answered_at, self.problem = self._wall(), ""
            raise
        self.answered_at, self.problem = self._wall(), ""
        return answer

    async def _first(self, ask: Callable[[Endpoint], Awaitable[T]], final: tuple[type[SourceError], ...]) -> T:
        failure: SourceError | None = None
        for endpoint in sorted(self._endpoints, key=lambda one: one.rests_for_s > 0):  # stable: the preferred first
            try:
                answer = await ask(endpoint)
            except final:
                raise
            except SourceError as exc:
                log.info("%s", exc)
                failure = failure if isinstance(exc, RateLimited) and failure else exc
            else:
                self._prefer(endpoint)
                return answer
        assert failure is not None
        raise failure

    def _prefer(self, endpoint: Endpoint) -> None:
        self._endpoints.remove(endpoint)
        self._endpoints.insert(0, endpoint)

    async def _most(self, what: str, ask: Callable[[Endpoint], Awaitable[T]]) -> T:
        """The answer that enough endpoints give. Unwelcome answers are compared too, by what they say."""
        answers: list[T | SourceError] = []
        votes: Counter[str] = Counter()
        total = len(self._endpoints)

        async def one(endpoint: Endpoint) -> None:
            answer: T | SourceError
            try:
                answer = await ask(endpoint)
                votes[repr(answer)] += 1
            except CallReverted as exc:
                answer = exc
                votes[_said(exc)] += 1
            except SourceError as exc:
                answer = exc
            answers.append(answer)
            most = max(votes.values(), default=0)
            if most >= self._agree or most + total - len(answers) < self._agree:
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for endpoint in self._endpoints:
                nursery.start_soon(one, endpoint)
        return self._winner(what, answers, votes)

    def _winner(self, what: str, answers: Sequence[T | SourceError], votes: Counter[str]) -> T:
        failed = [answer for answer in answers if isinstance(answer, SourceError)]
        winner, count = votes.most_common(1)[0] if votes else ("", 0)
        if count >= self._agree:
            if len(votes) > 1:
                log.warning("%s: %d of %d endpoints contradict the others", what, votes.total() - count, len(answers))
            for answer in answers:
                if not isinstance(answer, SourceError) and repr(answer) == winner:
                    return answer
            raise next(exc for exc in failed if _said(exc) == winner)
        for exc in failed:
            if isinstance(exc, FINAL) or not votes:
                raise exc
        raise EndpointsDisagree(what, count, self._agree)

    async def _agreed_number(self, tag: Tag) -> BlockNumber | None:
        """The highest block that `agree` endpoints have reached for the tag; None where too few have any."""
        reached: list[int] = []
        failed: list[SourceError] = []

        async def one(endpoint: Endpoint) -> None:
            try:
                header = await endpoint.ask(
                    "eth_getBlockByNumber", (tag, False), lambda raw, source: wire.header_untrusted(raw, tag, source)
                )
                reached.append(-1 if header is None else header.number)
            except SourceError as exc:
                failed.append(exc)

        async def once() -> BlockNumber | None:
            reached.clear()
            failed.clear()
            async with trio.open_nursery() as nursery:
                for endpoint in self._endpoints:
                    nursery.start_soon(one, endpoint)
            if len(reached) < self._agree:
                raise failed[0]
            number = sorted(reached)[-self._agree]
            return BlockNumber(number) if number >= 0 else None

        with trio.move_on_after(self._deadline_s):
            return await self._again(once, FINAL)
        raise AnswerTooLate(f"head ({tag})", self._deadline_s)


def _said(exc: SourceError) -> str:
    return f"reverted with {exc.data.hex()}" if isinstance(exc, CallReverted) else exc.code
