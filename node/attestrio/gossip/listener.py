"""The socket that others dial. It listens as long as the process lives, whichever epoch accepts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import trio

from attestrio.kit.tcp import accept, bind_socket, shown_address

log = logging.getLogger("attestrio.gossip")

BACKLOG: Final = 32


class Listener:
    """Made by `open`.

    Args:
      on_skipped: told of each connection that was gone, or for which there was no room.
    """

    def __init__(self, sock: trio.socket.SocketType, on_skipped: Callable[[], None]) -> None:
        self._socket = sock
        self._on_skipped = on_skipped
        self.address = shown_address(sock.getsockname())

    @classmethod
    async def open(cls, bind: str, on_skipped: Callable[[], None]) -> Listener:
        """Listen on HOST:PORT, port 0 for any free one. Raises AddressInUse, BadAddress."""
        sock = trio.socket.from_stdlib_socket(await bind_socket(bind))
        sock.listen(BACKLOG)
        return cls(sock, on_skipped)

    async def accept(self) -> tuple[trio.SocketStream, str]:
        """The next connection and where it comes from.

        A socket that was reset before anybody looked at it is skipped: on the network such a burst stops the node.
        """
        return await accept(self._socket, log, on_skipped=self._on_skipped)

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()
