"""Where a writer puts entries: a stream nobody else uses, or one that is served while it grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import trio

from attestrio.stream.bookmarks import DataStream
from attestrio.stream.live import LiveStream
from attestrio.stream.reader import StreamReader


class Encodable(Protocol):
    """What can be an entry: a message of the stream, or an entry that is put back as it was."""

    @property
    def TYPE(self) -> int: ...

    def encode(self) -> bytes: ...


class StreamSink(Protocol):
    """A stream as its one writer sees it. All of it blocks, and raises as `DataStream` does."""

    @property
    def reader(self) -> StreamReader:
        """What is committed."""
        ...

    def append(self, messages: Sequence[Encodable]) -> None:
        """In one atomic operation, on disk when this returns."""
        ...

    def truncate(self, number: int) -> None:
        """Remove entry `number` and all behind it."""
        ...

    def find(self, bookmark: bytes) -> int | None:
        """The number of the entry that is this bookmark."""
        ...

    def indexed(self, bookmark: bytes) -> int | None:
        """What the index says of it, right or not: some microseconds, where `find` reads a page."""
        ...


class DirectSink:
    """A stream that nobody reads meanwhile, or whose `LiveStream` is told by the caller (`publish`)."""

    def __init__(self, stream: DataStream) -> None:
        self._stream = stream

    @property
    def reader(self) -> StreamReader:
        return self._stream.file

    def append(self, messages: Sequence[Encodable]) -> None:
        with self._stream.atomic():
            for message in messages:
                self._stream.add(int(message.TYPE), message.encode())

    def truncate(self, number: int) -> None:
        self._stream.truncate(number)

    def find(self, bookmark: bytes) -> int | None:
        return self._stream.find(bookmark)

    def indexed(self, bookmark: bytes) -> int | None:
        return self._stream.index.get(bookmark)


class LiveSink:
    """A stream that is served: called in a worker thread of trio's, writes through the `LiveStream` on trio's thread.

    A cancelled caller gets trio.Cancelled here, before anything is written or after all of it was.
    """

    def __init__(self, live: LiveStream, stream: DataStream) -> None:
        """`stream`: what `live` stands on."""
        self._live, self._stream = live, stream

    @property
    def reader(self) -> StreamReader:
        return self._stream.file

    def append(self, messages: Sequence[Encodable]) -> None:
        entries = [(int(message.TYPE), message.encode()) for message in messages]
        trio.from_thread.run(self._live.append, entries)

    def truncate(self, number: int) -> None:
        trio.from_thread.run(self._live.truncate, number)

    def find(self, bookmark: bytes) -> int | None:
        return trio.from_thread.run(self._live.find, bookmark)

    def indexed(self, bookmark: bytes) -> int | None:
        # Not through `live`: a follower may ask at the same time, which every index takes, and nobody else writes.
        return self._stream.index.get(bookmark)
