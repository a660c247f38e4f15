"""How a call fails. What cannot be decoded ends in `DecodeFailed`, what is too long in `FrameTooLarge`."""

from __future__ import annotations

from typing import ClassVar

from attestrio.errors import PeerError


class CutShort(PeerError):
    """A stream was closed before its message was whole. A response is refused this way."""

    code: ClassVar[str] = "cut_short"

    def __init__(self, method: str) -> None:
        super().__init__(f"{method}: the stream ended before the message")
        self.method = method


class CallTimeout(PeerError):
    """A call was not answered in time, the wait for a stream included."""

    code: ClassVar[str] = "call_timeout"

    def __init__(self, method: str, limit_s: float) -> None:
        super().__init__(f"{method} not answered in {limit_s:g} s")
        self.method, self.limit_s = method, limit_s


class WrongPong(PeerError):
    """A ping was answered with other bytes than were sent."""

    code: ClassVar[str] = "wrong_pong"

    def __init__(self) -> None:
        super().__init__("ping answered with other bytes")


class WrongRange(PeerError):
    """A peer claims to have blocks or batches from a number on that lies behind the last one, or before the first."""

    code: ClassVar[str] = "wrong_range"

    def __init__(self, what: str, got: int, limit: int) -> None:
        super().__init__(f"{what} is {got}, limit {limit}")
        self.what, self.got, self.limit = what, got, limit


class WrongAnswer(PeerError):
    """A peer that announced a block or a batch sent none, another one, or one that contradicts itself."""

    code: ClassVar[str] = "wrong_answer"


class DuplicateAnnouncement(PeerError):
    """One validator's address stands twice in a list."""

    code: ClassVar[str] = "duplicate_announcement"

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} is in the list twice")
        self.key = key
