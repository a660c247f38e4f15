"""A genesis, a scripted main node and a node around it, for the tests of this folder."""

import json
from functools import partial

import trio
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
from attestrio.errors import NodeError, leaves
from attestrio.kit.blocking import inline
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
from attestrio.status import AttestationStatus

KEY = AttesterSecretKey.from_bytes(b"\x07" * 32)


def genesis_of(fork=0, chain_id=270, weight=1):
    return Genesis(
        chain_id=chain_id,
        fork_number=fork,
        first_block=0,
        protocol_version=1,
        validators=(WeightedValidator(VALIDATOR, 1),),
        leader_selection=RoundRobin(),
        attesters=Committee([WeightedAttester(KEY.public(), weight)]),
    )


class Told:
    """A status client that says what the test sets; `Shown` can show the genesis besides."""

    def __init__(self, genesis, number=0):
        self.genesis, self.number = genesis, number

    async def attestation_status(self):
        await trio.lowlevel.checkpoint()
        return AttestationStatus(self.genesis.hash(), BatchNumber(self.number))


class Shown(Told):
    async def consensus_genesis(self):
        await trio.lowlevel.checkpoint()
        return self.genesis


class Site:
    """One node in virtual time, over its own data directory; `ended` is what ended it."""

    def __init__(self, nursery, folder, genesis=None, chain=None):
        self.nursery, self.folder = nursery, folder
        self.genesis = genesis or genesis_of()
        self.chain = chain or SimChain(self.genesis.hash())
        self.chain.seal(50)
        self.told = Shown(self.genesis)
        self.file = folder / "genesis.json"
        self.pin(self.genesis)
        self.ended = None

    def pin(self, genesis):
        """Write the genesis file that the configuration names."""
        self.file.write_text(json.dumps(genesis.to_json()))

    def config(self, *, serve=False, **protection):
        return NodeConfig(
            node=NodeSection(data_dir=str(self.folder / "data")),
            genesis=GenesisSection(file=str(self.file)),
            keys=KeysSection(attester=None if serve else Secret(KEY.to_text())),
            main_node=MainNodeSection(poll_s=1.0, stale_grace_s=5.0),
            batches=BatchesSection(poll_s=1.0, first=0 if serve else None),
            protection=ProtectionSection(listen_s=0.0, **protection),
            serve=ServeSection(bind="") if serve else None,
        )

    async def start(self, config=None, **parts):
        """Start the node; `parts` replace what it is given."""
        self.scope, self.gone = trio.CancelScope(), trio.Event()
        return await self.nursery.start(self._live, self._node(config, parts))

    async def refused(self, config=None):
        """The error that ends a start."""
        try:
            await self._node(config, {})()
        except* NodeError as group:
            (error,) = leaves(group)
        return error

    def _node(self, config, parts):
        given = {"run_blocking": inline, "init_protection": True, "batch_source": self.chain}
        config = config or self.config()
        if config.serve is None:
            given["status_client"] = self.told
        return partial(run_node, config, **(given | parts))

    async def stop(self):
        self.scope.cancel()
        await self.gone.wait()

    async def _live(self, run, *, task_status):
        try:
            with self.scope:
                await run(task_status=task_status)
        except* NodeError as group:
            (self.ended,) = leaves(group)
        self.gone.set()


async def voted(node, number):
    """Until the vote for a batch has been sent, in the epoch that runs."""
    await node.duty.watch.wait_value(
        lambda _: any(event.step == "sent" for event in node.duty.timeline(BatchNumber(number)))
    )
