"""The world of whole nodes, with reverts: stores on disk, one data directory through all epochs, in virtual time."""

import json
from dataclasses import dataclass, field

import msgspec
import trio
from attestrio.config import GenesisSection, ProtectionSection
from attestrio.protection.commands import CommandBox
from attestrio.protection.history import HISTORY
from attestrio.protection.pending import read_pending
from attestrio.protection.reader import open_record
from attestrio.sim.links import Member
from attestrio.sim.main_node import SimMainNode
from attestrio.sim.rollup import SimRollup
from attestrio.store import open_certificates
from node_world import MAIN, World


@dataclass(eq=False)
class Witnessed:
    """A member of the network that only listens: every hash that ever left a node, by genesis, key and number."""

    hashes: dict = field(default_factory=dict)

    def add(self, votes):
        for vote in votes:
            batch = vote.batch
            self.hashes.setdefault((batch.genesis, vote.key, int(batch.number)), set()).add(batch.hash)

    async def wait_newer(self, mark):
        await trio.sleep_forever()

    def contradictions(self):
        return {place: hashes for place, hashes in self.hashes.items() if len(hashes) > 1}

    def numbers(self, genesis, key):
        """What this key signed under this genesis, as far as it left."""
        return sorted(number for of, by, number in self.hashes if (of, by) == (genesis.hash(), key.public()))


class ForkWorld(World):
    """A `World` whose stores are in the data directories, and whose chain can be reverted.

    The main node has a genesis file of its own, which its operator changes; that of the attesters stays the old one.
    """

    def __init__(self, nursery, folder, weights, *, on_rollback="restart", **more):
        super().__init__(nursery, folder, weights, **more)
        self.on_rollback = on_rollback
        self.witness = Witnessed()
        self.forks = [self.genesis]
        self.pins = {}
        self.main_genesis = folder / "main-genesis.json"
        folder.mkdir(exist_ok=True)
        self.main_genesis.write_text(json.dumps(self.genesis.to_json()))
        self.rollup = SimRollup(self.chain, self.main_genesis, CommandBox(folder / MAIN))
        nursery.start_soon(self.network.join, Member("witness", self.witness))

    async def store(self, name):
        """None: the node keeps its own, one for each epoch."""

    async def sim(self, name):
        if name not in self.sims:
            self.sims[name] = SimMainNode(None, None, up=MAIN in self.up)
            self._show(self.sims[name])
        return self.sims[name]

    def config(self, name, **main_node):
        made = super().config(name, **main_node)
        if name == MAIN:
            return msgspec.structs.replace(made, genesis=GenesisSection(file=str(self.main_genesis)))
        made = msgspec.structs.replace(made, protection=ProtectionSection(listen_s=0.0, on_rollback=self.on_rollback))
        if name in self.pins:
            made = msgspec.structs.replace(made, genesis=GenesisSection(file=str(self.pins[name])))
        return made

    def pin(self, name, genesis):
        """The genesis a node starts with from now on."""
        self.pins[name] = self.folder / f"{name}-genesis.json"
        self.pins[name].write_text(json.dumps(genesis.to_json()))

    async def start(self, *names, **parts):
        await super().start(*names, **parts)
        if MAIN in names:
            self.nursery.start_soon(self._serve, self.up[MAIN])

    def post(self, name, verb, why="the test says so"):
        """As the operator would: consent is about what waits at this moment."""
        waits = read_pending(self.folder / name)
        CommandBox(self.folder / name).post(verb, why, waits.subject if waits else "")

    async def revert(self, to):
        """Revert, and wait until the main node has begun to show it."""
        before = (await self.up[MAIN].wait_epoch()).number
        genesis = self.rollup.revert(to)
        self.forks.append(genesis)
        await self.up[MAIN].wait_epoch(after=before)
        return genesis

    async def wait_followed(self, genesis, *names):
        """Until these nodes (default: all that run) are in an epoch under `genesis`."""
        for name in names or list(self.up):
            await self.up[name].epoch.wait_value(lambda epoch: epoch is not None and epoch.genesis == genesis)

    def rows(self, name):
        """The epochs on record."""
        with open_record(self.folder / name / HISTORY) as record:
            return record.epochs()

    def archived(self, name, number, genesis):
        """The numbers with a certificate in one epoch of a node's file, each certificate verified."""
        with open_certificates(self.folder / name / "store.db") as file:
            certificates = list(file.certificates(number))
        for certificate in certificates:
            certificate.verify(genesis)
        return [int(certificate.batch.number) for certificate in certificates]

    def stored_hash(self, name, epoch, number):
        """The hash that was certified for a batch in one epoch."""
        with open_certificates(self.folder / name / "store.db") as file:
            return file.certificate(number, epoch).batch.hash

    async def _serve(self, node):
        """As the program around an embedded main node does: what it serves follows its epochs."""
        async for _ in node.epoch.eventual_values():
            for sim in self.sims.values():
                self._show(sim)

    def _show(self, sim):
        epoch = self.up[MAIN].epoch.value if MAIN in self.up else None
        sim.show(epoch and epoch.store, epoch and epoch.genesis)
