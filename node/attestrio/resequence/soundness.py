"""Whether old batches stand in the stream as a sequencer has written them, before anything is built from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from attestrio.resequence.errors import StreamDamaged
from attestrio.sequencer.reader import ChainReader
from attestrio.sequencer.sealed import SealedBatch
from attestrio.stream.entries import Entry
from attestrio.stream.errors import BadMessage, OrderBroken
from attestrio.stream.messages import Bookmark, Transaction
from attestrio.stream.order import Counts, OrderChecker
from attestrio.zkevm.errors import BadTransaction
from attestrio.zkevm.transactions import tx_untrusted


@contextmanager
def damage_told(db: ChainReader) -> Iterator[None]:
    """For whoever looks at the end of the stream, or at its first block behind the chain. Raises StreamDamaged."""
    try:
        yield
    except BadMessage as exc:
        last = db.last_batch
        raise StreamDamaged(0 if last is None else last.number + 1, str(exc)) from exc


def check_sound(
    entries: Iterable[Entry], first_entry: int, kept: SealedBatch, indexed: Callable[[bytes], int | None]
) -> None:
    """Go through the entries that stand behind batch `kept`, from number `first_entry` on.

    Each has to be a message, in its place and of the next number; each bookmark has to be found; each transaction has
    to be one. What a stream does not tell is not seen: it has no hash of a transaction, and none of a parent block.

    Args:
      indexed: what the index of bookmarks says.

    Raises StreamDamaged, and what `entries` raises.
    """
    order = OrderChecker(first_entry, Counts(last_batch=kept.number, last_block=kept.last_block))
    for entry in entries:
        try:
            message = order.feed(entry)
            if isinstance(message, Transaction):
                tx_untrusted(message.encoded)
        except OrderBroken as exc:
            raise StreamDamaged(kept.number + 1, str(exc)) from exc
        except (BadMessage, BadTransaction) as exc:
            raise StreamDamaged(kept.number + 1, f"entry {entry.number}: {exc}") from exc
        if isinstance(message, Bookmark):
            found = indexed(entry.data)
            if found != entry.number:
                where = "is not in the index" if found is None else f"leads to entry {found}"
                raise StreamDamaged(kept.number + 1, f"the bookmark of entry {entry.number} {where}")
