"""A rollback of 10,000 batches: how long nothing is signed.

One attester over real SQLite files that hold 10,000 votes and certificates, on the real clock. Its main node begins to
show a genesis with a higher fork number, and the batch after the reverted ones. Timed is the pause from the status
that says so (asking for the genesis, judging it, ending the epoch, beginning the next are all in it) to the first vote
on record in the new epoch. Links to peers are left out. Median and worst of several rounds, each over a directory of
its own. Target: at most 250 ms in every round. Exit 1 if it is missed.

For information: the same for a main node, from the end of its epoch to the first number it names in the next, and how
long the start of a node takes until its first vote.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import trio
from _floor import Figure, arguments, report, secrets
from attestrio.app import RunningNode, run_node
from attestrio.config import NodeConfig, load_config
from attestrio.duty import Step
from attestrio.protection.commands import CommandBox, Verb
from attestrio.protection.history import HISTORY
from attestrio.protection.record import VoteRecord
from attestrio.roles import (
    AttesterSecretKey,
    BatchNumber,
    BatchQC,
    Committee,
    Genesis,
    RoundRobin,
    WeightedAttester,
    WeightedValidator,
)
from attestrio.sim.chain import SimChain
from attestrio.sim.cluster import VALIDATOR
from attestrio.sim.rollup import next_fork, replace_genesis
from attestrio.status import AttestationStatus
from attestrio.store.sqlite import SqliteBatchStore

BATCHES, QUICK_BATCHES = 10_000, 500
AT_ONCE = 500  # batches that are prepared concurrently, so that they share commits
TARGET_MS = 250.0
POLL_S = 0.02
KEY: AttesterSecretKey = secrets(1, "rollback")[0]
GENESIS = Genesis(
    chain_id=270,
    fork_number=0,
    first_block=0,
    protocol_version=1,
    validators=(WeightedValidator(VALIDATOR, 1),),
    leader_selection=RoundRobin(),
    attesters=Committee([WeightedAttester(KEY.public(), 1)]),
)
FORK = next_fork(GENESIS, 1)


class MainNode:
    """Tells a status and shows its genesis; remembers when it first told of the fork."""

    def __init__(self, number: int) -> None:
        self.genesis, self.number = GENESIS, BatchNumber(number)
        self.told_at: float | None = None

    async def attestation_status(self) -> AttestationStatus:
        await trio.lowlevel.checkpoint()
        if self.genesis is FORK and self.told_at is None:
            self.told_at = time.perf_counter()
        return AttestationStatus(self.genesis.hash(), self.number)

    async def consensus_genesis(self) -> Genesis:
        await trio.lowlevel.checkpoint()
        return self.genesis


async def prepare(folder: Path, batches: int, *, votes: bool) -> SimChain:
    """The files of a node that has certified `batches` batches, and the chain they are of."""
    chain = SimChain(GENESIS.hash())
    chain.seal(batches + 100)
    (folder / "data").mkdir()
    (folder / "genesis.json").write_text(json.dumps(GENESIS.to_json()))
    record = VoteRecord(folder / "data" / HISTORY, GENESIS.chain_id)
    store = SqliteBatchStore(folder / "data" / "store.db", GENESIS.hash(), epoch=1)

    async def certify(number: int) -> None:
        batch = await chain.batch_to_sign(BatchNumber(number))
        assert batch is not None
        vote = await record.sign(KEY, batch, epoch=1) if votes else KEY.sign_batch(batch)
        await store.persist_qc(BatchQC(batch, {vote.key: vote.signature}))

    async with trio.open_nursery() as nursery:
        await nursery.start(record.run)
        await nursery.start(store.run)
        await record.add_key(KEY.public())
        await record.open_epoch(GENESIS.hash(), 0, "start")
        for first in range(0, batches, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, batches))
            for number in numbers:
                batch = await chain.batch_to_sign(BatchNumber(number))
                assert batch is not None
                nursery.start_soon(store.put_batch_to_sign, batch)
            await store.wait_until_persisted(BatchNumber(numbers[-1]))
            async with trio.open_nursery() as group:
                for number in numbers:
                    group.start_soon(certify, number)
        await store.close()
        await record.close()
    return chain


def configured(folder: Path, **more: str) -> NodeConfig:
    keys = {
        "node.data_dir": str(folder / "data"),
        "genesis.file": str(folder / "genesis.json"),
        "main_node.poll_s": str(POLL_S),
        "batches.poll_s": str(POLL_S),
        "protection.listen_s": "0",
    }
    return load_config(
        env={"ATTESTRIO_KEYS_ATTESTER": KEY.to_text()} if "serve.bind" not in more else {},
        overrides=keys | more,
    )


async def wait_recorded(node: RunningNode, number: int) -> float:
    """When the vote for a batch was on record: read in the very call that says so."""
    at: list[float] = []

    def recorded(_: int) -> bool:
        if any(event.step is Step.RECORDED for event in node.duty.timeline(BatchNumber(number))):
            at.append(time.perf_counter())
        return bool(at)

    await node.duty.watch.wait_value(recorded)
    return at[0]


async def attester_round(folder: Path, batches: int) -> tuple[float, float]:
    """Seconds from the cause to the first vote of the fork; and from the start of the node to its first vote."""
    chain = await prepare(folder, batches, votes=True)
    main_node = MainNode(batches)
    async with trio.open_nursery() as nursery:
        began = time.perf_counter()
        run = partial(run_node, configured(folder), status_client=main_node, batch_source=chain)
        node = await nursery.start(run)
        started_s = await wait_recorded(node, batches) - began
        await trio.sleep(5 * POLL_S)  # at rest
        chain.revert(0, FORK.hash())
        chain.seal(batches)
        main_node.genesis, main_node.number = FORK, BatchNumber(1)
        recorded_at = await wait_recorded(node, 1)
        assert main_node.told_at is not None
        nursery.cancel_scope.cancel()
    return recorded_at - main_node.told_at, started_s


async def main_node_round(folder: Path, batches: int) -> float:
    """Seconds from the end of a main node's epoch to the first number it names in the next."""
    chain = await prepare(folder, batches, votes=False)
    config = configured(folder, **{"serve.bind": "127.0.0.1:0", "batches.first": "0"})
    async with trio.open_nursery() as nursery:
        node = await nursery.start(partial(run_node, config, batch_source=chain))
        await (await node.wait_epoch()).status.wait_for(lambda now: now.next_batch is not None)
        chain.revert(0, FORK.hash())
        chain.seal(batches)
        replace_genesis(folder / "genesis.json", FORK)
        CommandBox(folder / "data").post(Verb.END_EPOCH, "bench")
        ended: list[float] = []

        def is_over(epoch: object) -> bool:
            if epoch is None:
                ended.append(time.perf_counter())
            return bool(ended)

        await node.epoch.wait_value(is_over)
        await (await node.wait_epoch(after=1)).status.wait_for(lambda now: now.next_batch is not None)
        took = time.perf_counter() - ended[0]
        nursery.cancel_scope.cancel()
    return took


async def measure(rounds: int, batches: int) -> list[Figure]:
    pauses, starts = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            pause, start = await attester_round(Path(folder), batches)
            pauses.append(pause * 1e3)
            starts.append(start * 1e3)
    with tempfile.TemporaryDirectory() as folder:
        main_node_ms = await main_node_round(Path(folder), batches) * 1e3
    return [
        Figure(f"rollback of {batches:,} batches: pause, median", median(pauses), "ms"),
        Figure(
            f"rollback of {batches:,} batches: pause, worst of {rounds}", max(pauses), "ms", TARGET_MS, at_least=False
        ),
        Figure("main node: from the end of the epoch to the next number", main_node_ms, "ms"),
        Figure("start of a node: to its first vote, median", median(starts), "ms"),
    ]


def main() -> int:
    args = arguments(__doc__ or "")
    logging.getLogger("attestrio").setLevel(logging.ERROR)  # that an epoch ends is a warning, and meant here
    figures = trio.run(measure, args.rounds, QUICK_BATCHES if args.quick else BATCHES)
    return report("rollback", figures, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
