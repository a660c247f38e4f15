"""Two attestrio nodes inside a larger trio program: a main node and an attester, started and stopped like any task.

    python examples/embed.py

The program seals batches itself and gives the main node an object to ask, instead of a network. The attester asks the
main node over HTTP on loopback. Half-way the attester is cancelled and started again over the same data directory; the
main node and the program go on meanwhile, and no batch is left out.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from functools import partial
from pathlib import Path

import trio
from attestrio import Link, NodeConfig, RunningNode, SafetyError, load_config, run_node
from attestrio.protection.history import mark_unused
from attestrio.roles import (
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    Committee,
    Genesis,
    GenesisHash,
    RoundRobin,
    WeightedAttester,
    WeightedValidator,
)
from attestrio.sim.cluster import VALIDATOR
from attestrio.sim.links import MemoryNetwork


class Sequencer:
    """The program's own part. It is a `BatchSource` to attestrio, because it has `batch_to_sign`."""

    def __init__(self, genesis: GenesisHash) -> None:
        self.genesis = genesis
        self.sealed: list[BatchHash] = []

    async def run(self, every_s: float) -> None:
        while True:
            self.sealed.append(BatchHash(hashlib.sha256(b"batch %d" % len(self.sealed)).digest()))
            await trio.sleep(every_s)

    async def batch_to_sign(self, number: BatchNumber) -> Batch | None:
        await trio.lowlevel.checkpoint()
        return Batch(number, self.sealed[number], self.genesis) if number < len(self.sealed) else None


def prepare(folder: Path) -> Genesis:
    """A new key, and a genesis whose committee is that key alone."""
    secret = AttesterSecretKey.generate()
    genesis = Genesis(
        chain_id=270,
        fork_number=0,
        first_block=0,
        protocol_version=1,
        validators=(WeightedValidator(VALIDATOR, 1),),
        leader_selection=RoundRobin(),
        attesters=Committee([WeightedAttester(secret.public(), 1)]),
    )
    (folder / "genesis.json").write_text(json.dumps(genesis.to_json()))
    (folder / "attester.key").touch(mode=0o600)
    (folder / "attester.key").write_text(secret.to_text())
    # The key has never signed. Without this word the node would miss its signing history, and not start.
    mark_unused(folder / "attester.key", secret.public())
    return genesis


async def show(name: str, node: RunningNode) -> None:
    """Print the certificates a node has: first what it kept from an earlier life, then each as it comes."""
    epoch = await node.wait_epoch()
    number = BatchNumber(0)
    while True:
        version = node.duty.watch.value
        for certificate in await epoch.store.qcs(number, 100):
            certificate.verify(epoch.genesis)
            print(f"{name}: batch {certificate.batch.number} certified, {len(certificate.signatures)} vote(s)")
            number = certificate.batch.number.next()
        # The duty log has a new version whenever something was done about a batch.
        await node.duty.watch.wait_value(lambda now, seen=version: now != seen)  # type: ignore[misc]


async def wait_certified(node: RunningNode, number: int) -> None:
    """Until the node has said that the certificate of batch `number` is on its disk."""
    certified = partial(node.duty.end_state, BatchNumber(number))
    await node.duty.watch.wait_value(lambda _: certified() == "certified")


async def attest_until(last: int, config: NodeConfig, link: Link, main_node: RunningNode) -> None:
    """One life of the attester: until batch `last` is certified on both nodes."""
    try:
        async with trio.open_nursery() as life:
            attester = await life.start(partial(run_node, config, link=link))
            life.start_soon(show, "attester", attester)
            await wait_certified(attester, last)
            await wait_certified(main_node, last)
            life.cancel_scope.cancel()  # stops this node and nothing else
    except* SafetyError as group:
        # What a node must not go on with, such as a second node with its key. The program decides what next.
        print("the attester cannot go on:", group.exceptions)
    print("attester stopped, its data kept")


async def main(folder: Path, *, batches: int = 6, every_s: float = 0.2) -> None:
    """Certify so many batches, with an attester that is away for a while in the middle."""
    genesis = prepare(folder)
    sequencer = Sequencer(genesis.hash())
    network = MemoryNetwork()  # how votes travel inside one process
    # The keys of the configuration file; `load_config("node.toml")` reads one.
    both = {"genesis.file": f"{folder}/genesis.json", "main_node.poll_s": "0.02", "batches.poll_s": "0.02"}
    main_config = load_config(
        overrides=both | {"node.data_dir": f"{folder}/main", "serve.bind": "127.0.0.1:0", "batches.first": "0"}
    )

    async with trio.open_nursery() as program:
        program.start_soon(sequencer.run, every_s)
        main_node: RunningNode = await program.start(
            partial(run_node, main_config, batch_source=sequencer, link=network.link("main node"))
        )
        program.start_soon(show, "main node", main_node)
        attester_config = load_config(
            overrides=both
            | {
                "node.data_dir": f"{folder}/attester",
                "keys.attester_file": f"{folder}/attester.key",
                "main_node.url": str(main_node.api_url.value),
                # How long to listen for another node with this key before the first vote: votes travel at once here.
                "protection.listen_s": "0.05",
            }
        )

        for last in (batches // 2 - 1, batches - 1):
            await attest_until(last, attester_config, network.link("attester"), main_node)
            await trio.sleep(2 * every_s)  # the program seals on, and the main node waits for the vote
        print(f"{len(sequencer.sealed)} batches sealed, {batches} certified")
        program.cancel_scope.cancel()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        trio.run(partial(main, Path(made)))
