"""What each opcode costs, by the kind of frame it runs in: a table of fixed prices, and rules for the rest.

Reverted frames have cost the same, and so has an opcode that fails in what it does. What cannot be run for lack of gas
or of operands costs nothing, see `hook`. Not in the table: opcodes that are not defined, but for INVALID.

Source: cdk-erigon 2723db784b, core/vm/zk_counters.go; specified opcode by opcode, all upstream vectors come out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from attestrio.zkevm.counters.helpers import (
    ABS,
    ADD,
    CALL_SETUP,
    COLD_SLOT,
    DIV,
    KECCAK_BYTES,
    LOAD_32,
    LOAD_X,
    LOW_64,
    MASK_ADDRESS,
    MUL,
    NOTHING,
    OFFSET,
    POSEIDON_BYTES,
    READ_DATA,
    SAVE_MEMORY,
    SHL,
    SHL_BIT,
    SHR,
    SHR_BIT,
    STARTS_EF,
    STORE_32,
    STORE_X,
    WORD,
    Cost,
    Tree,
    byte_length,
    ceil_div,
    cost,
    exponent_bits,
    length_bytes,
    linear_hash,
    save_memory,
    tree_costs,
)
from attestrio.zkevm.hook import Frame

Rule = Callable[[Frame], Cost]
"""Of an opcode whose operands are on the frame's stack."""

EXP, KECCAK256, RETURN, REVERT = 0x0A, 0x20, 0xF3, 0xFD
CALLDATACOPY, CODECOPY, EXTCODECOPY, RETURNDATACOPY = 0x37, 0x39, 0x3C, 0x3E
CREATE, CREATE2, CALL, CALLCODE, DELEGATECALL, STATICCALL = 0xF0, 0xF5, 0xF1, 0xF2, 0xF4, 0xFA
PUSH1, PUSH32, LOG0, LOG4 = 0x60, 0x7F, 0xA0, 0xA4

BASE: Final = cost(S=12)
PUSHED: Final = {1: 2, 2: 4, 3: 5, 4: 6, 32: 45}
"""Steps by how many bytes are pushed; the others 6 and 2 a byte."""
ADDRESS_MASK: Final = (1 << 160) - 1
SIZES_REMEMBERED: Final = 1024


@dataclass(frozen=True, slots=True)
class Kind:
    """Of a frame: see `hook.Frame`."""

    create: bool = False
    create2: bool = False
    deploy: bool = False

    @property
    def base(self) -> Cost:
        """What every opcode costs in it besides."""
        return BASE + LOAD_X + SHR if self.create or self.create2 or self.deploy else BASE


@dataclass(frozen=True, slots=True)
class OpcodeCosts:
    """Of one kind of frame."""

    fixed: tuple[Cost | None, ...]
    """By opcode; None where the rule has to be asked."""
    rules: dict[int, Rule] = field(repr=False)


@lru_cache(256)
def opcode_costs(fork: int, levels: int, kind: Kind) -> OpcodeCosts:
    tree = tree_costs(fork, levels)
    same = {**_arithmetic(), **_surroundings(tree), **_memory_and_flow(tree), **_pushes(kind)}
    if kind.create and kind.deploy:
        jump = cost(B=1) + LOAD_X
        same[0x56] += jump
        same[0x57] += jump
    rules = _rules(tree, kind)
    fixed = tuple(
        None if opcode in rules else kind.base + same[opcode] if opcode in same else NOTHING for opcode in range(256)
    )
    return OpcodeCosts(fixed, rules)


# --- what always costs the same


def _arithmetic() -> dict[int, Cost]:
    compare, bits = cost(S=8, B=1), cost(S=10, B=1)
    return {
        0x01: cost(S=10, B=1),  # ADD
        0x02: cost(S=10) + MUL,
        0x03: cost(S=10, B=1),  # SUB
        0x04: cost(S=15) + DIV,
        0x05: cost(S=25, B=1) + 2 * ABS + DIV,  # SDIV
        0x06: cost(S=20) + DIV,  # MOD
        0x07: cost(S=20, B=1) + 2 * ABS + DIV,  # SMOD
        0x08: cost(S=30, A=1, B=3),  # ADDMOD
        0x09: cost(S=60, A=2, B=4) + MUL,  # MULMOD
        **dict.fromkeys(range(0x10, 0x16), compare),  # LT GT SLT SGT EQ ISZERO
        **dict.fromkeys(range(0x16, 0x1A), bits),  # AND OR XOR NOT
        0x1A: cost(S=15, B=2) + SHR,  # BYTE
        0x1B: cost(S=8, B=1) + SHL_BIT,
        0x1C: cost(S=8, B=1) + SHR_BIT,
        0x1D: cost(S=25, B=5) + SHR_BIT,  # SAR
    }


def _surroundings(tree: Tree) -> dict[int, Cost]:
    levels = tree.levels
    code_of = cost(S=10, P=levels) + MASK_ADDRESS + tree.cold_address
    return {
        0x0B: cost(S=20, B=6, P=2 * levels),  # SIGNEXTEND: the hashes are upstream's
        0x30: cost(S=6),  # ADDRESS
        0x31: cost(S=8, P=levels) + MASK_ADDRESS + tree.cold_address,  # BALANCE
        **dict.fromkeys((0x32, 0x33, 0x34, 0x3A), cost(S=5)),  # ORIGIN CALLER CALLVALUE GASPRICE
        0x35: cost(S=15) + READ_DATA,  # CALLDATALOAD
        0x36: cost(S=10),  # CALLDATASIZE
        0x38: cost(S=10, P=levels),  # CODESIZE
        0x3B: code_of,  # EXTCODESIZE
        0x3D: cost(S=11, B=1),  # RETURNDATASIZE
        0x3F: code_of,  # EXTCODEHASH
        0x40: cost(S=15, K=1, P=levels),  # BLOCKHASH
        **dict.fromkeys(range(0x41, 0x47), cost(S=5)),  # COINBASE TIMESTAMP NUMBER DIFFICULTY GASLIMIT CHAINID
        0x47: cost(S=8, P=levels),  # SELFBALANCE
    }


def _memory_and_flow(tree: Tree) -> dict[int, Cost]:
    levels = tree.levels
    return {
        0x00: cost(S=20),  # STOP
        0x50: cost(S=3),  # POP
        0x51: cost(S=8) + SAVE_MEMORY + LOAD_32,  # MLOAD
        0x52: cost(S=22, M=1) + SAVE_MEMORY + OFFSET,  # MSTORE
        0x53: cost(S=13, M=1) + SAVE_MEMORY + OFFSET,  # MSTORE8
        0x54: cost(S=10, P=levels) + COLD_SLOT,  # SLOAD
        0x55: cost(S=70, B=8, P=3 * levels) + COLD_SLOT,  # SSTORE
        0x56: cost(S=15, B=1),  # JUMP
        0x57: cost(S=20, B=2),  # JUMPI
        **dict.fromkeys((0x58, 0x5A, 0x5F), cost(S=4)),  # PC GAS PUSH0
        0x59: cost(S=15) + DIV,  # MSIZE
        0x5B: cost(S=2),  # JUMPDEST
        **dict.fromkeys(range(0x80, 0x90), cost(S=6)),  # DUP
        **dict.fromkeys(range(0x90, 0xA0), cost(S=7)),  # SWAP
        0xFE: cost(S=50),  # INVALID
        0xFF: cost(S=60, B=3, P=4 * levels)
        + MASK_ADDRESS
        + tree.empty_account
        + tree.cold_address
        + ADD,  # SELFDESTRUCT
    }


def _pushes(kind: Kind) -> dict[int, Cost]:
    return {opcode: cost(S=2) + _pushed(kind, opcode - PUSH1 + 1) for opcode in range(PUSH1, PUSH32 + 1)}


def _pushed(kind: Kind, size: int) -> Cost:
    """The bytes behind a PUSH: in init code they are data."""
    if kind.create:
        return cost(S=20) + LOAD_X + SHR
    if kind.deploy:
        return cost(S=10) + (cost(S=10) + SHL).unrolled(size)
    return cost(S=10 + PUSHED.get(size, 6 + 2 * size))


# --- what depends on operands


def _rules(tree: Tree, kind: Kind) -> dict[int, Rule]:
    base, in_init_code = kind.base, kind.create or kind.deploy
    code_copied = _code_copied_as_data(base) if in_init_code else _code_copied
    return {
        EXP: _exp(base),
        KECCAK256: _by_size(1, lambda size: base + _keccak(size)),
        CALLDATACOPY: _by_size(2, _unless_empty(base, _data_copied)),
        CODECOPY: _by_size(2, _unless_empty(base, code_copied)),
        EXTCODECOPY: _extcodecopy(tree, base),
        RETURNDATACOPY: _by_size(2, _unless_empty(base, _returned_copied)),
        **dict.fromkeys(range(LOG0, LOG4 + 1), _by_size(1, lambda size: base + _log(size))),
        CREATE: _creation(tree.contract_created, base + cost(S=70, B=3, P=3 * tree.levels)),
        CREATE2: _creation(tree.contract_created2, base + cost(S=80, B=4, P=2 * tree.levels) + DIV),
        CALL: _call(tree, base + cost(S=80, B=5) + tree.empty_account, has_value=True),
        CALLCODE: _call(tree, base + cost(S=80, B=5), has_value=True),
        DELEGATECALL: _call(tree, base + cost(S=80), has_value=False),
        STATICCALL: _call(tree, base + cost(S=80), has_value=False),
        RETURN: _by_size(1, _return(tree, kind)),
        REVERT: _by_size(1, lambda size: base + cost(S=46, B=1) + save_memory(size) + _handed_back(size)),
    }


def _by_size(at: int, of: Callable[[int], Cost]) -> Rule:
    """The rule of an opcode that depends on one operand, a number of bytes, of which upstream takes the low 64 bits."""
    remembered = lru_cache(SIZES_REMEMBERED)(of)
    return lambda frame: remembered(frame.operand(at) & LOW_64)


def _unless_empty(base: Cost, of: Callable[[int], Cost]) -> Callable[[int], Cost]:
    """To copy nothing costs nothing at all."""
    return lambda size: base + of(size) if size else NOTHING


def _exp(base: Cost) -> Rule:
    lengths = [base + cost(S=10) + length_bytes(size) + exponent_bits(8 * size) for size in range(WORD + 1)]
    return lambda frame: lengths[byte_length(frame.operand(1))]


def _keccak(size: int) -> Cost:
    words = (size // WORD) * (cost(S=8) + LOAD_32)
    hashed = cost(S=40, K=ceil_div(size + 1, KECCAK_BYTES))
    return hashed + save_memory(size) + 2 * DIV + MUL + words + LOAD_X + SHR


def _data_copied(size: int) -> Cost:
    words = (size // WORD) * (cost(S=30, M=1) + READ_DATA + OFFSET)
    return cost(S=100, B=2) + save_memory(size) + OFFSET + words + READ_DATA + 2 * STORE_X


def _code_copied_as_data(base: Cost) -> Callable[[int], Cost]:
    """Init code is copied as call data is, and pays the base again for it."""
    return lambda size: base + _data_copied(size)


def _code_copied(size: int) -> Cost:
    return cost(S=40, B=3) + save_memory(size) + DIV + MUL + _byte_by_byte(size)


def _byte_by_byte(size: int) -> Cost:
    return size * (cost(S=30, B=2, M=1) + OFFSET)


def _extcodecopy(tree: Tree, base: Cost) -> Rule:
    @lru_cache(SIZES_REMEMBERED)
    def of(size: int, code_size: int) -> Cost:
        hashed = ceil_div(code_size, POSEIDON_BYTES)
        begins = base + cost(S=60, B=1, M=size, P=2 * tree.levels + hashed, D=hashed) + MASK_ADDRESS
        return begins + tree.cold_address + 2 * DIV + save_memory(size) + MUL + _byte_by_byte(size)

    def rule(frame: Frame) -> Cost:
        size = frame.operand(3) & LOW_64
        return of(size, frame.code_size(_address(frame, 0))) if size else NOTHING

    return rule


def _returned_copied(size: int) -> Cost:
    words = (size // WORD) * (cost(S=10) + LOAD_32 + STORE_32)
    return cost(S=50, B=2) + save_memory(size) + DIV + MUL + words + LOAD_X + STORE_X


def _log(size: int) -> Cost:
    hashed = ceil_div(size, POSEIDON_BYTES) + 4
    words = ((size + 1) // WORD) * (cost(S=10) + LOAD_32)
    return cost(S=73, B=2, P=hashed + 23, D=hashed) + save_memory(size) + MUL + DIV + words + LOAD_X + SHR


def _creation(made: Callable[[int], Cost], begins: Cost) -> Rule:
    @lru_cache(SIZES_REMEMBERED)
    def of(size: int, nonce_bytes: int) -> Cost:
        return begins + save_memory(size) + length_bytes(nonce_bytes) + CALL_SETUP + made(size)

    def rule(frame: Frame) -> Cost:
        nonce = frame.nonce(frame.caller)  # upstream takes the caller's where the creator's was meant
        return of(frame.operand(2) & LOW_64, byte_length(nonce + 1))

    return rule


def _call(tree: Tree, begins: Cost, *, has_value: bool) -> Rule:
    """Of an opcode that calls. `has_value`: a value stands on the stack between the address and the sizes."""
    begins += MASK_ADDRESS + tree.cold_address + CALL_SETUP
    in_at, out_at = (4, 6) if has_value else (3, 5)

    @lru_cache(SIZES_REMEMBERED)
    def of(has_input: bool, has_output: bool, code_size: int) -> Cost:
        return begins + save_memory(has_input) + save_memory(has_output) + tree.contract_call(code_size)

    def rule(frame: Frame) -> Cost:
        sizes = (bool(frame.operand(at) & LOW_64) for at in (in_at, out_at))
        return of(*sizes, frame.code_size(_address(frame, 1)))

    return rule


def _return(tree: Tree, kind: Kind) -> Callable[[int], Cost]:
    def of(size: int) -> Cost:
        begins = kind.base + cost(S=30, B=1) + save_memory(size)
        if kind.create:
            return begins + cost(S=25, B=2, P=2 * tree.levels) + STARTS_EF + linear_hash(size)
        return begins if kind.deploy else begins + _handed_back(size)

    return of


def _handed_back(size: int) -> Cost:
    return (size // WORD) * (cost(S=12) + LOAD_32 + STORE_32) + LOAD_X + STORE_X


def _address(frame: Frame, at: int) -> bytes:
    return (frame.operand(at) & ADDRESS_MASK).to_bytes(20, "big")
