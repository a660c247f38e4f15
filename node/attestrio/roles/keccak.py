"""Keccak-256 as Ethereum has it. The backend is named, so that no environment variable can swap it."""

from __future__ import annotations

from eth_hash import Keccak256
from eth_hash.backends import pycryptodome

keccak256 = Keccak256(pycryptodome)  # bytes -> 32 bytes
