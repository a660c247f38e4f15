"""What a server does with calls: who calls, what a method does, and calls that were answered before. No sockets."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from attestrio.gorpc.messages import RpcMethod

A = TypeVar("A")
R = TypeVar("R")

DIGEST_BYTES: Final = 16
NETWORK_BITS: Final = 64  # of an IPv6 address: whoever has one has all addresses of its network


@dataclass(frozen=True, slots=True, eq=False)
class Peer:
    """The other end of one connection; another connection is another peer."""

    address: str
    """HOST:PORT."""

    @property
    def host(self) -> str:
        """Whom bounds are for: the address without its port, of IPv6 the network of 64 bits."""
        return host_of(self.address)


@dataclass(frozen=True, slots=True)
class Repeats(Generic[A, R]):
    """How a call whose very bytes were answered before, on the same connection, is answered without being read again.

    Args:
      key: what is kept of the argument of a call that ended with a reply; None: nothing.
      again: the reply to such a call as things are now, or None: it is read and handled like any other. It must not
        wait or raise. What has been forgotten meanwhile has to give None.
    """

    key: Callable[[A], bytes | None]
    again: Callable[[bytes], R | None]


@dataclass(frozen=True, slots=True)
class Handler(Generic[A, R]):
    """What a method does. A PeerError or SourceError out of `handle` is the call's error text; others go through.

    HangUp is told as well, and then the connection is closed.

    Args:
      answered: is told the seconds from a decoded request to its written answer, whatever the answer was.
    """

    method: RpcMethod[A, R]
    handle: Callable[[A], Awaitable[R]]
    repeats: Repeats[A, R] | None = None
    answered: Callable[[float], None] | None = None


Handlers = Iterable[Handler[Any, Any]] | Callable[[Peer], Iterable[Handler[Any, Any]]]
"""The same for all connections, or made for each one as it comes."""


class Remembered:
    """What a connection keeps of calls that were answered: a digest of the body, and the handler's key.

    At most `limit` of them, the newest. The body names the type it has on this connection, and no type is defined
    twice, so that the same bytes are the same value.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._keys: dict[tuple[str, bytes], bytes] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, method: str, body: bytes) -> bytes | None:
        """The key of a call; None: it is not known. About 1 µs."""
        return self._keys.get((method, _digest(body))) if self._keys else None

    def keep(self, method: str, body: bytes, key: bytes) -> None:
        self._keys[method, _digest(body)] = key
        if len(self._keys) > self._limit:
            del self._keys[next(iter(self._keys))]


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()


def host_of(address: str) -> str:
    """The host of HOST:PORT; of an IPv6 host its network, or the IPv4 address inside it. What is no address stays."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        parsed = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, NETWORK_BITS), strict=False))
