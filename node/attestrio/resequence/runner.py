"""Rebuilding what a sequencer has rolled back, from its own stream file.

    writer = ChainWriter(db, sink)
    report = Resequencer(writer, rules, leaves, Journal(path)).run()

The batches that the stream has more than the database are copied and recorded (`journal`), cut off, and made anew one
after the other (`rebuild`): a new batch goes into the database with the cursor that says what comes next, in one
transaction, and then into the stream, in one atomic operation. At the end all of it is held against the copy (`audit`).

A process that is killed anywhere goes on, when `run` is called again, behind the last batch that database and stream
both have whole. What a rebuild must not decide stops it: then the stream is put back as it was, entry by entry.

Source: specified for cdk-erigon 2723db784b and its PR 894, which keeps the old batches in memory alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from attestrio.resequence.audit import audit
from attestrio.resequence.batches import StreamBatch
from attestrio.resequence.errors import AuditFailed, FitsNowhere, RebuildStopped, RebuildUnfinished
from attestrio.resequence.journal import Journal
from attestrio.resequence.notes import Notes
from attestrio.resequence.plan import Cursor, FailedTx, Options, Split
from attestrio.resequence.rebuild import Made, Rebuild
from attestrio.resequence.record import Phase, Record
from attestrio.resequence.removal import Removal, old_of
from attestrio.resequence.report import AuditReport, Progress, Report
from attestrio.resequence.soundness import damage_told
from attestrio.resequence.terms import Kept, Terms
from attestrio.sequencer.builder import BatchBuilder
from attestrio.sequencer.errors import LeafMissing
from attestrio.sequencer.leaves import Leaves
from attestrio.sequencer.settings import Rules
from attestrio.sequencer.tail import tail_of
from attestrio.sequencer.writer import ChainWriter
from attestrio.zkevm.counters import UNLIMITED, Counters, limits_of
from attestrio.zkevm.errors import ForkUnsupported

STOPS: Final = (RebuildStopped, AuditFailed, LeafMissing, ForkUnsupported)
"""With these a rebuild ends and the stream is put back. Anything else is left for the next start to go on with."""


def nobody(progress: Progress) -> None:
    """Who does not want to be told."""


class Resequencer:
    """One rebuild, begun or gone on with. One thread at a time, and it blocks for as long as it takes.

    Args:
      writer: nobody else may write to its stream or database meanwhile.
      leaves: those of the L1 info tree that are known.
      tell: is called after each new batch, in the thread of `run`.
    """

    def __init__(
        self,
        writer: ChainWriter,
        rules: Rules,
        leaves: Leaves,
        journal: Journal,
        options: Options | None = None,
        tell: Callable[[Progress], None] = nobody,
    ) -> None:
        self._writer, self._db, self._sink = writer, writer.db, writer.sink
        self._rules, self._leaves, self._journal = rules, leaves, journal
        self._options = options or Options()
        self._tell = tell
        self._notes = Notes(self._db)
        self._removal = Removal(writer, journal, self._options, recipe_of(rules, self._options))

    def run(self) -> Report:
        """Rebuild until stream and database end alike; at once when they do already.

        Raises RebuildRefused and StreamDamaged before anything is changed; TransactionFails, BatchOverflows,
        FitsNowhere, LeafMissing, ForkUnsupported and AuditFailed with everything as it was; JournalUnusable,
        StorageUnusable, and what `ChainWriter.align` raises, after which it can be called again.
        """
        record = self._journal.unfinished()
        taken_up = None if record is None else self._removal.take_up(record)
        begun = taken_up or self._removal.begin()
        if begun is None:
            return Report(self._last)
        record, cursor = begun
        try:
            found, failed = self._rebuild(record, cursor)
        except STOPS as exc:
            self._removal.put_back(record, str(exc))
            raise
        return replace(self._finish(record, failed), audit=found, resumed=taken_up is not None)

    def trial(self) -> Report:
        """What would be split and what would fail if that was allowed, without a change to anything.

        Raises RebuildUnfinished, and as `run`; FitsNowhere with what was found before it.
        """
        unfinished = self._journal.unfinished()
        if unfinished is not None:
            raise RebuildUnfinished(self._journal.record_path, unfinished.kept_batch, unfinished.phase)
        with damage_told(self._db):
            tail = tail_of(self._sink.reader)
        last, tip = self._db.last_batch, self._db.tip
        if tail is None or last is None or tip is None or (tail.batch <= last.number and tail.block <= tip.number):
            return Report(self._last)

        return self._db.trial(self._trial)

    def _trial(self) -> Report:
        record = self._removal.look()
        assert record is not None
        rebuild = self._rebuilder(record, replace(self._options, strict=False))
        entries = self._sink.reader.entries(record.first_entry, record.first_entry + record.whole)
        cursor, all_made = Cursor(record.kept_batch + 1), list[Made]()
        try:
            for old in old_of(record, entries):
                while cursor.batch == old.number:
                    made = rebuild.next_batch(old, cursor, last=False)
                    all_made.append(made)
                    cursor = made.cursor
        except FitsNowhere as exc:
            rebuild.builder.abandon()
            exc.found = _trial_report(record, all_made)
            raise
        return _trial_report(record, all_made)

    # --- rebuilding

    def _rebuild(self, record: Record, cursor: Cursor) -> tuple[AuditReport, list[FailedTx]]:
        """All new batches, judged; and what has failed in the rest of a split block that became no batch."""
        rebuild = self._rebuilder(record, self._options)
        carried: list[FailedTx] = []
        done = 0
        for old in old_of(record, self._journal.removed(record, whole=True)):
            while cursor.batch == old.number:
                made = self._next(rebuild, old, cursor, carried, last=old.number == record.last_batch)
                cursor = made.cursor
                within = cursor.block if cursor.batch == old.number else len(old.blocks)
                self._tell(Progress(old.number, self._last, done + within, record.blocks))
            done += len(old.blocks)
        last = self._db.last_batch
        if last is not None and last.closed:
            self._writer.end_batch()
        _, failed = self._notes.all(range(record.kept_batch + 1, self._last + 1))
        found = self._audit(record, failed + carried)
        if not found.ok:
            raise AuditFailed("; ".join(f"{row.property}: {row.detail}" for row in found.rows if not row.ok))
        return found, carried

    def _next(self, rebuild: Rebuild, old: StreamBatch, cursor: Cursor, carried: list[FailedTx], *, last: bool) -> Made:
        """A new batch, or what is left of a split block without one: in the database, then in the stream."""
        try:
            with self._db.transaction():
                made = rebuild.next_batch(old, cursor, last=last)
                carried += made.failed
                if made.is_batch:
                    self._notes.put(self._last, made.split, carried)
        except BaseException:
            rebuild.builder.abandon()
            raise
        if made.is_batch:
            carried.clear()
            self._writer.write(made.sealed, together=True)
        return made

    def _finish(self, record: Record, carried: list[FailedTx]) -> Report:
        numbers = range(record.kept_batch + 1, self._last + 1)
        splits, failed = self._notes.all(numbers)
        self._journal.put(replace(record, phase=Phase.DONE))
        with self._db.transaction():
            self._db.forget_cursors()
            self._notes.forget(numbers)
        blocks = self._db.state.tip.number - record.kept_block
        return _report(record, len(numbers), blocks, splits, failed + carried)

    def _audit(self, record: Record, failed: list[FailedTx]) -> AuditReport:
        reader = self._sink.reader
        terms = Terms(
            strict=record.strict,
            reuse_l1_info_index=record.reuse_l1_info_index,
            failed=frozenset((one.old_block, one.position) for one in failed),
            data_budget=self._rules.data_budget,
            limits_of=self._limits_of,
            used_by=self._used_by,
            total_entries=reader.header.total_entries,
            find=self._sink.indexed,  # whether the entry is that bookmark is seen in passing
            prefix_same=self._removal.prefix_same(record),
        )
        kept = Kept(
            record.kept_batch,
            record.kept_block,
            bytes.fromhex(record.kept_hash),
            record.kept_time,
            record.kept_progress,
            record.first_entry,
        )
        return audit(self._journal.removed(record, whole=True), reader.entries(record.first_entry), kept, terms)

    # --- within

    @property
    def _last(self) -> int:
        """The last batch in the database."""
        last = self._db.last_batch
        return 0 if last is None else last.number

    def _rebuilder(self, record: Record, options: Options) -> Rebuild:
        return Rebuild(BatchBuilder(self._db, self._rules, self._leaves), self._leaves, options, record.tag)

    def _limits_of(self, fork: int) -> Counters:
        return limits_of(fork).lowered(self._rules.limits) if self._rules.counters else UNLIMITED

    def _used_by(self, batch: int) -> Counters | None:
        found = self._db.batch(batch)
        return None if found is None else found.counters


def recipe_of(rules: Rules, options: Options) -> str:
    """A hash of everything that new batches depend on, but leaves."""
    told = (
        rules.chain_id, sorted(rules.forks), rules.coinbase.hex(), rules.percentages, rules.counters,
        sorted(rules.limits.items()), rules.smt_factor, rules.data_budget, options,
    )  # fmt: skip
    return hashlib.sha256(repr(told).encode()).hexdigest()


def _trial_report(record: Record, all_made: list[Made]) -> Report:
    splits = [made.split for made in all_made if made.split is not None]
    failed = [tx for made in all_made for tx in made.failed]
    blocks = sum(len(made.blocks) for made in all_made)
    return _report(record, sum(made.is_batch for made in all_made), blocks, splits, failed)


def _report(record: Record, batches: int, blocks: int, splits: list[Split], failed: list[FailedTx]) -> Report:
    return Report(
        kept_batch=record.kept_batch,
        old_batches=record.batches,
        old_blocks=record.blocks,
        old_transactions=record.transactions,
        new_batches=batches,
        new_blocks=blocks,
        splits=tuple(splits),
        failed=tuple(failed),
    )
