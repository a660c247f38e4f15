"""The linear Poseidon hash of bytes: of code, of what a transaction says, of a log."""

from __future__ import annotations

from typing import Final

from attestrio.zkevm.poseidon import ZERO, Words, bytes_of, hash12

CHUNK: Final = 56
ELEMENT: Final = 7
"""Bytes of an element: one fewer than a word has, so that every element lies below the modulus."""


def hash_bytes(data: bytes) -> bytes:
    """32 bytes, big endian as in headers. One Poseidon per 56 bytes, and one at least.

    The data is followed by 0x01 and zeros up to a whole chunk, whose last byte gets the bit 0x80; eight elements of
    seven bytes, little endian, are hashed with what came before as the capacity.
    """
    padded = bytearray(data) + b"\x01"
    padded += bytes(-len(padded) % CHUNK)
    padded[-1] |= 0x80
    words: Words = ZERO
    for start in range(0, len(padded), CHUNK):
        chunk = padded[start : start + CHUNK]
        words = hash12([int.from_bytes(chunk[at : at + ELEMENT], "little") for at in range(0, CHUNK, ELEMENT)], words)
    return bytes_of(words)
