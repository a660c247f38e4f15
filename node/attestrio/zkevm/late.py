"""Opcodes that py-evm refuses without asking for their gas, where upstream asks first. Needs py-evm: loaded with `vm`.

In a frame that may change nothing these are all that would, and anywhere it is RETURNDATACOPY. The frame fails either
way and loses its gas; but a hook must not be shown what could not have been paid for, or a few bytes of code could be
counted as a copy of 2^60 bytes.
"""

from __future__ import annotations

from typing import Final

from eth.abc import ComputationAPI
from eth.vm.forks.berlin import constants as berlin
from eth_typing import Address

SSTORE, LOG0, LOG4, CREATE, CREATE2, CALL, SELFDESTRUCT = 0x55, 0xA0, 0xA4, 0xF0, 0xF5, 0xF1, 0xFF
RETURNDATACOPY: Final = 0x3E

ANYWHERE: Final = frozenset({RETURNDATACOPY})
STATIC: Final = ANYWHERE | {SSTORE, CREATE, CREATE2, CALL, SELFDESTRUCT, *range(LOG0, LOG4 + 1)}

SSTORE_LEAST = 2300
SET_GAS, RESET_GAS = 20_000, 2_900
LOG_GAS, LOG_BYTE_GAS = 375, 8
CREATE_GAS, HASH_WORD_GAS, COPY_WORD_GAS = 32_000, 6, 3
VALUE_GAS, NEW_ACCOUNT_GAS, SELFDESTRUCT_GAS = 9_000, 25_000, 5_000


def is_unpaid(frame: ComputationAPI, opcode: int) -> bool:
    """Whether the frame has too little gas for an opcode of the sets above, whose operands are on its stack."""
    has = frame.get_gas_remaining()
    if opcode == SSTORE:
        return has <= SSTORE_LEAST or has < _sstore(frame)
    if opcode == CALL:
        return _operand(frame, 2) > 0 and has < _call(frame)
    if opcode == SELFDESTRUCT:
        return has < _selfdestruct(frame)
    return has < _sized(frame, opcode)


def _sized(frame: ComputationAPI, opcode: int) -> int:
    if opcode == RETURNDATACOPY:
        start, size = _operand(frame, 0), _operand(frame, 2)
        return COPY_WORD_GAS * (1 + _words(size)) + _memory(frame, (start, size))
    if opcode in (CREATE, CREATE2):
        start, size = _operand(frame, 1), _operand(frame, 2)
        hashed = HASH_WORD_GAS * _words(size) if opcode == CREATE2 else 0
        return CREATE_GAS + hashed + _memory(frame, (start, size))
    start, size = _operand(frame, 0), _operand(frame, 1)
    return LOG_GAS * (1 + opcode - LOG0) + LOG_BYTE_GAS * size + _memory(frame, (start, size))


def _sstore(frame: ComputationAPI) -> int:
    here, slot, value = frame.msg.storage_address, _operand(frame, 0), _operand(frame, 1)
    now = frame.state.get_storage(here, slot)
    before = frame.state.get_storage(here, slot, from_journal=False)
    gas = 0 if frame.state.is_storage_warm(here, slot) else berlin.COLD_SLOAD_COST
    if value == now or before != now:
        return gas + berlin.WARM_STORAGE_READ_COST
    return gas + (RESET_GAS if before else SET_GAS)


def _call(frame: ComputationAPI) -> int:
    to = _address(frame, 1)
    warm = frame.state.is_address_warm(to)
    gas = VALUE_GAS + (berlin.WARM_STORAGE_READ_COST if warm else berlin.COLD_ACCOUNT_ACCESS_COST)
    gas += NEW_ACCOUNT_GAS if frame.state.account_is_empty(to) else 0
    return gas + _memory(frame, *((_operand(frame, at), _operand(frame, at + 1)) for at in (3, 5)))


def _selfdestruct(frame: ComputationAPI) -> int:
    to, balance = _address(frame, 0), frame.state.get_balance(frame.msg.storage_address)
    cold = 0 if frame.state.is_address_warm(to) else berlin.COLD_ACCOUNT_ACCESS_COST
    return SELFDESTRUCT_GAS + cold + (NEW_ACCOUNT_GAS if balance and frame.state.account_is_empty(to) else 0)


def _memory(frame: ComputationAPI, *used: tuple[int, int]) -> int:
    """Gas for memory that reaches as far as these pairs of start and size."""
    now = len(frame._memory) // 32
    then = max([now, *(_words(start + size) for start, size in used if size)])
    return _memory_gas(then) - _memory_gas(now)


def _memory_gas(words: int) -> int:
    return 3 * words + words * words // 512


def _words(size: int) -> int:
    return (size + 31) // 32


def _operand(frame: ComputationAPI, at: int) -> int:
    return frame.operand(at)  # type: ignore[attr-defined, no-any-return]


def _address(frame: ComputationAPI, at: int) -> Address:
    return Address(_operand(frame, at).to_bytes(32, "big")[12:])
