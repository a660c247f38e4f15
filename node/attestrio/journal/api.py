"""A durable queue with explicit acknowledgement, and the small state that has to move with it.

Work stands in topics. Who takes it leases it for a time, and ends it by an acknowledgement; a lease that runs out gives
the work to the next who asks. Every write is one transaction and returns only when it is durable.

A key is known for ever: the same key again, waiting or acknowledged, is ignored. So whoever is not sure that an append
or an acknowledgement arrived does it again. `prune` forgets acknowledged keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from attestrio.errors import PeerError, SourceError

if TYPE_CHECKING:
    import trio

Cursor = tuple[str, bytes]
"""A name and how far its owner has come; the bytes are the owner's own."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one journal takes. Above it a write is refused whole, and nothing of it is kept."""

    max_name: int = 100
    """Characters of a topic, a table, a cursor, an owner."""
    max_key: int = 256
    """Bytes."""
    max_body: int = 1 << 20
    """Bytes of a body, a value, a cursor."""
    max_items: int = 20_000
    """Items and values in one transaction."""
    max_waiting: int = 2_000_000
    """Items of one topic that are not acknowledged."""


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Item:
    """Work as it is appended. The key says what it is, wherever it comes from."""

    key: bytes
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Work:
    """Items for one topic, in order."""

    topic: str
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Leased:
    """Work that is the asker's until the lease runs out. `attempt` is 1 the first time it is leased."""

    key: bytes
    body: bytes
    attempt: int


@dataclass(frozen=True, slots=True)
class Listed:
    """Work that is not acknowledged, as an operator sees it."""

    position: int
    """Grows in the order of appending; pass it on to list what comes after."""
    key: bytes
    body: bytes
    attempt: int
    owner: str | None
    """Who leases it; None: nobody."""
    due_in_s: float
    """Seconds until it can be leased; not above 0: now."""


@dataclass(frozen=True, slots=True)
class Put:
    """A value of the shared state, to be written in the same transaction as the rest; None removes it."""

    table: str
    key: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True)
class TopicCount:
    """How many items a topic has: `waiting` are not acknowledged (leased ones too), `done` are, and not pruned yet."""

    waiting: int
    done: int


class ItemTooLarge(PeerError):
    """A name, key, body or number of items above the journal's limit. Nothing was written; drop what it came with."""

    code: ClassVar[str] = "item_too_large"

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(f"{what}: {size}, limit {limit}")
        self.what, self.size, self.limit = what, size, limit


class TopicFull(SourceError):
    """Too much unacknowledged work in the topic. Nothing was written; append again when some is done."""

    code: ClassVar[str] = "topic_full"

    def __init__(self, topic: str, waiting: int, limit: int) -> None:
        super().__init__(f"topic {topic}: {waiting} items wait, limit {limit}")
        self.topic, self.waiting, self.limit = topic, waiting, limit


class JournalClosed(SourceError):
    """The journal was asked before `run` had opened it, or after it had ended."""

    code: ClassVar[str] = "journal_closed"

    def __init__(self) -> None:
        super().__init__("the journal is not running")


class Journal(Protocol):
    """What follows holds for every implementation; tests/contract/test_journal.py is the list.

    Writes raise ItemTooLarge, TopicFull, JournalClosed, and StorageUnusable where the disk or server failed: then the
    write may have happened or not, and is to be repeated after a restart. Cancelled: the same.
    """

    async def run(self, *, task_status: trio.TaskStatus[None] = ...) -> None:
        """Open, then serve until `close()` or cancelled. Raises StorageUnusable."""
        ...

    async def close(self) -> None:
        """Finish what was asked for, end `run`."""
        ...

    async def append(
        self, topic: str, items: Sequence[Item], *, cursor: Cursor | None = None, put: Sequence[Put] = ()
    ) -> int:
        """Put `items` at the end of `topic`, in order, and move the cursor, in one transaction.

        Returns how many are new. Of items with one key only the first counts, whenever it came.
        """
        ...

    async def cursor(self, name: str) -> bytes | None:
        """What was written last for `name`; None: never anything."""
        ...

    async def lease(self, topic: str, owner: str, limit: int, for_s: float) -> list[Leased]:
        """Take the oldest work of `topic` that is due and leased by nobody, for `for_s` seconds from now.

        At most `limit`, in the order of appending; empty where nothing is due.
        """
        ...

    async def ack(
        self,
        topic: str,
        keys: Sequence[bytes],
        *,
        append: Sequence[Work] = (),
        cursor: Cursor | None = None,
        put: Sequence[Put] = (),
    ) -> int:
        """End work: it is never leased again. What follows from it is appended in the same transaction.

        Returns how many keys were waiting. Also for work whose lease has run out, or that nobody has leased; keys that
        are acknowledged or unknown are ignored, the rest of the transaction happens all the same.
        """
        ...

    async def release(self, topic: str, key: bytes, after_s: float = 0.0) -> bool:
        """Give work back, to be leased from `after_s` seconds on; also without a lease. False: it is not waiting."""
        ...

    async def abandon(self, owner: str) -> int:
        """End the leases of `owner` in all topics, as after its restart; the work is due at once. Returns how many."""
        ...

    async def move(self, topic: str, keys: Sequence[bytes], to: str, *, put: Sequence[Put] = ()) -> int:
        """Acknowledge work in `topic` and append it to `to`, due at once, in one transaction; returns how many."""
        ...

    async def wait(self, topic: str, at_most_s: float) -> bool:
        """Wait until something of `topic` can be leased; False after `at_most_s`. Others may take it first."""
        ...

    async def listed(self, topic: str, limit: int, after: int = -1) -> list[Listed]:
        """Work not acknowledged, in the order of appending, from the position after `after` on."""
        ...

    async def count(self, topic: str) -> TopicCount:
        """O(1)."""
        ...

    async def knows(self, topic: str, key: bytes) -> bool:
        """Whether the key was ever appended (and, once acknowledged, not pruned)."""
        ...

    async def put(self, table: str, key: bytes, value: bytes | None) -> None:
        """Write one value of the shared state; None removes it."""
        ...

    async def get(self, table: str, key: bytes) -> bytes | None: ...

    async def scan(self, table: str, limit: int, after: bytes | None = None) -> list[tuple[bytes, bytes]]:
        """(key, value) in the order of the keys' bytes, from the one after `after` on."""
        ...

    async def prune(self, topic: str, older_than_s: float, limit: int = 10_000) -> int:
        """Forget keys acknowledged longer ago than that; at most `limit` per call. Returns how many."""
        ...
