"""A journal as a leader sees it: every write carries the lead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import trio

from attestrio.journal.api import Cursor, Fence, Item, Journal, Leadership, Leased, Listed, Put, TopicCount, Work


@dataclass(frozen=True, slots=True)
class Fenced:
    """A `Journal` whose writes happen only while nobody else has led since; who writes need not know.

    A call that names a fence of its own is held to that one. `run` and `close` are those of the journal below.
    """

    journal: Journal
    fence: Fence

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self.journal.run(task_status=task_status)

    async def close(self) -> None:
        await self.journal.close()

    # --- writing

    async def append(
        self,
        topic: str,
        items: Sequence[Item],
        *,
        cursor: Cursor | None = None,
        put: Sequence[Put] = (),
        fence: Fence | None = None,
    ) -> int:
        return await self.journal.append(topic, items, cursor=cursor, put=put, fence=fence or self.fence)

    async def lease(
        self, topic: str, owner: str, limit: int, for_s: float, *, fence: Fence | None = None
    ) -> list[Leased]:
        return await self.journal.lease(topic, owner, limit, for_s, fence=fence or self.fence)

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
        return await self.journal.ack(topic, keys, append=append, cursor=cursor, put=put, fence=fence or self.fence)

    async def release(self, topic: str, key: bytes, after_s: float = 0.0, *, fence: Fence | None = None) -> bool:
        return await self.journal.release(topic, key, after_s, fence=fence or self.fence)

    async def abandon(self, owner: str, *, fence: Fence | None = None) -> int:
        return await self.journal.abandon(owner, fence=fence or self.fence)

    async def move(
        self, topic: str, keys: Sequence[bytes], to: str, *, put: Sequence[Put] = (), fence: Fence | None = None
    ) -> int:
        return await self.journal.move(topic, keys, to, put=put, fence=fence or self.fence)

    async def put(self, table: str, key: bytes, value: bytes | None, *, fence: Fence | None = None) -> None:
        await self.journal.put(table, key, value, fence=fence or self.fence)

    async def prune(self, topic: str, older_than_s: float, limit: int = 10_000, *, fence: Fence | None = None) -> int:
        return await self.journal.prune(topic, older_than_s, limit, fence=fence or self.fence)

    async def lead(self, name: str, owner: str, for_s: float) -> Fence | None:
        return await self.journal.lead(name, owner, for_s)

    async def resign(self, fence: Fence) -> None:
        await self.journal.resign(fence)

    # --- reading

    async def cursor(self, name: str) -> bytes | None:
        return await self.journal.cursor(name)

    async def wait(self, topic: str, at_most_s: float) -> bool:
        return await self.journal.wait(topic, at_most_s)

    async def listed(self, topic: str, limit: int, after: int = -1) -> list[Listed]:
        return await self.journal.listed(topic, limit, after)

    async def count(self, topic: str) -> TopicCount:
        return await self.journal.count(topic)

    async def knows(self, topic: str, key: bytes) -> bool:
        return await self.journal.knows(topic, key)

    async def get(self, table: str, key: bytes) -> bytes | None:
        return await self.journal.get(table, key)

    async def scan(self, table: str, limit: int, after: bytes | None = None) -> list[tuple[bytes, bytes]]:
        return await self.journal.scan(table, limit, after)

    async def leader(self, name: str) -> Leadership | None:
        return await self.journal.leader(name)
