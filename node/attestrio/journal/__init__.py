"""Work that survives a crash: topics, leases, acknowledgements, cursors and shared state, each write one transaction."""

from attestrio.journal.api import (
    Cursor,
    Item,
    ItemTooLarge,
    Journal,
    JournalClosed,
    Leased,
    Limits,
    Listed,
    Put,
    TopicCount,
    TopicFull,
    Work,
)

__all__ = [
    "Cursor",
    "Item",
    "ItemTooLarge",
    "Journal",
    "JournalClosed",
    "Leased",
    "Limits",
    "Listed",
    "Put",
    "TopicCount",
    "TopicFull",
    "Work",
]
