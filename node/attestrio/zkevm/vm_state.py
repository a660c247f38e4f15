"""Our state as py-evm's machine asks for it. Needs py-evm: loaded with `vm`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from eth.typing import JournalDBCheckpoint
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.berlin.computation import BerlinComputation
from eth.vm.forks.berlin.state import BerlinState
from eth_typing import Address, BlockNumber, Hash32

from attestrio.roles.keccak import keccak256
from attestrio.zkevm.header import Log
from attestrio.zkevm.hook import OpcodeHook
from attestrio.zkevm.state import State
from attestrio.zkevm.system import block_number, root_of_block

CODES_REMEMBERED: Final = 4096
NO_ROOT: Final = Hash32(bytes(32))

Snapshot = tuple[Hash32, JournalDBCheckpoint]
"""What py-evm goes back to: a root, which is of no use here, and the number of a snapshot."""


@dataclass(frozen=True, slots=True)
class World:
    """What a block looks like from inside."""

    fork: int
    chain_id: int
    timestamp: int
    coinbase: bytes
    gas_limit: int


@lru_cache(CODES_REMEMBERED)
def _code_hash(code: bytes) -> Hash32:
    return Hash32(keccak256(code) if code else bytes(32))


class VmState(BerlinState):
    """Our state as py-evm's machine asks for it, during one transaction."""

    def __init__(
        self, state: State, world: World, kind: type[BerlinComputation], hook: OpcodeHook | None, *, is_deploy: bool
    ) -> None:
        # Not the inherited one, which builds an account database of its own.
        self.flat, self.world, self.hook, self.is_deploy = state, world, hook, is_deploy
        self.logs: list[Log] = []
        self.refund = 0
        self._marks: list[tuple[int, int, int]] = []  # of each snapshot: of the state, of the logs, the refund
        self.computation_class = kind
        self.there = kind.get_precompiles()
        self.execution_context = ExecutionContext(
            coinbase=Address(world.coinbase),
            timestamp=world.timestamp,
            block_number=BlockNumber(0),  # never read: NUMBER comes from the storage of the system contract
            difficulty=0,
            mix_hash=Hash32(bytes(32)),
            gas_limit=world.gas_limit,
            prev_hashes=(),
            chain_id=world.chain_id,
        )

    @property
    def block_number(self) -> BlockNumber:
        return BlockNumber(block_number(self.flat))

    def get_ancestor_hash(self, block_number: int) -> Hash32:
        return Hash32(root_of_block(self.flat, block_number))

    def get_storage(self, address: Address, slot: int, from_journal: bool = True) -> int:
        return self.flat.storage(address, slot) if from_journal else self.flat.storage_before(address, slot)

    def set_storage(self, address: Address, slot: int, value: int) -> None:
        self.flat.set_storage(address, slot, value)

    def delete_storage(self, address: Address) -> None:
        """CREATE2 asks for it. Where neither code nor nonce are there is no storage: nothing is ever destroyed."""

    def get_balance(self, address: Address) -> int:
        return self.flat.balance(address)

    def set_balance(self, address: Address, balance: int) -> None:
        self.flat.add_balance(address, balance - self.flat.balance(address))

    def get_nonce(self, address: Address) -> int:
        return self.flat.nonce(address)

    def set_nonce(self, address: Address, nonce: int) -> None:
        self.flat.set_nonce(address, nonce)

    def increment_nonce(self, address: Address) -> None:
        self.flat.set_nonce(address, self.flat.nonce(address) + 1)

    def get_code(self, address: Address) -> bytes:
        return self.flat.code(address)

    def set_code(self, address: Address, code: bytes) -> None:
        self.flat.set_code(address, code)

    def get_code_hash(self, address: Address) -> Hash32:
        return _code_hash(self.flat.code(address))

    def has_code_or_nonce(self, address: Address) -> bool:
        return bool(self.flat.nonce(address) or self.flat.code(address))

    def account_exists(self, address: Address) -> bool:
        return self.flat.is_there(address)

    def account_is_empty(self, address: Address) -> bool:
        return not self.flat.is_there(address)

    def touch_account(self, address: Address) -> None:
        """An account that is empty is not there anyway."""

    def is_storage_warm(self, address: Address, slot: int) -> bool:
        return self.flat.is_warm(address, slot)

    def mark_storage_warm(self, address: Address, slot: int) -> None:
        self.flat.warm(address, slot)

    def is_address_warm(self, address: Address) -> bool:
        return address in self.there or self.flat.is_warm(address)

    def mark_address_warm(self, address: Address) -> None:
        self.flat.warm(address)

    def snapshot(self) -> Snapshot:
        self._marks.append((self.flat.checkpoint(), len(self.logs), self.refund))
        return NO_ROOT, JournalDBCheckpoint(len(self._marks) - 1)

    def revert(self, snapshot: Snapshot) -> None:
        checkpoint, logs, self.refund = self._marks[snapshot[1]]
        self.flat.revert(checkpoint)
        del self.logs[logs:]

    def commit(self, snapshot: Snapshot) -> None:
        """There is nothing to do: what was changed stays changed."""
