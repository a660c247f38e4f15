"""Where in the state tree something lies: the keys of an account's balance, nonce, code and storage."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from attestrio.zkevm.poseidon import ZERO, Words, hash12

BALANCE: Final = 0
NONCE: Final = 1
CODE_HASH: Final = 2
STORAGE: Final = 3
CODE_LENGTH: Final = 4

KEPT: Final = 1 << 16
"""Keys that are remembered, of each kind: about 20 MB when full. The system contract's are asked for in every block."""

NOTHING: Final = hash12((0,) * 8)
"""The capacity of keys without a slot: the hash of eight zeros."""


def limbs(value: int, count: int = 8) -> tuple[int, ...]:
    """Of 32 bits, the lowest first."""
    return tuple((value >> (32 * at)) & 0xFFFFFFFF for at in range(count))


def key_of(number: int, kind: int, capacity: Words = NOTHING) -> Words:
    """The leaf key of a number of up to 192 bits (an address, or what a block info tree counts) and a kind."""
    return hash12((*limbs(number, 6), kind, 0), capacity)


@lru_cache(KEPT)
def key_account(address: bytes, kind: int) -> Words:
    """`address`: 20 bytes. `kind`: one of the constants here, but not STORAGE."""
    return key_of(int.from_bytes(address, "big"), kind)


def key_balance(address: bytes) -> Words:
    return key_account(address, BALANCE)


def key_nonce(address: bytes) -> Words:
    return key_account(address, NONCE)


def key_code_hash(address: bytes) -> Words:
    """The value there is `int.from_bytes(hash_bytes(code), "big")`."""
    return key_account(address, CODE_HASH)


def key_code_length(address: bytes) -> Words:
    """In bytes."""
    return key_account(address, CODE_LENGTH)


@lru_cache(KEPT)
def slot_capacity(slot: int) -> Words:
    """The capacity of a key that has a slot; contracts of one kind use the same slots."""
    return hash12(limbs(slot), ZERO)


@lru_cache(KEPT)
def key_storage(address: bytes, slot: int) -> Words:
    return key_of(int.from_bytes(address, "big"), STORAGE, slot_capacity(slot))
