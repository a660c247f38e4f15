"""The configuration of a sequencer: its chain, its stream, how batches are built, and what L1 tells it."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from attestrio.app.aligned_config import refuse_no_address
from attestrio.configuring import BadConfig, Layout, LogSection, Origin, Section, not_negative, positive
from attestrio.sequencer.settings import BATCH_SEAL_S, BLOCK_SEAL_S, DATA_BUDGET
from attestrio.web.hosts import checked_hosts
from attestrio.zkevm.counters import LETTERS
from attestrio.zkevm.counters.batch import SMT_FACTOR
from attestrio.zkevm.executor import FIRST_FORK, LAST_FORK

FRACTIONS: Final = ("eth_transfer", "erc20_transfer", "contract_invocation", "contract_deployment")


class NodeSection(Section, frozen=True):
    data_dir: str = "attestrio-sequencer"
    """Folder of everything this sequencer keeps, its stream too; made with mode 0700."""
    metrics_bind: str = ""
    """Where page, probes and metrics are served (host:port; port 0 picks a free one); "": nowhere."""
    metrics_hosts: tuple[str, ...] = ()
    """Names by which browsers may ask for the page; addresses and localhost always may."""

    def __post_init__(self) -> None:
        if not self.data_dir:
            raise ValueError("data_dir may not be empty")
        checked_hosts(self.metrics_hosts)


class ChainSection(Section, frozen=True):
    allocation: str | None = None
    """File with the accounts the chain begins with, as cdk-erigon's allocation."""
    chainspec: str | None = None
    """File that names the chain id, as cdk-erigon's chainspec."""
    conf: str | None = None
    """File with time, gas limit and state root of the genesis block, as cdk-erigon's conf."""
    injected: str | None = None
    """JSON file with the transaction of batch 1; without it batch 1 is like any other."""
    forks: dict[str, int] = msgspec.field(default_factory=lambda: {"12": 0})
    """Forks, each with the last batch that is not of it yet."""
    coinbase: str | None = None
    """Who gets the fees: 0x and 40 hex digits."""
    eth_transfer: float = 1.0
    """Which part of its price a transaction of this kind pays."""
    erc20_transfer: float = 1.0
    contract_invocation: float = 1.0
    contract_deployment: float = 1.0

    def __post_init__(self) -> None:
        refuse_no_address(coinbase=self.coinbase)
        for name in FRACTIONS:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} has to be from 0 to 1")
        for fork, last in self.forks.items():
            if not fork.isdecimal() or not FIRST_FORK <= int(fork) <= LAST_FORK:
                raise ValueError(f"forks: {fork} is none, this release knows {FIRST_FORK} to {LAST_FORK}")
            not_negative(**{f"forks.{fork}": last})
        if 0 not in self.forks.values():
            raise ValueError("forks: one has to begin with batch 1, that is at 0")


class BuildSection(Section, frozen=True):
    block_seal_s: float = BLOCK_SEAL_S
    """From one block to the next; without empty blocks, from the first transaction to its block."""
    batch_seal_s: float = BATCH_SEAL_S
    """After which the next block begins a new batch."""
    empty_blocks: bool = True
    """Whether blocks are built while no transaction waits."""
    most_txs: int = 500
    """In one block."""
    counters: bool = True
    """Whether batches are bounded by what the prover can do."""
    limits: dict[str, int] = {}  # noqa: RUF012  msgspec copies it
    """Counters with a lower limit than the fork's: S A B M K D P SHA."""
    smt_factor: float = SMT_FACTOR
    """Of the levels of the state tree, for the counters; upstream's virtual-counters-smt-reduction."""
    data_budget: int = DATA_BUDGET
    """Bytes of a batch's data on L1."""

    def __post_init__(self) -> None:
        positive(
            block_seal_s=self.block_seal_s, batch_seal_s=self.batch_seal_s, most_txs=self.most_txs,
            smt_factor=self.smt_factor, data_budget=self.data_budget,
        )  # fmt: skip
        for name, limit in self.limits.items():
            if name not in LETTERS:
                raise ValueError(f"limits: no counter is called {name}; there are {', '.join(LETTERS)}")
            not_negative(**{f"limits.{name}": limit})


class StreamSection(Section, frozen=True):
    file: str = ""
    """The stream; "": data-stream.bin in the data directory. Its bookmarks are beside it."""
    system_id: int = 1
    """In the header of a new stream."""
    bind: str = "127.0.0.1:6900"
    """Where it is served."""
    max_connections: int = 100
    write_s: float = 20.0
    """For a client to take something."""
    inactivity_s: float = 600.0
    """Without a byte in either direction."""

    def __post_init__(self) -> None:
        positive(max_connections=self.max_connections, write_s=self.write_s, inactivity_s=self.inactivity_s)
        not_negative(system_id=self.system_id)


class RpcSection(Section, frozen=True):
    bind: str = "127.0.0.1:8123"
    """Where wallets ask; "": nowhere."""
    gas_price: int = 10**9
    """In wei, what wallets are told to pay."""
    call_gas: int = 10_000_000
    """The most that eth_call and eth_estimateGas execute."""
    call_s: float = 5.0
    """For one of them to begin, as they are executed one at a time, and again for it to end."""
    max_connections: int = 100

    def __post_init__(self) -> None:
        positive(call_gas=self.call_gas, call_s=self.call_s, max_connections=self.max_connections)
        not_negative(gas_price=self.gas_price)


class PoolSection(Section, frozen=True):
    file: str | None = None
    """File with transactions in hex, one a line, which may grow; beside those that come over JSON-RPC."""
    most: int = 5_000
    """Transactions that wait at once."""
    max_bytes: int = 128 * 1024
    max_gas: int = 30_000_000
    """Of one transaction."""
    min_gas_price: int = 0
    """In wei."""
    lifetime_s: float = 10_800.0
    """After which one that got into no block is forgotten."""

    def __post_init__(self) -> None:
        positive(most=self.most, max_bytes=self.max_bytes, max_gas=self.max_gas, lifetime_s=self.lifetime_s)
        not_negative(min_gas_price=self.min_gas_price)


class L1Section(Section, frozen=True):
    leaves: str | None = None
    """File with leaves of the L1 info tree, one JSON object a line, which may grow; instead of the contract's."""
    rpc_urls: tuple[str, ...] = ()
    """JSON-RPC addresses of Ethereum nodes; in the environment separated by commas. Without: L1 is not heard."""
    chain_id: int = 1
    agree: int = 1
    """How many of `rpc_urls` have to say the same."""
    timeout_s: float = 10.0
    rollup_manager: str | None = None
    """Address of the contract that rolls batches back."""
    ger_manager: str | None = None
    """Address of the contract that has the L1 info tree; without it, the rollup manager's."""
    rollup_id: int = 1
    """Of this chain at the rollup manager."""
    first_block: int = 0
    """Where the first scan begins: nothing before it is seen."""
    finality: Literal["finalized", "safe"] = "finalized"
    """Up to where L1 is read."""
    poll_s: float = 5.0
    window: int = 1_000
    """Blocks in one query at first."""

    def __post_init__(self) -> None:
        positive(
            chain_id=self.chain_id, timeout_s=self.timeout_s, rollup_id=self.rollup_id, poll_s=self.poll_s,
            window=self.window,
        )  # fmt: skip
        not_negative(first_block=self.first_block)
        refuse_no_address(rollup_manager=self.rollup_manager, ger_manager=self.ger_manager)
        if len(set(self.rpc_urls)) != len(self.rpc_urls):
            raise ValueError("rpc_urls names an endpoint twice")
        if self.agree != 1 and not len(self.rpc_urls) // 2 < self.agree <= len(self.rpc_urls):
            raise ValueError(f"agree = {self.agree} of {len(self.rpc_urls)} rpc_urls: has to be 1, or more than half")


class ResequenceSection(Section, frozen=True):
    strict: bool = True
    """Stop, with everything as it was, where an old batch does not become one new one with all its transactions."""
    reuse_l1_info_index: bool = True
    """Blocks keep the leaf they had; false: they get the one that a new block would."""
    then: Literal["serve", "build", "exit"] = "serve"
    """After `--resequence` has come to its end: only serve, build new batches, or exit."""
    on_rollback: Literal["stop", "resequence"] = "stop"
    """When L1 rolls batches back: go back, build nothing and tell; or build them again at once."""


class SequencerConfig(Section, frozen=True):
    """Everything one sequencer needs to know."""

    sequencer: NodeSection = NodeSection()
    chain: ChainSection = ChainSection()
    build: BuildSection = BuildSection()
    stream: StreamSection = StreamSection()
    rpc: RpcSection = RpcSection()
    pool: PoolSection = PoolSection()
    l1: L1Section = L1Section()
    resequence: ResequenceSection = ResequenceSection()
    log: LogSection = LogSection()


NEEDED = {
    ("chain", "allocation"): "the accounts the chain begins with",
    ("chain", "chainspec"): "the id of the chain",
    ("chain", "conf"): "the genesis block",
    ("chain", "coinbase"): "who gets the fees",
}


def _check(made: SequencerConfig, origin: Origin) -> None:
    """What concerns several keys. Raises BadConfig."""
    if made.l1.rpc_urls and made.l1.rollup_manager is None:
        raise BadConfig(origin["l1", "rpc_urls"], "l1.rollup_manager is missing: which contract is to be read?")
    if made.l1.rpc_urls and made.l1.leaves is not None:
        raise BadConfig(origin["l1", "leaves"], "l1: rpc_urls and leaves exclude each other")


LAYOUT = Layout(
    SequencerConfig,
    lists=frozenset({("l1", "rpc_urls")}),
    paths=frozenset(
        {
            ("sequencer", "data_dir"), ("chain", "allocation"), ("chain", "chainspec"), ("chain", "conf"),
            ("chain", "injected"), ("pool", "file"), ("l1", "leaves"),
        }
    ),
    check=_check,
)  # fmt: skip


def lacking(config: SequencerConfig) -> list[str]:
    """What a sequencer of this configuration cannot do without, one sentence each."""
    return [
        f"{section}.{key} is missing: {what}"
        for (section, key), what in NEEDED.items()
        if not getattr(getattr(config, section), key)
    ]
