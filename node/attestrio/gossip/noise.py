"""Noise NN over X25519, ChaCha20-Poly1305 and SHA-256, under the name the network uses, and its transport frames.

    handshake   initiator -> responder   20 00 | e (32 B)
                responder -> initiator   30 00 | e (32 B) | tag (16 B)
    transport   u16 little-endian n | n bytes: 1 to 65519 bytes of plaintext and a tag of 16

Nobody is authenticated here; the handshake hash is what the next layer signs.

Source: era-consensus d1d3b51e, network `noise/stream.rs`; the protocol's name there is `zksync-bft`, not the usual
one. tests/golden/noise.json comes from its library, snow 0.9.6. An ephemeral key that gives an all-zero secret is
refused here and not there.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from attestrio.errors import PeerError
from attestrio.gossip.errors import BadNoise, PeerClosed

NAME: Final = b"zksync-bft"
TAG: Final = 16
MAX_MESSAGE: Final = 65535
MAX_PLAINTEXT: Final = MAX_MESSAGE - TAG
LENGTH: Final = struct.Struct("<H")
FIRST: Final = 32  # bytes of the two handshake messages: their payloads are empty
SECOND: Final = 48
SHORT: Final = 2048  # bytes up to which a copy costs less than not to make one

_NONCE = struct.Struct("<4xQ").pack
_LAST_NONCE = 2**64 - 1  # reserved by Noise

Raw = bytes | bytearray | memoryview


class CipherState:
    """One direction: a key and a counter that never repeats. Raises BadNoise when the counter is used up."""

    __slots__ = ("_aead", "n")

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self.n = 0

    def encrypt(self, plaintext: Raw, ad: bytes = b"") -> bytes:
        """Ciphertext and tag; the counter moves on."""
        sealed = self._aead.encrypt(self._nonce(), plaintext, ad)
        self.n += 1
        return sealed

    def encrypt_into(self, plaintext: Raw, out: memoryview) -> None:
        """The same, written to `out`, which has room for exactly the plaintext and a tag."""
        self._aead.encrypt_into(self._nonce(), plaintext, None, out)
        self.n += 1

    def decrypt(self, ciphertext: Raw, ad: bytes = b"") -> bytes:
        """Plaintext. Raises BadNoise, and the counter stays."""
        try:
            plaintext = self._aead.decrypt(self._nonce(), ciphertext, ad)
        except InvalidTag:
            raise BadNoise("a message that this session's key did not make") from None
        self.n += 1
        return plaintext

    def _nonce(self) -> bytes:
        if self.n >= _LAST_NONCE:
            raise BadNoise("the session's counter is used up")
        return _NONCE(self.n)


def _hkdf2(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    mixed = hmac.digest(chaining_key, material, "sha256")
    first = hmac.digest(mixed, b"\x01", "sha256")
    return first, hmac.digest(mixed, first + b"\x02", "sha256")


class NNHandshake:
    """Both roles of the two-message handshake. `h` is the session id once the second message is through.

    Args:
      initiator: this is the side that dialled: `write_e`, then `read_e_ee`. The other: `read_e`, then `write_e_ee`.
      ephemeral: 32 secret bytes, for vectors; None draws them.
    """

    def __init__(self, initiator: bool, ephemeral: bytes | None = None) -> None:
        self.initiator = initiator
        self.h = NAME.ljust(32, b"\0")  # a name of at most 32 bytes is not hashed
        self.ck = self.h
        self._mix(b"")  # the prologue, empty, is mixed all the same
        private = X25519PrivateKey
        self._e = private.generate() if ephemeral is None else private.from_private_bytes(ephemeral)
        self._peer = b""

    def write_e(self) -> bytes:
        """Initiator: the first message."""
        public = self._e.public_key().public_bytes_raw()
        self._mix(public)
        self._mix(b"")  # the payload, empty
        return public

    def read_e(self, message: bytes) -> None:
        """Responder: take the first message. Raises BadNoise."""
        _check_size("first", len(message), FIRST)
        self._mix(message)
        self._mix(b"")
        self._peer = message

    def write_e_ee(self) -> tuple[bytes, tuple[CipherState, CipherState]]:
        """Responder: the second message and the ciphers (to send with, to receive with). Raises BadNoise."""
        public = self._e.public_key().public_bytes_raw()
        self._mix(public)
        tag = self._ee(self._peer).encrypt(b"", self.h)
        self._mix(tag)
        return public + tag, self._split()

    def read_e_ee(self, message: bytes) -> tuple[CipherState, CipherState]:
        """Initiator: take the second message; the ciphers (to send with, to receive with). Raises BadNoise."""
        _check_size("second", len(message), SECOND)
        public, tag = message[:32], message[32:]
        self._mix(public)
        self._ee(public).decrypt(tag, self.h)  # proves that both sides know the same name and the same secret
        self._mix(tag)
        return self._split()

    def _mix(self, data: bytes) -> None:
        self.h = hashlib.sha256(self.h + data).digest()

    def _ee(self, peer: bytes) -> CipherState:
        try:
            shared = self._e.exchange(X25519PublicKey.from_public_bytes(peer))
        except ValueError:  # a point of small order: everybody knows the secret
            raise BadNoise("an ephemeral key that gives no secret") from None
        self.ck, key = _hkdf2(self.ck, shared)
        return CipherState(key)

    def _split(self) -> tuple[CipherState, CipherState]:
        first, second = _hkdf2(self.ck, b"")
        forth, back = CipherState(first), CipherState(second)
        return (forth, back) if self.initiator else (back, forth)


def _check_size(which: str, got: int, want: int) -> None:
    if got != want:
        raise BadNoise(f"{which} handshake message of {got} B, it has {want} B")


def frame_handshake(message: bytes) -> bytes:
    """A handshake message as it goes over the wire."""
    return LENGTH.pack(len(message)) + message


class HandshakeDecoder:
    """Cuts the peer's one handshake message off a byte stream: `FIRST` or `SECOND` bytes, by its place."""

    __slots__ = ("_buffer", "_size")

    def __init__(self, size: int) -> None:
        self._buffer = bytearray()
        self._size = size

    def feed(self, data: bytes) -> None:
        """Take the next piece, of any length."""
        self._buffer += data

    def next_message(self) -> bytes | None:
        """The message, or None: feed more. Raises BadNoise as soon as its length is another."""
        if len(self._buffer) < LENGTH.size:
            return None
        (size,) = LENGTH.unpack_from(self._buffer)
        _check_size("first" if self._size == FIRST else "second", size, self._size)
        end = LENGTH.size + size
        if len(self._buffer) < end:
            return None
        message = bytes(self._buffer[LENGTH.size : end])
        del self._buffer[:end]
        return message

    def rest(self) -> bytes:
        """What came behind the message, taken out: transport frames."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest


class NoiseSender:
    """Plaintext to transport frames."""

    __slots__ = ("_cipher",)

    def __init__(self, cipher: CipherState) -> None:
        self._cipher = cipher

    def seal(self, plaintext: bytes | list[bytes]) -> bytearray:
        """All of it in frames, each as full as can be; nothing for nothing, since an empty frame means the end.

        Encrypted straight into what is returned; pieces are joined first, which is the one copy.
        """
        if isinstance(plaintext, list):
            plaintext = b"".join(plaintext)
        if 0 < len(plaintext) <= SHORT:
            return bytearray(LENGTH.pack(len(plaintext) + TAG) + self._cipher.encrypt(plaintext))
        plain = memoryview(plaintext)
        frames = -(-len(plain) // MAX_PLAINTEXT)
        sealed = bytearray(len(plain) + frames * (LENGTH.size + TAG))
        out = memoryview(sealed)
        at = 0
        for start in range(0, len(plain), MAX_PLAINTEXT):
            piece = plain[start : start + MAX_PLAINTEXT]
            LENGTH.pack_into(sealed, at, len(piece) + TAG)
            end = at + LENGTH.size + len(piece) + TAG
            self._cipher.encrypt_into(piece, out[at + LENGTH.size : end])
            at = end
        return sealed


class NoiseReceiver:
    """Transport frames to plaintext. Between pieces it keeps at most one frame that is not whole."""

    __slots__ = ("_cipher", "_end", "_partial", "_plain")

    def __init__(self, cipher: CipherState) -> None:
        self._cipher = cipher
        self._partial = bytearray()  # a frame that began in an earlier piece
        self._plain: list[bytes] = []
        self._end: PeerError | None = None

    def feed(self, ciphertext: Raw) -> None:
        """Take the next piece, of any length, and decrypt what is whole. Never raises: `read` does.

        A frame inside one piece is decrypted where it lies, one across pieces is copied once.
        """
        if self._end is None:
            view = memoryview(ciphertext)
            try:
                if not self._partial and len(view) > LENGTH.size and _frame_size(view) == len(view):
                    self._open(view[LENGTH.size :])  # nearly every piece is one small frame
                else:
                    self._cut(view)
            except PeerError as end:
                self._end = end.with_traceback(None)  # which would keep the piece in memory

    def read(self) -> bytes:
        """All plaintext there is, empty: feed more. Then raises what ended the stream, so ask until it is empty.

        Raises BadNoise, and PeerClosed for an empty frame; again and again.
        """
        if self._plain:
            plain = b"".join(self._plain)
            self._plain.clear()
            return plain
        if self._end is not None:
            raise self._end
        return b""

    def _cut(self, data: memoryview) -> None:
        while data:
            if self._partial:
                data = self._complete(data)
                continue
            end = _frame_size(data) if len(data) >= LENGTH.size else LENGTH.size
            if len(data) < end:
                self._partial += data
                return
            self._open(data[LENGTH.size : end])
            data = data[end:]

    def _complete(self, data: memoryview) -> memoryview:
        """Add to the partial frame what belongs to it; the rest of `data`."""
        partial = self._partial
        want = _frame_size(partial) if len(partial) >= LENGTH.size else LENGTH.size
        missing = want - len(partial)
        partial += data[:missing]
        if len(partial) >= LENGTH.size and len(partial) == _frame_size(partial):
            self._partial = bytearray()
            self._open(memoryview(partial)[LENGTH.size :])
        return data[missing:]

    def _open(self, ciphertext: memoryview) -> None:
        plain = self._cipher.decrypt(ciphertext)
        if not plain:
            raise PeerClosed("an empty frame ends the stream")
        self._plain.append(plain)


def _frame_size(head: bytearray | memoryview) -> int:
    """Bytes of the frame that starts with `head`, its length included. Raises BadNoise when it cannot hold a tag."""
    (size,) = LENGTH.unpack_from(head)
    if size < TAG:
        raise BadNoise(f"transport frame of {size} B, a tag alone has {TAG} B")
    return LENGTH.size + int(size)
