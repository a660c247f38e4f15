"""Whether new batches are a faithful rebuild of old ones: ten properties of two runs of stream entries.

| name | what has to hold |
|---|---|
| P1 | the transactions are the same, in the same order, but those that were reported as failed |
| P2 | the transactions of each new block are a run of those of exactly one old block |
| P3 | a new block has the time of its old one; times never decrease; between parts of a block no time passes |
| P4 | old blocks come out in order, each at least once, an empty one exactly once and empty |
| P5 | a new batch has blocks of one old batch; each old batch has at least one new batch, exactly one under strict |
| P6 | batches and blocks are numbered on without a gap, and no number is lower than the old one |
| P7 | the first part of a block has its L1 info index, the others have none; first uses of indices never decrease |
| P8 | every new batch is within its limits and the data budget |
| P9 | the stream is in order, complete and found by its bookmarks; nothing before the first removed entry has changed |
| P10 | a block that was made of the same on the same has the same hash, state root and block info root |

One goes through both runs once; one old and one new batch are in memory at a time, and transactions for which the
other side has not come yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from attestrio.resequence.batches import BatchReader, StreamBatch, StreamBlock, read_batches_untrusted
from attestrio.resequence.pairing import Pairing
from attestrio.resequence.report import PROPERTIES, AuditReport, Row
from attestrio.resequence.terms import Kept, Terms
from attestrio.sequencer.settings import BLOCK_DATA
from attestrio.stream.entries import Entry, EntryType
from attestrio.stream.errors import BadMessage, OrderBroken
from attestrio.stream.messages import AnyMessage, BatchType, message_untrusted
from attestrio.stream.order import OrderChecker
from attestrio.zkevm.errors import BadTransaction, TypedTransactionRefused
from attestrio.zkevm.transactions import tx_untrusted


class Faults:
    """The first fault of each property, and how many there are."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._count: dict[str, int] = {}

    def add(self, name: str, what: str) -> None:
        self._first.setdefault(name, what)
        self._count[name] = self._count.get(name, 0) + 1

    def row(self, name: str, looked_at: str) -> Row:
        count = self._count.get(name, 0)
        return Row(name, not count, self._first.get(name, looked_at), count)


@dataclass(slots=True)
class _Totals:
    old_batches: int = 0
    old_blocks: int = 0
    new_batches: int = 0
    new_blocks: int = 0
    old_txs: int = 0
    new_txs: int = 0
    entries: int = 0
    bookmarks: int = 0


@dataclass(slots=True)
class _Run:
    """One audit under way."""

    kept: Kept
    terms: Terms
    faults: Faults = field(default_factory=Faults)
    totals: _Totals = field(default_factory=_Totals)
    old_txs: deque[tuple[str, bytes]] = field(default_factory=deque)
    new_txs: deque[tuple[str, bytes]] = field(default_factory=deque)
    last_batch: int = 0
    last_block: int = 0

    def old(self, entries: Iterable[Entry]) -> Iterator[StreamBatch]:
        """The old batches, without the transactions that were left out, and noted for P1."""
        for batch in read_batches_untrusted(entries):
            blocks = tuple(map(self._left, batch.blocks))
            self.totals.old_batches += 1
            self.totals.old_blocks += len(blocks)
            yield StreamBatch(batch.start, blocks, batch.end, batch.updates)

    def _left(self, block: StreamBlock) -> StreamBlock:
        number = block.number
        txs = tuple(tx for at, tx in enumerate(block.txs) if (number, at) not in self.terms.failed)
        self.totals.old_txs += len(txs)
        self._same_txs(self.old_txs, [(f"old block {number}", tx.encoded) for tx in txs])
        return StreamBlock(block.message, txs)

    def new(self, entries: Iterable[Entry]) -> Iterator[StreamBatch]:
        """The new batches; on the way all that can be said of them alone."""
        order, reader = OrderChecker(self.kept.entries), BatchReader()
        for entry in entries:
            self.totals.entries += 1
            self._bookmark(entry)
            message = self._message(entry, order)
            batch = None if message is None else reader.feed(message)
            if batch is not None:
                yield self._alone(batch)
        last = reader.finish()
        if last is not None:
            yield self._alone(last)

    def _message(self, entry: Entry, order: OrderChecker) -> AnyMessage | None:
        """P9, of the order."""
        try:
            return order.feed(entry)
        except OrderBroken as exc:
            self.faults.add("P9", str(exc))
        except BadMessage as exc:
            self.faults.add("P9", f"entry {entry.number}: {exc}")
        try:
            return message_untrusted(entry.type, entry.data)
        except BadMessage:
            return None

    def _alone(self, batch: StreamBatch) -> StreamBatch:
        self.totals.new_batches += 1
        self.totals.new_blocks += len(batch.blocks)
        self.totals.new_txs += batch.transactions
        for block in batch.blocks:
            self._same_txs(self.new_txs, [(f"block {block.number}", tx.encoded) for tx in block.txs])
        self._numbers(batch)
        self._within_limits(batch)
        return batch

    def _same_txs(self, side: deque[tuple[str, bytes]], txs: list[tuple[str, bytes]]) -> None:
        """P1, as far as both sides are known."""
        side.extend(txs)
        while self.old_txs and self.new_txs:
            (old_at, old), (new_at, new) = self.old_txs.popleft(), self.new_txs.popleft()
            if old != new:
                self.faults.add("P1", f"{new_at} has another transaction than {old_at}")

    def _numbers(self, batch: StreamBatch) -> None:
        """P6, but for what the old numbers are."""
        if batch.number != self.last_batch + 1:
            self.faults.add("P6", f"batch {batch.number} after batch {self.last_batch}")
        self.last_batch = batch.number
        for block in batch.blocks:
            if block.number != self.last_block + 1:
                self.faults.add("P6", f"block {block.number} after block {self.last_block}")
            self.last_block = block.number

    def _within_limits(self, batch: StreamBatch) -> None:
        """P8."""
        terms, size = self.terms, BLOCK_DATA * len(batch.blocks)
        for tx in (tx for block in batch.blocks for tx in block.txs):
            try:
                size += len(tx_untrusted(tx.encoded).batch_l2_data(tx.effective_gas_price_percentage))
            except (BadTransaction, TypedTransactionRefused, ValueError) as exc:
                self.faults.add("P8", f"batch {batch.number}: {exc}")
        if size > terms.data_budget:
            self.faults.add("P8", f"batch {batch.number} has {size} B of data, the budget is {terms.data_budget}")
        used = terms.used_by(batch.number) if terms.used_by is not None else None
        if used is None or terms.limits_of is None or batch.kind == BatchType.INJECTED:
            return
        limits = terms.limits_of(batch.fork)
        for letter in used.over(limits):
            got, most = used.as_map()[letter], limits.as_map()[letter]
            self.faults.add("P8", f"batch {batch.number} uses {got} of {letter}, the limit is {most}")

    def _bookmark(self, entry: Entry) -> None:
        """P9, of the index."""
        if entry.type != EntryType.BOOKMARK or self.terms.find is None:
            return
        self.totals.bookmarks += 1
        found = self.terms.find(entry.data)
        if found != entry.number:
            self.faults.add("P9", f"bookmark {entry.data.hex()} of entry {entry.number} leads to {found}")

    def end(self) -> None:
        """What can only be said when both runs have ended."""
        for at, _ in [*self.old_txs][:1]:
            self.faults.add("P1", f"the last {len(self.old_txs)} old transactions are missing, from {at} on")
        for at, _ in [*self.new_txs][:1]:
            self.faults.add("P1", f"{len(self.new_txs)} transactions too many, from {at} on")
        total, end = self.terms.total_entries, self.kept.entries + self.totals.entries
        if total not in (None, end):
            self.faults.add("P9", f"the header counts {total} entries, there are {end}")
        if self.terms.prefix_same is False:
            self.faults.add("P9", f"something before entry {self.kept.entries} has changed")

    def report(self, pairing: Pairing) -> AuditReport:
        totals = self.totals
        counted = "" if self.terms.used_by is not None else "; counters are not known"
        blocks = f"{totals.new_blocks} blocks of {totals.old_blocks}"
        details = (
            f"{totals.new_txs} transactions",
            blocks,
            blocks,
            blocks,
            f"{totals.new_batches} batches of {totals.old_batches}",
            f"batches {self.kept.batch + 1} to {self.last_batch}, blocks {self.kept.block + 1} to {self.last_block}",
            f"{pairing.indices} indices" if self.terms.reuse_l1_info_index else "indices were renewed",
            f"{totals.new_batches} batches{counted}",
            f"{totals.entries} entries, {totals.bookmarks} bookmarks",
            f"{pairing.comparable} blocks could be compared, {pairing.same_hashes} hashes are the old ones",
        )
        rows = tuple(self.faults.row(name, detail) for name, detail in zip(PROPERTIES, details, strict=True))
        return AuditReport(
            rows, totals.old_batches, totals.old_blocks, totals.new_batches, totals.new_blocks, totals.new_txs,
            pairing.same_hashes,
        )  # fmt: skip


def audit(old: Iterable[Entry], new: Iterable[Entry], kept: Kept, terms: Terms) -> AuditReport:
    """Judge a rebuild: both runs begin with the first entry behind what was kept. Never raises by itself.

    What stands in the entries need not be right in any way.
    """
    run = _Run(kept, terms, last_batch=kept.batch, last_block=kept.block)
    old_ones = run.old(old)
    pairing = Pairing(old_ones, kept, terms, run.faults.add)
    for batch in run.new(new):
        pairing.feed(batch)
    pairing.end()
    for _ in old_ones:
        pass  # what nobody has paired counts for P1
    run.end()
    return run.report(pairing)
