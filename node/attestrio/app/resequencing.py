"""What rebuilding a sequencer's rolled-back batches would do, found out without a change to anything."""

from __future__ import annotations

from pathlib import Path

import trio

from attestrio.app.sequencer_config import SequencerConfig, lacking
from attestrio.app.sequencer_parts import (
    CHAIN,
    L1,
    NoSequencer,
    genesis_of,
    opened,
    refuse_without_chain,
    rules_of,
    stream_path_of,
)
from attestrio.configuring import BadConfig
from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.kit.datadir import DataDir
from attestrio.resequence.journal import Journal
from attestrio.resequence.plan import FailedTx, Options, Split
from attestrio.resequence.report import Report
from attestrio.resequence.runner import Resequencer
from attestrio.sequencer.l1_info import LeafBook, LeafFile
from attestrio.sequencer.l1_store import L1Store
from attestrio.sequencer.leaves import Leaf
from attestrio.sequencer.lines import GrowingFile
from attestrio.sequencer.settings import Rules
from attestrio.sequencer.sink import DirectSink
from attestrio.sequencer.writer import ChainWriter


async def plan(config: SequencerConfig, *, run_blocking: RunBlocking = in_thread) -> Report:
    """The splits and failures that a rebuild which is not strict would have. The sequencer must not run.

    Takes as long as the rebuild. Raises BadConfig, NoSequencer, ChainMissing, DataDirInUse, RebuildUnfinished,
    StorageUnusable, and what `Resequencer.trial` raises: above all FitsNowhere, for what no rebuild with these limits
    gets over.
    """
    missing = lacking(config)
    if missing:
        raise BadConfig("configuration", missing[0])
    folder = Path(config.sequencer.data_dir)
    if not (folder / CHAIN).exists():
        await run_blocking(lambda: refuse_without_chain(folder / CHAIN, stream_path_of(config, folder)))
    if not (folder / CHAIN).exists() or not stream_path_of(config, folder).exists():
        raise NoSequencer(folder)
    rules = rules_of(config, (await run_blocking(lambda: genesis_of(config))).chain_id)
    with DataDir.open(folder) as data_dir:
        book = await _leaves(config, data_dir.path, run_blocking)
        return await run_blocking(lambda: _trial(config, data_dir.path, rules, book))


def _trial(config: SequencerConfig, folder: Path, rules: Rules, book: LeafBook) -> Report:
    path, section = stream_path_of(config, folder), config.resequence
    options = Options(section.strict, section.reuse_l1_info_index)
    with opened(folder, path, config.stream.system_id) as files:
        writer = ChainWriter(files.db, DirectSink(files.stream))
        return Resequencer(writer, rules, book, Journal(path), options).trial()


async def _leaves(config: SequencerConfig, folder: Path, run_blocking: RunBlocking) -> LeafBook:
    """Those that a start would begin with. Raises BadLeafFile, StorageUnusable."""
    book, section = LeafBook(), config.l1
    if section.rpc_urls:
        if (folder / L1).exists():
            book.replace(await run_blocking(lambda: _stored(folder / L1)))
    elif section.leaves is not None:
        async with trio.open_nursery() as nursery:
            await nursery.start(LeafFile(GrowingFile(Path(section.leaves)), book, run=run_blocking).run)
            nursery.cancel_scope.cancel()
    return book


def _stored(path: Path) -> list[Leaf]:
    store = L1Store.open(path)
    try:
        return store.leaves()
    finally:
        store.close()


def told(report: Report, *, strict: bool, whole: bool = True) -> list[str]:
    """A plan as people read it, a line each; one that is not `whole` has come to FitsNowhere."""
    if report.nothing_to_do:
        return [f"nothing to re-sequence: stream and chain both end with batch {report.kept_batch}"]
    first, last = report.kept_batch + 1, report.kept_batch + report.old_batches
    lines = [
        f"batches {first} to {last} are to be built again: {report.old_blocks} blocks, "
        f"{report.old_transactions} transactions",
        *map(_split, report.splits),
        *map(_failed, report.failed),
    ]
    if not report.splits and not report.failed:
        return [*lines, "each becomes one batch with all of its transactions"] if whole else lines
    if whole:
        lines.append(f"they would become {report.new_batches} batches of {report.new_blocks} blocks")
    if strict:
        reasons = [one.old_batch for one in report.splits] + [one.old_batch for one in report.failed]
        lines.append(f"strict: a rebuild stops at batch {min(reasons)}, and everything is put back")
    return lines


def _split(one: Split) -> str:
    place = "" if one.position is None else f", transaction {one.position}"
    return f"batch {one.old_batch} splits at block {one.old_block}{place}: no room left for {named(one.what)}"


def _failed(one: FailedTx) -> str:
    which = f"transaction {one.position} of block {one.old_block} ({one.hash.hex()})"
    return f"batch {one.old_batch}: {which} fails: {one.why}"


def named(what: str) -> str:
    """A limit as people call it."""
    return "data" if what == "data" else f"counter {what}"
