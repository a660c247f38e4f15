"""The journal on a Redis server: one script, called with one name and one packed argument for each transaction."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final

import trio
from coredis import Redis
from coredis.exceptions import NoScriptError

from attestrio.journal.api import (
    DEFAULT_LIMITS,
    Cursor,
    Fence,
    FencedOff,
    Item,
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
from attestrio.journal.limits import require_names, require_within
from attestrio.journal.redis.checks import require_usable
from attestrio.journal.redis.packing import Packable, pack
from attestrio.journal.redis.server import RedisServer

SCRIPT: Final = files("attestrio.journal.redis").joinpath("journal.lua").read_text()
SHA: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

Reply = Any  # of the script: who asks knows what it says

GLOB: Final = re.compile(r"[\\*?\[\]^]")
ERASED: Final = 1_000  # keys that are looked at together

TIMEOUT_S = 5.0

POLL_S = 0.1
"""Between two looks for work that another process appended or gave back; what this one did is noticed at once."""


class RedisJournal:
    """`Journal` on a Redis server, for any number of processes. Construct, then `await nursery.start(journal.run)`.

    Args:
      url: `redis://[user:password@]host[:port][/number]`, or `rediss://`.
      name: of the journal: what has another name on the same server is another journal.
      timeout_s: of one call; then JournalAway.
      allow_volatile: also with a server that may forget what it has confirmed.

    Time is the server's own, in milliseconds. What is acknowledged is on the server's disk (`appendfsync always`); a
    replica that takes its place may lack the last of it. An append of 1,000 items takes about 20 ms.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        limits: Limits = DEFAULT_LIMITS,
        timeout_s: float = TIMEOUT_S,
        allow_volatile: bool = False,
    ) -> None:
        self._prefix = f"{{attestrio:{name}}}:"
        self._limits = limits
        self._allow_volatile = allow_volatile
        self._server = RedisServer(url, self._require_usable, timeout_s)
        self._changed = trio.Event()
        self._running = False
        self._asked = 0  # calls under way
        self._done = trio.Event()
        self._ended = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See `Journal.run`; once per object. A server that is away ends nothing, now or later: calls raise then.

        Raises RedisNotDurable and RedisUnusable, when the server is there or comes back.
        """
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._server.run)
                self._running = True
                task_status.started()
                await self._done.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._running = False
            self._ended.set()
            self._tell()

    async def close(self) -> None:
        running, self._running = self._running, False
        self._tell()
        if not self._asked:
            self._done.set()
        if running:
            await self._ended.wait()

    async def erase(self) -> None:
        """Remove all of it, whoever shares it: of a journal that was made to be thrown away. Raises JournalAway."""
        mine = GLOB.sub(r"\\\g<0>", self._prefix) + "*"

        async def call(client: Redis[bytes]) -> None:
            place = 0
            while True:
                place, keys = await client.scan(place, match=mine, count=ERASED)
                if keys:
                    await client.unlink(keys)
                if not place:
                    return

        await self._server.ask(call)

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
        _, new = await self._transact(topic, (), [Work(topic, items)], cursor, put, fence)
        return new

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
        ended, *_ = await self._transact(topic, keys, append, cursor, put, fence)
        return ended

    async def _transact(
        self,
        topic: str,
        ended: Sequence[bytes],
        works: Sequence[Work],
        cursor: Cursor | None,
        put: Sequence[Put],
        fence: Fence | None,
    ) -> list[int]:
        """How many keys were waiting, and of each work how many items are new."""
        require_within(self._limits, [Work(topic, ()), *works], ended, cursor, put)
        packed: list[Packable] = [(work.topic, [(item.key, item.body) for item in work.items]) for work in works]
        counts: list[int] = await self._write(
            "write", fence, topic=topic, ended=list(ended), works=packed, cursor=cursor, put=_packed(put),
            max_waiting=self._limits.max_waiting,
        )  # fmt: skip
        return counts

    async def move(
        self, topic: str, keys: Sequence[bytes], to: str, *, put: Sequence[Put] = (), fence: Fence | None = None
    ) -> int:
        require_within(self._limits, [Work(topic, ()), Work(to, ())], keys, None, put)
        moved: int = await self._write(
            "move", fence, topic=topic, keys=list(keys), to=to, put=_packed(put), max_waiting=self._limits.max_waiting
        )
        return moved

    async def lease(
        self, topic: str, owner: str, limit: int, for_s: float, *, fence: Fence | None = None
    ) -> list[Leased]:
        require_names(self._limits, topic, owner)
        found = await self._write(
            "lease", fence, topic=topic, owner=owner, limit=min(limit, self._limits.max_items), for_ms=_ms(for_s)
        )
        return [Leased(*one) for one in found]

    async def release(self, topic: str, key: bytes, after_s: float = 0.0, *, fence: Fence | None = None) -> bool:
        require_within(self._limits, [Work(topic, ())], (key,))
        return bool(await self._write("release", fence, topic=topic, key=key, after_ms=_ms(after_s)))

    async def abandon(self, owner: str, *, fence: Fence | None = None) -> int:
        ended: int = await self._write("abandon", fence, owner=owner)
        return ended

    async def put(self, table: str, key: bytes, value: bytes | None, *, fence: Fence | None = None) -> None:
        await self._transact("", (), (), None, (Put(table, key, value),), fence)

    async def prune(self, topic: str, older_than_s: float, limit: int = 10_000, *, fence: Fence | None = None) -> int:
        gone: int = await self._write("prune", fence, topic=topic, older_than_ms=_ms(older_than_s), limit=limit)
        return gone

    async def lead(self, name: str, owner: str, for_s: float) -> Fence | None:
        require_names(self._limits, name, owner)
        token: int = await self._write("lead", None, name=name, owner=owner, for_ms=_ms(for_s))
        return Fence(name, token) if token else None

    async def resign(self, fence: Fence) -> None:
        await self._write("resign", None, name=fence.name, token=fence.token)

    # --- reading

    async def cursor(self, name: str) -> bytes | None:
        found: bytes | None = await self._ask("cursor", name=name)
        return found

    async def get(self, table: str, key: bytes) -> bytes | None:
        found: bytes | None = await self._ask("get", table=table, key=key)
        return found

    async def scan(self, table: str, limit: int, after: bytes | None = None) -> list[tuple[bytes, bytes]]:
        return [(key, value) for key, value in await self._ask("scan", table=table, limit=limit, after=after)]

    async def listed(self, topic: str, limit: int, after: int = -1) -> list[Listed]:
        found = await self._ask("listed", topic=topic, limit=limit, after=max(after, 0))  # positions begin with 1
        return [
            Listed(int(id.partition(b"-")[0]), key, body, attempt, _owner(consumer, due_ms), due_ms / 1000)
            for id, key, body, attempt, consumer, due_ms in found
        ]

    async def count(self, topic: str) -> TopicCount:
        return TopicCount(*await self._ask("count", topic=topic))

    async def knows(self, topic: str, key: bytes) -> bool:
        return bool(await self._ask("knows", topic=topic, key=key))

    async def leader(self, name: str) -> Leadership | None:
        found = await self._ask("leader", name=name)
        if found is None:
            return None
        owner, token, left_ms = found
        return Leadership(owner.decode(), token, left_ms / 1000)

    async def wait(self, topic: str, at_most_s: float) -> bool:
        with trio.move_on_after(at_most_s):
            while True:
                changed = self._changed  # taken before reading: what is written meanwhile sets it
                if await self._ask("due", topic=topic):
                    return True
                with trio.move_on_after(POLL_S):
                    await changed.wait()
        return False

    # --- the server

    async def _write(self, name: str, fence: Fence | None, /, **arguments: Packable | None) -> Reply:
        """The result. Raises FencedOff, TopicFull, JournalAway, JournalClosed."""
        match await self._ask(name, fence=None if fence is None else (fence.name, fence.token), **arguments):
            case [b"fenced", int() as newest] if fence is not None:
                raise FencedOff(fence, newest)
            case [b"full", bytes() as topic, int() as waiting]:
                raise TopicFull(topic.decode(), waiting, self._limits.max_waiting)
            case [b"ok", result]:
                self._tell()
                return result
            case other:
                raise AssertionError(f"unreachable: the script answers {other!r} to {name}")

    async def _ask(self, name: str, /, **arguments: Packable | None) -> Reply:
        """What the script answers. Raises JournalAway, JournalClosed."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._running:
            raise JournalClosed
        packed = pack(arguments)

        async def call(client: Redis[bytes]) -> Reply:
            try:
                return await client.evalsha(SHA, [self._prefix], [name, packed])
            except NoScriptError:  # the server is new, or was restarted
                return await client.eval(SCRIPT, [self._prefix], [name, packed])

        self._asked += 1
        try:
            return await self._server.ask(call)
        finally:
            self._asked -= 1
            if not self._running and not self._asked:
                self._done.set()

    async def _require_usable(self, client: Redis[bytes]) -> None:
        await require_usable(client, self._server.where, self._prefix, allow_volatile=self._allow_volatile)

    def _tell(self) -> None:
        """Wake who waits for work; each looks for itself."""
        self._changed.set()
        self._changed = trio.Event()


def _packed(put: Sequence[Put]) -> list[Packable]:
    """Two fields where the value is to be removed."""
    return [(each.table, each.key) if each.value is None else (each.table, each.key, each.value) for each in put]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _owner(consumer: bytes, due_ms: int) -> str | None:
    """Who leases it now. The script puts one character before an owner's name: `-` alone is nobody."""
    return consumer[1:].decode() if due_ms > 0 and consumer.startswith(b"o") else None
