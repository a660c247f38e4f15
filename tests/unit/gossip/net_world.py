"""Nodes of the network over real sockets on loopback, without the rest of the node: votes, stores, links."""

from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio
from attestrio.gossip.limiter import UNLIMITED
from attestrio.gossip.node import GossipNode
from attestrio.gossip.rpc.methods import METHODS
from attestrio.gossip.rpc.ping import PING
from attestrio.gossip.rules import GossipRules
from attestrio.gossip.runner import GossipRunner
from attestrio.quorum.watch import VotesWatch
from attestrio.roles import (
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    Committee,
    Genesis,
    NodeSecretKey,
    RoundRobin,
    SyncBatch,
    WeightedAttester,
    WeightedValidator,
)
from attestrio.sim.cluster import VALIDATOR
from attestrio.store.memory import MemoryBatchStore
from suite import patient

LIMIT_S = patient(10.0)  # for anything that is waited for
LIFTED = {spec.name: UNLIMITED for spec in METHODS if spec is not PING}


def attester(index):
    return AttesterSecretKey.from_bytes(bytes([index]) * 32)


def node_key(index):
    return NodeSecretKey.from_bytes(bytes([100 + index]) * 32)


def genesis_of(members, chain_id=270, first_block=0):
    return Genesis(
        chain_id=chain_id,
        fork_number=0,
        first_block=first_block,
        protocol_version=1,
        validators=(WeightedValidator(VALIDATOR, 1),),
        leader_selection=RoundRobin(),
        attesters=Committee([WeightedAttester(secret.public(), 1) for secret in members]) if members else None,
    )


def batch_of(genesis, number):
    return Batch(BatchNumber(number), BatchHash(bytes([number % 251]) * 32), genesis.hash())


def sync_batch(number, size=100):
    return SyncBatch(BatchNumber(number), (bytes([number % 251]) * size,), b"proof")


@dataclass(eq=False)
class Peer:
    """One node: its parts, to be looked at and written into."""

    node: GossipNode
    votes: VotesWatch | None
    store: MemoryBatchStore
    runner: GossipRunner
    address: str

    def vote(self, secret, number):
        """A vote that this node has made or got."""
        genesis = self.runner.genesis
        self.votes.add([secret.sign_batch(batch_of(genesis, number))])

    async def wait_connected(self, count):
        with trio.fail_after(LIMIT_S):
            await self.node.connected.wait_value(lambda now: now == count)

    async def wait_votes(self, count):
        with trio.fail_after(LIMIT_S):
            mark = 0
            while len(self.votes.votes()) < count:
                _, mark = await self.votes.wait_newer(mark)

    async def wait_queued(self, number):
        with trio.fail_after(LIMIT_S):
            await self.store.wait_until_queued(BatchNumber(number))


@asynccontextmanager
async def running(genesis, index, *, outbound=(), own=None, store=None, bind="127.0.0.1:0", duty=None, **rules):
    """A node with `node_key(index)` that dials each Peer of `outbound`, or each (key, address). `duty` is told of votes
    and of peers that took ours."""
    pairs = dict((one.node.key, one.address) if isinstance(one, Peer) else one for one in outbound)
    settings = {"redial_s": 0.2, "static_outbound": pairs, **rules}
    node = GossipNode(node_key(index), GossipRules(**settings))
    address = await node.listen(bind)
    votes = VotesWatch(genesis.attesters, genesis.hash(), on_counted=duty and duty.heard) if genesis.attesters else None
    store = store or MemoryBatchStore(genesis.hash())
    runner = GossipRunner(node, genesis, store, votes, own, **({"on_delivered": duty.delivered} if duty else {}))
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            await nursery.start(runner.run)
            yield Peer(node, votes, store, runner, address)
            nursery.cancel_scope.cancel()
    finally:
        node.close()
