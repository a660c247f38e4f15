"""What an operator has to change before a Redis server can keep a journal."""

from __future__ import annotations

from typing import ClassVar

from attestrio.errors import SetupError


class RedisNotDurable(SetupError):
    """The Redis server may forget what it has confirmed: its settings have to be changed, or volatility allowed."""

    code: ClassVar[str] = "redis_not_durable"

    def __init__(self, where: str, setting: str, got: str, want: str) -> None:
        super().__init__(f"Redis at {where} could lose work: `{setting}` is `{got}`, set it to `{want}`")
        self.where, self.setting, self.got, self.want = where, setting, got, want


class RedisUnusable(SetupError):
    """The Redis server refuses: a wrong password or right, an old release, or keys that are not this program's."""

    code: ClassVar[str] = "redis_unusable"

    def __init__(self, where: str, detail: str) -> None:
        super().__init__(f"Redis at {where} cannot be used: {detail}")
        self.where, self.detail = where, detail
