"""What a node does when there is nothing else to do: answers to pushes, others' votes, votes beyond a quorum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

import trio
import trio.testing

if TYPE_CHECKING:
    from attestrio.gossip.connection import Connection

WITHIN_S: Final = 0.05  # a loop that never comes to rest speaks at last


class Later:
    """Connections that have something to say which nobody needs at once.

    When votes arrive from many peers in one turn of the loop, each answer, each forward and each vote beyond the quorum
    is work before the certificate, and it comes no earlier by them. So they wait until all that is here has been read,
    counted and stored; then an answer and a forward leave in one write. On an idle machine that is the next turn.
    """

    def __init__(self) -> None:
        self._waiting: dict[Connection, None] = {}  # in order
        self._some = trio.lowlevel.ParkingLot()

    def add(self, connection: Connection) -> None:
        """Call its `catch_up` later, once. Never waits, never raises; O(1)."""
        if not self._waiting:
            self._some.unpark_all()
        self._waiting[connection] = None

    async def run(self) -> NoReturn:
        while True:
            while not self._waiting:
                await self._some.park()
            with trio.move_on_after(WITHIN_S):
                # Made for tests, and exactly this: the loop would have to sleep now.
                await trio.testing.wait_all_tasks_blocked()
            waiting, self._waiting = self._waiting, {}
            for connection in waiting:
                connection.catch_up()
                await trio.lowlevel.checkpoint()  # each may have many signatures to check
