"""The configuration of an aggregator of Aligned: which chain, which account pays, where the work is kept."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from attestrio.app.aligned_config import L1Section as AlignedL1Section
from attestrio.app.aligned_config import refuse_no_address
from attestrio.configuring import BadConfig, Layout, LogSection, Origin, Secret, Section, not_negative, positive
from attestrio.web.hosts import checked_hosts

NAMESPACE: Final = re.compile("[A-Za-z0-9_.-]{1,64}")


class NodeSection(Section, frozen=True):
    data_dir: str = "attestrio-aggregator"
    """Folder of everything this aggregator keeps; made with mode 0700."""
    metrics_bind: str = ""
    """Where page, probes and metrics are served (host:port; port 0 picks a free one); "": nowhere."""
    metrics_hosts: tuple[str, ...] = ()
    """Names by which browsers may ask for the page; addresses and localhost always may."""

    def __post_init__(self) -> None:
        if not self.data_dir:
            raise ValueError("data_dir may not be empty")
        checked_hosts(self.metrics_hosts)


class ServerSection(Section, frozen=True):
    bind: str = "127.0.0.1:8090"
    """Where operators reach it, host:port."""
    max_connections: int = 256
    """With as many, one more ends the one that has been idle longest."""

    def __post_init__(self) -> None:
        positive(max_connections=self.max_connections)


class EcdsaSection(Section, frozen=True):
    keystore: str | None = None
    """File with the account that the service manager takes answers from: a keystore of version 3, as geth writes it."""
    password_file: str | None = None
    """File whose first line is the keystore's password."""
    password: Secret | None = None
    """The password itself: environment only."""


class L1Section(AlignedL1Section, frozen=True):
    coordinator: str | None = None
    """Address of EigenLayer's registry coordinator."""
    key_registry: str | None = None
    """Address of the BLS key registry, whose events say which keys operators have."""
    retriever: str | None = None
    """Address of the operator state retriever, which is asked for stakes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_no_address(coordinator=self.coordinator, key_registry=self.key_registry, retriever=self.retriever)


class JournalSection(Section, frozen=True):
    redis_url: str = ""
    """redis://[USER@]HOST:PORT/DB, shared with the aggregators that may take over; "": a file in the data directory."""
    password_file: str | None = None
    """File whose first line is the password of Redis."""
    password: Secret | None = None
    """The password itself: environment only."""
    namespace: str = "aligned"
    """Before all keys in Redis; aggregators of one name are replicas of each other."""
    allow_volatile: bool = False
    """Also use a Redis that forgets what it has acknowledged when it loses power."""
    lead_s: float = 10.0
    """How long a leader that is silent stays the leader."""

    def __post_init__(self) -> None:
        positive(lead_s=self.lead_s)
        if not NAMESPACE.fullmatch(self.namespace):
            raise ValueError("namespace has to be 1 to 64 letters, digits or . _ -")
        if self.redis_url and not self.redis_url.startswith(("redis://", "rediss://")):
            raise ValueError("redis_url has to begin with redis:// or rediss://")
        if urlsplit(self.redis_url).password is not None:
            raise ValueError("redis_url may hold no password: use journal.password_file or ATTESTRIO_JOURNAL_PASSWORD")


class TasksSection(Section, frozen=True):
    fetch_blocks: int = 1_000
    """How far back a batch is looked for that operators have signed and no scan has seen."""
    window_s: float = 15.0
    """After the quorum, for the signatures of the others."""
    block_s: float = 12.0
    """Time between two blocks; retries of calls wait 1, 2, 4 of them."""
    max_orphans: int = 10_000
    """Signatures of one operator that are kept for batches nobody knows yet."""
    horizon_blocks: int = 14_400
    """Two days. A batch that operators have signed and the chain has never shown is not looked for after that."""
    garbage_every_s: float = 604_800.0
    """A week, between two collections of what is finished; one is made at each start."""
    garbage_age_blocks: int = 216_000
    """A month. What was finished longer ago is forgotten; what is pending never."""

    def __post_init__(self) -> None:
        positive(
            fetch_blocks=self.fetch_blocks, block_s=self.block_s, max_orphans=self.max_orphans,
            horizon_blocks=self.horizon_blocks, garbage_every_s=self.garbage_every_s,
        )  # fmt: skip
        not_negative(window_s=self.window_s, garbage_age_blocks=self.garbage_age_blocks)


class SenderSection(Section, frozen=True):
    in_flight: int = 16
    """Transactions that wait for a block at the same time."""
    confirmations: int = 12
    """Blocks upon an answer after which it is taken for final."""
    bump_base_percent: int = 25
    """What is offered above the node's gas price."""
    bump_step_percent: int = 20
    """What each replacement adds to that."""
    bump_limit_percent: int = 150
    """The most that is offered above the node's gas price."""
    bump_after_s: float = 72.0
    """Six blocks. A transaction that nobody has taken for so long is replaced."""
    max_price_gwei: float | None = None
    """For one unit of gas; what would cost more waits. Without it only the batcher's limit holds."""

    def __post_init__(self) -> None:
        positive(
            in_flight=self.in_flight, confirmations=self.confirmations, bump_after_s=self.bump_after_s,
            max_price_gwei=self.max_price_gwei,
        )  # fmt: skip
        not_negative(
            bump_base_percent=self.bump_base_percent, bump_step_percent=self.bump_step_percent,
            bump_limit_percent=self.bump_limit_percent,
        )  # fmt: skip
        if self.bump_limit_percent < self.bump_base_percent:
            raise ValueError("bump_limit_percent is below bump_base_percent")


class TelemetrySection(Section, frozen=True):
    url: str = ""
    """Aligned's telemetry API, http://HOST:PORT; "": nobody is told."""


class AggregatorConfig(Section, frozen=True):
    """Everything one aggregator needs to know."""

    aggregator: NodeSection = NodeSection()
    server: ServerSection = ServerSection()
    ecdsa: EcdsaSection = EcdsaSection()
    l1: L1Section = L1Section()
    journal: JournalSection = JournalSection()
    tasks: TasksSection = TasksSection()
    sender: SenderSection = SenderSection()
    telemetry: TelemetrySection = TelemetrySection()
    log: LogSection = LogSection()


NEEDED = {
    ("ecdsa", "keystore"): "the account that answers are sent from",
    ("l1", "rpc_urls"): "an Ethereum node to ask",
    ("l1", "manager"): "the address of the service manager",
    ("l1", "coordinator"): "the address of the registry coordinator",
    ("l1", "key_registry"): "the address of the BLS key registry",
    ("l1", "retriever"): "the address of the operator state retriever",
}


def _check(made: AggregatorConfig, origin: Origin) -> None:
    """What concerns several keys. Raises BadConfig."""
    for name, section in (("ecdsa", made.ecdsa), ("journal", made.journal)):
        if section.password is not None and section.password_file is not None:
            raise BadConfig(origin[name, "password"], f"{name}: password and password_file exclude each other")


LAYOUT = Layout(
    AggregatorConfig,
    lists=frozenset({("l1", "rpc_urls")}),
    secrets={("ecdsa", "password"): "password_file", ("journal", "password"): "password_file"},
    paths=frozenset(
        {("aggregator", "data_dir"), ("ecdsa", "keystore"), ("ecdsa", "password_file"), ("journal", "password_file")}
    ),
    check=_check,
)


def lacking(config: AggregatorConfig) -> list[str]:
    """What an aggregator of this configuration cannot do without, one sentence each."""
    return [
        f"{section}.{key} is missing: {what}"
        for (section, key), what in NEEDED.items()
        if not getattr(getattr(config, section), key)
    ]
