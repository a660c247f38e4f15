"""The sockets of `TcpWires`: where members dial, and the two ends of what passes."""

from __future__ import annotations

import socket
import struct
from typing import Final

import trio
from trio_util import AsyncBool

LOOPBACK: Final = "127.0.0.1"
AT_ONCE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset, and nothing that still waits


class Connection:
    """The two sockets of one connection, the dialler's first."""

    def __init__(self, dialler: str, peer: str, near: trio.SocketStream) -> None:
        self.dialler, self.peer = dialler, peer
        self.streams = [near]
        self.life = trio.CancelScope()
        self.gapped = False  # bytes were lost: what follows would fit nowhere

    def close(self) -> None:
        """End in order: what was sent arrives."""
        for stream in self.streams:
            stream.socket.close()
        self.life.cancel()

    def reset(self) -> None:
        """End at once, with a reset at both ends."""
        for stream in self.streams:
            if stream.socket.fileno() >= 0:
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        self.close()


class Door:
    """Where one member dials another, at a port that stays the same."""

    def __init__(self, dialler: str, peer: str, target: str) -> None:
        self.dialler, self.peer, self.target = dialler, peer, target
        self._socket = bound(0)
        self._socket.listen()
        self._is_open = AsyncBool(True)
        self._port: int = self._socket.getsockname()[1]
        self.address = f"{LOOPBACK}:{self._port}"

    async def accept(self) -> trio.SocketStream:
        """The next connection; waits while the door refuses."""
        while True:
            await self._is_open.wait_value(True)
            try:
                sock, _ = await self._socket.accept()
            except (trio.ClosedResourceError, OSError):  # refused now, or the dialler was gone first
                await trio.lowlevel.checkpoint()
                continue
            return trio.SocketStream(sock)

    def refuse(self) -> None:
        """Keep the port, and listen no more."""
        if self._is_open.value:
            self._is_open.value = False
            self._socket.close()
            self._socket = bound(self._port)

    def open(self) -> None:
        """Listen again."""
        if not self._is_open.value:
            self._socket.listen()
            self._is_open.value = True

    def close(self) -> None:
        self._socket.close()


def bound(port: int) -> trio.socket.SocketType:
    """A socket at `port` of loopback, 0 for any free one, that does not listen. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((LOOPBACK, port))
        return trio.socket.from_stdlib_socket(sock)
    except BaseException:
        sock.close()
        raise
