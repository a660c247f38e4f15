"""A key whose signatures tell one process from another that has the same key."""

from __future__ import annotations

import hmac

from coincurve._libsecp256k1 import ffi

from attestrio.roles import AttesterSecretKey, MsgHash, Signature

ENTROPY = 32  # bytes


class HedgedKey(AttesterSecretKey):
    """Signs as the plain key does, except that `entropy` goes into the nonce too: RFC 6979, section 3.6.

    Two nodes with one key that follow one main node vote for the same batches. With plain signatures these votes are
    equal byte for byte, and neither node can tell the other's from its own that came back; they go on until the day
    their main nodes disagree, and then contradict each other. With entropy of its own each process signs a batch
    differently, so the first batch both vote for gives them away (`CloneGuard`).

    Nobody else can tell: any nonce makes a signature that is valid, and the record gives the stored one when a batch
    is signed again. `entropy` is drawn anew by each process and kept nowhere, or a copied directory would share it.

    Source: era-consensus signs with the plain nonce; what is accepted is the same.
    """

    __slots__ = ("_entropy",)

    def __init__(self, raw: bytes, entropy: bytes = b"") -> None:
        """From the 32 bytes of the secret and 32 random ones. Raises WrongLength, BadKey, ValueError."""
        super().__init__(raw)
        if len(entropy) != ENTROPY:
            raise ValueError(f"entropy has {ENTROPY} bytes, not {len(entropy)}")
        self._entropy = ffi.new(f"unsigned char[{ENTROPY}]", bytes(entropy))

    @classmethod
    def of(cls, secret: AttesterSecretKey, entropy: bytes) -> HedgedKey:
        """The hedged form of a key."""
        return cls(secret.to_bytes(), entropy)

    def sign(self, message_hash: MsgHash) -> Signature:
        """Sign the 32 bytes as they are, low s. The same for as long as the process lives."""
        return Signature(
            self._key.sign_recoverable(message_hash.raw, hasher=None, custom_nonce=(ffi.NULL, self._entropy))
        )

    def __eq__(self, other: object) -> bool:
        """The same secret, hedged or not: what goes into the nonce is no part of who signs."""
        return isinstance(other, AttesterSecretKey) and hmac.compare_digest(self.to_bytes(), other.to_bytes())

    __hash__ = AttesterSecretKey.__hash__
