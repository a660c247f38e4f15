"""A durable queue with explicit acknowledgement, and the small state that has to move with it.

Work stands in topics. Who takes it leases it for a time, and ends it by an acknowledgement; a lease that runs out gives
the work to the next who asks. Every write is one transaction and returns only when it is durable.

A key is known for ever: the same key again, waiting or acknowledged, is ignored. So whoever is not sure that an append
or an acknowledgement arrived does it again. `prune` forgets acknowledged keys.

Where several processes share a journal, one of them leads. The lead has a token that grows with each who takes it, and
a write that carries a token which is not the newest is refused: who was paused, and does not know yet that another
leads, cannot change anything.
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


@dataclass(frozen=True, slots=True)
class Fence:
    """A lead as it was taken: a write that carries it happens only while nobody else has led since."""

    name: str
    token: int
    """From 1; grows whenever the lead passes on."""


@dataclass(frozen=True, slots=True)
class Leadership:
    """Who took a lead last and has not resigned."""

    owner: str
    token: int
    left_s: float
    """Seconds until another may take it; not above 0: now."""


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


class JournalAway(SourceError):
    """The server that keeps the journal does not answer, or takes no writes at the moment.

    A write may have happened or not. The same call works again once the server is back.
    """

    code: ClassVar[str] = "journal_away"

    def __init__(self, where: str, detail: str) -> None:
        super().__init__(f"journal at {where}: {detail}")
        self.where, self.detail = where, detail


class FencedOff(SourceError):
    """Another has led since, or the lead was resigned. Nothing was written; begin again from what the journal has."""

    code: ClassVar[str] = "fenced_off"

    def __init__(self, fence: Fence, newest: int) -> None:
        super().__init__(f"{fence.name}: the lead with token {fence.token} is over, the newest is {newest}")
        self.fence, self.newest = fence, newest


class Journal(Protocol):
    """What follows holds for every implementation; tests/contract/test_journal.py is the list.

    Writes raise ItemTooLarge, TopicFull, JournalClosed, StorageUnusable where the disk failed and JournalAway where the
    server did: in these two the write may have happened or not, and is to be repeated, after StorageUnusable in a new
    process. Cancelled: the same. Reads raise the last three.

    A write with a `fence` that is not the newest raises FencedOff, and nothing of it is written. A lead that has run
    out is still the newest while nobody else has taken it.
    """

    async def run(self, *, task_status: trio.TaskStatus[None] = ...) -> None:
        """Open, then serve until `close()` or cancelled. Raises StorageUnusable."""
        ...

    async def close(self) -> None:
        """Finish what was asked for, end `run`."""
        ...

    async def append(
        self,
        topic: str,
        items: Sequence[Item],
        *,
        cursor: Cursor | None = None,
        put: Sequence[Put] = (),
        fence: Fence | None = None,
    ) -> int:
        """Put `items` at the end of `topic`, in order, and move the cursor, in one transaction.

        Returns how many are new. Of items with one key only the first counts, whenever it came.
        """
        ...

    async def cursor(self, name: str) -> bytes | None:
        """What was written last for `name`; None: never anything."""
        ...

    async def lease(
        self, topic: str, owner: str, limit: int, for_s: float, *, fence: Fence | None = None
    ) -> list[Leased]:
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
        fence: Fence | None = None,
    ) -> int:
        """End work: it is never leased again. What follows from it is appended in the same transaction.

        Returns how many keys were waiting. Also for work whose lease has run out, or that nobody has leased; keys that
        are acknowledged or unknown are ignored, the rest of the transaction happens all the same.
        """
        ...

    async def release(self, topic: str, key: bytes, after_s: float = 0.0, *, fence: Fence | None = None) -> bool:
        """Give work back, to be leased from `after_s` seconds on; also without a lease. False: it is not waiting."""
        ...

    async def abandon(self, owner: str, *, fence: Fence | None = None) -> int:
        """End the leases of `owner` in all topics, as after its restart; the work is due at once. Returns how many."""
        ...

    async def move(
        self, topic: str, keys: Sequence[bytes], to: str, *, put: Sequence[Put] = (), fence: Fence | None = None
    ) -> int:
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

    async def put(self, table: str, key: bytes, value: bytes | None, *, fence: Fence | None = None) -> None:
        """Write one value of the shared state; None removes it."""
        ...

    async def get(self, table: str, key: bytes) -> bytes | None: ...

    async def scan(self, table: str, limit: int, after: bytes | None = None) -> list[tuple[bytes, bytes]]:
        """(key, value) in the order of the keys' bytes, from the one after `after` on."""
        ...

    async def prune(self, topic: str, older_than_s: float, limit: int = 10_000, *, fence: Fence | None = None) -> int:
        """Forget keys acknowledged longer ago than that; at most `limit` per call. Returns how many."""
        ...

    async def lead(self, name: str, owner: str, for_s: float) -> Fence | None:
        """Take the lead, or keep it, for `for_s` seconds from now; None: another has it.

        Who has it, lapsed or not, keeps it with its token; whoever else takes it gets a larger one. So an `owner` is
        one life of one process.
        """
        ...

    async def resign(self, fence: Fence) -> None:
        """Give the lead up: another may take it at once. Nothing happens if it has passed on already."""
        ...

    async def leader(self, name: str) -> Leadership | None:
        """Who took the lead last; None: nobody yet, or that one has resigned."""
        ...
