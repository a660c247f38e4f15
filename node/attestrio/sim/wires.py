"""Faults on real sockets: TCP connections on loopback that pass here are delayed, torn, corrupted, or go silent.

A `TcpWires` stands between the nodes of a `Cluster` as a `MemoryNetwork` does in stories, with the same words: `cut`,
`isolate`, `mend`, `Weather`. What it does to a byte stream is what networks and middle boxes do:

    silent    bytes vanish, nobody is told: a half-open connection, such as a firewall leaves that forgot it
    broken    both ends get a reset, and so does every new connection
    refused   the same, and nobody listens any more
    torn      half of a piece arrives, then the end: in the middle of a frame, whatever the frames are
    corrupt   one bit of a piece is another
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NoReturn

import trio
from trio_util import AsyncValue

from attestrio.sim.doors import LOOPBACK, Connection, Door
from attestrio.sim.links import Weather

PIECE: Final = 1 << 16  # bytes read at once
UNDER_WAY: Final = 64  # pieces of one direction between the two ends; then its sender is not read from
CONNECTIONS: Final = 256  # at the same time; one more is reset

Direction = tuple[str, str]
"""From whom, to whom."""


class Cut(StrEnum):
    """How nothing passes."""

    SILENT = "silent"
    BROKEN = "broken"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Line:
    """What one direction does to what passes: how late, and how fast; None is without limit."""

    delay_s: float = 0.0
    bytes_per_s: float | None = None

    def __post_init__(self) -> None:
        if self.delay_s < 0 or (self.bytes_per_s is not None and self.bytes_per_s <= 0):
            raise ValueError(f"{self}: delay_s has to be 0 or more, bytes_per_s above 0")


class TcpWires:
    """Wires between named members, each direction on its own. Only the trio thread touches it, while `run` runs.

    Args:
      weather: of all wires. `drop` is the chance for each piece read that the connection is reset instead; when a
        member dials again is its own affair, so `reconnect_s` means nothing here.
      seed: of the luck, which each direction draws for itself. What makes a piece is up to the system, so the same
        seed gives the same kind of story, not the same story.
    """

    def __init__(self, weather: Weather = Weather(), *, seed: int = 0) -> None:
        self.weather = weather
        self.lost: Counter[Direction] = Counter()
        """Bytes that vanished."""
        self._seed = seed
        self._luck: dict[Direction, random.Random] = {}
        self._cuts: dict[Direction, Cut] = {}
        self._lines: dict[Direction, Line] = {}
        self._tear: set[Direction] = set()
        self._corrupt: set[Direction] = set()
        self._connections: set[Connection] = set()
        self._doors: AsyncValue[tuple[Door, ...]] = AsyncValue(())

    # --- who is connected

    def between(self, dialler: str, peer: str, address: str) -> str:
        """Where `dialler` reaches `peer`, who listens at `address`: the same HOST:PORT whenever it is asked again.

        Raises ValueError for an address that is not on loopback, OSError when no port can be had.
        """
        if address.rpartition(":")[0] != LOOPBACK:
            raise ValueError(f"{address}: faults are for {LOOPBACK} only")
        for door in self._doors.value:
            if (door.dialler, door.peer, door.target) == (dialler, peer, address):
                return door.address
        door = Door(dialler, peer, address)
        self._doors.value += (door,)
        if self._cuts.get((dialler, peer)) is Cut.REFUSED:
            door.refuse()
        return door.address

    def connections(self, a: str, b: str) -> int:
        """How many connections there are between `a` and `b`, whoever dialled, half-open ones too."""
        return sum({one.dialler, one.peer} == {a, b} for one in self._connections)

    # --- what happens to them

    def cut(self, a: str, b: str, how: Cut = Cut.SILENT) -> None:
        """Nothing passes between `a` and `b`, in both directions, until `mend`; what is under way is lost."""
        self._cuts[a, b] = self._cuts[b, a] = how
        if how is not Cut.SILENT:
            self.reset(a, b)
        for door in self._doors.value:
            if how is Cut.REFUSED and {door.dialler, door.peer} == {a, b}:
                door.refuse()

    def mute(self, sender: str, receiver: str) -> None:
        """What `sender` says to `receiver` vanishes until `mend`; the other direction works."""
        self._cuts[sender, receiver] = Cut.SILENT

    def isolate(self, name: str, others: Iterable[str], how: Cut = Cut.SILENT) -> None:
        """Cut `name` from each of `others`."""
        for other in others:
            if other != name:
                self.cut(name, other, how)

    def slow(self, sender: str, receiver: str, line: Line) -> None:
        """Pass what `sender` says to `receiver` as `line` says, until `mend`; its delay is added to the weather's."""
        self._lines[sender, receiver] = line

    def reset(self, a: str, b: str) -> None:
        """Break the connections between `a` and `b` now. New ones work, unless there is a cut."""
        for one in [one for one in self._connections if {one.dialler, one.peer} == {a, b}]:
            one.reset()

    def tear(self, sender: str, receiver: str) -> None:
        """Of the next piece only half arrives, and then the end of the connection."""
        self._tear.add((sender, receiver))

    def corrupt(self, sender: str, receiver: str) -> None:
        """One bit of the next piece is flipped."""
        self._corrupt.add((sender, receiver))

    def mend(self) -> None:
        """All cuts and slow lines end. Connections that have lost bytes are reset: what follows would fit nowhere."""
        for memory in (self._cuts, self._lines, self._tear, self._corrupt):
            memory.clear()
        for one in [one for one in self._connections if one.gapped]:
            one.reset()
        for door in self._doors.value:
            door.open()

    # --- how

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Carry until cancelled; every socket is closed then."""
        served = 0
        try:
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    doors = self._doors.value
                    for door in doors[served:]:
                        nursery.start_soon(self._serve, door)
                    served = len(doors)
                    await self._doors.wait_value(lambda now, doors=doors: now != doors)  # type: ignore[misc]
        finally:
            for door in self._doors.value:
                door.close()

    async def _serve(self, door: Door) -> NoReturn:
        async with trio.open_nursery() as nursery:
            while True:
                one = Connection(door.dialler, door.peer, await door.accept())
                cut = self._cuts.get((door.dialler, door.peer))
                if len(self._connections) >= CONNECTIONS or cut in (Cut.BROKEN, Cut.REFUSED):
                    one.reset()
                    continue
                self._connections.add(one)
                nursery.start_soon(self._hold, one, door.target)

    async def _hold(self, one: Connection, target: str) -> None:
        """One connection from its first byte to its end."""
        there, back = (one.dialler, one.peer), (one.peer, one.dialler)
        try:
            with one.life:
                if self._is_silent(there) and self._is_silent(back):  # a knock that nobody hears
                    await self._gap(one)
                host, _, port = target.rpartition(":")
                one.streams.append(far := await trio.open_tcp_stream(host, int(port)))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._carry, one, one.streams[0], far, there)
                    nursery.start_soon(self._carry, one, far, one.streams[0], back)
                one.close()
        except OSError:
            pass  # nobody listens there: the dialler is told by a reset
        finally:
            self._connections.discard(one)
            one.reset()

    async def _carry(self, one: Connection, source: trio.SocketStream, sink: trio.SocketStream, way: Direction) -> None:
        """One direction of a connection: read, and put on its way."""
        start, end = trio.open_memory_channel[tuple[float, bytes]](UNDER_WAY)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._arrive, one, sink, way, end)
            async with start:
                while piece := await self._read(one, source, way):
                    if self._is_silent(way):
                        self._lose(one, way, piece)
                        continue
                    if self._chance(way).random() < self.weather.drop:
                        one.reset()
                    late_s = self.weather.delay_s + self._lines.get(way, Line()).delay_s
                    await start.send((trio.current_time() + late_s, piece))

    async def _read(self, one: Connection, source: trio.SocketStream, way: Direction) -> bytes:
        """The next piece; empty at the end. The end of a silent direction is not heard either."""
        try:
            piece = bytes(await source.receive_some(PIECE))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            if not self._is_silent(way):
                one.reset()
            piece = b""
        if not piece and self._is_silent(way):
            await self._gap(one)
        return piece

    async def _arrive(
        self,
        one: Connection,
        sink: trio.SocketStream,
        way: Direction,
        pieces: trio.MemoryReceiveChannel[tuple[float, bytes]],
    ) -> None:
        try:
            async for due, piece in pieces:
                await trio.sleep_until(due)
                if rate := self._lines.get(way, Line()).bytes_per_s:
                    await trio.sleep(len(piece) / rate)
                if self._is_silent(way):
                    self._lose(one, way, piece)
                elif way in self._tear:
                    self._tear.discard(way)
                    await sink.send_all(piece[: len(piece) // 2])
                    await sink.aclose()  # an orderly end, so that the half does arrive
                    one.reset()
                else:
                    await sink.send_all(self._corrupted(way, piece))
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            if self._is_silent((way[1], way[0])):
                await self._gap(one)  # that the receiver is gone is not heard
            one.reset()

    def _corrupted(self, way: Direction, piece: bytes) -> bytes:
        if way not in self._corrupt:
            return piece
        self._corrupt.discard(way)
        changed, luck = bytearray(piece), self._chance(way)
        changed[luck.randrange(len(changed))] ^= 1 << luck.randrange(8)
        return bytes(changed)

    def _is_silent(self, way: Direction) -> bool:
        return self._cuts.get(way) is Cut.SILENT

    def _lose(self, one: Connection, way: Direction, piece: bytes) -> None:
        one.gapped = True
        self.lost[way] += len(piece)

    async def _gap(self, one: Connection) -> NoReturn:
        """Keep the connection half-open until `mend` resets it."""
        one.gapped = True
        await trio.sleep_forever()

    def _chance(self, way: Direction) -> random.Random:
        return self._luck.setdefault(way, random.Random(f"{self._seed} {way}"))
