"""In which order entries may stand: a checker that any stream of entries can be fed through.

    bookmark(batch n)  BatchStart n
      [ bookmark(block b)  L2Block b  Transaction*  [L2BlockEnd b] ]*        b counts on through the batches
    [ UpdateGER ]*  BatchEnd n

The end of a block may only be missing before the end of its batch: old streams have none for the genesis block. A
stream may end anywhere.

Source: cdk-erigon 2723db784b, the correctness checker of its data stream.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from attestrio.stream.entries import Entry
from attestrio.stream.errors import OrderBroken
from attestrio.stream.messages import (
    AnyMessage,
    BatchEnd,
    BatchStart,
    Bookmark,
    BookmarkType,
    L2Block,
    L2BlockEnd,
    Transaction,
    UpdateGER,
    message_untrusted,
)

BEGIN: Final = "the beginning"
BATCH_BOOKMARK: Final = "bookmark of a batch"
BLOCK_BOOKMARK: Final = "bookmark of a block"

AFTER: Final[dict[str, frozenset[str]]] = {
    BATCH_BOOKMARK: frozenset({BEGIN, "BatchEnd"}),
    "BatchStart": frozenset({BATCH_BOOKMARK}),
    BLOCK_BOOKMARK: frozenset({"BatchStart", "L2BlockEnd"}),
    "L2Block": frozenset({BLOCK_BOOKMARK}),
    "Transaction": frozenset({"L2Block", "Transaction"}),
    "L2BlockEnd": frozenset({"L2Block", "Transaction"}),
    "UpdateGER": frozenset({"BatchStart", "L2BlockEnd", "Transaction", "L2Block", "UpdateGER"}),
    "BatchEnd": frozenset({"BatchStart", "L2BlockEnd", "Transaction", "L2Block", "UpdateGER"}),
}
"""What may stand before what."""


@dataclass(slots=True)
class Counts:
    """What has gone by."""

    entries: int = 0
    batches: int = 0
    """Begun."""
    blocks: int = 0
    transactions: int = 0
    bookmarks: int = 0
    last_batch: int | None = None
    last_block: int | None = None
    open_batch: bool = False
    """The last batch has no end yet, as that of a sequencer at work."""


@dataclass(slots=True)
class OrderChecker:
    """Looks at entries one after the other. One that is refused still counts, so that the next is seen in its light.

    Args:
      next_number: of the first entry.
    """

    next_number: int = 0
    counts: Counts = field(default_factory=Counts)
    _last: str = BEGIN
    _bookmark: Bookmark | None = None
    _root: bytes | None = None  # of the last block of this batch

    def feed(self, entry: Entry) -> AnyMessage:
        """The next entry; returns what it carries. Raises OrderBroken, and BadMessage if it carries nothing known."""
        number, self.next_number = self.next_number, entry.number + 1
        self.counts.entries += 1
        if entry.number != number:
            raise OrderBroken(entry.number, f"its number is not {number}")
        message = message_untrusted(entry.type, entry.data)
        self._follow(entry.number, message)
        return message

    def _follow(self, number: int, message: AnyMessage) -> None:
        kind, before = _kind(message), self._last
        bookmark, self._bookmark = self._bookmark, None
        self._last = kind
        broken = self._notice(message, bookmark)
        if before not in AFTER[kind]:
            raise OrderBroken(number, f"{kind} after {before}")
        if broken is not None:
            raise OrderBroken(number, broken)

    def _notice(self, message: AnyMessage, bookmark: Bookmark | None) -> str | None:
        """Take it in; what it contradicts, if anything."""
        match message:
            case Bookmark():
                self._bookmark = message
                self.counts.bookmarks += 1
                return None
            case BatchStart():
                return self._batch_start(message, bookmark)
            case L2Block():
                return self._block(message, bookmark)
            case Transaction(l2block_number=block):
                self.counts.transactions += 1
                return self._same("block", block, self.counts.last_block)
            case L2BlockEnd(number=block):
                return self._same("block", block, self.counts.last_block)
            case UpdateGER(batch_number=batch):
                return self._same("batch", batch, self.counts.last_batch)
            case BatchEnd():
                return self._batch_end(message)

    def _batch_start(self, message: BatchStart, bookmark: Bookmark | None) -> str | None:
        counts, last = self.counts, self.counts.last_batch
        counts.batches += 1
        counts.last_batch, counts.open_batch = message.number, True
        self._root = None
        if bookmark is not None and bookmark.value != message.number:
            return f"batch {message.number} behind the bookmark of {bookmark.value}"
        if last is not None and message.number != last + 1:
            return f"batch {message.number} after batch {last}"
        return None

    def _block(self, message: L2Block, bookmark: Bookmark | None) -> str | None:
        counts, last = self.counts, self.counts.last_block
        counts.blocks += 1
        counts.last_block = message.number
        self._root = message.state_root
        if bookmark is not None and bookmark.value != message.number:
            return f"block {message.number} behind the bookmark of {bookmark.value}"
        if last is not None and message.number != last + 1:
            return f"block {message.number} after block {last}"
        return self._same("batch", message.batch_number, counts.last_batch)

    def _batch_end(self, message: BatchEnd) -> str | None:
        self.counts.open_batch = False
        if self._root is not None and message.state_root != self._root:
            return f"state root {message.state_root.hex()} at the end, {self._root.hex()} in the last block"
        return self._same("batch", message.number, self.counts.last_batch)

    @staticmethod
    def _same(what: str, got: int, want: int | None) -> str | None:
        return None if want is None or got == want else f"it names {what} {got} inside {what} {want}"


def _kind(message: AnyMessage) -> str:
    if isinstance(message, Bookmark):
        return BATCH_BOOKMARK if message.type == BookmarkType.BATCH else BLOCK_BOOKMARK
    return type(message).__name__
