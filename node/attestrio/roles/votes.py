"""Votes: a batch, who signed it, and the signature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from attestrio.roles.batch import Batch, batch_of_message
from attestrio.roles.keys import AttesterPublicKey, Signature
from attestrio.roles.wire import JsonWire

# Signed  0a <length> <message> | 12 23 12 21 <key, 33 B> | 1a 43 12 41 <signature, 65 B>
MSG_HEAD = b"\x0a"
KEY_HEAD = b"\x12\x23\x12\x21"
SIG_HEAD = b"\x1a\x43\x12\x41"
TAIL = len(KEY_HEAD) + 33 + len(SIG_HEAD) + 65  # everything after the message


@dataclass(frozen=True, slots=True)
class SignedBatch(JsonWire):
    """A vote of `key` for `batch`. That it was decoded says nothing about the signature; `verify` does."""

    batch: Batch
    key: AttesterPublicKey
    signature: Signature

    def verify(self) -> None:
        """Raise BadSignature unless `key` signed `batch`."""
        self.signature.verify(self.batch.message_hash(), self.key)

    def encode(self) -> bytes:
        """The canonical encoding, written out: it has one shape (182 to 191 bytes)."""
        message = self.batch.encode_message()
        return b"".join(
            (MSG_HEAD, bytes((len(message),)), message, KEY_HEAD, self.key.raw, SIG_HEAD, self.signature.raw)
        )

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Read a vote; the canonical shape is cut by position, anything else read as protobuf. Raises DecodeFailed."""
        size = len(raw) - TAIL - 2
        if 0 < size < 0x80 and raw[0] == MSG_HEAD[0] and raw[1] == size:
            tail = raw[2 + size :]
            if tail[:4] == KEY_HEAD and tail[37:41] == SIG_HEAD:
                batch = batch_of_message(bytes(raw[2 : 2 + size]))
                if batch is not None:
                    return cls(batch, AttesterPublicKey.from_bytes(tail[4:37]), Signature(bytes(tail[41:])))
        return super(SignedBatch, cls).decode(raw)
