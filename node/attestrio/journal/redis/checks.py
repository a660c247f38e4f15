"""Whether a Redis server keeps what it confirms, and can run what is asked of it."""

from __future__ import annotations

from coredis import Redis
from coredis.exceptions import ResponseError

from attestrio.journal.redis.errors import RedisNotDurable, RedisUnusable

OLDEST = (7, 0)
FORMAT = b"1"
"""Of the keys; a later release that changes them counts on."""

DURABLE = (
    ("appendonly", ("yes",)),
    ("appendfsync", ("always",)),
    ("no-appendfsync-on-rewrite", ("no",)),
    ("maxmemory-policy", ("noeviction", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl")),
)
"""Settings, and with which values nothing confirmed is lost: our keys never expire, so `volatile-` leaves them."""


async def require_usable(client: Redis[bytes], where: str, prefix: str, *, allow_volatile: bool) -> None:
    """Raises RedisUnusable, RedisNotDurable, and the client's own errors."""
    version = str((await client.info("server"))["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise RedisUnusable(where, f"it is of version {version}, {'.'.join(map(str, OLDEST))} or later is needed")
    if not allow_volatile:
        await _require_durable(client, where)
    key = prefix + "format"
    found = await client.get(key)
    if found is None:
        await client.set(key, FORMAT)
    elif found != FORMAT:
        raise RedisUnusable(where, f"the journal {prefix} is of format {found!r}: run the newer release")


async def _require_durable(client: Redis[bytes], where: str) -> None:
    try:
        found = await client.config_get([setting for setting, _ in DURABLE])
    except ResponseError as exc:
        raise RedisUnusable(where, f"it does not tell its settings ({exc}): allow CONFIG GET") from exc
    told = {_text(name): _text(value) for name, value in found.items()}
    for setting, wanted in DURABLE:
        got = told.get(setting, "not known")
        if got not in wanted:
            raise RedisNotDurable(where, setting, got, wanted[0])


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
