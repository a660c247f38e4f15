"""The document, made once for all who look: at most four times a second, and not at all while nobody looks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NoReturn

import msgspec
import trio
from trio_util import AsyncValue

from attestrio.errors import SetupError, SourceError
from attestrio.kit.seldom import Seldom
from attestrio.web.api import Source

log = logging.getLogger("attestrio.web")

EVERY_S: Final = 0.25  # between two documents
LOOK_S: Final = 2.0  # what changes without telling, as bytes of peers do, is looked for that often


@dataclass(frozen=True, slots=True)
class Document:
    """One document as it is sent."""

    version: int
    raw: bytes
    """JSON, on one line."""


class Publisher:
    """Makes documents of `source` when they are wanted. Used from the trio thread only.

    Args:
      wall: Unix time in seconds, for `as_of`.
    """

    def __init__(self, source: Source, wall: Callable[[], float] = time.time) -> None:
        self._source = source
        self._wall = wall
        self._lock = trio.Lock()
        self._made: Document | None = None
        self._bare = b""  # the last document without its version and time: what is compared
        self._made_at = float("-inf")
        self._stamp: object = None
        self._readers = AsyncValue(0)
        self._news = AsyncValue(0)
        self._closing = False
        self._unread = Seldom(log, logging.WARNING)

    @property
    def readers(self) -> int:
        """How many streams are open."""
        return self._readers.value

    @property
    def closing(self) -> bool:
        """Whether the server ends, so that streams have to."""
        return self._closing

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Somebody looks meanwhile: changes are looked for."""
        self._readers.value += 1
        try:
            yield
        finally:
            self._readers.value -= 1

    async def current(self) -> Document:
        """The document, at most 250 ms old. Any number of callers cost one. Raises what the source does."""
        async with self._lock:
            if self._made is None or trio.current_time() - self._made_at >= EVERY_S:
                self._stamp = self._source.stamp()  # before: news that comes meanwhile is news for the next one
                view = await self._source.document()
                self._made_at = trio.current_time()
                bare = msgspec.json.encode(view)
                if self._made is None or bare != self._bare:
                    version = 1 if self._made is None else self._made.version + 1
                    full = msgspec.structs.replace(view, version=version, as_of=self._wall())
                    self._made, self._bare = Document(version, msgspec.json.encode(full)), bare
                    self._news.value += 1
            return self._made

    async def next(self, seen: int, within_s: float) -> Document | None:
        """The document once its version is not `seen`; None when the server closes, or none came in time."""
        with trio.move_on_after(within_s):
            while not self._closing:
                if self._made is not None and self._made.version != seen:
                    await trio.lowlevel.checkpoint()
                    return self._made
                news = self._news.value
                await self._news.wait_value(lambda now, news=news: now != news)  # type: ignore[misc]
        return None

    async def run(self) -> NoReturn:
        """Look for changes while somebody reads. When cancelled, streams are told to end.

        What cannot be read now is asked for again, and the last document stands: a page ends no node.
        """
        try:
            while True:
                await self._readers.wait_value(lambda readers: readers > 0)
                old = trio.current_time() - self._made_at
                if old >= EVERY_S and (old >= LOOK_S or self._source.stamp() != self._stamp):
                    try:
                        await self.current()
                    except (SourceError, SetupError) as exc:
                        self._unread.say("the page is not brought up to date: %s", exc)
                await trio.sleep(EVERY_S)
        finally:
            self._closing = True
            self._news.value += 1
