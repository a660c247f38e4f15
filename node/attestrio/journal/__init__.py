"""Work that survives a crash: topics, leases, acknowledgements, cursors and shared state; a write is a transaction."""

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
from attestrio.journal.sqlite import SqliteJournal

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
    "SqliteJournal",
    "TopicCount",
    "TopicFull",
    "Work",
]
