"""Work that survives a crash: topics, leases, acknowledgements, cursors and shared state; a write is a transaction."""

from attestrio.journal.api import (
    Cursor,
    Fence,
    FencedOff,
    Item,
    ItemTooLarge,
    Journal,
    JournalAway,
    JournalClosed,
    Leadership,
    Leased,
    Limits,
    Listed,
    Put,
    TopicCount,
    TopicFull,
    Work,
)
from attestrio.journal.fenced import Fenced
from attestrio.journal.leader import while_leading
from attestrio.journal.sqlite import SqliteJournal

__all__ = [
    "Cursor",
    "Fence",
    "Fenced",
    "FencedOff",
    "Item",
    "ItemTooLarge",
    "Journal",
    "JournalAway",
    "JournalClosed",
    "Leadership",
    "Leased",
    "Limits",
    "Listed",
    "Put",
    "SqliteJournal",
    "TopicCount",
    "TopicFull",
    "Work",
    "while_leading",
]
