"""How an aggregator paces itself. Pure. Defaults are those of Aligned's configuration files."""

from __future__ import annotations

from dataclasses import dataclass, field

from attestrio.kit.retry import Schedule
from attestrio.l1.retries import BLOCK_S, NETWORK, chain_schedule


@dataclass(frozen=True, slots=True)
class CollectSettings:
    """When an aggregate is made, and how much is kept for batches nobody knows."""

    window_s: float = 15.0
    """After quorum, for more signatures; not waited for once everybody has signed."""
    max_orphans: int = 10_000
    """Signatures of one operator for batches that the chain has not explained."""
    confirmations: int = 12
    """Blocks on top of BatchVerified until the batch counts as finished."""
    snapshot_schedule: Schedule = NETWORK
    """Before each further try to read who was in the quorum."""
    snapshot_again_s: float = 12.0
    """Before the next round of tries."""
    snapshots: int = 1_000
    """Blocks whose operators are remembered."""


@dataclass(frozen=True, slots=True)
class RecoverySettings:
    """How the chain is asked about batches that operators know and we do not."""

    fetch_range_blocks: int = 1_000
    """Back from the head: `pending_batch_fetch_block_range`. At a first start, batches before it are not taken up."""
    task_lookup: Schedule = NETWORK
    """In our own table, before the chain is asked."""
    network: Schedule = NETWORK
    """For the block number, and for the logs."""
    block_s: float = BLOCK_S
    """Of the chain: `batchesState` is asked again after 1, 2 and 4 blocks."""
    horizon_blocks: int = 14_400
    """Two days of Ethereum: a batch that nobody could explain for so long is given up, with a reason."""
    again_cap_blocks: int = 32
    """The longest wait between two rounds for one batch."""
    max_roots: int = 256
    """In one query; more are asked for in several."""

    @property
    def chain(self) -> Schedule:
        """For `batchesState`, seconds."""
        return chain_schedule(self.block_s)


@dataclass(frozen=True, slots=True)
class FeeSettings:
    """What a transaction may cost. Percent of the node's price, except where it says otherwise."""

    base_bump_percent: int = 25
    """On top of the node's price, always."""
    bump_step_percent: int = 20
    """On top of that, for each replacement."""
    bump_limit_percent: int = 150
    """The most on top of the node's price."""
    replace_percent: int = 110
    """Of the price before: what nodes ask of a replacement at least."""
    bump_after_s: float = 72.0
    """A transaction that is not mined by then is replaced."""
    max_price_wei: int | None = None
    """Per gas; None: only the batcher's limit holds."""


@dataclass(frozen=True, slots=True)
class SenderSettings:
    """How answers are brought onto the chain."""

    fees: FeeSettings = field(default_factory=FeeSettings)
    in_flight: int = 16
    """Transactions that wait to be mined."""
    gas_margin_percent: int = 110
    """Of the estimate."""
    block_s: float = BLOCK_S
    """Of the chain: what it refuses is tried again after 1, 2 and 4 blocks."""
    poll_s: float = 2.0
    """Between two looks for receipts."""

    @property
    def chain(self) -> Schedule:
        """For what the chain refuses, seconds."""
        return chain_schedule(self.block_s)


@dataclass(frozen=True, slots=True)
class GarbageSettings:
    """When finished batches are forgotten. A pending one never is."""

    every_s: float = 604_800.0
    age_blocks: int = 216_000
    """A month of Ethereum."""


@dataclass(frozen=True, slots=True)
class AggregatorSettings:
    """All of them."""

    collect: CollectSettings = field(default_factory=CollectSettings)
    recovery: RecoverySettings = field(default_factory=RecoverySettings)
    sender: SenderSettings = field(default_factory=SenderSettings)
    garbage: GarbageSettings = field(default_factory=GarbageSettings)


USUAL = AggregatorSettings()
