"""One URL that answers Ethereum's JSON-RPC: calls with a deadline, bounded answers, rests when it asks for them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import httpx
import trio
from msgspec import Raw

from attestrio.kit.http import (
    AnswerGarbled,
    AnswerTooLate,
    BadHttpStatus,
    Unreachable,
    client,
    close_client,
    post_bounded,
    shown,
)
from attestrio.kit.jsonrpc import encode_request
from attestrio.l1 import wire
from attestrio.l1.errors import ChainChanged, RateLimited

log = logging.getLogger("attestrio.l1")

T = TypeVar("T")

MAX_ANSWER = 32 << 20  # 10,000 logs, what most endpoints give at once, are about 7 MiB
REST_S = 1.0
MAX_REST_S = 60.0
RATE_STATUS = {429, 503}


class Endpoint:
    """Calls may run at the same time. What fails is a SourceError that names the URL, without secrets, and the method.

    The chain id is asked for before the first call and again after the endpoint was away: another server may have
    taken its place. Told to rest (429, or an error that says so) it refuses calls itself until the time is over: as
    long as the answer's Retry-After says, else 1 s, twice as long each time in a row, 60 s at most.
    """

    def __init__(
        self,
        url: str,
        chain_id: int,
        *,
        timeout_s: float = 10.0,
        max_answer_bytes: int = MAX_ANSWER,
        http: httpx.AsyncClient | None = None,
        max_connections: int = 8,
    ) -> None:
        """Connects to nothing yet. `http`: a ready client, as `kit.http.memory_client` makes it. Raises BadUrl."""
        self.name = shown(url)
        self.chain_id = chain_id
        self._url, self._timeout_s, self._max_bytes = url, timeout_s, max_answer_bytes
        self._http = http or client(url, timeout_s=timeout_s, max_connections=max_connections)
        self._http.event_hooks = {"response": [self._look]}
        self._last_id = 0
        self._verified = False
        self._rest_until = -float("inf")
        self._rest_s = REST_S
        self._retry_after: float | None = None

    @property
    def rests_for_s(self) -> float:
        """Seconds until it may be asked again; not above 0: now."""
        return self._rest_until - trio.current_time()

    async def check(self) -> None:
        """Ask for the chain id unless it is known to be right. Raises ChainChanged, SourceError."""
        if self._verified:
            return
        told = await self._ask("eth_chainId", (), wire.integer_untrusted)
        if told != self.chain_id:
            raise ChainChanged(self.name, told, self.chain_id)
        self._verified = True

    async def ask(self, method: str, params: tuple[object, ...], read: Callable[[Raw, str], T]) -> T:
        """One call, read with `read(result, source)`. Raises SourceError."""
        await self.check()
        return await self._ask(method, params, read)

    async def aclose(self) -> None:
        await close_client(self._http)

    async def _ask(self, method: str, params: tuple[object, ...], read: Callable[[Raw, str], T]) -> T:
        if self.rests_for_s > 0:
            await trio.lowlevel.checkpoint()
            raise RateLimited(self.name, self.rests_for_s)
        self._last_id += 1
        id, source = self._last_id, f"{self.name} {method}"
        body = encode_request(method, params, id)
        try:
            raw = await post_bounded(
                self._http, self._url, body, self._max_bytes, timeout_s=self._timeout_s, source=source
            )
            result = wire.answer_untrusted(raw, id, source, of_logs=method == "eth_getLogs")
        except BadHttpStatus as exc:
            if exc.status not in RATE_STATUS:
                self._verified = False
                raise
            raise self._rest() from exc
        except RateLimited as exc:
            raise self._rest() from exc
        except (Unreachable, AnswerTooLate, AnswerGarbled):
            self._verified = False
            raise
        self._rest_s = REST_S
        return read(result, source)

    def _rest(self) -> RateLimited:
        told, self._retry_after = self._retry_after, None
        wait_s = self._rest_s if told is None else min(told, MAX_REST_S)
        self._rest_s = min(2 * self._rest_s, MAX_REST_S)
        self._rest_until = max(self._rest_until, trio.current_time() + wait_s)
        log.info("%s asked for a rest of %g s", self.name, wait_s)
        return RateLimited(self.name, wait_s)

    async def _look(self, response: httpx.Response) -> None:
        """The Retry-After of an answer; only seconds are honoured, a date depends on two clocks."""
        told = response.headers.get("retry-after", "")
        if told.isdecimal() and len(told) < 9:
            self._retry_after = float(told)
