"""A client's side of one connection: which answer belongs to which request. Nothing here waits."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from attestrio.stream.entries import NOT_FOUND_TYPE, Entry, Header
from attestrio.stream.protocol import Command, PacketReader, Request, Response, Result
from attestrio.stream.wire_errors import BadStreamPacket

STARTS: Final = frozenset({Command.START, Command.START_BOOKMARK})
WITH_BODY: Final = frozenset({Command.HEADER, Command.ENTRY, Command.BOOKMARK})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request came to. `body` for Header, Entry and Bookmark that were OK, else None."""

    request: Request
    result: Result
    body: Header | Response | None = None


class Dialogue:
    """Bytes to send for requests, in; answers and streamed entries, out.

    Requests may be sent before earlier ones are answered, except behind a start: what the server reads of a request
    that it refuses is not the whole request, and everything after it would be misread. So between a start and the
    answer to a Stop only Stop is allowed.
    """

    def __init__(self) -> None:
        self._reader = PacketReader()
        self._waiting: deque[Request] = deque()
        self._result: Result | None = None  # of the oldest request, whose body has not come
        self._streaming = False  # the server may send entries
        self._started = False  # a start was sent, and no Stop behind it

    @property
    def partial(self) -> bool:
        """Whether something is expected: an answer, or the rest of a packet."""
        return bool(self._waiting) or self._reader.partial

    def request(self, request: Request) -> bytes:
        """What to send. Raises ValueError for a request that the server would misread."""
        if self._started != (request.command == Command.STOP):
            raise ValueError(f"{request.command.name} {'while' if self._started else 'before'} entries are streamed")
        if request.command in STARTS:
            self._started = True
        elif request.command == Command.STOP:
            self._started = False
        self._waiting.append(request)
        return request.encode()

    def feed(self, data: bytes | bytearray) -> None:
        """Take the next piece, of any length."""
        self._reader.feed(data)

    def next_event(self) -> Answer | Entry | None:
        """The next answer or streamed entry, or None: feed more. Raises PeerError: close the connection.

        A start that was refused is over: the connection is of no more use with the reference as its server.
        """
        while (packet := self._reader.next_packet()) is not None:
            if isinstance(packet, Result):
                if (answer := self._resulted(packet)) is not None:
                    return answer
            elif self._result is not None:
                return self._embodied(packet)
            elif isinstance(packet, Entry) and self._streaming:
                return packet
            else:
                raise BadStreamPacket("an entry or a header that nobody asked for")
        return None

    def _resulted(self, result: Result) -> Answer | None:
        if self._result is not None or not self._waiting:
            raise BadStreamPacket("a result that nobody asked for")
        request = self._waiting[0]
        if result.ok and request.command in WITH_BODY:
            self._result = result
            return None
        self._waiting.popleft()
        if request.command in STARTS:
            self._streaming = result.ok
            if not self._streaming and not any(one.command in STARTS for one in self._waiting):
                self._started = False
        elif request.command == Command.STOP:
            self._streaming = False
        return Answer(request, result)

    def _embodied(self, packet: Header | Response | Entry) -> Answer:
        request = self._waiting.popleft()
        result, self._result = self._result, None
        if isinstance(packet, Entry):
            # cdk-erigon takes either kind for an answer, and goes by the type of an entry that is none.
            packet = Response(None if packet.type == NOT_FOUND_TYPE else packet)
        if result is None or isinstance(packet, Header) != (request.command == Command.HEADER):
            raise BadStreamPacket(f"not the answer to {request.command.name}")
        return Answer(request, result, packet)
