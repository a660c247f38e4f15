"""Attester keys and signatures: ECDSA over secp256k1, where the recovery id is part of what is checked.

Source: era-consensus d1d3b51e, libs/crypto/secp256k1 and libs/roles/attester/keys. Two of its leniencies are not
ours: keys with tag 05, and secrets shorter than 32 bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Self

from coincurve import PrivateKey

from attestrio.roles.errors import BadKey, ScalarOutOfRange, WrongLength
from attestrio.roles.hashes import MsgHash
from attestrio.roles.keccak import keccak256
from attestrio.roles.recover import V_OFFSET, check, parse_point
from attestrio.roles.secret import SecretKey
from attestrio.roles.text import read_text
from attestrio.roles.wire import Wire

if TYPE_CHECKING:
    from attestrio.roles.batch import Batch
    from attestrio.roles.votes import SignedBatch

ORDER = bytes.fromhex("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
ZERO = bytes(32)
KEYS_REMEMBERED = 16_384  # a full committee and its neighbours; about 500 B each


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AttesterPublicKey(Wire):
    """Who an attester is. Made by `from_bytes`, `from_text` or a secret's `public()`, never field by field.

    Ordered by X, then Y, which is not the order of the compressed bytes: committees, certificates and the genesis
    hash depend on it.
    """

    raw: bytes  # compressed, 33 B: 02 or 03 | X
    xy: bytes  # 64 B: X | Y, the order
    parsed: bytes  # 64 B: libsecp256k1's own form, what a recovered key is compared with

    WHAT: ClassVar[str] = "attester public key"
    PREFIX: ClassVar[str] = "attester:public:secp256k1:"

    def to_bytes(self) -> bytes:
        """33 bytes, compressed."""
        return self.raw

    @classmethod
    def from_bytes(cls, raw: bytes) -> AttesterPublicKey:
        """Read 33 compressed bytes (02, 03) or 65 uncompressed ones (04). Raises BadKey.

        Parsing costs a square root, so the last 16,384 keys are remembered; a key is immutable and may be shared.
        """
        return _parse_public(bytes(raw))

    def to_text(self) -> str:
        return self.PREFIX + self.raw.hex()

    @classmethod
    def from_text(cls, text: str) -> AttesterPublicKey:
        """Raises WrongPrefix, NotHex, BadKey."""
        return cls.from_bytes(read_text(text, cls.PREFIX, cls.WHAT))

    def __repr__(self) -> str:
        return self.to_text()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, AttesterPublicKey) and self.raw == other.raw)

    def __hash__(self) -> int:
        return hash(self.raw)  # bytes remember their hash

    def __lt__(self, other: AttesterPublicKey) -> bool:
        return self.xy < other.xy

    def __le__(self, other: AttesterPublicKey) -> bool:
        return self.xy <= other.xy

    def __gt__(self, other: AttesterPublicKey) -> bool:
        return self.xy > other.xy

    def __ge__(self, other: AttesterPublicKey) -> bool:
        return self.xy >= other.xy

    def __reduce__(self) -> tuple[Callable[[bytes], AttesterPublicKey], tuple[bytes]]:
        return AttesterPublicKey.from_bytes, (self.raw,)  # `parsed` belongs to this process


@lru_cache(maxsize=KEYS_REMEMBERED)
def _parse_public(raw: bytes) -> AttesterPublicKey:
    # hybrid (06, 07), compact (05) and identity (00) encodings are left out here, before the library sees them
    if not ((len(raw) == 33 and raw[0] in (2, 3)) or (len(raw) == 65 and raw[0] == 4)):
        raise BadKey(AttesterPublicKey.WHAT, "not a compressed (33 B) or uncompressed (65 B) SEC1 key")
    point = parse_point(raw)
    if point is None:
        raise BadKey(AttesterPublicKey.WHAT, "not a point of the curve")
    return AttesterPublicKey(point.compressed, point.xy, point.parsed)


@dataclass(frozen=True, slots=True, order=True, repr=False)
class Signature(Wire):
    """r (32) | s (32) | v (1), v normalised to 27..30. Made by `from_bytes`; decoding proves nothing."""

    raw: bytes

    WHAT: ClassVar[str] = "attester signature"
    PREFIX: ClassVar[str] = "attester:signature:secp256k1:"
    SIZE: ClassVar[int] = 65

    def __post_init__(self) -> None:
        raw = self.raw
        if len(raw) != self.SIZE:
            raise WrongLength(self.WHAT, len(raw), self.SIZE)
        if not ZERO < raw[:32] < ORDER:
            raise ScalarOutOfRange("r")
        if not ZERO < raw[32:64] < ORDER:
            raise ScalarOutOfRange("s")
        v = V_OFFSET + recovery_id(raw[64])
        if v != raw[64] or type(raw) is not bytes:
            object.__setattr__(self, "raw", bytes(raw[:64]) + bytes((v,)))

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return self.to_text()

    def to_bytes(self) -> bytes:
        return self.raw

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read 65 bytes; any v. A high s is read too, and refused by `verify`. Raises WrongLength, ScalarOutOfRange."""
        return cls(raw)

    def to_text(self) -> str:
        return self.PREFIX + self.raw.hex()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Raises WrongPrefix, NotHex, WrongLength, ScalarOutOfRange."""
        return cls(read_text(text, cls.PREFIX, cls.WHAT))

    def verify(self, message_hash: MsgHash, key: AttesterPublicKey) -> None:
        """Raise BadSignature unless `key` made this of `message_hash`; s above n/2 and a wrong v are refused."""
        check(self, message_hash, key)

    def verify_bytes(self, message: bytes, key: AttesterPublicKey) -> None:
        """The same for a message that is hashed first (keccak256)."""
        self.verify(MsgHash(keccak256(message)), key)


def recovery_id(v: int) -> int:
    """0..3 of any v byte: plain (0..26), Ethereum's (27..34), EIP-155 (35 and above). Never fails."""
    if v < V_OFFSET:
        return v % 4
    return (v - V_OFFSET) % 4 if v < 35 else (v - 1) % 2


class AttesterSecretKey(SecretKey):
    """The key an attester signs with."""

    __slots__ = ("_key", "_public")

    WHAT, PREFIX = "attester secret key", "attester:secret:secp256k1:"

    def __init__(self, raw: bytes) -> None:
        """From 32 big-endian bytes, 1..n-1. Raises WrongLength, BadKey."""
        if len(raw) != self.SIZE:
            raise WrongLength(self.WHAT, len(raw), self.SIZE)
        if not ZERO < bytes(raw) < ORDER:
            raise BadKey(self.WHAT, "zero or not below the order of the curve")
        self._key = PrivateKey(bytes(raw))
        self._public = AttesterPublicKey.from_bytes(self._key.public_key.format())

    @classmethod
    def generate(cls, randomness: Callable[[int], bytes] = os.urandom) -> Self:
        """A new key; `randomness(n)` gives n bytes."""
        while not ZERO < (raw := randomness(cls.SIZE)) < ORDER:
            continue  # about once in 2**128 draws
        return cls(raw)

    def public(self) -> AttesterPublicKey:
        return self._public

    def sign(self, message_hash: MsgHash) -> Signature:
        """Sign the 32 bytes as they are: RFC 6979 nonce, low s. The same input gives the same signature."""
        made = self._key.sign_recoverable(message_hash.raw, hasher=None)
        return Signature(made)

    def sign_bytes(self, message: bytes) -> Signature:
        """The same for a message that is hashed first (keccak256)."""
        return self.sign(MsgHash(keccak256(message)))

    def sign_batch(self, batch: Batch) -> SignedBatch:
        """The vote for `batch`. A primitive: what was signed before is the caller's to know."""
        from attestrio.roles.votes import SignedBatch  # votes are built on keys: imported when called

        return SignedBatch(batch, self._public, self.sign(batch.message_hash()))

    def to_bytes(self) -> bytes:
        """The secret itself, 32 bytes."""
        return bytes(self._key.secret).rjust(self.SIZE, b"\0")
