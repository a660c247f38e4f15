"""Ethereum as the rest of the node sees it: blocks, logs and calls, each pinned to a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NewType, Protocol

BlockNumber = NewType("BlockNumber", int)
BlockHash = NewType("BlockHash", bytes)
"""32 bytes."""
Address = NewType("Address", bytes)
"""20 bytes."""
Topic = NewType("Topic", bytes)
"""32 bytes."""
TxHash = NewType("TxHash", bytes)
"""32 bytes."""

Tag = Literal["latest", "safe", "finalized"]
At = BlockNumber | BlockHash | Tag
"""A block by number, by hash (must be canonical), or by tag."""


@dataclass(frozen=True, slots=True, order=True)
class BlockRef:
    """One block, unmistakably."""

    number: BlockNumber
    hash: BlockHash

    def __str__(self) -> str:
        return f"{self.number} (0x{self.hash.hex()[:8]})"


@dataclass(frozen=True, slots=True)
class Header:
    """What is used of a block's header."""

    ref: BlockRef
    parent: BlockHash
    timestamp: int
    """Unix seconds."""

    @property
    def number(self) -> BlockNumber:
        return self.ref.number

    @property
    def hash(self) -> BlockHash:
        return self.ref.hash


@dataclass(slots=True)
class Log:
    """One event of a contract. Not frozen for speed (a scan makes 20,000 a second); nobody changes it."""

    address: Address
    topics: tuple[Topic, ...]
    data: bytes
    block: BlockRef
    index: int
    """Of the log in its block."""
    transaction: TxHash

    @property
    def place(self) -> tuple[int, int]:
        """(block, index): the order of the chain."""
        return self.block.number, self.index

    @property
    def key(self) -> bytes:
        """44 bytes that name this log for ever, in the order of the chain: block number, index, block hash.

        After a reorg it is another log. The hash comes last so that keys sort, and a database appends them.
        """
        return self.block.number.to_bytes(8, "big") + self.index.to_bytes(4, "big") + self.block.hash


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which logs are wanted, as eth_getLogs has it.

    `topics[i]` are the alternatives for topic i, empty: any. A log may have more topics than are named.
    """

    addresses: tuple[Address, ...]
    topics: tuple[tuple[Topic, ...], ...] = ()

    def matches(self, log: Log) -> bool:
        return (
            log.address in self.addresses
            and len(log.topics) >= len(self.topics)
            and all(not any_of or topic in any_of for any_of, topic in zip(self.topics, log.topics, strict=False))
        )


class Chain(Protocol):
    """One Ethereum chain. Whatever does not come, or cannot be so, is a SourceError: ask again."""

    @property
    def chain_id(self) -> int:
        """As configured. An endpoint of another chain is never asked."""
        ...

    async def block(self, at: At) -> Header | None:
        """The header; None: no such block (yet)."""
        ...

    async def logs(self, wanted: LogFilter, first: BlockNumber, last: BlockNumber) -> Sequence[Log]:
        """Logs of blocks `first` to `last`, in the order of the chain. Raises RangeRefused: ask for less.

        Checked: each is inside filter and range, in order, none removed, one hash per block. Not checked: that none is
        missing. An endpoint that lags behind has no logs of blocks it does not know, and does not say so.
        """
        ...

    async def logs_of(self, wanted: LogFilter, block: BlockRef) -> Sequence[Log]:
        """Logs of exactly this block, in order. An endpoint that does not know it fails instead of giving none."""
        ...

    async def call(self, to: Address, data: bytes, at: At) -> bytes:
        """What a contract returns at that block. Raises CallReverted."""
        ...


class LogSink(Protocol):
    """Where a scanner's logs go: whoever turns them into work."""

    async def cursor(self) -> bytes | None:
        """What was recorded last with `record`; None: nothing yet."""
        ...

    async def record(self, step: Step) -> None:
        """Make the step durable in ONE transaction: what follows from it, and `step.cursor`. It never comes again.

        When this raises, the scanner asks `cursor()` how it ended, and goes on from there.
        """
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """What a scanner hands over at once.

    First everything delivered before of blocks above `void_above` has not happened (None: all of it has); then `logs`
    have, in order. Applied one after the other, the steps give each log of the chain exactly once. A log that is void
    may come again with the same key: its block is still there, a block before it in the same window is not.
    """

    logs: Sequence[Log]
    cursor: bytes
    scanned: int
    """Everything up to this block is delivered (it perhaps in part: the rest comes in the next step); -1: nothing."""
    void_above: int | None = None
    """-1: above nothing, that is everything."""
