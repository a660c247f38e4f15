"""Numbers that stay inside their field."""

from __future__ import annotations

from typing import Self

from attestrio.roles.errors import NumberOutOfRange

U32_MAX = 2**32 - 1
U64_MAX = 2**64 - 1


def check_range(what: str, value: int, limit: int) -> None:
    """Raise NumberOutOfRange unless 0 <= value <= limit."""
    if not 0 <= value <= limit:
        raise NumberOutOfRange(what, value, limit)


class BatchNumber(int):
    """The number of an L1 batch: an int from 0 to 2**64 - 1. Raises NumberOutOfRange beyond."""

    __slots__ = ()

    def __new__(cls, value: int) -> Self:
        check_range("batch number", value, U64_MAX)
        return super().__new__(cls, value)

    def __add__(self, other: int, /) -> BatchNumber:
        return BatchNumber(int(self) + other)

    def next(self) -> BatchNumber:
        """The number after this one. Raises NumberOutOfRange after the last."""
        return self + 1

    def prev(self) -> BatchNumber | None:
        """The number before this one; None before 0."""
        return BatchNumber(int(self) - 1) if self else None
