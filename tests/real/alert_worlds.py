"""Where the stories behind the alerts play: real parts in virtual time, and what is done to them."""

from contextlib import asynccontextmanager, contextmanager

import alert_paths  # noqa: F401
import msgspec
import node_world
import pytest
import trio
import trio.testing
from alert_recording import Recording
from attestrio.gossip import dialling
from attestrio.gossip.node import GossipNode
from attestrio.gossip.rules import GossipRules
from attestrio.gossip.runner import GossipRunner
from attestrio.kit.metrics import Metrics
from attestrio.quorum.watch import VotesWatch
from attestrio.roles import Batch, BatchHash
from attestrio.sim.links import Weather
from attestrio.store.memory import MemoryBatchStore
from net_world import attester, genesis_of, node_key
from raw_peer import MemoryListener

SIX = [1] * 6  # threshold 5: one may be missing
BATCH_S, POLL_S = 30.0, 5.0


@asynccontextmanager
async def recording():
    """A recording that goes on while the body runs."""
    taken = Recording()
    async with trio.open_nursery() as nursery:
        yield taken, nursery
        nursery.cancel_scope.cancel()


# --- nodes


class Nodes(node_world.World):
    """A main node and six attesters, a batch every 30 s; each scraped from its first start on."""

    def __init__(self, nursery, folder, taken, batch_s=BATCH_S):
        super().__init__(nursery, folder, SIX, weather=Weather(delay_s=0.1), sealed=0)
        self.taken = taken
        nursery.start_soon(self.chain.run, batch_s)

    def config(self, name, **main_node):
        made = super().config(name, **main_node)
        return msgspec.structs.replace(
            made,
            main_node=msgspec.structs.replace(made.main_node, poll_s=POLL_S),
            batches=msgspec.structs.replace(made.batches, poll_s=POLL_S),
        )

    async def start(self, *names, also=(), **parts):
        for name in names:
            await super().start(name, **{"init_protection": name not in self.taken.targets} | parts)
            await trio.sleep(0.7)  # so that they do not poll at the same moments
            self.taken.targets[name] = lambda name=name: (self.up[name].metrics, *also) if name in self.up else None


@asynccontextmanager
async def nodes(folder, **how):
    async with recording() as (taken, nursery):
        world = Nodes(nursery, folder, taken, **how)
        await world.start_all()
        nursery.start_soon(taken.run)
        yield world, taken


class Without:
    """A source of batches that knows none."""

    async def batch_to_sign(self, number):
        await trio.lowlevel.checkpoint()


class Other:
    """A source of batches whose hashes are others than those of the chain."""

    def __init__(self, chain):
        self.chain = chain

    async def batch_to_sign(self, number):
        honest = await self.chain.batch_to_sign(number)
        return None if honest is None else Batch(honest.number, BatchHash(b"\x99" * 32), honest.genesis)


async def slow_disk(call, *more):
    """A disk that takes 0.8 s for everything."""
    await trio.sleep(0.8)
    return call(*more)


class Twin:
    """A member of the network that sends what it is given, one vote after the other, and wants nothing."""

    def __init__(self, *votes):
        self.given = list(votes)

    def newer_than(self, mark):
        return self.given[mark : mark + 1], min(mark + 1, len(self.given))

    async def wait_newer(self, mark):
        if mark >= len(self.given):
            await trio.sleep_forever()
        return self.newer_than(mark)

    def add(self, votes):
        """Heard, and no use."""


# --- peers


class Hub:
    """One node that dials four others, over streams in memory."""

    def __init__(self, nursery):
        self.genesis, self.nursery = genesis_of([attester(index) for index in range(1, 5)]), nursery
        self.listeners = {f"peer:{index}": MemoryListener() for index in range(2, 6)}
        self.keys = {f"peer:{index}": node_key(index) for index in range(2, 6)}
        self.metrics, self.lives = Metrics(), {}
        outbound = {key.public(): address for address, key in self.keys.items()}
        self.node = GossipNode(node_key(1), GossipRules(static_outbound=outbound), self.metrics)

    async def start(self):
        await self.nursery.start(self._live, self.node)
        for address in self.listeners:
            await self.begin(address)

    async def begin(self, address):
        """A peer comes (back)."""
        node = GossipNode(self.keys[address], GossipRules())
        node.listener = self.listeners[address]
        self.lives[address] = await self.nursery.start(self._live, node)

    def end(self, address):
        self.lives.pop(address).cancel()

    async def connect(self, address):
        """Instead of a socket."""
        await trio.lowlevel.checkpoint()
        if address not in self.lives:
            raise dialling.PeerUnreachable(address, "nobody is there")
        return self.listeners[address].dial()

    async def _live(self, node, *, task_status):
        store = MemoryBatchStore(self.genesis.hash())
        votes = VotesWatch(self.genesis.attesters, self.genesis.hash())
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            await nursery.start(GossipRunner(node, self.genesis, store, votes).run)
            task_status.started(nursery.cancel_scope)


@contextmanager
def in_memory(hub):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dialling, "connect", hub.connect)
        yield
