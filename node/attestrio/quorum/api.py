"""How votes travel between this node and others: the port."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol

if TYPE_CHECKING:
    import trio

    from attestrio.quorum.watch import VotesWatch


class Link(Protocol):
    """Carries votes: a gossip network, wires in memory, nothing at all."""

    async def run(self, votes: VotesWatch, *, task_status: trio.TaskStatus[None] = ...) -> NoReturn:
        """Bring what others send into `votes`, and what is new there to others, until cancelled.

        What others send is a stranger's: a PeerError of `votes.add` costs them their connection and nothing else.
        Everything has to be sent again on every new connection, since a peer keeps nothing of the last one.
        `task_status.started()` is called when others can reach this node, never later than they can.
        """
        ...
