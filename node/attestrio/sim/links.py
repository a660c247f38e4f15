"""Votes between nodes of one process, over wires that delay, are cut, or break and come back.

A `MemoryNetwork` stands in for the gossip network in stories. Each member's link sends its register's votes to every
other member: everything on a new connection, then only what is new, as the wire does.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import trio
from trio_util import AsyncValue, move_on_when

from attestrio.errors import PeerError
from attestrio.quorum.watch import VotesWatch


@dataclass(frozen=True, slots=True)
class Weather:
    """What the wires do. Times in seconds; `drop` is the chance per push that the connection breaks instead.

    Each direction of a wire has one push under way, as the wire's RPC does. A push takes `delay_s`: for the first half
    it gathers what comes up, then it travels. A vote that just missed one thus arrives after 1.5 × `delay_s`.
    """

    delay_s: float = 0.0
    drop: float = 0.0
    reconnect_s: float = 1.0

    def __post_init__(self) -> None:
        if self.delay_s < 0 or not 0 <= self.drop <= 1 or self.reconnect_s <= 0:
            raise ValueError(f"{self}: delay_s has to be 0 or more, drop a chance, reconnect_s above 0")


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A node on the network; compared by identity, since a node that came back is another member."""

    name: str
    votes: VotesWatch


class MemoryNetwork:
    """Wires between all members, each direction on its own. Only the trio thread touches it.

    With a delay above 0 the same `seed` gives the same story: each direction draws its own luck, and what happens at
    one instant makes one push, in whatever order trio runs the tasks.
    """

    def __init__(self, weather: Weather = Weather(), *, seed: int = 0) -> None:
        self.weather = weather
        self._seed = seed
        self._luck: dict[tuple[str, str], random.Random] = {}
        self._members: AsyncValue[frozenset[Member]] = AsyncValue(frozenset())
        self._cuts: AsyncValue[frozenset[tuple[str, str]]] = AsyncValue(frozenset())

    @property
    def members(self) -> list[str]:
        """The names of those who are connected now, sorted."""
        return sorted(member.name for member in self._members.value)

    def link(self, name: str) -> MemoryLink:
        """The end of the member called `name`; it is connected while its `run` runs."""
        return MemoryLink(name, self)

    def cut(self, a: str, b: str) -> None:
        """Nothing passes between `a` and `b`, in both directions, until `mend`; a push under way is lost."""
        self._cuts.value |= {(a, b), (b, a)}

    def isolate(self, name: str, others: Iterable[str]) -> None:
        """Cut `name` from each of `others`."""
        self._cuts.value |= {pair for other in others for pair in ((name, other), (other, name))}

    def ring(self, names: Sequence[str]) -> None:
        """Cut all wires but those between neighbours: what one sends reaches the others from register to register."""
        last = len(names) - 1
        self._cuts.value |= {
            (a, b) for i, a in enumerate(names) for j, b in enumerate(names) if abs(i - j) not in (0, 1, last)
        }

    def mend(self) -> None:
        """All cuts end. The connections they broke start anew, so everything is sent again."""
        self._cuts.value = frozenset()

    async def carry(self, sender: Member, receiver: Member) -> NoReturn:
        """One direction of one pair: connect, send all, send what is new, break, connect again."""
        pair = (sender.name, receiver.name)
        luck = self._luck.setdefault(pair, random.Random(f"{self._seed} {pair}"))
        while True:
            await self._cuts.wait_value(lambda cuts: pair not in cuts)
            async with move_on_when(self._cuts.wait_value, lambda cuts: pair in cuts):
                await self._connection(sender, receiver, luck)
            await trio.sleep(self.weather.reconnect_s)

    async def _connection(self, sender: Member, receiver: Member, luck: random.Random) -> None:
        mark = 0
        while True:
            await sender.votes.wait_newer(mark)
            await trio.sleep(self.weather.delay_s / 2)
            votes, newest = sender.votes.newer_than(mark)
            if not votes:  # the floor rose meanwhile: nothing is left to be said
                continue
            await trio.sleep(self.weather.delay_s / 2)
            if luck.random() < self.weather.drop:
                return
            try:
                receiver.votes.add(votes)
            except PeerError:
                return  # as on the wire: no answer, and the pusher drops the connection
            mark = newest

    async def join(self, member: Member) -> NoReturn:
        """Send `member`'s votes to all others, whoever comes and goes, until cancelled."""
        scopes: dict[Member, trio.CancelScope] = {}
        self._members.value |= {member}
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    present = self._members.value
                    for other in present - scopes.keys() - {member}:
                        scopes[other] = trio.CancelScope()
                        nursery.start_soon(self._scoped, scopes[other], member, other)
                    for gone in scopes.keys() - present:
                        scopes.pop(gone).cancel()
                    await self._members.wait_value(lambda now, seen=present: now != seen)  # type: ignore[misc]
        finally:
            self._members.value -= {member}

    async def _scoped(self, scope: trio.CancelScope, sender: Member, receiver: Member) -> None:
        with scope:
            await self.carry(sender, receiver)


@dataclass(frozen=True, slots=True)
class MemoryLink:
    """One node's end of a `MemoryNetwork`; a `Link`."""

    name: str
    network: MemoryNetwork

    async def run(
        self, votes: VotesWatch, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Exchange votes with all members until cancelled; ready at once."""
        task_status.started()
        await self.network.join(Member(self.name, votes))
