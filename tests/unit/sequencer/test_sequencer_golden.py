"""Chains that upstream has built come out byte for byte, from nothing but their transactions and times."""

from __future__ import annotations

import tarfile
import time
from itertools import groupby, islice
from pathlib import Path

import pytest
from attestrio.sequencer.builder import Added, BatchBuilder
from attestrio.sequencer.genesis import Genesis, begin, inject
from attestrio.sequencer.leaves import MemoryLeaves
from attestrio.sequencer.settings import Rules
from attestrio.stream.reader import StreamReader
from sequencer_kit import (
    Site,
    blocks_a,
    entries_a,
    genesis_a,
    injected_by,
    leaves_a,
    rules_a,
    stream_bytes,
    streams,
    told_by,
)

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "vectors" / "chain-779"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/vectors/chain-779 is not here")
BLOCKS_AT_ONCE = 500


class Steps:
    """A sink that notes how many messages each atomic operation has."""

    def __init__(self, sink):
        self.sink, self.counts = sink, []

    def __getattr__(self, name):
        return getattr(self.sink, name)

    def append(self, messages):
        self.counts.append(len(messages))
        self.sink.append(messages)


def build(site, builder, told):
    """The batch of these blocks, written as each is sealed."""
    builder.begin_batch(told[0].block.batch_number)
    for one in told:
        assert builder.begin_block(one.block.timestamp, one.block.l1_infotree_index) is None
        assert all(isinstance(builder.add(encoded), Added) for encoded in one.txs)
        site.writer.write([builder.seal_block()])
    builder.close_batch()


def test_stream_a_is_built_byte_for_byte_in_the_same_atomic_operations(tmp_path):
    with Site(tmp_path) as site:
        site.writer.sink = steps = Steps(site.sink)
        begin(site.db, genesis_a())
        site.writer.align()
        builder = BatchBuilder(site.db, rules_a(), leaves_a())
        site.writer.write([inject(builder, injected_by(blocks_a()[1]))[0]])
        for _, told in groupby(blocks_a()[2:], key=lambda one: one.block.batch_number):
            build(site, builder, list(told))
        site.writer.end_batch()

        assert site.entries() == list(entries_a())
    assert (tmp_path / "stream.bin").read_bytes()[: len(stream_bytes())] == stream_bytes()
    assert steps.counts == [one["count"] for one in streams()["a"]["atomic_ops"]]


@needs_shared
@pytest.mark.slow
def test_the_whole_stream_of_chain_779_is_built_from_its_transactions(tmp_path, capsys):
    with tarfile.open(SHARED / "data-stream.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    with StreamReader.open(next(tmp_path.rglob("data-stream.bin"))) as reader:
        upstream = list(reader.entries())
    told = told_by(upstream)
    files = [SHARED / f"dynamic-integration-{name}.json" for name in ("allocs", "chainspec", "conf")]
    started = time.perf_counter()

    with Site(tmp_path, genesis_end=False) as site:
        begin(site.db, Genesis.read(*files))
        site.writer.align()
        builder = BatchBuilder(site.db, Rules(779, ((9, 0),), told[1].block.coinbase, counters=False), MemoryLeaves())
        site.writer.write([inject(builder, injected_by(told[1]))[0]])
        blocks = iter(told[2:])
        while some := list(islice(blocks, BLOCKS_AT_ONCE)):
            site.writer.write(sealed_at_once(builder, some), together=True)
        took = time.perf_counter() - started

        assert site.entries() == upstream
    with capsys.disabled():
        print(f"\nchain 779, state and stream on disk: {took:.1f} s, {len(told) / took:.0f} blocks/s")


def sealed_at_once(builder, told):
    """These blocks, in one transaction; batches begin and end as they did."""
    sealed = []
    with builder.db.transaction():
        for one in told:
            number = one.block.batch_number
            if builder.batch is None or builder.batch.number != number:
                if builder.batch is not None:
                    builder.close_batch()
                builder.begin_batch(number)
            assert builder.begin_block(one.block.timestamp) is None
            assert all(isinstance(builder.add(encoded), Added) for encoded in one.txs)
            sealed.append(builder.seal_block())
    return sealed
