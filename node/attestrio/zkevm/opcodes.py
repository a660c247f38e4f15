"""The opcodes of a zkEVM: Berlin's, with those that are another way in it. Needs py-evm: loaded with `vm`.

| opcode | here |
|---|---|
| 3f EXTCODEHASH | 0 for every account without code |
| 40 BLOCKHASH | the state root of any block before this one, from the storage of the system contract |
| 43 NUMBER | from the storage of the system contract |
| 44 DIFFICULTY | 0 |
| 5f PUSH0 | from fork 5 on |
| f0 CREATE, f5 CREATE2 | before fork 12 the new address is cold again when the creation fails |
| ff SELFDESTRUCT | sends the balance and stops; nothing is destroyed or refunded |

Source: cdk-erigon, core/vm/jump_table_zkevm.go and instructions_zkevm.go; state roots of its vectors recompute. That
table gives SELFDESTRUCT no constant gas; the vectors, which are the prover's, have Berlin's 5,000.
"""

from __future__ import annotations

from typing import Any, Final

from eth import constants
from eth.abc import ComputationAPI, StateAPI
from eth.exceptions import Halt
from eth.vm import mnemonics, opcode_values
from eth.vm.forks.berlin import constants as berlin
from eth.vm.forks.berlin.opcodes import BERLIN_OPCODES
from eth.vm.forks.byzantium.opcodes import ensure_no_static
from eth.vm.forks.tangerine_whistle.constants import GAS_SELFDESTRUCT_EIP150
from eth.vm.logic import system
from eth.vm.opcode import as_opcode
from eth_typing import Address

PUSH0: Final = 0x5F
INVALID: Final = 0xFE
CREATE2: Final = 0xF5
DRAGONFRUIT, BANANA = 5, 12


def opcodes(fork: int) -> dict[int, Any]:
    """What runs, by opcode."""
    table: dict[int, Any] = dict(BERLIN_OPCODES)
    table[opcode_values.EXTCODEHASH] = as_opcode(extcodehash, mnemonics.EXTCODEHASH, 0)
    table[opcode_values.SELFDESTRUCT] = as_opcode(
        ensure_no_static(send_all), mnemonics.SELFDESTRUCT, GAS_SELFDESTRUCT_EIP150
    )
    if fork >= DRAGONFRUIT:
        table[PUSH0] = as_opcode(push0, "PUSH0", constants.GAS_BASE)
    if fork < BANANA:  # Berlin's warm the address at once; `vm` does it later, where it can be taken back
        create = system.CreateByzantium.configure(
            __name__="opcode:CREATE", mnemonic=mnemonics.CREATE, gas_cost=constants.GAS_CREATE
        )
        create2 = system.Create2.configure(
            __name__="opcode:CREATE2", mnemonic=mnemonics.CREATE2, gas_cost=constants.GAS_CREATE
        )
        table[opcode_values.CREATE], table[opcode_values.CREATE2] = create(), create2()
    return table


def stack_heights(fork: int) -> dict[int, int]:
    """How many words each opcode finds on the stack, for all that a hook is shown."""
    return {opcode: height for opcode, height in HEIGHTS.items() if opcode != PUSH0 or fork >= DRAGONFRUIT}


def _heights() -> dict[int, int]:
    found = {
        0: "00 30 32 33 34 36 38 3a 3d 41 42 43 44 45 46 47 58 59 5a 5b 5f fe",
        1: "15 19 31 35 3b 3f 40 50 51 54 56 ff",
        2: "01 02 03 04 05 06 07 0a 0b 10 11 12 13 14 16 17 18 1a 1b 1c 1d 20 52 53 55 57 a0 f3 fd",
        3: "08 09 37 39 3e a1 f0",
        4: "3c a2 f5",
        5: "a3",
        6: "a4 f4 fa",
        7: "f1 f2",
    }
    heights = {int(opcode, 16): height for height, names in found.items() for opcode in names.split()}
    heights.update(dict.fromkeys(range(0x60, 0x80), 0))
    heights.update({0x80 + at: at + 1 for at in range(16)})
    heights.update({0x90 + at: at + 2 for at in range(16)})
    return heights


HEIGHTS: Final = _heights()


def push0(computation: ComputationAPI) -> None:
    computation.stack_push_int(0)


def extcodehash(computation: ComputationAPI) -> None:
    address = popped_address(computation)
    computation.consume_gas(access_gas(computation.state, address), mnemonics.EXTCODEHASH)
    computation.stack_push_bytes(computation.state.get_code_hash(address))


def send_all(computation: ComputationAPI) -> None:
    state, here = computation.state, computation.msg.storage_address
    to = popped_address(computation)
    gas = 0 if state.is_address_warm(to) else berlin.COLD_ACCOUNT_ACCESS_COST
    state.mark_address_warm(to)
    balance = state.get_balance(here)
    if balance and state.account_is_empty(to):
        gas += constants.GAS_SELFDESTRUCT_NEWACCOUNT
    computation.consume_gas(gas, mnemonics.SELFDESTRUCT)
    if to != here:
        state.delta_balance(to, balance)
        state.delta_balance(here, -balance)
    raise Halt("SELFDESTRUCT")


def popped_address(computation: ComputationAPI) -> Address:
    return Address(computation.stack_pop1_int().to_bytes(32, "big")[12:])


def access_gas(state: StateAPI, address: Address) -> int:
    """What it costs to look at an account, which is warm afterwards."""
    if state.is_address_warm(address):
        return berlin.WARM_STORAGE_READ_COST
    state.mark_address_warm(address)
    return berlin.COLD_ACCOUNT_ACCESS_COST
