"""A client of one connection: asks, and takes what is streamed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio

from attestrio.errors import PeerError
from attestrio.stream.dialogue import Answer, Dialogue
from attestrio.stream.entries import Entry, Header
from attestrio.stream.protocol import MAX_BOOKMARK_BYTES, Command, Request, Response
from attestrio.stream.wire import prepare
from attestrio.stream.wire_errors import BadStreamAddress, StreamLost, StreamRefused, StreamUnreachable

CHUNK: Final = 1 << 18
ADDRESS: Final = re.compile(r"\[([^\]]+)\]:(\d{1,5})|([^:\[\]]+):(\d{1,5})")


@dataclass(frozen=True, slots=True)
class ClientTimes:
    """How long a server may take. A stream may be quiet for ever; an answer may not."""

    connect_s: float = 10.0
    answer_s: float = 30.0  # without a byte, while an answer or the rest of a packet is due


DEFAULT_TIMES: Final = ClientTimes()


@asynccontextmanager
async def connect(address: str, times: ClientTimes = DEFAULT_TIMES) -> AsyncIterator[StreamClient]:
    """A connection to the server at HOST:PORT, closed at the end. Raises BadStreamAddress, StreamUnreachable."""
    found = ADDRESS.fullmatch(address)
    if found is None or int(found[2] or found[4]) > 0xFFFF:
        raise BadStreamAddress(address)
    try:
        with trio.fail_after(times.connect_s):
            stream = await trio.open_tcp_stream(found[1] or found[3], int(found[2] or found[4]))
            prepare(stream)
    except trio.TooSlowError:
        raise StreamUnreachable(address, f"not within {times.connect_s:g} s") from None
    except (OSError, UnicodeError) as exc:  # UnicodeError: a label too long for DNS
        raise StreamUnreachable(address, str(exc)) from exc
    async with stream:
        yield StreamClient(stream, address, times)


class StreamClient:
    """One connection; for one task. Every call raises StreamLost, after which the connection is of no more use."""

    def __init__(self, stream: trio.abc.Stream, address: str, times: ClientTimes = DEFAULT_TIMES) -> None:
        self._stream, self._address, self._times = stream, address, times
        self._dialogue = Dialogue()

    async def header(self) -> Header:
        """How much of the stream is committed."""
        body = (await self._ask(Request(Command.HEADER))).body
        if not isinstance(body, Header):
            raise StreamLost(self._address, "no header in the answer to Header")
        return body

    async def entry(self, number: int) -> Entry | None:
        """A committed entry, or None."""
        return self._found(await self._ask(Request(Command.ENTRY, number)))

    async def after(self, bookmark: bytes) -> Entry | None:
        """The first entry behind a bookmark that is none itself (the bookmark if nothing follows); None: unknown."""
        _check_bookmark(bookmark)
        return self._found(await self._ask(Request(Command.BOOKMARK, bookmark=bookmark)))

    async def start(self, number: int) -> None:
        """Have the stream sent from `number` on, which may be the next one. Raises StreamRefused: then reconnect."""
        await self._ask(Request(Command.START, number))

    async def start_bookmark(self, bookmark: bytes) -> None:
        """Have the stream sent from a bookmark on. Raises StreamRefused, for an unknown one: then reconnect."""
        _check_bookmark(bookmark)
        await self._ask(Request(Command.START_BOOKMARK, bookmark=bookmark))

    async def stop(self) -> None:
        """End the stream. What was still in flight is dropped."""
        await self._ask(Request(Command.STOP))

    async def entries(self) -> list[Entry]:
        """The entries that have come since, at least one; waits as long as the stream is quiet.

        They are what the server says: nothing about numbers is checked.
        """
        await trio.lowlevel.checkpoint()
        while not (got := self._arrived()):
            await self._receive()
        return got

    def _arrived(self) -> list[Entry]:
        got = []
        while (event := self._next_event()) is not None:
            if isinstance(event, Answer):
                raise StreamLost(self._address, "an answer that nobody waits for")
            got.append(event)
        return got

    async def _ask(self, request: Request) -> Answer:
        """Send a request, wait for its answer. Raises StreamRefused."""
        data = self._dialogue.request(request)
        try:
            with trio.fail_after(self._times.answer_s):
                await self._stream.send_all(data)
        except trio.TooSlowError:
            raise StreamLost(self._address, f"takes nothing for {self._times.answer_s:g} s") from None
        except trio.BrokenResourceError as exc:
            raise StreamLost(self._address, str(exc.__cause__ or exc)) from exc
        while not isinstance(event := self._next_event(), Answer):
            if event is None:
                await self._receive()
        if not event.result.ok:
            raise StreamRefused(request.command.name, event.result.status, event.result.text)
        return event

    @staticmethod
    def _found(answer: Answer) -> Entry | None:
        return answer.body.entry if isinstance(answer.body, Response) else None

    def _next_event(self) -> Answer | Entry | None:
        try:
            return self._dialogue.next_event()
        except PeerError as exc:
            raise StreamLost(self._address, str(exc)) from exc

    async def _receive(self) -> None:
        try:
            with trio.fail_after(self._times.answer_s if self._dialogue.partial else float("inf")):
                data = await self._stream.receive_some(CHUNK)
        except trio.TooSlowError:
            raise StreamLost(self._address, f"silent for {self._times.answer_s:g} s") from None
        except trio.BrokenResourceError as exc:
            raise StreamLost(self._address, str(exc.__cause__ or exc)) from exc
        if not data:
            raise StreamLost(self._address, "the server has closed the connection")
        self._dialogue.feed(data)


def _check_bookmark(bookmark: bytes) -> None:
    """Raise ValueError for one that no server would answer."""
    if not 1 <= len(bookmark) <= MAX_BOOKMARK_BYTES:
        raise ValueError(f"bookmark of {len(bookmark)} bytes, 1 to {MAX_BOOKMARK_BYTES} are possible")
