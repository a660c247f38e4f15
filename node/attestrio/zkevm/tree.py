"""From the flat state to the leaves of the state tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attestrio.zkevm.code_hash import hash_bytes
from attestrio.zkevm.keys import key_balance, key_code_hash, key_code_length, key_nonce, key_storage
from attestrio.zkevm.poseidon import Words
from attestrio.zkevm.state import BALANCE, CODE, NONCE, Key, Value


def tree_changes(changes: Mapping[Key, Value]) -> dict[Words, int]:
    """What `Smt.apply` takes. Code is two leaves: its linear hash, and its length."""
    return dict(leaf for key, value in changes.items() for leaf in _leaves(key, value))


def _leaves(key: Key, value: Value) -> Iterator[tuple[Words, int]]:
    address, field = key
    if isinstance(value, bytes):
        assert field == CODE
        yield key_code_hash(address), int.from_bytes(hash_bytes(value), "big") if value else 0
        yield key_code_length(address), len(value)
    elif field == BALANCE:
        yield key_balance(address), value
    elif field == NONCE:
        yield key_nonce(address), value
    else:
        yield key_storage(address, field), value
