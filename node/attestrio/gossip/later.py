"""What a node says when it has nothing else to do: answers to pushes of votes, and others' votes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

import trio
import trio.testing

if TYPE_CHECKING:
    from attestrio.gossip.connection import Connection

WITHIN_S: Final = 0.05  # a loop that never comes to rest speaks at last


class Later:
    """Connections that have something to say which nobody needs at once.

    When votes arrive from many peers in one turn of the loop, each answer and each forward is work before the quorum
    that makes a certificate, and no vote comes earlier by it. So they wait until all that is here has been read,
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
