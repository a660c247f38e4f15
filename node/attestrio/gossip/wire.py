"""The byte stream under a connection: what can be sent at once is sent without waiting."""

from __future__ import annotations

import os

import trio

from attestrio.gossip.errors import PeerClosed

CHUNK = 1 << 16  # bytes of one read; from 128 kB on the allocator maps fresh pages for each: 8 times the price


class Wire:
    """A connection of bytes over any stream, which it owns. One task receives; sending is in the order of the calls.

    Over a TCP socket `send_nowait` hands the bytes to the system in this very moment; over another stream it takes
    none, and `send` brings all of them.

    Args:
      address: of the other end, for people.
    """

    def __init__(self, stream: trio.abc.Stream, address: str) -> None:
        self.address = address
        self.received = 0  # bytes
        self.sent = 0
        self._stream = stream
        self._socket = stream.socket if isinstance(stream, trio.SocketStream) else None

    async def receive(self) -> bytes:
        """At least one byte. Raises PeerClosed."""
        try:
            if self._socket is None:
                data = bytes(await self._stream.receive_some(CHUNK))
            else:
                data = await self._read()
        except OSError as exc:
            raise PeerClosed(f"the connection broke: {exc.strerror}") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise PeerClosed("the connection broke") from None
        if not data:
            raise PeerClosed("the connection was closed")
        self.received += len(data)
        return data

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """How many bytes were taken, from the beginning. Raises PeerClosed."""
        if self._socket is None:
            return 0
        try:
            taken = os.write(self._socket.fileno(), data)  # a closed socket has -1, never somebody else's number
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise PeerClosed(f"the connection broke: {exc.strerror}") from None
        self.sent += taken
        return taken

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it. Raises PeerClosed."""
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise PeerClosed("the connection broke") from None
        self.sent += len(data)

    async def aclose(self) -> None:
        """At once; what was not sent is lost. Works in a cancelled scope."""
        await trio.aclose_forcefully(self._stream)

    async def _read(self) -> bytes:
        """Wait first: a read that finds nothing costs as much as the wait, and hardly ever is there more."""
        assert self._socket is not None
        while True:
            if self._socket.fileno() < 0:
                raise trio.ClosedResourceError
            await trio.lowlevel.wait_readable(self._socket.fileno())
            try:
                return os.read(self._socket.fileno(), CHUNK)
            except BlockingIOError:  # it was readable for somebody else, or only seemed so
                continue
