"""A fleet of operators as one process: signatures made beforehand, and sent as often as is asked for.

    python bench/_operators.py HOST:PORT COUNT MODE

Each operator has one connection and tries every 0.2 s, for ever. `patient`: a call that fails is repeated, one that is
answered is not. `flood`: every signature is sent again each time, whatever was said; who does not read is not sent
more. Batches come as lines on stdin, figures go as lines to stdout. Calls are bytes made once, so that the fleet takes
less of the machine than the server does.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import trio
from attestrio.bls import SecretKey, operator_id, to_limbs
from attestrio.gorpc.exchange import CONNECT, CONNECTED
from attestrio.gorpc.gob import GobDecoder, GobEncoder
from attestrio.gorpc.messages import (
    PROCESS_SIGNED_TASK_RESPONSE,
    REQUEST,
    RESPONSE,
    Point,
    RequestHeader,
    SignedTaskResponse,
)
from attestrio.operator.surface import identifier_hash

EVERY_S = 0.2
HEAD_S = 5.0
WARM_UP = 0  # the number of the first call of a connection, which carries the definitions of types


class Order(msgspec.Struct):
    """A line to the fleet."""

    batches: list[tuple[bytes, bytes]] = []
    """More of them, root and sender."""
    most: int = 1 << 30
    """How many are sent at all: the newest."""
    mode: str = ""
    """From now on, if it is given."""


class Told(msgspec.Struct):
    """The answer to each order: figures since the start."""

    sent: int
    answered: int
    taken: int
    """Signatures that were answered with a reply at least once."""
    signatures: int
    errors: dict[str, int]
    connected: int


def key_of(number: int) -> SecretKey:
    """Of an operator; the same in every run."""
    return SecretKey.generate(lambda size: hashlib.sha512(b"fleet %d" % number).digest()[:size])


@dataclass(eq=False, slots=True)
class Fleet:
    """What all operators know and count."""

    address: str
    mode: str
    batches: list[tuple[bytes, bytes]] = field(default_factory=list)
    most: int = 1 << 30
    sent: int = 0
    answered: int = 0
    errors: Counter[str] = field(default_factory=Counter)


class Operator:
    """One of them."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self.key = key_of(number)
        self.id = operator_id(self.key.public_g1())
        self.taken: set[int] = set()
        self.connected = False
        self._fleet = fleet
        self._calls: list[bytes] = []  # one for each batch, behind the definitions
        self._encoder = GobEncoder()
        self._opening = b""
        self._open: set[int] = set()  # calls without an answer, on this connection

    def sign(self) -> None:
        """Make the calls for batches that are new."""
        for number in range(len(self._calls), len(self._fleet.batches)):
            root, sender = self._fleet.batches[number]
            identifier = identifier_hash(root, sender)
            response = SignedTaskResponse(
                root, sender, identifier, Point(*to_limbs(self.key.sign(identifier))), self.id
            )
            if not self._calls:
                self._opening = self._encode(WARM_UP, response)
            self._calls.append(self._encode(number + 1, response))

    def _encode(self, seq: int, response: SignedTaskResponse) -> bytes:
        header = self._encoder.encode(REQUEST, RequestHeader(PROCESS_SIGNED_TASK_RESPONSE.name, seq))
        return header + self._encoder.encode(PROCESS_SIGNED_TASK_RESPONSE.arg, response)

    async def run(self) -> None:
        """Connect, and again, for ever."""
        host, _, port = self._fleet.address.rpartition(":")
        while True:
            try:
                stream = await trio.open_tcp_stream(host, int(port))
            except OSError:
                await trio.sleep(EVERY_S)
                continue
            async with stream:
                await self._talk(stream)
            self.connected = False
            await trio.sleep(EVERY_S)

    async def _talk(self, stream: trio.SocketStream) -> None:
        self._open.clear()
        try:
            await stream.send_all(CONNECT)
            head = b""
            with trio.fail_after(HEAD_S):
                while len(head) < len(CONNECTED):
                    head += await stream.receive_some(len(CONNECTED) - len(head)) or b"?"
            if head != CONNECTED:
                return
            self.connected = True
            await stream.send_all(self._opening)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send, stream)
                await self._read(stream)
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass  # it is away again

    async def _send(self, stream: trio.SocketStream) -> None:
        fleet = self._fleet
        while True:
            at = trio.current_time()
            numbers = self._wanted()
            if numbers:
                await stream.send_all(b"".join(self._calls[number] for number in numbers))
                self._open.update(numbers)
                fleet.sent += len(numbers)
            await trio.sleep_until(at + EVERY_S)

    def _wanted(self) -> list[int]:
        """What is sent this time, by number."""
        signed = len(self._calls)
        newest = range(max(signed - self._fleet.most, 0), signed)
        if self._fleet.mode == "flood":
            return list(newest)
        return [number for number in range(signed) if number not in self.taken and number not in self._open]

    async def _read(self, stream: trio.SocketStream) -> None:
        """Count answers. The same answer is the same bytes, so each is decoded once."""
        gob, known, fleet = GobDecoder(), {}, self._fleet
        is_header = True
        while data := await stream.receive_some(1 << 16):
            gob.feed(data)
            while (message := gob.next_message()) is not None:
                if is_header:
                    header = known.get(message.payload)
                    if header is None:
                        header = known[message.payload] = gob.value(message, RESPONSE)
                    self._count(header.seq, header.error, fleet)
                is_header = not is_header

    def _count(self, seq: int, error: str, fleet: Fleet) -> None:
        if seq == WARM_UP:
            return
        fleet.answered += 1
        self._open.discard(seq - 1)
        if error:
            fleet.errors[error] += 1
        else:
            self.taken.add(seq - 1)


async def obey(fleet: Fleet, operators: list[Operator], start: Callable[..., object]) -> None:
    """One line for each line, until stdin ends; operators dial once there is something to send."""
    decoder, dial = msgspec.json.Decoder(Order), True
    async for line in trio.wrap_file(sys.stdin.buffer):
        order = decoder.decode(line)
        fleet.batches += order.batches
        fleet.most = min(fleet.most, order.most)
        fleet.mode = order.mode or fleet.mode
        for operator in operators:
            operator.sign()
            await trio.lowlevel.checkpoint()
        if dial and fleet.batches:
            dial = False
            for operator in operators:
                start(operator.run)
        taken = sum(len(one.taken) for one in operators)
        told = Told(
            fleet.sent, fleet.answered, taken, len(operators) * len(fleet.batches), dict(fleet.errors),
            sum(one.connected for one in operators),
        )  # fmt: skip
        print(msgspec.json.encode(told).decode(), flush=True)


async def main(address: str, count: int, mode: str) -> None:
    fleet = Fleet(address, mode)
    operators = [Operator(fleet, number) for number in range(count)]
    async with trio.open_nursery() as nursery:
        await obey(fleet, operators, nursery.start_soon)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]), sys.argv[3])
