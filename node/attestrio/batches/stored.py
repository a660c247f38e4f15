"""What a rollup's contract stores of a batch, as its hash: the hash that is attested."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import ClassVar

from attestrio.roles import BatchHash
from attestrio.roles.keccak import keccak256

WORD = 32  # bytes
NO_PRIORITY_OPERATIONS = keccak256(b"")


@dataclass(frozen=True, slots=True)
class StoredBatchInfo:
    """A batch as the diamond proxy keeps it. Numbers are unsigned; what is bytes has 32 of them.

    Source: specification of attestation 5.3. Newer protocols have a ninth word; they attest nothing.
    """

    number: int
    """64 bits."""
    state_root: bytes
    index_repeated_storage_changes: int
    """64 bits: the last leaf of the rollup's tree."""
    layer1_transactions: int
    priority_operations_hash: bytes
    l2_logs_root: bytes
    timestamp: int
    """Unix seconds."""
    commitment: bytes

    TYPES: ClassVar = ("uint64", "bytes32", "uint64", "uint256", "bytes32", "bytes32", "uint256", "bytes32")

    def words(self) -> tuple[int | bytes, ...]:
        """In the order of the contract's tuple."""
        return astuple(self)

    def hash(self) -> BatchHash:
        """keccak256 of eight words of 32 bytes. Raises ValueError for a field that is out of its type."""
        encoded = b"".join(_word(kind, value) for kind, value in zip(self.TYPES, self.words(), strict=True))
        return BatchHash(keccak256(encoded))


def _word(kind: str, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        if len(value) != WORD:
            raise ValueError(f"{len(value)} bytes in the place of a {kind}")
        return value
    if not 0 <= value < 1 << int(kind.removeprefix("uint")):
        raise ValueError(f"{value} in the place of a {kind}")
    return value.to_bytes(WORD, "big")
