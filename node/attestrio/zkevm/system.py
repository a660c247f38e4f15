"""What a block writes into the state besides its transactions: two contracts that nobody calls for it.

    5ca1ab1e      slot 0: number | slot 2: time | slot 3: block info root
                  slot keccak(number . 1): state root at the end of that block
    GER manager   slot keccak(global exit root . 0): hash of the L1 block it is from

Source: specified for cdk-erigon 2723db784b; all state roots of chain 779 recompute.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from attestrio.roles.keccak import keccak256
from attestrio.zkevm.state import State

SYSTEM: Final = bytes.fromhex("000000000000000000000000000000005ca1ab1e")
GER_MANAGER: Final = bytes.fromhex("a40d5f56745a118d0906a34e69aec8c0db1cb8fa")
NUMBER, TIMESTAMP, BLOCK_INFO = 0, 2, 3
ROOTS: Final = 1
LOCAL_EXIT_ROOT: Final = 1
"""Slots: of the system contract, and the last of the GER manager."""


@lru_cache(1024)
def root_slot(number: int) -> int:
    """Where the state root at the end of a block stands."""
    return int.from_bytes(keccak256(number.to_bytes(32, "big") + ROOTS.to_bytes(32, "big")), "big")


def ger_slot(ger: bytes) -> int:
    """Where the L1 block of a global exit root stands."""
    return int.from_bytes(keccak256(ger + bytes(32)), "big")


def block_number(state: State) -> int:
    """Of the block under way, as contracts see it."""
    return state.storage(SYSTEM, NUMBER)


def root_of_block(state: State, number: int) -> bytes:
    """As contracts see it: 32 bytes, zeros for a block that is not there or still under way."""
    return state.storage(SYSTEM, root_slot(number)).to_bytes(32, "big")


def local_exit_root(state: State) -> bytes:
    """32 bytes, for the end of a batch."""
    return state.storage(GER_MANAGER, LOCAL_EXIT_ROOT).to_bytes(32, "big")


def write_before(state: State, number: int, timestamp: int, parent_state_root: bytes) -> None:
    """Before the first transaction of a block. Time in the state never goes back."""
    state.set_storage(SYSTEM, NUMBER, number)
    if timestamp > state.storage(SYSTEM, TIMESTAMP):
        state.set_storage(SYSTEM, TIMESTAMP, timestamp)
    state.set_storage(SYSTEM, root_slot(number - 1), int.from_bytes(parent_state_root, "big"))


def write_ger(state: State, ger: bytes, l1_block_hash: bytes) -> None:
    """A global exit root that the state does not have yet."""
    slot = ger_slot(ger)
    if not state.storage(GER_MANAGER, slot):
        state.set_storage(GER_MANAGER, slot, int.from_bytes(l1_block_hash, "big"))


def write_after(state: State, block_info_root: bytes) -> None:
    """After the last transaction."""
    state.set_storage(SYSTEM, BLOCK_INFO, int.from_bytes(block_info_root, "big"))
