"""A block's header, its hash, and the roots and the bloom in it.

Fifteen fields as before London, whatever the chain: in a zkEVM London is set unreachably far. The roots of transactions
and receipts are Ethereum's; but inside the trie of receipts every bloom is zero, while the header has the real one.

Source: specified for cdk-erigon 2723db784b; all blocks of chain 779 recompute.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from attestrio.roles.keccak import keccak256
from attestrio.zkevm.mpt import EMPTY_ROOT, list_root
from attestrio.zkevm.rlp import Encodable, encode, encode_int
from attestrio.zkevm.transactions import LEGACY, Tx

EMPTY_UNCLES: Final = keccak256(encode([]))
BLOOM_BYTES: Final = 256
NO_BLOOM: Final = bytes(BLOOM_BYTES)

ETROG: Final = 7
GAS_LIMIT: Final = 1 << 50
GAS_LIMIT_BEFORE_ETROG: Final = 30_000_000


def gas_limit(fork: int) -> int:
    """Of a block, in gas."""
    return GAS_LIMIT if fork >= ETROG else GAS_LIMIT_BEFORE_ETROG


@dataclass(frozen=True, slots=True)
class Log:
    """What a contract has written into a receipt."""

    address: bytes
    topics: tuple[bytes, ...]
    """32 bytes each."""
    data: bytes

    def fields(self) -> Encodable:
        return [self.address, list(self.topics), self.data]


@dataclass(frozen=True, slots=True)
class Receipt:
    """How a transaction has ended."""

    status: int
    """1, or 0 when it was reverted or ran out of gas."""
    cumulative_gas: int
    """Used in the block up to its end."""
    logs: tuple[Log, ...]
    type: int = LEGACY

    def encode(self, bloom: bytes = NO_BLOOM) -> bytes:
        """As it stands in the trie, where the bloom is zero."""
        logs = [log.fields() for log in self.logs]
        raw = encode([encode_int(self.status), encode_int(self.cumulative_gas), bloom, logs])
        return raw if self.type == LEGACY else bytes([self.type]) + raw


@dataclass(frozen=True, slots=True)
class Header:
    """Hashes and roots are 32 bytes, the coinbase 20, the time in seconds since 1970."""

    parent_hash: bytes
    coinbase: bytes
    state_root: bytes
    number: int
    timestamp: int
    gas_limit: int
    gas_used: int = 0
    transactions_root: bytes = EMPTY_ROOT
    receipts_root: bytes = EMPTY_ROOT
    bloom: bytes = NO_BLOOM
    difficulty: int = 0

    def encode(self) -> bytes:
        """RLP of the fifteen fields; there are no uncles, no extra data and no seal."""
        return encode(
            [
                self.parent_hash,
                EMPTY_UNCLES,
                self.coinbase,
                self.state_root,
                self.transactions_root,
                self.receipts_root,
                self.bloom,
                encode_int(self.difficulty),
                encode_int(self.number),
                encode_int(self.gas_limit),
                encode_int(self.gas_used),
                encode_int(self.timestamp),
                b"",
                bytes(32),
                bytes(8),
            ]
        )

    def hash(self) -> bytes:
        """32 bytes."""
        return keccak256(self.encode())


def genesis_header(state_root: bytes, *, timestamp: int, gas_limit: int = 0, difficulty: int = 0) -> Header:
    """Of block 0, with what the chain's configuration says."""
    return Header(bytes(32), bytes(20), state_root, 0, timestamp, gas_limit, difficulty=difficulty)


def transactions_root(txs: Sequence[Tx]) -> bytes:
    """32 bytes."""
    return list_root([tx.canonical() for tx in txs])


def receipts_root(receipts: Sequence[Receipt]) -> bytes:
    """32 bytes."""
    return list_root([receipt.encode() for receipt in receipts])


def bloom_of(logs: Iterable[Log]) -> bytes:
    """256 bytes: three bits each for the address and every topic."""
    bits = 0
    for log in logs:
        for item in (log.address, *log.topics):
            digest = keccak256(item)
            for at in (0, 2, 4):
                bits |= 1 << (int.from_bytes(digest[at : at + 2], "big") & 2047)
    return bits.to_bytes(BLOOM_BYTES, "big")
