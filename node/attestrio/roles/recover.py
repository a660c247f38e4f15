"""The check behind every vote: recover the signer from the signature and compare it.

A plain ECDSA check would not do: it accepts any v, and the network does not. libsecp256k1 is called directly with
structures that are made once, because its Python wrapper spends a good part of the time on making them.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from coincurve._libsecp256k1 import ffi, lib
from coincurve.context import GLOBAL_CONTEXT

from attestrio.roles.errors import BadSignature

if TYPE_CHECKING:
    from attestrio.roles.hashes import MsgHash
    from attestrio.roles.keys import AttesterPublicKey, Signature

HALF_ORDER = bytes.fromhex("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0")  # n/2, big-endian
V_OFFSET = 27  # Ethereum's: v = recovery id + 27

_CONTEXT = GLOBAL_CONTEXT.ctx  # only read by the calls below, so threads may share it
_parse = lib.secp256k1_ecdsa_recoverable_signature_parse_compact
_recover = lib.secp256k1_ecdsa_recover


class Point(NamedTuple):
    """A point of the curve in the three forms that are needed."""

    compressed: bytes  # 33 B: 02 or 03 | X
    xy: bytes  # 64 B: X | Y
    parsed: bytes  # 64 B: libsecp256k1's own form, one to one, good for this process only


def parse_point(raw: bytes) -> Point | None:
    """The point that SEC1 bytes stand for, or None. The caller has checked which encodings it wants."""
    struct = ffi.new("secp256k1_pubkey *")
    return _point(struct) if lib.secp256k1_ec_pubkey_parse(_CONTEXT, struct, raw, len(raw)) else None


def _point(struct: Any) -> Point:  # noqa: ANN401 - a cffi pointer, which has no type
    compressed = _serialise(struct, 33, lib.SECP256K1_EC_COMPRESSED)
    return Point(compressed, _serialise(struct, 65, lib.SECP256K1_EC_UNCOMPRESSED)[1:], bytes(ffi.buffer(struct)))


def _serialise(struct: Any, size: int, form: int) -> bytes:  # noqa: ANN401
    out, length = ffi.new("unsigned char[]", size), ffi.new("size_t *", size)
    lib.secp256k1_ec_pubkey_serialize(_CONTEXT, out, length, struct, form)
    return bytes(ffi.buffer(out, length[0]))


class Recoverer:
    """One set of structures. Not for two threads at once: the library lets go of the GIL while it writes to them."""

    __slots__ = ("_key", "_key_bytes", "_signature")

    def __init__(self) -> None:
        self._signature = ffi.new("secp256k1_ecdsa_recoverable_signature *")
        self._key = ffi.new("secp256k1_pubkey *")
        self._key_bytes = ffi.buffer(self._key)

    def recovers_to(self, signature: Signature, message_hash: MsgHash, key: AttesterPublicKey) -> bool:
        """Whether `key` made `signature` of `message_hash`. Never raises. About 40 microseconds, without the GIL.

        A high s is refused (the library's recovery would take it). Recovery ids 2 and 3 are for an r that was
        reduced by n, which an ordinary r never was: then there is no such point, and the answer is no.
        """
        raw = signature.raw
        return bool(
            raw[32:64] <= HALF_ORDER
            and _parse(_CONTEXT, self._signature, raw, raw[64] - V_OFFSET)
            and _recover(_CONTEXT, self._key, self._signature, message_hash.raw)
            and self._key_bytes[:] == key.parsed  # costs no serialising
        )

    def check(self, signature: Signature, message_hash: MsgHash, key: AttesterPublicKey) -> None:
        """The same, but says what is wrong. Raises BadSignature."""
        if not self.recovers_to(signature, message_hash, key):
            raise BadSignature(key, self._why_not(signature, message_hash))

    def _why_not(self, signature: Signature, message_hash: MsgHash) -> str:
        raw = signature.raw
        if raw[32:64] > HALF_ORDER:
            return "s is above half the order of the curve"
        if not _parse(_CONTEXT, self._signature, raw, raw[64] - V_OFFSET):
            return "r or s cannot be read"
        if not _recover(_CONTEXT, self._key, self._signature, message_hash.raw):
            return "no key can be recovered"
        return f"of another message, or made by {_point(self._key).compressed.hex()}"


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.recoverer = Recoverer()


_of_thread = _OfThread()


def recovers_to(signature: Signature, message_hash: MsgHash, key: AttesterPublicKey) -> bool:
    """`Recoverer.recovers_to` with the structures of the calling thread."""
    return _of_thread.recoverer.recovers_to(signature, message_hash, key)


def check(signature: Signature, message_hash: MsgHash, key: AttesterPublicKey) -> None:
    """`Recoverer.check` with the structures of the calling thread. Raises BadSignature."""
    _of_thread.recoverer.check(signature, message_hash, key)
