"""The byte stream under a connection, both ends: TCP options, and one name for every way in which it ends."""

from __future__ import annotations

import socket

import trio

CHUNK = 1 << 16

KEEPALIVE_S = 15  # as Go has it on both ends: without it, a peer that lost its power stays connected for ever


def prepare(stream: trio.SocketStream) -> None:
    """Have dead peers noticed."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if hasattr(socket, name):  # not on every system
            stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), KEEPALIVE_S)


async def receive(stream: trio.abc.ReceiveStream, max_bytes: int = CHUNK) -> bytes:
    """The next bytes; none when the stream has ended, in whatever way."""
    try:
        return bytes(await stream.receive_some(max_bytes))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return b""


async def send(stream: trio.abc.SendStream, data: bytes | bytearray) -> bool:
    """Send all of it; False when the stream has ended."""
    try:
        await stream.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return False
    return True
