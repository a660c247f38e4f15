"""What every secret key has in common: where its bytes and its text may show, and where they never do."""

from __future__ import annotations

import hmac
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NoReturn, Self

from attestrio.roles.text import read_text
from attestrio.roles.wire import Wire


class SecretKey(ABC):
    """A secret of `SIZE` bytes. Its text never appears in repr, errors, pickles or dataclass dumps.

    A plain class and no dataclass: serialisers walk dataclasses.
    """

    __slots__ = ()

    WHAT: ClassVar[str]
    PREFIX: ClassVar[str]
    SIZE: ClassVar[int] = 32

    @abstractmethod
    def __init__(self, raw: bytes) -> None:
        """Raises WrongLength, and BadKey where not every number of that length is a key."""

    @classmethod
    def generate(cls, randomness: Callable[[int], bytes] = os.urandom) -> Self:
        """A new key; `randomness(n)` gives n bytes."""
        return cls(randomness(cls.SIZE))

    @abstractmethod
    def public(self) -> Wire:
        """The half that everybody may know."""

    @abstractmethod
    def to_bytes(self) -> bytes:
        """The secret itself."""

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Raises WrongLength, BadKey."""
        return cls(raw)

    def to_text(self) -> str:
        """The secret itself, as text."""
        return self.PREFIX + self.to_bytes().hex()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Raises WrongPrefix, NotHex, WrongLength, BadKey; no text repeats `text`."""
        return cls(read_text(text, cls.PREFIX, cls.WHAT))

    def __repr__(self) -> str:
        return f"<secret for {self.public()}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and hmac.compare_digest(self.to_bytes(), other.to_bytes())

    def __hash__(self) -> int:
        return hash(self.public())

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret key is not pickled")
