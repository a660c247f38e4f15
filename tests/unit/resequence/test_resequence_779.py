"""A public test network, rolled back to batch 2, and then to batch 1, and rebuilt: every entry is what it was."""

from __future__ import annotations

import shutil
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from attestrio.sequencer import MemoryLeaves, Rules
from attestrio.sequencer.builder import Added, BatchBuilder
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.genesis import Genesis, Injected, begin, inject
from resequence_kit import Site

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "vectors" / "chain-779"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/vectors/chain-779 is not here")


@pytest.fixture
def chain_779(tmp_path):
    """Its stream, and a database at the end of batch 2."""
    with tarfile.open(SHARED / "data-stream.tar.gz") as archive:
        archive.extractall(tmp_path / "from", filter="data")
    shutil.move(next(tmp_path.rglob("data-stream.bin")), tmp_path / "stream.bin")
    files = (SHARED / f"dynamic-integration-{name}.json" for name in ("allocs", "chainspec", "conf"))
    with ChainDb.open(tmp_path / "chain.db") as db:
        begin(db, Genesis.read(*files))
    site = Site(tmp_path, None, MemoryLeaves(), genesis_end=False)
    first, second = (batch for batch in site.batches(1) if batch.number < 3)
    one = first.blocks[0].message
    site.rules = Rules(779, ((9, 0),), second.blocks[0].message.coinbase, counters=False)
    builder = BatchBuilder(site.db, site.rules, site.leaves)
    told = Injected(first.blocks[0].txs[0].encoded, one.timestamp, one.global_exit_root, one.l1_blockhash, one.coinbase)
    inject(builder, told)
    builder.begin_batch(2)
    for block in second.blocks:
        assert builder.begin_block(block.timestamp, block.l1_index) is None
        assert all(isinstance(builder.add(encoded), Added) for encoded in block.encoded)
        builder.seal_block()
    builder.close_batch()
    yield site
    site.close()


@needs_shared
@pytest.mark.slow
def test_chain_779_comes_out_entry_by_entry(chain_779, capsys):
    before = chain_779.entries()

    begun = time.perf_counter()
    report = chain_779.run()
    took = time.perf_counter() - begun

    assert len(before) == 34_723
    assert chain_779.entries() == before
    assert report.audit.ok
    assert (report.old_batches, report.old_blocks, report.new_batches) == (99, 11_126, 99)
    assert report.audit.same_hashes == 11_126

    gone = chain_779.db.unwind_to_batch(1)  # the whole of it, from the other end
    again = chain_779.run()

    assert (gone.batches, gone.blocks) == (100, again.old_blocks)
    assert (again.old_batches, again.new_batches) == (100, 100)
    assert again.audit.same_hashes == again.old_blocks == 11_316
    assert again.audit.ok
    assert chain_779.entries() == before
    with capsys.disabled():
        print(f"\nchain 779 rebuilt in {took:.1f} s: {report.old_blocks / took:,.0f} blocks/s")


@needs_shared
@pytest.mark.slow
def test_chain_779_with_lower_limits_is_split_and_keeps_every_transaction(chain_779, capsys):
    txs = chain_779.txs()

    begun = time.perf_counter()
    report = chain_779.run(strict=False, rules=replace(chain_779.rules, counters=True, limits={"P": 20_000}))
    took = time.perf_counter() - begun

    assert report.audit.ok
    assert report.splits != ()
    assert report.new_batches == report.old_batches + len(report.splits)
    assert report.new_blocks >= report.old_blocks == 11_126
    assert chain_779.txs() == txs
    assert len(txs) > 400
    with capsys.disabled():
        print(f"\nchain 779 split into {report.new_batches} batches in {took:.1f} s")
