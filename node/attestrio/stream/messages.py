"""The six messages that entries carry, and bookmarks: values, and their one encoding.

The encoding is Go's `proto.Marshal` of a proto3 message without presence: ascending fields, zeros and empty bytes left
out. A bookmark's encoding is the key of the bookmark index, so reading one refuses every other.

Source: zkevm-data-streamer v0.2.5, package datastream.v1; vectors in tests/golden/datastream.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, ClassVar, Final

from google.protobuf.message import DecodeError, Message

from attestrio.schema import datastream_pb2 as pb
from attestrio.stream.entries import EntryType
from attestrio.stream.errors import BadMessage

ZERO: Final = bytes(32)
MAX_BOOKMARK: Final = 16
"""Bytes of a bookmark that a server takes; the longest of ours has 13."""


class BatchType(IntEnum):
    """What a batch is. cdk-erigon writes INJECTED for batch 1, INVALID for one without blocks, else REGULAR."""

    UNSPECIFIED = 0
    REGULAR = 1
    FORCED = 2
    INJECTED = 3
    INVALID = 4


class BookmarkType(IntEnum):
    """What a bookmark points at."""

    BATCH = 1
    L2_BLOCK = 2


@dataclass(frozen=True, slots=True)
class StreamMessage:
    """What all of them can do. Roots and hashes are 32 bytes, addresses 20; upstream writes them also when zero.

    Numbers are as the field says, u64 if it says nothing; `debug` None is what cdk-erigon always writes.
    """

    TYPE: ClassVar[EntryType]
    SCHEMA: ClassVar[type[Message]]

    def encode(self) -> bytes:
        """The data of its entry. Raises ValueError for a number that does not fit its field."""
        message: Any = self.SCHEMA()
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "debug":
                setattr(message, field.name, value)
            elif value is not None:
                message.debug.message = value
                message.debug.SetInParent()
        raw: bytes = message.SerializeToString(deterministic=True)
        return raw


@dataclass(frozen=True, slots=True)
class BatchStart(StreamMessage):
    """Type 1."""

    TYPE: ClassVar[EntryType] = EntryType.BATCH_START
    SCHEMA: ClassVar[type[Message]] = pb.BatchStart

    number: int
    type: int = BatchType.REGULAR
    fork_id: int = 0
    chain_id: int = 0
    debug: str | None = None


@dataclass(frozen=True, slots=True)
class L2Block(StreamMessage):
    """Type 2. Times are seconds since 1970."""

    TYPE: ClassVar[EntryType] = EntryType.L2_BLOCK
    SCHEMA: ClassVar[type[Message]] = pb.L2Block

    number: int
    batch_number: int = 0
    timestamp: int = 0
    delta_timestamp: int = 0
    """u32."""
    min_timestamp: int = 0
    l1_blockhash: bytes = ZERO
    l1_infotree_index: int = 0
    """u32."""
    hash: bytes = ZERO
    state_root: bytes = ZERO
    global_exit_root: bytes = ZERO
    coinbase: bytes = bytes(20)
    block_gas_limit: int = 0
    block_info_root: bytes = ZERO
    debug: str | None = None


@dataclass(frozen=True, slots=True)
class Transaction(StreamMessage):
    """Type 3."""

    TYPE: ClassVar[EntryType] = EntryType.TRANSACTION
    SCHEMA: ClassVar[type[Message]] = pb.Transaction

    l2block_number: int
    index: int = 0
    is_valid: bool = True
    encoded: bytes = b""
    effective_gas_price_percentage: int = 0
    """u32, of 255."""
    im_state_root: bytes = ZERO
    debug: str | None = None


@dataclass(frozen=True, slots=True)
class BatchEnd(StreamMessage):
    """Type 4."""

    TYPE: ClassVar[EntryType] = EntryType.BATCH_END
    SCHEMA: ClassVar[type[Message]] = pb.BatchEnd

    number: int
    local_exit_root: bytes = ZERO
    state_root: bytes = ZERO
    debug: str | None = None


@dataclass(frozen=True, slots=True)
class UpdateGER(StreamMessage):
    """Type 5; before fork 7."""

    TYPE: ClassVar[EntryType] = EntryType.UPDATE_GER
    SCHEMA: ClassVar[type[Message]] = pb.UpdateGER

    batch_number: int
    timestamp: int = 0
    global_exit_root: bytes = ZERO
    coinbase: bytes = bytes(20)
    fork_id: int = 0
    chain_id: int = 0
    state_root: bytes = ZERO
    debug: str | None = None


@dataclass(frozen=True, slots=True)
class L2BlockEnd(StreamMessage):
    """Type 6."""

    TYPE: ClassVar[EntryType] = EntryType.L2_BLOCK_END
    SCHEMA: ClassVar[type[Message]] = pb.L2BlockEnd

    number: int


@dataclass(frozen=True, slots=True)
class Bookmark(StreamMessage):
    """Type 176: by its encoding an entry is found without knowing its number."""

    TYPE: ClassVar[EntryType] = EntryType.BOOKMARK
    SCHEMA: ClassVar[type[Message]] = pb.BookMark

    type: int
    value: int

    @classmethod
    def batch(cls, number: int) -> Bookmark:
        return cls(BookmarkType.BATCH, number)

    @classmethod
    def block(cls, number: int) -> Bookmark:
        return cls(BookmarkType.L2_BLOCK, number)


AnyMessage = BatchStart | L2Block | Transaction | BatchEnd | UpdateGER | L2BlockEnd | Bookmark

KINDS: Final[dict[int, type[AnyMessage]]] = {
    kind.TYPE: kind for kind in (BatchStart, L2Block, Transaction, BatchEnd, UpdateGER, L2BlockEnd, Bookmark)
}
_NAMES = {kind: tuple(field.name for field in fields(kind) if field.name != "debug") for kind in KINDS.values()}
_HASHES = frozenset(
    {
        "l1_blockhash",
        "hash",
        "state_root",
        "global_exit_root",
        "block_info_root",
        "im_state_root",
        "local_exit_root",
    }
)


def message_untrusted(entry_type: int, data: bytes) -> AnyMessage:
    """Read the data of an entry. Raises only BadMessage, also for a type nobody knows.

    Hashes and addresses have their length or are empty. Fields nobody knows are dropped.
    """
    kind = KINDS.get(entry_type)
    if kind is None:
        raise BadMessage(f"entry type {entry_type} is not known")
    message: Any = kind.SCHEMA()
    try:
        message.ParseFromString(data)
    except DecodeError as exc:
        raise BadMessage(f"not a {kind.__name__}: {exc}") from exc
    values = {name: getattr(message, name) for name in _NAMES[kind]}
    for name, value in values.items():
        size = 32 if name in _HASHES else 20 if name == "coinbase" else None
        if size is not None and value and len(value) != size:
            raise BadMessage(f"{kind.__name__}.{name} has {len(value)} B instead of {size}")
    if "debug" in kind.__dataclass_fields__ and message.HasField("debug"):
        values["debug"] = message.debug.message
    made: AnyMessage = kind(**values)
    if isinstance(made, Bookmark):
        _check_bookmark(made, data)
    return made


def bookmark_untrusted(data: bytes) -> Bookmark:
    """Read a bookmark, which has to be of a known type and in its one encoding. Raises only BadMessage."""
    made = message_untrusted(EntryType.BOOKMARK, data)
    assert isinstance(made, Bookmark)
    return made


def _check_bookmark(made: Bookmark, data: bytes) -> None:
    if made.type not in tuple(BookmarkType):
        raise BadMessage(f"bookmark of type {made.type}")
    if made.encode() != data:
        raise BadMessage(f"bookmark {data.hex()} is not in its one encoding, {made.encode().hex()}")
