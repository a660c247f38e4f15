"""Connections to the public Internet and nowhere else: for URLs that strangers wrote.

Who looks at a URL sees a name, and what it means is asked later: `http://2130706433/`, or a name that anybody points
anywhere, and elsewhere the second time it is asked. So addresses are looked at where a connection is made, and the
connection goes to the address that was looked at. Certificates are checked against the name all the same.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from math import inf
from typing import Any

import httpcore
import httpx
import trio

from attestrio.kit.http_errors import AddressNotPublic

MAX_ADDRESSES = 4  # of one name that are tried, one after the other

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, in the order in which they are to be tried. Raises OSError."""


def is_public(text: str) -> bool:
    """Whether an address is one of the public Internet, also where it carries another one inside.

    Not public: loopback, private, link-local (which holds the metadata services of clouds), shared, unspecified,
    multicast, reserved; what is no address.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inside = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            inside = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inside is not None:
            return is_public(str(inside))
    return address.is_global and not address.is_multicast


async def addresses_of(host: str, port: int) -> Sequence[str]:
    """What the system's resolver says. Raises OSError."""
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as exc:  # a label too long for DNS
        raise OSError(f"{host[:80]} is no host name") from exc
    return list(dict.fromkeys(str(where[0]) for *_, where in found))


class PublicBackend(httpcore.AsyncNetworkBackend):
    """Where httpcore's connections come from: to the public addresses of a host, and to no other."""

    def __init__(self, resolve: Resolve = addresses_of, inner: httpcore.AsyncNetworkBackend | None = None) -> None:
        """`inner` makes a connection to an address; for tests."""
        self._resolve, self._inner = resolve, inner or httpcore.TrioBackend()

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:  # fmt: skip
        """To the first address that takes it; `timeout` is for all. Raises AddressNotPublic, httpcore's errors."""
        with trio.move_on_after(inf if timeout is None else timeout) as scope:
            try:
                found = await self._resolve(host, port)
            except OSError as exc:
                raise httpcore.ConnectError(f"host not resolved ({exc})") from exc
            public = [one for one in found if is_public(one)][:MAX_ADDRESSES]
            if not public:
                raise AddressNotPublic(host, found)
            for left in range(len(public), 0, -1):
                share_s = (scope.deadline - trio.current_time()) / left
                try:
                    return await self._inner.connect_tcp(
                        public[-left], port, None if share_s == inf else share_s, local_address, socket_options
                    )
                except (httpcore.ConnectError, httpcore.ConnectTimeout):
                    if left == 1:
                        raise
        raise httpcore.ConnectTimeout


def public_transport(*, verify: bool, limits: httpx.Limits) -> httpx.AsyncHTTPTransport:
    """What `kit.http.client` takes as transport, with `verify` and `limits` as it would choose them itself."""
    transport = httpx.AsyncHTTPTransport(verify=verify, limits=limits, trust_env=False)
    transport._pool._network_backend = PublicBackend()  # httpx has no parameter for it; a test sees whether it counts
    return transport
