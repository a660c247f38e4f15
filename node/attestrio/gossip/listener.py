"""The socket that others dial. It listens as long as the process lives, whichever epoch accepts."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from typing import Final

import trio

from attestrio.kit.http import bind_socket

log = logging.getLogger("attestrio.gossip")

BACKLOG: Final = 32
NO_ROOM_S: Final = 0.5  # between two attempts while the system has no descriptor or memory left
NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def shown(address: object) -> str:
    """host:port of what the socket module calls an address."""
    host, port = address[:2]  # type: ignore[index]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Listener:
    """Made by `open`.

    Args:
      on_skipped: told of each connection that was gone, or for which there was no room.
    """

    def __init__(self, sock: trio.socket.SocketType, on_skipped: Callable[[], None]) -> None:
        self._socket = sock
        self._on_skipped = on_skipped
        self.address = shown(sock.getsockname())

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
        while True:
            try:
                sock, address = await self._socket.accept()
                return trio.SocketStream(sock), shown(address)
            except OSError as exc:
                if self._socket.fileno() < 0:
                    raise  # closed by ourselves: whoever accepts has outlived the node
                self._on_skipped()
                if exc.errno in NO_ROOM:
                    log.warning("no connection can be accepted: %s", exc.strerror)
                    await trio.sleep(NO_ROOM_S)

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()
