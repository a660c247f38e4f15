"""The configuration of an operator of Aligned: which chain, which aggregator, which key, which verifiers."""

from __future__ import annotations

from attestrio.app.aligned_config import L1Section
from attestrio.configuring import BadConfig, Layout, LogSection, Origin, Secret, Section, positive
from attestrio.gorpc.client import GoRpcClient
from attestrio.gorpc.errors import BadServerAddress
from attestrio.operator.batch import MAX_BYTES, SYSTEMS
from attestrio.web.hosts import checked_hosts


class NodeSection(Section, frozen=True):
    data_dir: str = "attestrio-operator"
    """Folder of everything this operator keeps; made with mode 0700."""
    metrics_bind: str = ""
    """Where page, probes and metrics are served (host:port; port 0 picks a free one); "": nowhere."""
    metrics_hosts: tuple[str, ...] = ()
    """Names by which browsers may ask for the page; addresses and localhost always may."""

    def __post_init__(self) -> None:
        if not self.data_dir:
            raise ValueError("data_dir may not be empty")
        checked_hosts(self.metrics_hosts)


class BlsSection(Section, frozen=True):
    keystore: str | None = None
    """File with the BLS key, as eigensdk and `attestrio operator keystore new` write it."""
    password_file: str | None = None
    """File whose first line is the keystore's password."""
    password: Secret | None = None
    """The password itself: environment only."""


class AggregatorSection(Section, frozen=True):
    address: str | None = None
    """HOST:PORT of the aggregator's Go RPC."""
    retry_first_s: float = 0.2
    """Before the second attempt, twice as long before each further one."""
    retry_cap_s: float = 30.0
    """The longest wait between attempts; equal to retry_first_s: a fixed interval."""
    fast_retries: int | None = None
    """Failures of one response after which it is only sent every resend_s; without it: no limit."""
    resend_s: float = 300.0
    """After an acknowledgement, until the chain shows the answer."""
    call_s: float = 60.0
    """For one reply."""
    in_flight: int = 16
    """Calls at the same time."""

    def __post_init__(self) -> None:
        positive(
            retry_first_s=self.retry_first_s, retry_cap_s=self.retry_cap_s, resend_s=self.resend_s, call_s=self.call_s,
            in_flight=self.in_flight, fast_retries=self.fast_retries,
        )  # fmt: skip
        if self.retry_cap_s < self.retry_first_s:
            raise ValueError("retry_cap_s is below retry_first_s")
        if self.address is not None:
            try:
                GoRpcClient(self.address)
            except BadServerAddress:
                raise ValueError(f"address is not HOST:PORT: {self.address}") from None


class BatchesSection(Section, frozen=True):
    max_batch_bytes: int = MAX_BYTES
    """Of the data of a batch; each of `at_once` may take it in memory, twice while it is read."""
    download_s: float = 60.0
    """For one attempt at a batch: all its URLs, tries and waits."""
    allow_private: bool = False
    """Also download from loopback, private and link-local addresses. Anybody may post a batch with any URL."""
    at_once: int = 4
    """Batches that are worked on at the same time; above 1, one place is kept for first attempts."""
    retry_first_s: float = 5.0
    """Before a batch is tried again, twice as long before each further time."""
    retry_cap_s: float = 600.0
    horizon_blocks: int = 14_400
    """Two days. What is older is given up, with a reason."""
    keep_blocks: int = 216_000
    """A month. What has ended is forgotten after that."""
    old_position: str | None = None
    """The `last_processed_batch` file of an operator written in Go, taken over once and renamed."""

    def __post_init__(self) -> None:
        positive(
            max_batch_bytes=self.max_batch_bytes, download_s=self.download_s, at_once=self.at_once,
            retry_first_s=self.retry_first_s, retry_cap_s=self.retry_cap_s, horizon_blocks=self.horizon_blocks,
        )  # fmt: skip
        if self.max_batch_bytes > MAX_BYTES:
            raise ValueError(f"max_batch_bytes has to be {MAX_BYTES} at most: no batch is larger")
        if self.keep_blocks <= self.horizon_blocks:
            raise ValueError("keep_blocks has to be above horizon_blocks")


class VerifierSection(Section, frozen=True):
    programs: dict[str, list[str]] = {}  # noqa: RUF012  msgspec copies it
    """Program and arguments for each proving system; no other program is ever run."""
    deadline_s: float = 60.0
    """For one proof."""
    at_once: int = 4
    """Proofs that are verified at the same time."""

    def __post_init__(self) -> None:
        positive(deadline_s=self.deadline_s, at_once=self.at_once)
        for name, command in self.programs.items():
            if name not in SYSTEMS:
                raise ValueError(f"programs: no proving system is called {name}; there are {', '.join(SYSTEMS)}")
            if not command or not command[0].startswith("/"):
                raise ValueError(f"programs: {name} needs the whole path of a program")


class OperatorConfig(Section, frozen=True):
    """Everything one operator needs to know."""

    operator: NodeSection = NodeSection()
    bls: BlsSection = BlsSection()
    l1: L1Section = L1Section()
    aggregator: AggregatorSection = AggregatorSection()
    batches: BatchesSection = BatchesSection()
    verifier: VerifierSection = VerifierSection()
    log: LogSection = LogSection()


NEEDED = {
    ("bls", "keystore"): "the BLS key that signs",
    ("l1", "rpc_urls"): "an Ethereum node to ask",
    ("l1", "manager"): "the address of the service manager",
    ("aggregator", "address"): "who is sent the responses",
}


def _check(made: OperatorConfig, origin: Origin) -> None:
    """What concerns several keys. Raises BadConfig."""
    if made.bls.password is not None and made.bls.password_file is not None:
        raise BadConfig(origin["bls", "password"], "bls: password and password_file exclude each other")


LAYOUT = Layout(
    OperatorConfig,
    lists=frozenset({("l1", "rpc_urls")}),
    secrets={("bls", "password"): "password_file"},
    paths=frozenset(
        {("operator", "data_dir"), ("bls", "keystore"), ("bls", "password_file"), ("batches", "old_position")}
    ),
    check=_check,
)


def lacking(config: OperatorConfig) -> list[str]:
    """What an operator of this configuration cannot do without, one sentence each."""
    return [
        f"{section}.{key} is missing: {what}"
        for (section, key), what in NEEDED.items()
        if not getattr(getattr(config, section), key)
    ]
