"""A main node and attesters, whole nodes through `run_node`, without threads and sockets: for virtual time.

The stores, the chain and the network outlive the nodes, as disks and wires do; each node has its own way to the main
node (`sims`), with its own faults, and its own data directory.
"""

import json
from functools import partial

import trio
import trio.testing
from attestrio.app import run_node
from attestrio.config import (
    BatchesSection,
    GenesisSection,
    KeysSection,
    MainNodeSection,
    NodeConfig,
    NodeSection,
    ProtectionSection,
    Secret,
    ServeSection,
)
from attestrio.duty import EndState
from attestrio.errors import SafetyError, leaves
from attestrio.kit.blocking import inline
from attestrio.protection.epochs import RollbackNeedsRestart
from attestrio.roles import (
    AttesterSecretKey,
    BatchNumber,
    Committee,
    Genesis,
    RoundRobin,
    WeightedAttester,
    WeightedValidator,
)
from attestrio.sim.chain import SimChain
from attestrio.sim.cluster import VALIDATOR
from attestrio.sim.links import MemoryNetwork, Weather
from attestrio.sim.main_node import SimMainNode
from attestrio.store.memory import MemoryBatchStore

MAIN = "main-node"
POLL_S = 1.0
WHOLE_DUTY = ["told", "persisted", "hashed", "recorded", "signed", "sent", "seen", "certified"]


def key(index):
    """The secret key of attester `index`, counted from 1."""
    return AttesterSecretKey.from_bytes(bytes([index]) * 32)


def genesis_of(weights, fork=0, chain_id=270):
    return Genesis(
        chain_id=chain_id,
        fork_number=fork,
        first_block=0,
        protocol_version=1,
        validators=(WeightedValidator(VALIDATOR, 1),),
        leader_selection=RoundRobin(),
        attesters=Committee(
            [WeightedAttester(key(index).public(), weight) for index, weight in enumerate(weights, start=1)]
        ),
    )


class World:
    """Everything around the nodes. `weights` are those of attester-1, attester-2, ...; batch 0 is the first.

    `up` are the nodes that run, by name; `ended` what ended a node that was not stopped.
    """

    def __init__(self, nursery, folder, weights, *, weather=Weather(), seed=0, first=0, sealed=100, fork=0):
        self.nursery, self.folder, self.first = nursery, folder, first
        self.genesis = genesis_of(weights, fork)
        self.committee = self.genesis.attesters
        self.chain = SimChain(self.genesis.hash(), first=first)
        self.chain.seal(sealed)
        self.network = MemoryNetwork(weather, seed=seed)
        self.attesters = [f"attester-{index}" for index in range(1, len(weights) + 1)]
        self.stores, self.sims, self.up, self.ended, self._lives = {}, {}, {}, {}, {}

    @property
    def names(self):
        return [MAIN, *self.attesters]

    async def store(self, name):
        """The store of a node, running as long as the world."""
        if name not in self.stores:
            self.stores[name] = MemoryBatchStore(self.genesis.hash(), BatchNumber(self.first))
            await self.nursery.start(self.stores[name].run)
        return self.stores[name]

    async def sim(self, name):
        """The way of one node to the main node, faults included."""
        if name not in self.sims:
            self.sims[name] = SimMainNode(await self.store(MAIN), self.genesis, up=MAIN in self.up)
        return self.sims[name]

    def config(self, name, **main_node):
        serves = name == MAIN
        file = self.folder / "genesis.json"
        if not file.exists():
            self.folder.mkdir(exist_ok=True)
            file.write_text(json.dumps(self.genesis.to_json()))
        secret = None if serves else Secret(key(int(name.split("-")[1])).to_text())
        return NodeConfig(
            node=NodeSection(data_dir=str(self.folder / name)),
            genesis=GenesisSection(file=str(file)),
            keys=KeysSection(attester=secret),
            main_node=MainNodeSection(poll_s=POLL_S, **main_node),
            batches=BatchesSection(poll_s=POLL_S, first=self.first),
            protection=ProtectionSection(listen_s=0.0),
            serve=ServeSection(bind="") if serves else None,
        )

    async def start(self, *names, stale_grace_s=60.0, **parts):
        """Start nodes; `parts` replace what they would be given. Each is at rest before the next one starts."""
        for name in names:
            given = {
                "init_protection": True,
                "run_blocking": inline,
                "store": await self.store(name),
                "link": self.network.link(name),
                "batch_source": self.chain,
            }
            if name != MAIN:
                given["status_client"] = (await self.sim(name)).client()
            run = partial(run_node, self.config(name, stale_grace_s=stale_grace_s), **(given | parts))
            self.up[name] = await self.nursery.start(self._live, name, run)
            await trio.testing.wait_all_tasks_blocked()
            if name == MAIN:
                self.reach_main(True)

    def reach_main(self, up):
        """Whether the main node's machine answers."""
        for sim in self.sims.values():
            sim.up = up

    async def start_all(self, **parts):
        """The main node with all batches in its store, then all attesters."""
        await self.start(MAIN)
        await self.start(*self.attesters, **parts)

    async def stop(self, *names):
        """Cancel nodes and wait until nothing of them is left."""
        for name in names:
            if name == MAIN:
                self.reach_main(False)
            scope, gone = self._lives[name]
            scope.cancel()
            await gone.wait()

    async def _live(self, name, run, *, task_status):
        with trio.CancelScope() as scope:
            gone = trio.Event()
            self._lives[name] = scope, gone
            try:
                await run(task_status=task_status)
            except* (SafetyError, RollbackNeedsRestart) as group:
                (self.ended[name],) = leaves(group)
            finally:
                self.up.pop(name, None)
                gone.set()

    async def wait_certified(self, number, *names):
        """Until these nodes (default: all that run) have said that the certificate of `number` is stored."""
        for name in names or list(self.up):
            duty = self.up[name].duty
            await duty.watch.wait_value(lambda _, duty=duty: duty.end_state(number) is EndState.CERTIFIED)

    async def wait_gone(self, name):
        """Until the node has ended."""
        await self._lives[name][1].wait()

    async def certified(self, name=MAIN):
        """The numbers that have a certificate in this node's store, each certificate verified here once more."""
        certificates = await self.stores[name].qcs(BatchNumber(0), 1_000)
        for certificate in certificates:
            certificate.verify(self.genesis)
            assert certificate.batch.hash == self.chain.hash(certificate.batch.number)
        return [int(certificate.batch.number) for certificate in certificates]

    def steps(self, name, number):
        """The steps of one batch that were done, each once, in order."""
        return list(dict.fromkeys(event.step for event in self.up[name].duty.timeline(number) if event.reason == "ok"))

    def details(self, name, number, step):
        """What was said beside one step of a batch."""
        return [event.detail for event in self.up[name].duty.timeline(number) if event.step is step]

    def troubles(self, name, number):
        """What kept a step of one batch from being done for a while or for good, as `step:reason`, each once."""
        events = self.up[name].duty.timeline(number)
        return list(dict.fromkeys(f"{event.step}:{event.reason}" for event in events if event.reason != "ok"))
