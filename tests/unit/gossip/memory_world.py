"""One whole node over memory streams, in virtual time, and raw peers on either side of it."""

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from attestrio.gossip import dialling
from attestrio.gossip.node import GossipNode
from attestrio.gossip.rules import GossipRules
from attestrio.gossip.runner import GossipRunner
from attestrio.quorum.watch import VotesWatch
from attestrio.store.memory import MemoryBatchStore
from net_world import Peer, attester, genesis_of, node_key
from raw_peer import ACCEPTOR, DIALLER, MemoryListener, RawPeer

MEMBERS = [attester(index) for index in range(1, 5)]
GENESIS = genesis_of(MEMBERS)
ROLES = {"we accept": DIALLER, "we dial": ACCEPTOR}
"""Our role, and what the raw peer's is then."""
both_roles = pytest.mark.parametrize("role", ROLES.values(), ids=ROLES)


class World(Peer):
    """The node, and how to get to it."""

    def meet(self, role=DIALLER, index=9, **how):
        """A raw peer with `node_key(index)` on the other end of a fresh connection, before its first byte."""
        return self._meet(role, index, **how)

    async def _next(self, role, address):
        if role is DIALLER:
            return self.node.listener.dial()
        with trio.fail_after(60):
            return await self.dialled[address].receive()

    async def _meet(self, role, index, **how):
        stream = await self._next(role, f"peer:{index}")
        return RawPeer(stream, role, node_key(index), self.runner.genesis.hash(), **how)

    @asynccontextmanager
    async def talk(self, role=DIALLER, index=9, **how):
        """The same, after the handshake and in conversation."""
        peer = await self.meet(role, index, **how)
        await peer.greet()
        async with peer.talking():
            yield peer

    def score(self, index=9):
        return self.node.scores.score(node_key(index).public(), trio.current_time())


@asynccontextmanager
async def in_memory(genesis=GENESIS, *, dials=(9, 10), store=None, **rules):
    """A node that dials `node_key(index)` for each of `dials`, wherever a peer waits to be dialled."""
    outbound = {node_key(index).public(): f"peer:{index}" for index in dials}
    rules = GossipRules(static_outbound=outbound, **rules)
    node = GossipNode(node_key(1), rules)
    node.listener = MemoryListener()
    votes = VotesWatch(genesis.attesters, genesis.hash()) if genesis.attesters else None
    store = store or MemoryBatchStore(genesis.hash())
    world = World(node, votes, store, GossipRunner(node, genesis, store, votes), "memory")
    channels = {address: trio.open_memory_channel(100) for address in outbound.values()}
    world.dialled = {address: receive for address, (_, receive) in channels.items()}

    async def connect(address):
        ours, theirs = trio.testing.memory_stream_pair()
        channels[address][0].send_nowait(theirs)
        await trio.lowlevel.checkpoint()
        return ours

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dialling, "connect", connect)
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            await nursery.start(world.runner.run)
            yield world
            nursery.cancel_scope.cancel()
