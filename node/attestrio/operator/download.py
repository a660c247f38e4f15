"""Getting the data of a batch from whoever keeps it: several URLs, a size limit, one deadline for everything.

The pointer is written by whoever posts a batch, so nothing in it is trusted: only http and https, no redirects, and an
answer has to say its length before it is read, as every operator of Aligned demands. Nor may it lead into the network
that the operator stands in: anybody may post a batch, and would have every operator ask there.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from typing import TypeVar

import httpx
import trio

from attestrio.errors import SourceError
from attestrio.kit.http import (
    AnswerGarbled,
    AnswerTooLarge,
    AnswerTooLate,
    BadHttpStatus,
    BadUrl,
    Unreachable,
    client,
    close_client,
    shown,
)
from attestrio.kit.retry import Schedule
from attestrio.operator.batch import MAX_BYTES
from attestrio.operator.errors import BadPointer, LengthMissing

log = logging.getLogger("attestrio.operator")

T = TypeVar("T")

MAX_URLS = 8
CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class DownloadSettings:
    """Source of the defaults: specification of Aligned 2.4."""

    max_bytes: int = MAX_BYTES
    budget_s: float = 60.0
    """For one attempt at a batch: all URLs, tries and waits together."""
    retries: Schedule = (5.0, 10.0)
    """Waits before asking all URLs again."""
    step_s: float = 10.0
    """For a connection, and for the next piece of an answer: a server that is silent costs no more."""
    allow_private: bool = False
    """Also connect to loopback, private and link-local addresses, as where the data is kept next door."""


def urls_of(pointer: str) -> tuple[str, ...]:
    """The URLs of a data pointer, which are separated by commas; `MAX_URLS` at most. Raises BadPointer."""
    found = []
    for part in pointer.split(","):
        try:
            url = httpx.URL(part.strip())
        except (httpx.InvalidURL, ValueError):
            continue
        if url.scheme in ("http", "https") and url.host and (url.port or 0) <= 0xFFFF:
            found.append(part.strip())
    if not found:
        raise BadPointer(pointer)
    return tuple(found[:MAX_URLS])


class Downloader:
    """Use as `async with`: connections are kept between downloads."""

    def __init__(self, settings: DownloadSettings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport`: in the place of sockets, for tests."""
        self._settings, self._transport = settings, transport
        self._clients: dict[str, httpx.AsyncClient] = {}

    async def __aenter__(self) -> Downloader:
        return self

    async def __aexit__(self, *_: object) -> None:
        for one in self._clients.values():
            await close_client(one)

    async def fetch(self, pointer: str, read: Callable[[bytes], Awaitable[T]]) -> T:
        """What `read` makes of the first answer that it accepts.

        URLs are asked in their order, one after the other, and all again after each wait. What `read` refuses by a
        SourceError counts as a failure of the URL: the next may have the right data. Before the last, none gets more
        than half of the time that is left, so that a slow one does not keep the others from being asked.

        Raises BadPointer; the last SourceError once all is used up, AnswerTooLate when the time is.
        """
        urls = urls_of(pointer)
        with trio.move_on_after(self._settings.budget_s) as budget:
            for wait_s in (*self._settings.retries, None):
                for later, url in zip(range(len(urls) - 1, -1, -1), urls, strict=True):
                    most_s = (budget.deadline - trio.current_time()) / 2 if later else inf
                    try:
                        return await read(await self._get_within(most_s, url))
                    except SourceError as exc:
                        log.info("%s (%s)", exc, exc.code)
                        failure = exc
                if wait_s is None:
                    raise failure
                await trio.sleep(wait_s)
        raise AnswerTooLate(shown(urls[0]), self._settings.budget_s)

    async def _get_within(self, seconds: float, url: str) -> bytes:
        """As `_get`. Raises SourceError, of which AnswerTooLate."""
        with trio.move_on_after(seconds):
            return await self._get(url)
        raise AnswerTooLate(shown(url), seconds)

    async def _get(self, url: str) -> bytes:
        """The body of a 200 with a stated length. Raises SourceError."""
        source, most = shown(url), self._settings.max_bytes
        http = self._client(url)
        try:
            response = await http.send(http.build_request("GET", url), stream=True)
            try:
                return await _read(response, most, source)
            finally:
                await response.aclose()
        except httpx.TimeoutException as exc:  # its text is empty: only the type says what was waited for
            raise Unreachable(source, type(exc).__name__) from None
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise Unreachable(source, str(exc) or type(exc).__name__) from None

    def _client(self, url: str) -> httpx.AsyncClient:
        """One for each scheme. Raises SourceError for a URL that httpx refuses after all."""
        scheme = httpx.URL(url).scheme
        if scheme not in self._clients:
            try:
                self._clients[scheme] = client(
                    url, timeout_s=min(self._settings.step_s, self._settings.budget_s), transport=self._transport,
                    public_only=not self._settings.allow_private,
                )  # fmt: skip
            except BadUrl as exc:
                raise Unreachable(shown(url), str(exc)) from None
        return self._clients[scheme]


async def _read(response: httpx.Response, most: int, source: str) -> bytes:
    """Check what the answer says of itself, then take its body and not a byte more than allowed."""
    if response.status_code != httpx.codes.OK:
        raise BadHttpStatus(source, response.status_code)
    stated = response.headers.get("content-length", "")
    if not (stated.isascii() and stated.isdecimal() and len(stated) < 20):
        raise LengthMissing(source)
    if int(stated) > most:
        raise AnswerTooLarge(source, int(stated), most)
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise AnswerGarbled(source, response.headers["content-encoding"][:40])
    body, limit = bytearray(), int(stated)
    try:
        async for chunk in response.aiter_raw(CHUNK):
            if len(body) <= limit:
                body += chunk
            if len(body) > limit:
                await response.aclose()  # and iterated on, which ends httpx's nested generators by an error
    except (httpx.HTTPError, httpx.StreamError):
        if len(body) <= limit:
            raise
    if len(body) > limit:
        raise AnswerTooLarge(source, len(body), limit)
    if len(body) < limit:
        raise Unreachable(source, f"{len(body)} of {limit} B came")
    return bytes(body)
