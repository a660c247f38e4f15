"""TOML file, environment and flags to one frozen `NodeConfig`. How they are read is in `configuring`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from attestrio.configuring import (
    MAX_NUMBER,
    BadConfig,
    Key,
    Layout,
    LogSection,
    Origin,
    Secret,
    Section,
    env_name,
    not_negative,
    positive,
)

__all__ = [
    "MAX_GENESIS_FILE",
    "MAX_KEY_FILE",
    "MAX_NUMBER",
    "BadConfig",
    "LogSection",
    "NodeConfig",
    "Secret",
    "Section",
    "env_name",
    "explain_config",
    "keys",
    "load_config",
    "sections",
    "unused_environment",
]

MAX_KEY_FILE = 4096  # bytes of a key file; a key has 91
MAX_GENESIS_FILE = 16 << 20  # bytes of a genesis file; 10,000 attesters are about 1.2 MB


ADDRESS = re.compile("0x[0-9a-fA-F]{40}")


class NodeSection(Section, frozen=True):
    data_dir: str = "attestrio-data"
    """Folder of everything this node keeps; made with mode 0700."""
    grace_s: float = 5.0
    """Seconds that a stopping node may take to finish what it has begun."""

    def __post_init__(self) -> None:
        positive(grace_s=self.grace_s)
        if not self.data_dir:
            raise ValueError("data_dir may not be empty")


class KeysSection(Section, frozen=True):
    attester_file: str | None = None
    """File with the attester's secret key; without a key the node collects certificates and does not vote."""
    attester: Secret | None = None
    """The key itself: environment only."""


class GenesisSection(Section, frozen=True):
    file: str | None = None
    """Genesis as proto3 JSON; without it the main node is asked."""


class MainNodeSection(Section, frozen=True):
    url: str | None = None
    """JSON-RPC address of the main node; absent on the main node itself."""
    urls: tuple[str, ...] = ()
    """Several main nodes, of which `agree` have to say the same; in the environment separated by commas."""
    agree: int | None = None
    """How many of `urls` have to agree; default: more than half."""
    poll_s: float | None = None
    """Seconds between two status polls; default 5, or 1 over the node's own store."""
    timeout_s: float = 10.0
    stale_grace_s: float = 60.0
    """Seconds for which lower numbers count as a lagging replica."""
    max_answer_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        positive(poll_s=self.poll_s, timeout_s=self.timeout_s, max_answer_bytes=self.max_answer_bytes)
        not_negative(stale_grace_s=self.stale_grace_s)
        if self.url is not None and self.urls:
            raise ValueError("url and urls exclude each other")
        if len(set(self.urls)) != len(self.urls):
            raise ValueError("urls names a main node twice")
        if self.agree is not None and not len(self.urls) // 2 < self.agree <= len(self.urls):
            raise ValueError(f"agree = {self.agree} of {len(self.urls)} urls: has to be more than half, at most all")


class BatchesSection(Section, frozen=True):
    source: Literal["main-node", "file", "l1"] = "main-node"
    """Where the batch to sign comes from; "l1" is the rollup's contract on Ethereum, see [l1]."""
    check_l1: bool = False
    """Whether a batch from elsewhere is compared with that contract, and signed only where both say the same."""
    file: str | None = None
    """JSON lines of {"number", "hash"}, appended to by whatever seals batches."""
    poll_s: float = 1.0
    first: int | None = None
    """First batch of this genesis: the one that holds L2 block `genesis.first_block`. A node that is told asks its
    main node for all certificates from there on, and not only for those since its own first."""

    def __post_init__(self) -> None:
        positive(poll_s=self.poll_s)
        if self.first is not None and not 0 <= self.first <= MAX_NUMBER:
            raise ValueError(f"first has to be a number from 0 to {MAX_NUMBER}")


class L1Section(Section, frozen=True):
    rpc_urls: tuple[str, ...] = ()
    """JSON-RPC addresses of Ethereum nodes; in the environment separated by commas."""
    chain_id: int = 1
    """Of Ethereum; an endpoint that serves another chain is not used."""
    diamond: str | None = None
    """Address of the rollup's contract (diamond proxy): 0x and 40 hex digits."""
    finality: Literal["latest", "safe", "finalized", "executed"] = "finalized"
    """What a batch has to have reached: committed in the latest, safe or finalized block, or executed in that."""
    agree: int = 1
    """How many of `rpc_urls` have to say the same; with 1 they stand in for each other."""
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        positive(chain_id=self.chain_id, timeout_s=self.timeout_s)
        if len(set(self.rpc_urls)) != len(self.rpc_urls):
            raise ValueError("rpc_urls names an endpoint twice")
        if self.agree != 1 and not len(self.rpc_urls) // 2 < self.agree <= len(self.rpc_urls):
            raise ValueError(f"agree = {self.agree} of {len(self.rpc_urls)} rpc_urls: has to be 1, or more than half")
        if self.diamond is not None and not ADDRESS.fullmatch(self.diamond):
            raise ValueError("diamond is not an address: 0x and 40 hex digits")


class ProtectionSection(Section, frozen=True):
    on_rollback: Literal["restart", "ask", "exit"] = "restart"
    """When an epoch ends: begin the next, wait for `attestrio rollback apply`, or leave it to a supervisor (exit 3)."""
    keep_votes: int = 1_000_000
    """How many of the newest votes stay on record; older numbers are refused by a watermark."""

    listen_s: float = 3.0
    """Seconds to listen, once links are up, for another node with the same key before the first vote of a process."""

    def __post_init__(self) -> None:
        positive(keep_votes=self.keep_votes)
        not_negative(listen_s=self.listen_s)


class ServeSection(Section, frozen=True):
    bind: str = "127.0.0.1:3060"
    """Where the main-node API listens (host:port; port 0 picks a free one); "" where an embedding program serves it."""
    next_rule: Literal["gap", "max"] = "gap"
    """Next batch: the lowest without a certificate, or one above the highest certificate as zksync-era answers."""


class GossipSection(Section, frozen=True):
    bind: str = "0.0.0.0:3054"
    """Where other nodes dial in (host:port; port 0 picks a free one)."""
    node_key_file: str | None = None
    """File with the node's secret key, which names this node on the network."""
    node_key: Secret | None = None
    """The key itself: environment only."""
    static_outbound: tuple[str, ...] = ()
    """Peers to dial, for ever: "node:public:ed25519:...@host:port"; in the environment separated by commas."""
    static_inbound: tuple[str, ...] = ()
    """Keys of peers that are always let in: "node:public:ed25519:..."."""
    dynamic_inbound_limit: int = 100
    """How many peers that stand in neither list may dial in."""
    ping_timeout_s: float = 10.0
    """Seconds for a peer to answer a ping, and between two pings; then the link is given up."""
    redial_s: float = 20.0
    """Seconds between two attempts to reach one peer."""
    max_batch_bytes: int = 10 << 20
    """Bytes of the largest batch that is fetched."""
    fetch_batches: bool = True
    """Ask peers for batches that are not here; a main node never does."""
    rates: tuple[str, ...] = ()
    """Calls a link may carry, where they differ from the network's: "method=burst/refresh_s"; refresh 0: no limit."""

    def __post_init__(self) -> None:
        # imported when called: reading a key needs the curve, and most commands have no section [gossip]
        from attestrio.gossip.rules import (
            MAX_BATCH_BYTES,
            SHORTEST_PING_S,
            check_address,
            inbound_of,
            outbound_of,
            rates_of,
        )

        positive(ping_timeout_s=self.ping_timeout_s, redial_s=self.redial_s, max_batch_bytes=self.max_batch_bytes)
        not_negative(dynamic_inbound_limit=self.dynamic_inbound_limit)
        if self.ping_timeout_s < SHORTEST_PING_S:
            raise ValueError(f"ping_timeout_s has to be {SHORTEST_PING_S:g} at least: peers answer one ping a second")
        if self.max_batch_bytes > MAX_BATCH_BYTES:
            raise ValueError(f"max_batch_bytes has to be {MAX_BATCH_BYTES} at most")
        check_address(self.bind, "bind", lowest_port=0)
        outbound_of(self.static_outbound)
        inbound_of(self.static_inbound)
        rates_of(self.rates)


class WebSection(Section, frozen=True):
    bind: str = "127.0.0.1:9464"
    """Where page, probes and metrics are served (host:port; port 0 picks a free one). Whoever gets there may look."""
    names: tuple[str, ...] = ()
    """What to call keys on the page: "attester:public:...=alice", "node:public:...=alice"."""
    hosts: tuple[str, ...] = ()
    """Names by which browsers may ask for the page; addresses and localhost always may."""

    def __post_init__(self) -> None:
        # imported when called, as for [gossip]
        from attestrio.gossip.rules import check_address
        from attestrio.web.hosts import checked_hosts
        from attestrio.web.names import Names

        check_address(self.bind, "bind", lowest_port=0)
        Names(self.names)
        checked_hosts(self.hosts)


class NodeConfig(Section, frozen=True):
    """Everything one node needs to know.

    A node with `serve` is a main node; one without `gossip` has no peers; one without `web` shows nothing of itself.
    """

    node: NodeSection = NodeSection()
    keys: KeysSection = KeysSection()
    genesis: GenesisSection = GenesisSection()
    main_node: MainNodeSection = MainNodeSection()
    batches: BatchesSection = BatchesSection()
    l1: L1Section | None = None
    protection: ProtectionSection = ProtectionSection()
    serve: ServeSection | None = None
    gossip: GossipSection | None = None
    web: WebSection | None = None
    log: LogSection = LogSection()

    @property
    def poll_s(self) -> float:
        """Seconds between two status polls, with the default of the role."""
        if self.main_node.poll_s is not None:
            return self.main_node.poll_s
        return 5.0 if self.serve is None else 1.0


def _check(made: NodeConfig, origin: Origin) -> None:
    """What concerns several keys, which may come from different sources. Raises BadConfig."""
    if made.batches.source == "file" and not made.batches.file:
        raise BadConfig(origin["batches", "source"], 'batches: source = "file" needs the key file')
    asks = "source" if made.batches.source == "l1" else "check_l1" if made.batches.check_l1 else None
    if asks is not None and (made.l1 is None or not made.l1.rpc_urls or made.l1.diamond is None):
        raise BadConfig(origin["batches", asks], f"batches: {asks} needs the section [l1] with rpc_urls and diamond")


LISTS = frozenset({
    ("main_node", "urls"), ("l1", "rpc_urls"), ("gossip", "static_outbound"), ("gossip", "static_inbound"),
    ("gossip", "rates"), ("web", "names"), ("web", "hosts"),
})  # fmt: skip
SECRETS = {("keys", "attester"): "attester_file", ("gossip", "node_key"): "node_key_file"}
"""What only the environment may hold, and the key beside it that names a file instead."""
PATHS = frozenset({
    ("node", "data_dir"), ("keys", "attester_file"), ("genesis", "file"), ("batches", "file"),
    ("gossip", "node_key_file"),
})  # fmt: skip
NODE = Layout(NodeConfig, LISTS, SECRETS, PATHS, _check)


def sections() -> Iterator[tuple[str, type[Section]]]:
    """Name and class of every section, in the order of the file."""
    return NODE.sections()


def keys() -> Iterator[Key]:
    """Every (section, key) there is."""
    return NODE.keys()


def load_config(
    path: str | Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> NodeConfig:
    """The configuration from `path`, `env` and `overrides` ("section.key" → text), the last one winning.

    Raises BadConfig with one sentence: which source, which key, what is wrong.
    """
    return NODE.explain(path, env=env, overrides=overrides)[0]


def explain_config(
    path: str | Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> tuple[NodeConfig, Origin]:
    """As `load_config`, with the source of every key that is not a default."""
    return NODE.explain(path, env=env, overrides=overrides)


def unused_environment(env: Mapping[str, str]) -> list[str]:
    """Variables that look like ours and name no key."""
    return NODE.unused_environment(env)
