"""The audit of any two streams, for whoever has both files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from attestrio.resequence.audit import audit
from attestrio.resequence.errors import NothingInCommon
from attestrio.resequence.report import AuditReport
from attestrio.resequence.terms import Kept, Terms
from attestrio.stream.entries import Entry
from attestrio.stream.errors import BadMessage
from attestrio.stream.messages import BatchStart, Bookmark, BookmarkType, L2Block, message_untrusted
from attestrio.stream.reader import StreamReader

FIRST, LAST, WANTED = range(3)


@dataclass(frozen=True, slots=True)
class Compared:
    """What two streams have in common, and what became of the rest."""

    kept: Kept
    first_difference: int | None
    """The number of the first entry that is not the same in both; None: both are the same."""
    audit: AuditReport


def compare_streams(
    old: StreamReader,
    new: StreamReader,
    terms: Terms,
    *,
    kept_batch: int | None = None,
    find: Callable[[bytes], int | None] | None = None,
) -> Compared:
    """Judge `new` as a rebuild of `old`.

    Args:
      terms: without what is of a stream: header, bookmarks and prefix are looked at here.
      kept_batch: the last batch that was not rebuilt; by default the one before the first that differs, and of two
        streams that are the same, batch 1.
      find: the index of bookmarks of `new`.

    Goes through both twice. Raises NothingInCommon when they differ before batch 2, or before the end of `kept_batch`;
    otherwise as `StreamReader.entries`.
    """
    kept, difference = _common(old, new, kept_batch)
    if kept is None:
        raise NothingInCommon(difference, kept_batch)
    terms = replace(terms, total_entries=new.header.total_entries, find=find, prefix_same=True)
    return Compared(kept, difference, audit(old.entries(kept.entries), new.entries(kept.entries), kept, terms))


def _common(old: StreamReader, new: StreamReader, kept_batch: int | None) -> tuple[Kept | None, int | None]:
    """What both have before the batch in question, and the number of the first entry that differs."""
    walk, places = _Walk(), dict[int, Kept]()  # the first one, the last one, and the one that is wanted
    difference: int | None = None
    for one, other in zip(old.entries(), new.entries(), strict=False):
        if one != other:
            difference = one.number
            break
        begun = walk.feed(one)
        if begun is not None and begun.batch >= 1:
            places.setdefault(FIRST, begun)
            places[LAST] = begun
            if begun.batch == kept_batch:
                places[WANTED] = begun
    else:
        ends = old.header.total_entries, new.header.total_entries
        difference = min(ends) if ends[0] != ends[1] else None
    if kept_batch is not None:
        return places.get(WANTED), difference
    return places.get(FIRST if difference is None else LAST), difference


@dataclass(slots=True)
class _Walk:
    """Where a stream has got to."""

    batch: int = -1
    block: L2Block | None = None
    l1_progress: int = 0

    def feed(self, entry: Entry) -> Kept | None:
        """The next entry; what stands before it, if a batch begins with it."""
        try:
            message = message_untrusted(entry.type, entry.data)
        except BadMessage:
            return None
        match message:
            case Bookmark(type=BookmarkType.BATCH):
                block = self.block or L2Block(0)
                return Kept(self.batch, block.number, block.hash, block.timestamp, self.l1_progress, entry.number)
            case BatchStart(number=number):
                self.batch = number
            case L2Block():
                self.block = message
                self.l1_progress = max(self.l1_progress, message.l1_infotree_index)
        return None
