"""Blocks and batches that are part of the chain, as the database keeps them and the stream tells them."""

from __future__ import annotations

from dataclasses import dataclass

from attestrio.stream.messages import ZERO, BatchType
from attestrio.zkevm.counters import Counters
from attestrio.zkevm.header import Header, Log


@dataclass(frozen=True, slots=True)
class SealedTx:
    """A transaction and how it ended."""

    encoded: bytes
    """As it stands in the stream."""
    percentage: int
    """Of its price that it paid: n stands for (n + 1) / 256."""
    hash: bytes
    sender: bytes
    status: int
    """1, or 0."""
    gas_used: int
    cumulative_gas: int
    created: bytes | None = None
    """The address of the contract it was to make."""
    logs: tuple[Log, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchHead:
    """What is known of a batch when it begins."""

    number: int
    kind: BatchType
    fork: int
    depth: int
    """Of the state tree, by which its counters were counted."""


@dataclass(frozen=True, slots=True)
class SealedBlock:
    """Times are seconds since 1970; hashes and roots 32 bytes."""

    header: Header
    hash: bytes
    batch: BatchHead
    first_in_batch: bool
    delta: int
    """Seconds since the parent; block 1 has its whole time here."""
    block_info_root: bytes = ZERO
    l1_index: int = 0
    min_timestamp: int = 0
    """Of the leaf with that index, 0 without one."""
    ger: bytes = ZERO
    l1_hash: bytes = ZERO
    data: int = 0
    """Bytes of the data budget that its batch has used up to its end."""
    counters: Counters | None = None
    """What its batch has used up to its end; None: nobody has counted."""
    txs: tuple[SealedTx, ...] = ()

    @property
    def number(self) -> int:
        return self.header.number

    @property
    def timestamp(self) -> int:
        return self.header.timestamp

    @property
    def state_root(self) -> bytes:
        return self.header.state_root


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """A batch: closed, or the one that is being built."""

    head: BatchHead
    closed: bool
    first_block: int | None
    """None: it has no blocks."""
    last_block: int
    """The last one of all at its end."""
    state_root: bytes
    """At its end, so far."""
    local_exit_root: bytes = ZERO
    """At its end; zeros while it is not closed."""
    data: int = 0
    """Bytes of the data budget."""
    counters: Counters | None = None
    """None: nobody has counted."""

    @property
    def number(self) -> int:
        return self.head.number

    @property
    def blocks(self) -> int:
        return 0 if self.first_block is None else self.last_block - self.first_block + 1
