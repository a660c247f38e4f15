"""A stream while it is written and served: every commit wakes those who follow, a truncation sends them away."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import trio
from trio_util import AsyncValue

from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.stream.bookmarks import DataStream
from attestrio.stream.entries import PAGE, Entry, Header
from attestrio.stream.errors import StreamRewritten

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StreamState:
    """What is committed, and how often something committed was taken back: nobody may follow across that."""

    header: Header
    cuts: int


class LiveStream:
    """One writer, many readers, in one process. Owns nothing: who opened `stream` closes it.

    Readers are level-triggered and ask with a position, so none has a queue. What blocks runs through `run`; the
    index of bookmarks is asked by one at a time, the file by any number.
    """

    def __init__(self, stream: DataStream, run: RunBlocking = in_thread) -> None:
        self._stream, self._run = stream, run
        self._state = AsyncValue(StreamState(stream.file.header, stream.file.rewrites))
        self._index = trio.Lock()  # held by the writer too, which writes to the index

    @property
    def state(self) -> StreamState:
        return self._state.value

    async def wait_other(self, seen: StreamState) -> StreamState:
        """The state once it is another one than `seen`; may skip what came between."""
        return await self._state.wait_value(lambda now: now != seen)

    async def append(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """Add entries (type, data) in one atomic operation, durably, then tell the readers. Raises as the file does."""
        pairs = list(entries)

        def work() -> None:
            with self._stream.atomic():
                for entry_type, data in pairs:
                    self._stream.add(entry_type, data)

        await self._write(work)

    async def truncate(self, number: int) -> None:
        """Remove entry `number` and all behind it; readers are sent away. Raises as the file does."""
        await self._write(lambda: self._stream.truncate(number))

    async def update(self, number: int, entry_type: int, data: bytes) -> None:
        """Replace the data of an entry by as many other bytes; readers are sent away. Raises as the file does."""
        await self._write(lambda: self._stream.update(number, entry_type, data))

    def publish(self) -> None:
        """Tell the readers what is committed now. For who writes to the stream otherwise than through this object."""
        self._state.value = StreamState(self._stream.file.header, self._stream.file.rewrites)

    async def _write(self, work: Callable[[], object]) -> None:
        async with self._index:
            try:
                await self._run(work)
            finally:
                self.publish()  # before anybody else can write: what a reader has read meanwhile is not sent on

    async def locate(self, number: int) -> int:
        """Where entry `number` begins, which may be the next one. Raises StreamRewritten when it is gone."""
        try:
            return await self._run(lambda: self._stream.file.locate(number))
        except ValueError as exc:  # there were more entries when the caller looked
            raise StreamRewritten(str(exc)) from exc

    async def slice(self, position: int) -> tuple[bytes, int]:
        """Whole entries from `position` on, all of its page that is committed, and where the next ones begin.

        Raises StreamRewritten.
        """
        cut = await self._run(lambda: self._stream.file.read_bytes(position, PAGE))
        return cut.data, cut.next

    async def entry(self, number: int) -> Entry | None:
        """A committed entry, or None."""
        try:
            return await self._run(lambda: self._stream.file.entry(number))
        except StreamRewritten:
            return None  # taken back while it was read

    async def entries(self, first: int, stop: int) -> list[Entry]:
        """Committed entries by number, `stop` not included. Raises StreamRewritten."""
        return await self._run(lambda: list(self._stream.file.entries(first, stop)))

    async def find(self, bookmark: bytes) -> int | None:
        """The number of the entry that is this bookmark, or None."""
        async with self._index:
            return await self._run(lambda: self._stream.find(bookmark))

    async def after(self, bookmark: bytes) -> Entry | None:
        """The first entry behind a bookmark that is none itself, or None for an unknown one."""
        async with self._index:
            return await self._run(lambda: self._stream.after(bookmark))
