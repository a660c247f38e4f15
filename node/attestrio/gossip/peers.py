"""Who is connected: one link per key and direction, strangers up to a limit. Pure.

Source: era-consensus d1d3b51e, network/src/pool.rs. Inbound and outbound are two pools that know nothing of each
other: two nodes may hold a link in each direction, and a node may be connected to itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Generic, TypeVar

from attestrio.errors import PeerError
from attestrio.roles import NodePublicKey

L = TypeVar("L")


class Direction(StrEnum):
    """Who dialled."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """One connection as `attestrio peers` shows it: values of one moment."""

    key: NodePublicKey
    direction: Direction
    address: str  # host:port of the other end
    since: float  # Unix time in seconds at which the handshake was done
    received: int  # bytes off the socket
    sent: int  # bytes onto it
    score: float  # 0 to 100, see `scores`


class AlreadyConnected(PeerError):
    """A second connection with a key in one direction; the first one stays."""

    code: ClassVar[str] = "already_connected"

    def __init__(self, key: NodePublicKey) -> None:
        super().__init__(f"{key} is connected already")
        self.key = key


class LimitExceeded(PeerError):
    """One more connection with a key that nobody configured than there may be."""

    code: ClassVar[str] = "peer_limit_exceeded"

    def __init__(self, got: int, limit: int) -> None:
        super().__init__(f"{got} dynamic peers, limit {limit}")
        self.got, self.limit = got, limit


class Pool(Generic[L]):
    """The links of one direction, at most one a key. Memory: a link for each allowed key and `extra_limit` more.

    Args:
      allowed: keys that always get in and take nothing from the limit: `static_inbound` or `static_outbound`.
      extra_limit: links with other keys: `dynamic_inbound_limit`; 0 outbound.
    """

    def __init__(self, allowed: Iterable[NodePublicKey] = (), extra_limit: int = 0) -> None:
        if extra_limit < 0:
            raise ValueError(f"extra_limit={extra_limit} must be at least 0")
        self.allowed = frozenset(allowed)
        self.extra_limit = extra_limit
        self._links: dict[NodePublicKey, L] = {}
        self._extra = 0

    @property
    def extra(self) -> int:
        """How many links are with keys outside `allowed`."""
        return self._extra

    def insert(self, key: NodePublicKey, link: L) -> None:
        """Let `link` in. Raises AlreadyConnected, else LimitExceeded; then nothing has changed."""
        if key in self._links:
            raise AlreadyConnected(key)
        if key not in self.allowed:
            if self._extra >= self.extra_limit:
                raise LimitExceeded(self._extra + 1, self.extra_limit)
            self._extra += 1
        self._links[key] = link

    def remove(self, key: NodePublicKey, link: L) -> None:
        """Take `link` out; harmless when it was refused or is out already, also while another one has its place."""
        if self._links.get(key) is link:
            del self._links[key]
            self._extra -= key not in self.allowed

    def get(self, key: NodePublicKey) -> L | None:
        """The link with `key`."""
        return self._links.get(key)

    def __iter__(self) -> Iterator[L]:
        """The links, first come first; over a copy, so that links may leave meanwhile."""
        return iter(tuple(self._links.values()))

    def __len__(self) -> int:
        return len(self._links)
