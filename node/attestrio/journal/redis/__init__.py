"""The journal on a Redis server, for several machines. Needs the extra `redis`: importing this raises MissingExtra."""

from attestrio.errors import MissingExtra

try:
    import coredis  # noqa: F401
except ImportError as exc:
    raise MissingExtra("redis", "journals on a Redis server", "coredis") from exc

from attestrio.journal.redis.errors import RedisNotDurable, RedisUnusable
from attestrio.journal.redis.journal import RedisJournal

__all__ = ["RedisJournal", "RedisNotDurable", "RedisUnusable"]
