"""TCP under a stream connection, both ends."""

from __future__ import annotations

import socket

import trio

KEEPALIVE_S = 15  # as Go has it: a peer that lost its power is noticed, however quiet the stream is


def prepare(stream: trio.SocketStream) -> None:
    """Have dead peers noticed, and small answers sent at once. Raises OSError where the peer is gone already."""
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if hasattr(socket, name):  # not on every system
            stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), KEEPALIVE_S)
