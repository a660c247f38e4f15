"""A chain executed and built again: blocks and transactions a second, Poseidon, the room of tree nodes.

Chain 779 (11,317 blocks, 465 transactions) is read from shared/vectors beside the checkout, and left out elsewhere. It
is replayed in memory with every state root, by compiled and by plain Poseidon, and rebuilt from its stream on disk. A
chain of transfers is built by the sequencer and then rolled back and rebuilt, counters and audit included; the ratio is
of both times a block. All in the thread's own time. Exit 1 if a target is missed.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import poseidon as hashes
from _floor import Figure, arguments, cpu, report
from attestrio.resequence.batches import StreamBatch, read_batches
from attestrio.resequence.journal import Journal
from attestrio.resequence.runner import Resequencer
from attestrio.sequencer.builder import Added, BatchBuilder
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.genesis import Genesis, Injected, begin, inject
from attestrio.sequencer.leaves import MemoryLeaves
from attestrio.sequencer.settings import Rules
from attestrio.sequencer.sink import DirectSink
from attestrio.sequencer.writer import ChainWriter
from attestrio.sim.l2 import GENESIS_AT, USERS, Plan, PlannedBatch, PlannedBlock, Wallets, demo_plan
from attestrio.sim.resequence_demo import CHAIN, STREAM, open_stream, write_chain
from attestrio.stream.bookmarks import DataStream, MemoryBookmarks
from attestrio.stream.file import StreamFile
from attestrio.stream.reader import StreamReader
from attestrio.zkevm import poseidon
from attestrio.zkevm.executor import BlockEnv, ChainRules, Executor, L1Info
from attestrio.zkevm.genesis import allocation, begin_chain
from attestrio.zkevm.nodes import MemoryNodes
from attestrio.zkevm.smt import Smt
from attestrio.zkevm.state import MemoryStore, State
from attestrio.zkevm.transactions import tx_untrusted

SHARED = Path(__file__).resolve().parents[2] / "shared" / "vectors" / "chain-779"
CHAIN_779, FORK, KEPT = 779, 9, 2
SECONDS = {"native": 30, "plain": 300}  # for all of chain 779
REBUILT = 1.5  # times what building takes: reading back, the journal and the audit are the rest


@dataclass(frozen=True, slots=True)
class Known:
    """Chain 779."""

    stream: Path
    batches: list[StreamBatch]

    @classmethod
    def read(cls, folder: Path) -> Known:
        with tarfile.open(SHARED / "data-stream.tar.gz") as archive:
            name = next(name for name in archive.getnames() if name.endswith("data-stream.bin"))
            archive.extract(name, folder, filter="data")
        with StreamReader.open(folder / name) as reader:
            return cls(folder / name, list(read_batches(reader.entries())))


def file_779(name: str) -> Path:
    return SHARED / f"dynamic-integration-{name}.json"


def replay(batches: list[StreamBatch], most: int) -> tuple[int, int]:
    """Execute the first `most` blocks, compare each hash and root; how many blocks and transactions."""
    state, smt = State(MemoryStore()), Smt(MemoryNodes())
    accounts = allocation(json.loads(file_779("allocs").read_text()))
    conf = json.loads(file_779("conf").read_text())
    parent = begin_chain(state, smt, accounts, timestamp=conf["timestamp"]).hash()
    executor = Executor(state, smt, ChainRules(CHAIN_779))
    blocks = [block for batch in batches for block in batch.blocks if block.number][:most]
    count = 0
    for block in blocks:
        told = block.message
        info = L1Info(told.global_exit_root, told.l1_blockhash) if any(told.global_exit_root) else None
        env = BlockEnv(told.number, told.timestamp, told.coinbase, FORK, parent, state.tip.root, info)
        executor.begin_block(env)
        for tx in block.txs:
            executor.apply(tx_untrusted(tx.encoded), tx.effective_gas_price_percentage)
        built = executor.finish_block()
        if (built.hash, built.state_root) != (told.hash, told.state_root):
            raise SystemExit(f"block {told.number} comes out differently")
        parent, count = built.hash, count + len(block.txs)
    return len(blocks), count


@contextmanager
def hashing(version: hashes.Version) -> Iterator[None]:
    before = poseidon._run, poseidon._hash12
    poseidon._hash12, poseidon._run = version
    try:
        yield
    finally:
        poseidon._run, poseidon._hash12 = before


def replays(known: Known, *, quick: bool) -> list[Figure]:
    figures = []
    for name, version in hashes.versions().items():
        counts: list[tuple[int, int]] = []
        with hashing(version):
            seconds = cpu(lambda counts=counts: counts.append(replay(known.batches, 300 if quick else 1 << 30)))
        blocks, txs = counts[0]
        target = None if quick else SECONDS[name]
        figures += [
            Figure(f"chain 779 replayed, {name}", seconds, "s", target, at_least=False),
            Figure(f"chain 779 replayed, {name}: blocks", blocks / seconds, "blocks/s"),
            Figure(f"chain 779 replayed, {name}: transactions", txs / seconds, "txs/s"),
        ]
    return figures


def rebuilt_779(known: Known, folder: Path) -> list[Figure]:
    """Batches 3 to 101 from the stream, behind a database at the end of batch 2; without counters, as it was built."""
    stream = folder / "stream.bin"
    shutil.copyfile(known.stream, stream)
    first, second = known.batches[1:3]
    told = first.blocks[0].message
    rules = Rules(CHAIN_779, ((FORK, 0),), second.blocks[0].message.coinbase, counters=False)
    leaves = MemoryLeaves()
    with (
        ChainDb.open(folder / "chain.db") as db,
        DataStream.open(StreamFile.open(stream), MemoryBookmarks()) as opened,
    ):
        opened.rebuild()
        with db.transaction():
            begin(db, Genesis.read(file_779("allocs"), file_779("chainspec"), file_779("conf")))
            builder = BatchBuilder(db, rules, leaves)
            encoded = first.blocks[0].txs[0].encoded
            inject(builder, Injected(encoded, told.timestamp, told.global_exit_root, told.l1_blockhash, told.coinbase))
            build_again(builder, second)
        writer = ChainWriter(db, DirectSink(opened), genesis_end=False)
        return figures_of("chain 779 rebuilt", Resequencer(writer, rules, leaves, Journal(stream)), {})


def build_again(builder: BatchBuilder, batch: StreamBatch) -> None:
    builder.begin_batch(batch.number)
    for block in batch.blocks:
        full = builder.begin_block(block.timestamp, block.l1_index)
        assert full is None
        for encoded in block.encoded:
            added = builder.add(encoded)
            assert isinstance(added, Added)
        builder.seal_block()
    builder.close_batch()


def figures_of(what: str, work: Resequencer, floor: dict[str, float]) -> list[Figure]:
    reports = []
    seconds = cpu(lambda: reports.append(work.run()))
    (done,) = reports
    assert done.audit is not None
    assert done.audit.ok
    assert done.audit.same_hashes == done.old_blocks
    figures = [
        Figure(f"{what}: blocks", done.old_blocks / seconds, "blocks/s"),
        Figure(f"{what}: transactions", done.old_transactions / seconds, "txs/s"),
    ]
    if floor:
        ratio = seconds / done.old_blocks / floor["block"]
        figures.append(Figure(f"{what}, against building it", ratio, "x", floor["target"], at_least=False))
    return figures


def transfers(batches: int, blocks: int, txs: int) -> Plan:
    """A chain of nothing but transfers."""
    wallets, at = Wallets(), GENESIS_AT + 1_000
    demo = demo_plan()
    demo_wallet_used = wallets.transfer(3, 0)  # the injected one
    planned, number = [], 0
    for _ in range(batches):
        made = []
        for _ in range(blocks):
            at += 6
            made.append(
                PlannedBlock(at, tuple(wallets.transfer((number + one) % USERS, one % USERS) for one in range(txs)))
            )
            number += 1
        planned.append(PlannedBatch(tuple(made)))
    return replace(demo, batches=tuple(planned), injected=replace(demo.injected, encoded=demo_wallet_used))


def rebuilt_transfers(folder: Path, *, quick: bool) -> list[Figure]:
    batches, blocks, txs = (4, 3, 5) if quick else (20, 10, 20)
    plan = transfers(batches, blocks, txs)
    seconds = cpu(lambda: write_chain(folder, plan))
    with ChainDb.open(folder / CHAIN) as db, open_stream(folder) as stream:
        db.unwind_to_batch(1)
        work = Resequencer(
            ChainWriter(db, DirectSink(stream)), plan.rules, plan.known_leaves(), Journal(folder / STREAM)
        )
        floor = {"block": seconds / (batches * blocks), "target": REBUILT}
        return figures_of(f"blocks of {txs} transfers rebuilt", work, {} if quick else floor)


def main() -> int:
    asked = arguments(__doc__ or "")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        figures = rebuilt_transfers(folder / "transfers", quick=asked.quick)
        if SHARED.is_dir():
            known = Known.read(folder)
            figures += replays(known, quick=asked.quick)
            if not asked.quick:
                figures += rebuilt_779(known, folder)
    figures += hashes.speeds(asked.rounds, 1_000 if asked.quick else 10_000)
    figures += hashes.room(2_000 if asked.quick else 100_000)
    return report("resequence", figures, as_json=asked.json)


if __name__ == "__main__":
    sys.exit(main())
