"""Taking batches out of the stream so that nothing can be lost, finding out how far that got, and putting them back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from attestrio.resequence.batches import StreamBatch
from attestrio.resequence.errors import JournalUnusable, RebuildRefused, RebuildStopped
from attestrio.resequence.journal import Journal, prefix_digest
from attestrio.resequence.plan import Cursor, Options, facts_of, old_batches
from attestrio.resequence.record import Phase, Record
from attestrio.resequence.soundness import check_sound, damage_told
from attestrio.sequencer.tail import tail_of
from attestrio.sequencer.writer import MOST_ENTRIES, Aligned, ChainWriter
from attestrio.stream.entries import Entry
from attestrio.stream.messages import Bookmark


@dataclass(frozen=True, slots=True)
class _AsItIs:
    """An entry as it was, whatever it carries."""

    TYPE: int
    data: bytes

    def encode(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class Removal:
    """One thread at a time; it blocks. Errors of stream, database and journal pass through everywhere."""

    writer: ChainWriter
    journal: Journal
    options: Options
    recipe: str
    """Of what would be rebuilt now, see `Record.recipe`."""

    # --- beginning

    def look(self) -> Record | None:
        """What there is to rebuild, with the database at the end of the batch before; None: nothing.

        No copy is made yet. Raises RebuildRefused and StreamDamaged, with nothing changed.
        """
        with damage_told(self.writer.db):
            ahead = self.writer.align(close=False)
        if isinstance(ahead, Aligned):
            return None
        db, reader, kept = self.writer.db, self.writer.sink.reader, ahead.first - 1
        if kept < 1:
            raise RebuildRefused("batch 1 is taken from L1 and cannot be rebuilt: go back to batch 1 or a later one")
        before = db.batch(kept)
        assert before is not None
        first, tail = self.writer.sink.find(Bookmark.batch(ahead.first).encode()), tail_of(reader)
        if first is None or tail is None:
            raise RebuildRefused(f"the stream has no bookmark of batch {ahead.first}")
        check_sound(reader.entries(first, tail.entries), first, before, self.writer.sink.indexed)
        db.unwind_to_end_of(kept)  # where the database has a part of the next one
        last, tip = db.last_batch, db.tip
        assert last is not None
        assert tip is not None
        if not last.closed:
            db.close_batch(last)  # the next one is in the stream, so this one has ended
        record = Record(
            phase=Phase.RECORDED,
            kept_batch=kept,
            kept_block=tip.number,
            kept_hash=tip.hash.hex(),
            kept_time=tip.timestamp,
            kept_progress=db.l1_progress,
            first_entry=first,
            whole=tail.entries - first,
            strict=self.options.strict,
            reuse_l1_info_index=self.options.reuse_l1_info_index,
            recipe=self.recipe,
        )
        facts = facts_of(old_of(record, reader.entries(first, tail.entries)))
        return replace(
            record,
            batches=facts.batches,
            blocks=facts.blocks,
            transactions=facts.transactions,
            last_batch=facts.last_batch,
        )

    def begin(self) -> tuple[Record, Cursor] | None:
        """Copy, record, cut. None: there is nothing to rebuild. Raises RebuildRefused, StreamDamaged."""
        record = self.look()
        if record is None:
            return None
        reader = self.writer.sink.reader
        count, size, digest = self.journal.copy(reader.entries(record.first_entry))
        prefix = prefix_digest(reader, record.first_entry)
        record = replace(record, entries=count, size=size, sha256=digest, prefix_sha256=prefix)
        return self._cut(self.journal.put(record)), _start(record)

    def _cut(self, record: Record) -> Record:
        self.writer.truncate(record.kept_batch + 1)
        return self.journal.put(replace(record, phase=Phase.REBUILDING))

    # --- going on

    def take_up(self, record: Record) -> tuple[Record, Cursor] | None:
        """Where an interrupted rebuild goes on; None: it has been undone, and another may begin.

        Raises RebuildStopped when it had come to that; JournalUnusable.
        """
        entries = self.writer.sink.reader.header.total_entries
        self.journal.check(record)
        if entries < record.first_entry or not self.prefix_same(record):
            raise JournalUnusable(self.journal.record_path, "it is of another stream, or of one that has been changed")
        if record.phase == Phase.RESTORING:
            self.put_back(record, record.why or "")
            raise RebuildStopped(record.why or "")
        db = self.writer.db
        if db.batch(record.kept_batch) is None or db.block_hash(record.kept_block) != bytes.fromhex(record.kept_hash):
            self.put_back(record, f"the database was taken back to before batch {record.kept_batch}")
            return None
        if record.phase == Phase.RECORDED:
            if entries > record.first_entry:
                self.journal.put(replace(record, phase=Phase.RESTORED))  # it has not been cut
                return None
            record = self._cut(record)
        if record.recipe != self.recipe:
            strict, reuse = self.options.strict, self.options.reuse_l1_info_index
            self._back_to(record.kept_batch)
            return self.journal.put(
                replace(record, strict=strict, reuse_l1_info_index=reuse, recipe=self.recipe)
            ), _start(record)
        return record, self._resume(record)

    def _resume(self, record: Record) -> Cursor:
        """Behind the last batch that both have whole: the one after it has lost its counters with the process."""
        ends = self.writer.align(close=False)
        if isinstance(ends, Aligned) and ends.batch > record.kept_batch + 1:
            self._back_to(ends.batch - 1)
            cursor = Cursor.decode(self.writer.db.cursor, record.tag)
            if cursor is not None:
                return cursor
        self._back_to(record.kept_batch)
        return _start(record)

    def _back_to(self, batch: int) -> None:
        """Both end with this batch. The stream first: a database that is ahead is taken back at any start."""
        self.writer.truncate(batch + 1)
        self.writer.db.unwind_to_end_of(batch)

    # --- putting back

    def put_back(self, record: Record, why: str) -> None:
        """Stream and database as they were before; nothing is under way any more."""
        record = self.journal.put(replace(record, phase=Phase.RESTORING, why=why))
        sink, db = self.writer.sink, self.writer.db
        if sink.reader.header.total_entries > record.first_entry:
            sink.truncate(record.first_entry)
        removed = self.journal.removed(record)
        while some := list(islice(removed, MOST_ENTRIES)):
            sink.append([_AsItIs(entry.type, entry.data) for entry in some])
        if db.batch(record.kept_batch) is not None:
            db.unwind_to_end_of(record.kept_batch)
        self.journal.put(replace(record, phase=Phase.RESTORED))

    # --- looking

    def prefix_same(self, record: Record) -> bool:
        """Whether what stands before the first removed entry is what stood there."""
        return prefix_digest(self.writer.sink.reader, record.first_entry) == record.prefix_sha256


def old_of(record: Record, entries: Iterator[Entry]) -> Iterator[StreamBatch]:
    """The batches that were removed. Raises RebuildRefused, BadMessage."""
    return old_batches(entries, record.kept_batch + 1, record.kept_block, record.kept_time)


def _start(record: Record) -> Cursor:
    return Cursor(record.kept_batch + 1)
