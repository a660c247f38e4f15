"""Values that are a fixed number of bytes with a name: hashes, and keys we carry without computing with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from attestrio.roles.errors import WrongLength
from attestrio.roles.text import read_text
from attestrio.roles.wire import Wire


@dataclass(frozen=True, slots=True, order=True, repr=False)
class FixedBytes(Wire):
    """Exactly `SIZE` bytes. Different classes never compare equal. Raises WrongLength."""

    raw: bytes

    WHAT: ClassVar[str]
    PREFIX: ClassVar[str]
    SIZE: ClassVar[int]

    def __post_init__(self) -> None:
        if len(self.raw) != self.SIZE:
            raise WrongLength(self.WHAT, len(self.raw), self.SIZE)
        if type(self.raw) is not bytes:
            object.__setattr__(self, "raw", bytes(self.raw))

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return self.to_text()

    def to_bytes(self) -> bytes:
        return self.raw

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Raises WrongLength."""
        return cls(raw)

    def to_text(self) -> str:
        return self.PREFIX + self.raw.hex()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Raises WrongPrefix, NotHex, WrongLength."""
        return cls(read_text(text, cls.PREFIX, cls.WHAT))


class BatchHash(FixedBytes):
    """What stands for the content of a batch: 32 bytes."""

    __slots__ = ()
    WHAT, PREFIX, SIZE = "batch hash", "batch:keccak256:", 32


class GenesisHash(FixedBytes):
    """The name of a chain and fork: keccak256 of its canonical genesis."""

    __slots__ = ()
    WHAT, PREFIX, SIZE = "genesis hash", "genesis_hash:keccak256:", 32


class MsgHash(FixedBytes):
    """What an attester signs: keccak256 of a canonical message."""

    __slots__ = ()
    WHAT, PREFIX, SIZE = "message hash", "attester_msg:keccak256:", 32


class AggregateSignature(FixedBytes):
    """A placeholder of the network (BLS12-381): carried, never checked."""

    __slots__ = ()
    WHAT, PREFIX, SIZE = "aggregate signature", "attester:aggregate_signature:bls12_381:", 48
