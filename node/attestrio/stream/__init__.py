"""The data stream of a CDK chain: what everything in such a chain is rebuilt from.

Named here is what needs no file and no loop. Files are in `file`, `bookmarks` and `verify`.
"""

from attestrio.stream.entries import (
    HEADER_PAGE,
    MAX_DATA,
    NOT_FOUND,
    PAGE,
    SEQUENCER,
    Entry,
    EntryType,
    Header,
    Packet,
    entries_untrusted,
    entry_untrusted,
    header_untrusted,
    length_untrusted,
)
from attestrio.stream.messages import (
    MAX_BOOKMARK,
    AnyMessage,
    BatchEnd,
    BatchStart,
    BatchType,
    Bookmark,
    BookmarkType,
    L2Block,
    L2BlockEnd,
    Transaction,
    UpdateGER,
    bookmark_untrusted,
    message_untrusted,
)
from attestrio.stream.order import Counts, OrderChecker

__all__ = [
    "HEADER_PAGE",
    "MAX_BOOKMARK",
    "MAX_DATA",
    "NOT_FOUND",
    "PAGE",
    "SEQUENCER",
    "AnyMessage",
    "BatchEnd",
    "BatchStart",
    "BatchType",
    "Bookmark",
    "BookmarkType",
    "Counts",
    "Entry",
    "EntryType",
    "Header",
    "L2Block",
    "L2BlockEnd",
    "OrderChecker",
    "Packet",
    "Transaction",
    "UpdateGER",
    "bookmark_untrusted",
    "entries_untrusted",
    "entry_untrusted",
    "header_untrusted",
    "length_untrusted",
    "message_untrusted",
]
