"""What an operator decides about the network: who is dialled, who gets in, and the numbers of the methods. Pure.

Source: era-consensus d1d3b51e, network/src/config.rs (`GossipConfig`, `RpcConfig`) and the executor's values for them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from attestrio.errors import PeerError
from attestrio.gossip.limiter import Rate
from attestrio.gossip.rpc.get_batch import GET_BATCH
from attestrio.gossip.rpc.methods import METHODS
from attestrio.gossip.rpc.ping import PING
from attestrio.gossip.rpc.spec import KB, MB, RpcSpec
from attestrio.roles import NodePublicKey

NAMES: Final = tuple(spec.name for spec in METHODS)
MAX_BATCH_BYTES: Final = (1 << 32) - 1 - KB  # a message announces its length in 32 bits
MAX_SECONDS: Final = 1_000_000_000  # some 30 years: a time without end is a slip
SHORTEST_PING_S: Final = 1.0  # a peer serves two pings, then one a second: more often, and it would seem dead
ADDRESS: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[\w.-]+):([0-9]{1,5})")
RATE: Final = re.compile(r"([a-z_]+)=([0-9]{1,18})/([0-9]{1,10}(?:\.[0-9]{1,12})?)")
RATE_FORM: Final = "method=burst/refresh_s, for example push_batch_votes=2/0.5"
ACCEPT_RATE: Final = Rate(burst=10, refresh_s=0.1)
PEER_FORM: Final = f"{NodePublicKey.PREFIX}<64 hex digits>"


@dataclass(frozen=True, slots=True)
class GossipRules:
    """What one node grants and does on the network; the defaults are the network's. Raises ValueError, one sentence."""

    static_outbound: Mapping[NodePublicKey, str] = field(default_factory=dict)  # key → host:port, dialled for ever
    static_inbound: frozenset[NodePublicKey] = frozenset()  # always let in
    dynamic_inbound_limit: int = 100  # how many others may dial in
    ping_timeout_s: float = 10.0  # of the answer to a ping, and between two pings
    redial_s: float = 20.0  # between two attempts at one peer
    max_batch_bytes: int = 10 * MB  # of the largest batch
    fetch: bool = True  # ask peers for batches that are not here
    rates: Mapping[str, Rate] = field(default_factory=dict)  # method → how often, instead of what METHODS says
    accept_rate: Rate = ACCEPT_RATE  # of connections that dial in

    def __post_init__(self) -> None:
        for key, address in self.static_outbound.items():
            check_address(address, f"static_outbound: the address of {key}")
        if self.dynamic_inbound_limit < 0:
            raise ValueError(f"dynamic_inbound_limit has to be at least 0, not {self.dynamic_inbound_limit}")
        if not 0 < self.redial_s <= MAX_SECONDS:
            raise ValueError(f"redial_s has to be above 0 and {MAX_SECONDS} at most, not {self.redial_s}")
        if not SHORTEST_PING_S <= self.ping_timeout_s <= MAX_SECONDS:
            raise ValueError(
                f"ping_timeout_s has to be from {SHORTEST_PING_S:g} to {MAX_SECONDS}, not {self.ping_timeout_s}:"
                " peers answer one ping a second"
            )
        if not 0 < self.max_batch_bytes <= MAX_BATCH_BYTES:
            raise ValueError(f"max_batch_bytes has to be from 1 to {MAX_BATCH_BYTES}, not {self.max_batch_bytes}")
        for name in self.rates:
            check_method(name)
        # copies that nobody else holds: the rules are read by every connection for as long as the process lives
        object.__setattr__(self, "static_outbound", MappingProxyType(dict(self.static_outbound)))
        object.__setattr__(self, "static_inbound", frozenset(self.static_inbound))
        object.__setattr__(self, "rates", MappingProxyType(dict(self.rates)))

    def specs(self) -> tuple[RpcSpec, ...]:
        """METHODS with the configured numbers in place, in the same order."""
        return tuple(self._spec(spec) for spec in METHODS)

    def _spec(self, spec: RpcSpec) -> RpcSpec:
        rate = self.rates.get(spec.name, spec.rate)
        if spec.name == GET_BATCH.name:
            return replace(spec, rate=rate, max_resp=self.max_batch_bytes + KB)
        if spec.name == PING.name:
            return replace(spec, rate=rate, timeout_s=self.ping_timeout_s)
        return replace(spec, rate=rate)


def outbound_of(texts: Iterable[str]) -> dict[NodePublicKey, str]:
    """`key@host:port` texts as a table. Raises ValueError; no entry is repeated, it may hold a secret."""
    found: dict[NodePublicKey, str] = {}
    for at, text in enumerate(texts, 1):
        head, _, address = text.partition("@")
        key = _key(head, f"static_outbound: entry {at}", f"{PEER_FORM}@host:port")
        if key in found:
            raise ValueError(f"static_outbound names {key} twice")
        check_address(address, f"static_outbound: the address of {key}")
        found[key] = address
    return found


def inbound_of(texts: Iterable[str]) -> frozenset[NodePublicKey]:
    """Texts of keys as a set. Raises ValueError; no entry is repeated, it may hold a secret."""
    found: set[NodePublicKey] = set()
    for at, text in enumerate(texts, 1):
        key = _key(text, f"static_inbound: entry {at}", PEER_FORM)
        if key in found:
            raise ValueError(f"static_inbound names {key} twice")
        found.add(key)
    return frozenset(found)


def rates_of(texts: Iterable[str]) -> dict[str, Rate]:
    """`method=burst/refresh_s` texts as a table; refresh 0 is no limit. Raises ValueError."""
    found: dict[str, Rate] = {}
    for at, text in enumerate(texts, 1):
        match = RATE.fullmatch(text)
        if match is None:
            raise ValueError(f"rates: entry {at} is not {RATE_FORM}")
        name, burst, refresh_s = match[1], int(match[2]), float(match[3])
        check_method(name)
        if name in found:
            raise ValueError(f"rates names {name} twice")
        if burst < 1:
            raise ValueError(f"rates: a burst of 0 would never let {name} through; it has to be 1 or more")
        found[name] = Rate(burst, refresh_s)
    return found


def check_address(text: str, what: str, *, lowest_port: int = 1) -> None:
    """Raise ValueError unless `text` is HOST:PORT (IPv6 as `[::1]:3054`). The host is looked up when it is dialled."""
    match = ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"{what} is not host:port")
    if not lowest_port <= int(match[1]) <= 0xFFFF:
        raise ValueError(f"{what} has port {match[1]}, ports are {lowest_port} to 65535")


def check_method(name: str) -> None:
    """Raise ValueError unless the network has a method of this name."""
    if name not in NAMES:
        close = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(NAMES)}"
        raise ValueError(f"rates: no method is called {name}; {hint}")


def _key(text: str, what: str, form: str) -> NodePublicKey:
    try:
        return NodePublicKey.from_text(text)
    except PeerError as exc:
        raise ValueError(f"{what} is not {form} ({exc})") from None
