"""What tests of a rebuild share: a rolled back sequencer in a folder, the chain behind stream a, the demo chain."""

from __future__ import annotations

import json
import lzma
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

from attestrio.resequence.batches import read_batches
from attestrio.resequence.journal import Journal
from attestrio.resequence.plan import Options
from attestrio.resequence.runner import Resequencer
from attestrio.sequencer import Leaf, MemoryLeaves, Rules
from attestrio.sequencer.builder import BatchBuilder
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.genesis import Genesis, Injected, begin, inject
from attestrio.sequencer.sink import DirectSink
from attestrio.sequencer.writer import ChainWriter
from attestrio.sim.l2 import (
    CHAIN_ID,
    GENESIS_AT,
    GWEI,
    PlannedBatch,
    PlannedBlock,
    Wallets,
    address_of_key,
    begin_plan,
    build,
    build_batch,
    demo_plan,
)
from attestrio.stream import BatchType, L2Block, message_untrusted
from attestrio.stream.bookmarks import DataStream, MemoryBookmarks
from attestrio.stream.file import StreamFile
from attestrio.stream.reader import StreamReader
from attestrio.zkevm.genesis import allocation
from attestrio.zkevm.transactions import sign_legacy, unsigned_legacy

EARNER = b"\x0e" * 32
GOLDEN = Path(__file__).parents[2] / "golden" / "datastream"


class Site:
    """A sequencer's files in a folder: database, stream, journal. `close` is also how it is killed."""

    def __init__(self, folder, rules, leaves, *, genesis_end=True):
        self.folder, self.rules, self.leaves, self._genesis_end = folder, rules, leaves, genesis_end
        self.told = []
        self.open()

    def open(self):
        path = self.folder / "stream.bin"
        file = StreamFile.open(path) if path.exists() else StreamFile.create(path, pages=1)
        self.stream = DataStream.open(file, MemoryBookmarks())
        self.db = ChainDb.open(self.folder / "chain.db")
        self.writer = ChainWriter(self.db, DirectSink(self.stream), genesis_end=self._genesis_end)
        self.journal = Journal(path)

    def close(self):
        self.stream.close()
        self.db.close()

    def reopen(self):
        """As after a restart of the process."""
        self.close()
        self.open()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def resequencer(self, *, strict=True, reuse=True, rules=None, leaves=None):
        return Resequencer(
            self.writer,
            rules or self.rules,
            leaves or self.leaves,
            self.journal,
            Options(strict, reuse),
            self.told.append,
        )

    def run(self, **how):
        """A rebuild from its beginning, or from where it was."""
        return self.resequencer(**how).run()

    def entries(self, first=0):
        return list(self.stream.file.entries(first))

    def batches(self, first=0):
        """Those of the stream."""
        return [batch for batch in read_batches(self.stream.file.entries()) if batch.number >= first]

    def shape(self, first=2):
        """Per batch of the stream its number and, of each block, number, time, index and transactions."""
        return [
            (one.number, [(block.number, block.timestamp, block.l1_index, len(block.txs)) for block in one.blocks])
            for one in self.batches(first)
        ]

    def hashes(self):
        return {block.number: block.message.hash for batch in self.batches() for block in batch.blocks}

    def txs(self, first=2):
        return [tx for batch in self.batches(first) for block in batch.blocks for tx in block.encoded]

    def state(self):
        """What a rebuild changes: the stream, and of the database the end."""
        last = self.db.last_batch
        return self.stream.header, self.entries(), last, self.db.tip, self.db.state.tip.root


# --- stream a


@cache
def stream_bytes_a():
    return lzma.decompress((GOLDEN / "a.bin.xz").read_bytes())


@cache
def blocks_a():
    """Numbers, and blocks of the stream behind them."""
    manifest = json.loads((GOLDEN / "streams.json").read_text())["a"]["entries"]
    raw = stream_bytes_a()
    messages = [message_untrusted(kind, raw[at + 17 : at + length]) for _, kind, at, length in manifest]
    txs = [message.encoded for message in messages if type(message).__name__ == "Transaction"]
    return [message for message in messages if isinstance(message, L2Block)], txs


def rules_a(**changed):
    blocks, _ = blocks_a()
    return Rules(**{"chain_id": 1001, "forks": ((9, 0),), "coinbase": blocks[1].coinbase} | changed)


def leaves_a():
    return MemoryLeaves(
        Leaf(one.l1_infotree_index, one.global_exit_root, one.l1_blockhash, one.min_timestamp)
        for one in blocks_a()[0]
        if one.l1_infotree_index
    )


def site_a(folder):
    """Stream a, and a database that ends with batch 1."""
    (folder / "stream.bin").write_bytes(stream_bytes_a())
    blocks, txs = blocks_a()
    site = Site(folder, rules_a(), leaves_a())
    told = json.loads((GOLDEN / "chain.json").read_text())["genesis"]
    accounts = allocation({address: {"balance": balance} for address, balance in told["alloc"].items()})
    begin(site.db, Genesis(1001, told["time"], accounts))
    first = blocks[1]
    injected = Injected(txs[0], first.timestamp, first.global_exit_root, first.l1_blockhash)
    inject(BatchBuilder(site.db, site.rules, site.leaves), injected)
    return site


# --- a planned chain


def site_of(folder, plan, kept=None, leaves=None):
    """A chain built and written as planned; its database then taken back to the end of batch `kept`."""
    site = Site(folder, plan.rules, leaves or plan.known_leaves())
    begin_plan(site.db, plan)
    site.writer.align(close=False)
    with site.db.transaction():
        sealed = list(build(site.db, plan))
        if not plan.batches[-1].blocks:  # it is left open otherwise, which without blocks is not there
            sealed += build_batch(site.db, plan, len(plan.batches) + 1, plan.batches[-1])
    site.writer.write(sealed, together=True)
    if kept is not None:
        site.db.unwind_to_end_of(kept)
    return site


def plan_of(*batches, rules=None):
    """A plan of batches; each is a list of blocks, each of those a list of transactions; twelve seconds a block."""
    plan, at, planned = demo_plan(rules=rules), GENESIS_AT + 1_000, []
    for blocks in batches:
        kind = BatchType.INVALID if blocks is None else BatchType.REGULAR
        made = []
        for txs in blocks or ():
            at += 12
            made.append(PlannedBlock(at, tuple(txs)))
        planned.append(PlannedBatch(tuple(made), kind))
    return replace(plan, batches=tuple(planned), injected=replace(plan.injected, encoded=Wallets().transfer(3, 0)))


def transfers(count):
    """So many, all of one user and of one size."""
    wallets = Wallets()
    return [wallets.transfer(0, 1) for _ in range(count)]


def failing_plan():
    """Blocks 3 and 4 have transactions of who earns the fees, which spend what block 2 has brought."""
    txs, (spend, *more) = transfers(4), [earner(nonce, 50_000 * GWEI if nonce == 0 else 1) for nonce in range(3)]
    return earning(plan_of([txs[:2]], [[spend, txs[2]], more, txs[3:]]))


def earning(plan):
    return replace(plan, rules=replace(plan.rules, coinbase=address_of_key(EARNER)))


def earner(nonce, value):
    unsigned = unsigned_legacy(chain_id=CHAIN_ID, nonce=nonce, gas_price=1, gas=21_000, to=b"\x01" * 20, value=value)
    return sign_legacy(unsigned, EARNER).encoded


def poor(site, **more):
    """Rules by which somebody else gets the fees."""
    return replace(site.rules, coinbase=b"\x99" * 20, **more)


def copied(site, folder, **changed):
    """Another site with the same files."""
    site.close()
    shutil.copytree(site.folder, folder)
    site.open()
    return Site(folder, changed.get("rules", site.rules), changed.get("leaves", site.leaves))


def entries_in(path):
    with StreamReader.open(path) as reader:
        return list(reader.entries())
