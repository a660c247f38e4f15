"""Batches: what is signed, and what is carried."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

from attestrio.roles.hashes import BatchHash, GenesisHash, MsgHash
from attestrio.roles.keccak import keccak256
from attestrio.roles.numbers import BatchNumber
from attestrio.roles.wire import Wire

# Batch   08 <number> | 12 22 0a 20 <hash> | 1a 22 0a 20 <genesis>
# Msg     22 <length of the batch> <batch>
NUMBER_TAG = b"\x08"
HASH_HEAD = b"\x12\x22\x0a\x20"
GENESIS_HEAD = b"\x1a\x22\x0a\x20"
MSG_TAG = b"\x22"
TAIL = len(HASH_HEAD) + 32 + len(GENESIS_HEAD) + 32  # everything after the number
BATCHES_REMEMBERED = 1024  # votes arrive for very few batches at a time


@dataclass(frozen=True, slots=True, order=True)
class Batch(Wire):
    """The claim an attester signs: on the chain `genesis`, batch `number` has the content `hash`.

    Ordered by number, then hash, then genesis.
    """

    number: BatchNumber
    hash: BatchHash
    genesis: GenesisHash
    _message_hash: MsgHash | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if type(self.number) is not BatchNumber:
            object.__setattr__(self, "number", BatchNumber(self.number))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return (
            isinstance(other, Batch)
            and self.hash.raw == other.hash.raw
            and int(self.number) == int(other.number)
            and self.genesis.raw == other.genesis.raw
        )

    def __hash__(self) -> int:
        return hash(self.hash.raw)  # bytes remember their hash; two batches with one content hash are rare

    def encode(self) -> bytes:
        """The canonical encoding, written out: it has one shape."""
        return b"".join((NUMBER_TAG, varint(self.number), HASH_HEAD, self.hash.raw, GENESIS_HEAD, self.genesis.raw))

    def encode_message(self) -> bytes:
        """The canonical encoding of the message that is signed."""
        batch = self.encode()
        return MSG_TAG + bytes((len(batch),)) + batch  # 74 to 83 bytes, so the length is one byte

    def message_hash(self) -> MsgHash:
        """keccak256 of the message, what a signature covers. Computed once."""
        known = self._message_hash
        if known is None:
            known = MsgHash(keccak256(self.encode_message()))
            object.__setattr__(self, "_message_hash", known)
        return known


@lru_cache(maxsize=BATCHES_REMEMBERED)
def batch_of_message(message: bytes) -> Batch | None:
    """The batch in a canonical message, or None: not canonical, read it the general way. Never raises.

    Votes for one batch come in hundreds; remembering the last 1,024 makes them share one value and one hash.
    """
    if message[:1] != MSG_TAG or len(message) < 2 or message[1] != len(message) - 2:
        return None
    batch = message[2:]
    numeral, tail = batch[1:-TAIL], batch[-TAIL:]
    if batch[:1] != NUMBER_TAG or not 1 <= len(numeral) <= 10 or tail[:4] != HASH_HEAD or tail[36:40] != GENESIS_HEAD:
        return None
    number = sum((byte & 0x7F) << 7 * at for at, byte in enumerate(numeral))
    if number >= 1 << 64 or varint(number) != numeral:
        return None
    return Batch(BatchNumber(number), BatchHash(tail[4:36]), GenesisHash(tail[40:]))


def varint(number: int) -> bytes:
    """Protobuf's shortest encoding of 0 <= number < 2**64: 7 bits a byte, lowest first, 1 to 10 bytes."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


@dataclass(frozen=True, slots=True)
class SyncBatch(Wire):
    """A whole batch, for nodes that catch up without certificates. Nothing in it is verified here.

    Equal when everything is equal, ordered by number only.
    """

    number: BatchNumber
    payloads: tuple[bytes, ...]  # the L2 blocks, in order
    proof: bytes = b""  # opaque; meant to show that the batch is in the L1 system contract's state

    def __post_init__(self) -> None:
        if type(self.number) is not BatchNumber:
            object.__setattr__(self, "number", BatchNumber(self.number))
        if type(self.payloads) is not tuple:
            object.__setattr__(self, "payloads", tuple(self.payloads))

    def __lt__(self, other: Self) -> bool:
        return self.number < other.number

    def content_hash(self) -> BatchHash:
        """keccak256 of the canonical encoding: what the reference's memory store gives for signing."""
        return BatchHash(keccak256(self.encode()))
