"""What a running node consists of, and what its embedding program may look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from trio_util import AsyncValue

from attestrio.batches.api import BatchSource
from attestrio.config import NodeConfig
from attestrio.duty import DutyLog
from attestrio.gossip.node import GossipNode
from attestrio.kit.blocking import RunBlocking
from attestrio.kit.metrics import Metrics
from attestrio.protection.epochs import EpochCause
from attestrio.quorum.api import Link
from attestrio.quorum.watch import VotesWatch
from attestrio.roles import BatchNumber, Genesis, GenesisHash
from attestrio.status import AttestationStatusClient, AttestationStatusWatch
from attestrio.store.api import BatchStore

StoreFactory = Callable[[Genesis, int], BatchStore]
"""Genesis and epoch number to a store for that epoch, which the node then runs."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """The parts of one epoch, for those who look on: everything that belongs to one genesis."""

    number: int
    """As it stands in the record; the store keeps its rows under it."""
    genesis: Genesis
    cause: EpochCause
    status: AttestationStatusWatch
    votes: VotesWatch | None
    """None without a committee: then nobody votes."""
    store: BatchStore
    first_batch: BatchNumber | None = None
    """Where attestation begins under this genesis; None on a node that was not told: at the first status heard."""


@dataclass(frozen=True, slots=True)
class RunningNode:
    """What an embedding program gets from `run_node`: to read and to wait on, never to write."""

    config: NodeConfig
    metrics: Metrics
    duty: DutyLog
    epoch: AsyncValue[Epoch | None]
    """None until the genesis is known, and between two epochs."""
    api_url: AsyncValue[str | None]
    """Where the main-node API is served; None on a node that serves none, or not yet."""
    network: GossipNode | None = None
    """This node on the gossip network: its key, its address, who is connected; None without `[gossip]`."""
    web_url: AsyncValue[str | None] = field(default_factory=lambda: AsyncValue(None))
    """Where the page is served; None on a node without `[web]`, or not yet."""

    async def wait_epoch(self, after: int = -1) -> Epoch:
        """The epoch that runs, as soon as there is one with a number above `after`."""
        epoch = await self.epoch.wait_value(lambda value: value is not None and value.number > after)
        assert epoch is not None
        return epoch


@dataclass(frozen=True, slots=True)
class Given:
    """What the embedding program puts in the place of parts; None where the configuration decides."""

    status_client: AttestationStatusClient | None
    batch_source: BatchSource | None
    store: BatchStore | StoreFactory | None
    link: Link | None
    run_blocking: RunBlocking
    accept_genesis: GenesisHash | None = None
    """A genesis the operator accepts for this start although it cannot follow the one on record."""
