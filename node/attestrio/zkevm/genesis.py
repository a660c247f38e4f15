"""The state a chain begins with, and its genesis block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from attestrio.zkevm.header import Header, genesis_header
from attestrio.zkevm.smt import Smt
from attestrio.zkevm.state import State
from attestrio.zkevm.tree import tree_changes


@dataclass(frozen=True, slots=True)
class Account:
    """What an address has at the beginning."""

    balance: int = 0
    """In wei."""
    nonce: int = 0
    code: bytes = b""
    storage: Mapping[int, int] = field(default_factory=dict)


def allocation(text: Mapping[str, Mapping[str, Any]]) -> dict[bytes, Account]:
    """From cdk-erigon's allocation file, read as JSON: balance and nonce decimal, code and storage hex.

    For a file the operator vouches for: raises KeyError, TypeError and ValueError as Python does.
    """
    return {
        bytes.fromhex(address.removeprefix("0x")): Account(
            balance=int(account.get("balance") or 0),
            nonce=int(account.get("nonce") or 0),
            code=bytes.fromhex((account.get("code") or "").removeprefix("0x")),
            storage={int(slot, 16): int(value, 16) for slot, value in (account.get("storage") or {}).items()},
        )
        for address, account in text.items()
    }


def begin_chain(
    state: State,
    smt: Smt,
    accounts: Mapping[bytes, Account],
    *,
    timestamp: int,
    gas_limit: int = 0,
    difficulty: int = 0,
) -> Header:
    """Fill an empty state: its tip is then block 0, whose header this gives. Raises RuntimeError if it is not empty."""
    if state.tip.number >= 0:
        raise RuntimeError("the state has begun already")
    for address, account in accounts.items():
        state.add_balance(address, account.balance)
        state.set_nonce(address, account.nonce)
        state.set_code(address, account.code)
        for slot, value in account.storage.items():
            state.set_storage(address, slot, value)
    root = smt.apply(tree_changes(state.changes()))
    state.commit(root, smt.depth)
    return genesis_header(root, timestamp=timestamp, gas_limit=gas_limit, difficulty=difficulty)
