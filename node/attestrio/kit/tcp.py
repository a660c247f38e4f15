"""Listening sockets: one that is bound, and how connections are taken from it whatever clients do."""

from __future__ import annotations

import errno
import logging
import re
import socket
from collections.abc import Callable
from typing import Final

import trio

from attestrio.kit.http_errors import AddressInUse, BadAddress

NO_ROOM_S: Final = 0.5  # between two attempts while the system has no descriptor or memory left
NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def shown_address(address: object) -> str:
    """host:port of what the socket module calls an address; an IPv6 host in brackets."""
    host, port = address[:2]  # type: ignore[index]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def bind_socket(address: str) -> socket.socket:
    """A TCP socket bound to `HOST:PORT` (IPv6 as `[::1]:80`, port 0 for any free one), not listening yet.

    Raises AddressInUse, BadAddress. A caller that connects before `listen` is refused.
    """
    match = re.fullmatch(r"\[([^\]]+)\]:(\d{1,5})|([^:\[\]]+):(\d{1,5})", address)
    if match is None:
        raise BadAddress(address, "not HOST:PORT")
    host, port = match[1] or match[3], int(match[2] or match[4])
    if port > 0xFFFF:
        raise BadAddress(address, "port above 65535")
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:  # UnicodeError: a label too long for DNS
        raise BadAddress(address, f"host not resolved ({exc})") from exc
    family, kind, proto, _, where = found[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(where)
    except OSError as exc:
        sock.close()
        if exc.errno == errno.EADDRINUSE:
            raise AddressInUse(address) from exc
        raise BadAddress(address, exc.strerror or str(exc)) from exc
    return sock


async def accept(
    sock: trio.socket.SocketType,
    log: logging.Logger,
    *,
    prepare: Callable[[trio.SocketStream], None] = lambda _stream: None,
    on_skipped: Callable[[], None] = lambda: None,
) -> tuple[trio.SocketStream, str]:
    """The next connection, without Nagle's delay, and where it comes from.

    One that was reset before anybody looked at it, or for which there is no room, is skipped: `on_skipped` is told.
    `prepare` may set options, and raise OSError where the client has gone already. Raises OSError itself only when the
    listening socket was closed by ourselves.
    """
    while True:
        accepted = None
        try:
            accepted, address = await sock.accept()
            stream = trio.SocketStream(accepted)
            prepare(stream)
            return stream, shown_address(address)
        except OSError as exc:
            if accepted is not None:
                accepted.close()
            if sock.fileno() < 0:
                raise  # whoever accepts has outlived the socket
            on_skipped()
            if exc.errno in NO_ROOM:
                log.warning("no connection can be accepted: %s", exc.strerror)
                await trio.sleep(NO_ROOM_S)
