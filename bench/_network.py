"""Whole networks in one process, for the benches: nodes on loopback TCP, full mesh, and what makes certificates.

A node here is status watch, `AttesterRunner`, `VotesWatch`, `QCFinder`, a store and `GossipRunner`. Two things are
cheap on purpose. The store is the one in memory, and `KeySigner` keeps no record: both would measure one disk shared
by all nodes, which no network does; `bench/durable.py` measures the record.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio
from _floor import committee_of, secrets
from attestrio.attester.runner import AttesterRunner
from attestrio.duty import DutyLog
from attestrio.gossip.limiter import UNLIMITED, Rate
from attestrio.gossip.node import GossipNode
from attestrio.gossip.rpc.methods import METHODS
from attestrio.gossip.rules import GossipRules
from attestrio.gossip.runner import GossipRunner
from attestrio.quorum.finder import QCFinder
from attestrio.quorum.watch import VotesWatch
from attestrio.roles import (
    AttesterPublicKey,
    Batch,
    BatchHash,
    BatchNumber,
    BatchQC,
    Genesis,
    NodeSecretKey,
    RoundRobin,
    WeightedValidator,
)
from attestrio.sim.cluster import VALIDATOR
from attestrio.sim.signers import KeySigner
from attestrio.status import AttestationStatus, AttestationStatusWatch
from attestrio.store.api import BatchStore
from attestrio.store.memory import MemoryBatchStore

LIFTED: Mapping[str, Rate] = {spec.name: UNLIMITED for spec in METHODS}
LIMIT_S = 30.0  # for a network to be up, and for a certificate


def genesis_of(attesters: Sequence[AttesterPublicKey] | None) -> Genesis:
    return Genesis(
        chain_id=270,
        fork_number=0,
        first_block=0,
        protocol_version=1,
        validators=(WeightedValidator(VALIDATOR, 1),),
        leader_selection=RoundRobin(),
        attesters=attesters,
    )


@asynccontextmanager
async def on_network(
    index: int, genesis: Genesis, store: BatchStore, votes: VotesWatch | None, outbound=None, rates=None, own=None
) -> AsyncIterator[tuple[GossipNode, str]]:
    """The part of a node that is on the network, and its address; it dials `outbound` (key → address)."""
    key = NodeSecretKey.from_bytes(hashlib.sha256(b"node %d" % index).digest())
    rules = GossipRules(static_outbound=outbound or {}, rates=rates or {}, accept_rate=UNLIMITED)
    node = GossipNode(key, rules)
    address = await node.listen("127.0.0.1:0")
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(GossipRunner(node, genesis, store, votes, own).run)
            yield node, address
            nursery.cancel_scope.cancel()
    finally:
        node.close()


@dataclass(eq=False)
class Attester:
    """One node with a vote."""

    node: GossipNode
    address: str
    status: AttestationStatusWatch


@dataclass(eq=False)
class Network:
    """`size` nodes, each linked with each. `certify` makes the next certificate."""

    size: int
    lifted: bool
    rounds: int
    attesters: list[Attester] = field(default_factory=list)
    _stored: dict[int, list[float]] = field(default_factory=dict)  # batch → when each node had it
    _all_stored: trio.Event = field(default_factory=trio.Event)
    _next: int = 0

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Network]:
        """Run until left. The batches of all rounds are in the stores before: signing waits for nothing."""
        keys = secrets(self.size, "attester")
        genesis = genesis_of(committee_of(keys))
        batches = [Batch(_number(at), BatchHash(bytes([at % 251]) * 32), genesis.hash()) for at in range(self.rounds)]
        async with trio.open_nursery() as nursery:
            for index, key in enumerate(keys):
                outbound = {other.node.key: other.address for other in self.attesters}
                await nursery.start(self._attester, index, key, genesis, batches, outbound)
            with trio.fail_after(LIMIT_S):
                for attester in self.attesters:
                    await attester.node.connected.wait_value(lambda links: links == self.size - 1)
            await trio.sleep(0.5)  # what a new link tells once
            yield self
            nursery.cancel_scope.cancel()

    async def certify(self) -> float:
        """Seconds from the status change to the certificate stored on the last node."""
        number, self._next = self._next, self._next + 1
        self._all_stored = trio.Event()
        began = time.perf_counter()
        for attester in self.attesters:
            genesis = attester.status.status.genesis
            attester.status.update(AttestationStatus(genesis, _number(number)))
        with trio.fail_after(LIMIT_S):
            await self._all_stored.wait()
        return max(self._stored.pop(number)) - began

    async def _attester(self, index, key, genesis, batches, outbound, *, task_status) -> None:
        committee = genesis.attesters
        store = MemoryBatchStore(genesis.hash())
        votes = VotesWatch(committee, genesis.hash())
        status = AttestationStatusWatch(genesis.hash())
        duty = DutyLog(time.time)
        own = key.public()
        finder = QCFinder(status, votes, store, committee, genesis.hash(), duty, _number(0), self._on_certificate)
        attester = AttesterRunner(status, store, KeySigner(key), votes, committee, own, 1.0, duty)
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            for batch in batches:
                await store.put_batch_to_sign(batch)
            nursery.start_soon(finder.run)
            nursery.start_soon(attester.run)
            rates = LIFTED if self.lifted else None
            async with on_network(index, genesis, store, votes, outbound, rates, own) as (node, address):
                self.attesters.append(Attester(node, address, status))
                task_status.started()
                await trio.sleep_forever()

    def _on_certificate(self, certificate: BatchQC) -> None:
        stored = self._stored.setdefault(int(certificate.batch.number), [])
        stored.append(time.perf_counter())
        if len(stored) == self.size:
            self._all_stored.set()


def _number(value: int) -> BatchNumber:
    return BatchNumber(value)
