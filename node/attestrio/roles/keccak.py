"""Keccak-256 as Ethereum has it. The backend is named, so that no environment variable can swap it."""

from __future__ import annotations

from eth_hash.backends.pycryptodome import keccak256 as _keccak256


def keccak256(raw: bytes) -> bytes:
    """The 32-byte digest."""
    return _keccak256(raw)
