"""What a node keeps about itself: what it signed, in numbers, and how its last batches went. Blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attestrio.duty.book import BOOK
from attestrio.duty.reader import open_book
from attestrio.duty.telling import document
from attestrio.protection.history import HISTORY
from attestrio.protection.reader import open_record


def protection(place: Path) -> dict[str, Any] | None:
    """Epochs, keys and counts; no vote and no signature. None where nothing was ever signed. Raises StorageUnusable."""
    if not (place / HISTORY).exists():
        return None
    with open_record(place / HISTORY) as record:
        keys = record.keys()
        return {
            "epochs": [
                {"id": one.id, "cause": one.cause, "genesis": one.genesis.to_text(), "fork_number": one.fork_number}
                for one in record.epochs()[-20:]
            ],
            "keys": [key.to_text() for key in keys],
            "refusals": record.refusals(),
            "histories": [
                {
                    "chain_id": one.chain_id, "genesis": one.history.genesis.to_text(),
                    "key": one.history.attester.to_text(), "votes": one.votes,
                    "newest": None if one.newest is None else int(one.newest), "contested": one.contested,
                    "low_watermark": None if one.history.low is None else int(one.history.low),
                }
                for one in record.briefs()
            ],
        }  # fmt: skip


def duty(place: Path, newest: int) -> dict[str, Any] | None:
    """The last batches with all their steps, and how many ended how. Raises StorageUnusable."""
    if not (place / BOOK).exists():
        return None
    with open_book(place / BOOK) as book:
        stories, counts = book.newest(newest), book.counts()
    return {
        "counts": {str(state): count for state, count in counts.items()},
        "batches": [document(story) for story in stories],
    }
