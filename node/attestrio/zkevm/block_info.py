"""The block info root: a tree of what a block is and did, made anew for each block and kept by the state.

| kind | where | what |
|---|---|---|
| 7 | 0 to 7 | parent state root, coinbase, number, gas limit, time, global exit root, L1 block hash, gas used |
| 8, 9, 10, 12 | index of the transaction | L2 hash, status, gas used up to here, effective percentage |
| 11 | index of the transaction, and of the log in the block as slot | hash of the log's data and topics |

What is zero has no leaf. Source: specified for cdk-erigon 2723db784b; vectors in tests/golden/datastream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from attestrio.zkevm.code_hash import hash_bytes
from attestrio.zkevm.keys import key_of, slot_capacity
from attestrio.zkevm.nodes import MemoryNodes
from attestrio.zkevm.poseidon import Words
from attestrio.zkevm.smt import Smt

BLOCK: Final = 7
TX_HASH: Final = 8
TX_STATUS: Final = 9
TX_GAS: Final = 10
TX_LOG: Final = 11
TX_PERCENTAGE: Final = 12

KEPT: Final = 4096
"""Keys that are remembered: those of the block, and of the first thousand transactions."""


@dataclass(frozen=True, slots=True)
class BlockFacts:
    """What the root says of the block itself. Roots and hashes are 32 bytes, zeros where there is none."""

    parent_state_root: bytes
    coinbase: bytes
    """20 bytes."""
    number: int
    gas_limit: int
    timestamp: int
    """Seconds since 1970."""
    ger: bytes
    l1_block_hash: bytes
    gas_used: int


@dataclass(frozen=True, slots=True)
class LogFacts:
    """A log as the execution gave it: the data is not padded. Topics are 32 bytes each."""

    topics: tuple[bytes, ...]
    data: bytes

    def hash(self) -> bytes:
        """32 bytes, big endian."""
        return hash_bytes(self.data + b"".join(self.topics))


@dataclass(frozen=True, slots=True)
class TxFacts:
    """What the root says of a transaction."""

    l2_hash: bytes
    """32 bytes: the L2 hash, which is not the hash that wallets show."""
    status: int
    """1: it succeeded."""
    cumulative_gas: int
    """Used by this block up to the end of this transaction."""
    percentage: int
    """Of the price it asked for, less one, in 256ths: 0 to 255."""
    logs: tuple[LogFacts, ...] = ()


@lru_cache(KEPT)
def _key(index: int, kind: int) -> Words:
    return key_of(index, kind)


def block_info_root(block: BlockFacts, txs: Sequence[TxFacts] = ()) -> bytes:
    """32 bytes, big endian as in headers. `txs` in the order of the block.

    About 35 hashes for an empty block, 70 with one transaction; and one per 56 bytes of each log.
    """
    about = (
        number(block.parent_state_root), number(block.coinbase), block.number, block.gas_limit, block.timestamp,
        number(block.ger), number(block.l1_block_hash), block.gas_used,
    )  # fmt: skip
    leaves = {_key(at, BLOCK): value for at, value in enumerate(about)}
    logs = 0
    for at, tx in enumerate(txs):
        leaves[_key(at, TX_HASH)] = number(tx.l2_hash)
        leaves[_key(at, TX_STATUS)] = tx.status
        leaves[_key(at, TX_GAS)] = tx.cumulative_gas
        leaves[_key(at, TX_PERCENTAGE)] = tx.percentage
        for log in tx.logs:
            leaves[key_of(at, TX_LOG, slot_capacity(logs))] = number(log.hash())
            logs += 1
    return Smt(MemoryNodes()).apply(leaves)


def number(raw: bytes) -> int:
    return int.from_bytes(raw, "big")
