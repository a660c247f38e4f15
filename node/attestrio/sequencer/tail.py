"""How a stream ends: the last block and the last batch that are whole in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from attestrio.stream.entries import Entry
from attestrio.stream.messages import BatchEnd, BatchStart, L2Block, L2BlockEnd, message_untrusted
from attestrio.stream.reader import StreamReader

FRAME: Final = frozenset({BatchStart.TYPE, BatchEnd.TYPE, L2Block.TYPE, L2BlockEnd.TYPE})
"""What has to be read for it; of a block with many transactions that is little."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a stream that has at least one block."""

    batch: int
    closed: bool
    """Whether the stream has the end of that batch."""
    block: int
    """The last one, of this batch or of one before."""
    block_batch: int
    """The batch of that block: an earlier one where the last batch has no blocks."""
    hash: bytes
    """Of that block."""
    entries: int
    """How many entries are parts of something whole; what follows is the beginning of a block that never ended."""


def tail_of(reader: StreamReader) -> Tail | None:
    """None: the stream has no block. Reads as many pages as the last block stands on, and one more.

    Raises BadMessage, and as `StreamReader.entries`.
    """
    return tail_of_entries(_backwards(reader))


def tail_of_entries(backwards: Iterable[Entry]) -> Tail | None:
    """The same from entries, the last one first."""
    whole: int | None = None  # how many entries there are up to the last whole thing
    batch: int | None = None
    closed = False
    between = False  # something stands behind this entry that belongs to a block which never ended
    for entry in backwards:
        message = message_untrusted(entry.type, entry.data) if entry.type in FRAME else None
        if isinstance(message, L2Block) and whole is not None:
            batch = message.batch_number if batch is None else batch
            return Tail(batch, closed, message.number, message.batch_number, message.hash, whole)
        if whole is None:
            match message:
                case BatchEnd():
                    whole, batch, closed = entry.number + 1, message.number, True
                case L2BlockEnd():
                    whole = entry.number + 1
                case BatchStart() if not between:  # of a batch without blocks, as far as this stream goes
                    whole, batch = entry.number + 1, message.number
                case _:
                    between = True
    return None


def _backwards(reader: StreamReader) -> Iterator[Entry]:
    if reader.header.total_entries:
        for page in range(reader.pages - 1, -1, -1):
            yield from reversed(reader.page_entries(page))
