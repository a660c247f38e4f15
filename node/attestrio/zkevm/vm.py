"""Execution of one message, and of all it calls: py-evm's machine over our state, with a zkEVM's rules.

The only way in is `run`. Whoever needs it imports this file inside a function, through `loading.vm`: py-evm is in the
extra `zkevm`, takes half a second to load, and raises the interpreter's recursion limit.

Source of the rules: cdk-erigon, core/vm/evm_zkevm.go. Where we differ: nothing is counted here, see `hook`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Final

from eth._utils.address import generate_contract_address
from eth.abc import ComputationAPI, MessageAPI, StateAPI, TransactionContextAPI
from eth.constants import CREATE_CONTRACT_ADDRESS
from eth.exceptions import FullStack, Halt, InsufficientStack, InvalidInstruction, OutOfGas, VMError
from eth.vm.forks.berlin.computation import BerlinComputation
from eth.vm.forks.frontier.transaction_context import FrontierTransactionContext
from eth.vm.message import Message
from eth_typing import Address

from attestrio.kit.recursion import deeper_recursion
from attestrio.zkevm import opcodes as ops
from attestrio.zkevm.header import Log
from attestrio.zkevm.hook import OpcodeHook
from attestrio.zkevm.late import ANYWHERE as LATE_ANYWHERE
from attestrio.zkevm.late import STATIC as LATE_IN_STATIC
from attestrio.zkevm.late import is_unpaid
from attestrio.zkevm.precompiles import Precompile, is_paid, precompiles
from attestrio.zkevm.state import State
from attestrio.zkevm.transactions import AccessList
from attestrio.zkevm.vm_state import VmState, World

PUSH1: Final = 0x60
FORK_10: Final = 10
DEEP: Final = 32
FRAMES_OF_PYTHON: Final = 16
"""A call at this depth, and each above it: how deep they may nest in the interpreter, generously."""


@dataclass(frozen=True, slots=True)
class Call:
    """The outermost message of a transaction, whose nonce and fee have been seen to."""

    sender: bytes
    to: bytes | None
    """None: `data` is init code."""
    value: int
    data: bytes
    gas: int
    """Without the intrinsic gas."""
    gas_price: int
    nonce: int
    """Of the transaction."""
    access_list: AccessList = ()


@dataclass(frozen=True, slots=True)
class Done:
    """How it ended. What it changed is in the state; nothing of it is when `error` is not None."""

    error: str | None
    """The name of what went wrong, "Revert" included."""
    gas_left: int
    refund: int
    """Before it is limited to a half of the gas used."""
    returned: bytes
    """By RETURN or REVERT; also the code of a contract that could not be made of it."""
    logs: tuple[Log, ...]
    created: bytes | None
    """Where a contract was made, or would have been."""


def run(state: State, world: World, call: Call, hook: OpcodeHook | None = None) -> Done:
    """Execute a message within a transaction that has begun. Raises nothing of its own."""
    kind = computation_class(world.fork)
    vm_state = VmState(state, world, kind, hook, is_deploy=call.to is None)
    created = None if call.to else bytes(generate_contract_address(Address(call.sender), call.nonce))
    _warm_up(state, call)
    if created and vm_state.has_code_or_nonce(Address(created)):
        return Done("ContractCreationCollision", 0, 0, b"", (), created)
    message = Message(
        gas=call.gas,
        to=Address(call.to) if call.to else CREATE_CONTRACT_ADDRESS,
        sender=Address(call.sender),
        value=call.value,
        data=call.data if call.to else b"",
        code=state.code(call.to) if call.to else call.data,
    )
    if created:
        message.storage_address = Address(created)
    context = FrontierTransactionContext(gas_price=call.gas_price, origin=Address(call.sender))
    apply = kind.apply_create_message if created else kind.apply_message
    ended = apply(vm_state, message, context)
    return Done(
        error=type(ended.error).__name__ if ended.is_error else None,
        gas_left=ended.get_gas_remaining(),
        refund=vm_state.refund,
        returned=bytes(ended._output),  # `output` is empty after all errors but REVERT
        logs=tuple(vm_state.logs),
        created=created,
    )


def _warm_up(state: State, call: Call) -> None:
    state.warm(call.sender)
    if call.to is not None:
        state.warm(call.to)
    for address, slots in call.access_list:
        state.warm(address)
        for slot in slots:
            state.warm(address, slot)


class CodeRefused(VMError):
    """Before fork 10 code that ends with a PUSH1 is not called at all; the gas comes back."""

    burns_gas = False


class ReservedCode(VMError):
    """Code that begins with ef cannot be stored."""


class ZkComputation(BerlinComputation):
    """One frame. It is what a hook sees as `hook.Frame`."""

    fork = 0
    heights: dict[int, int] = {}  # noqa: RUF012  # replaced as a whole in `computation_class`, like those it inherits
    opcode = -1  # the one that runs
    is_create2 = False

    # --- what a hook sees

    @property
    def is_create(self) -> bool:
        return self.msg.is_create and not self.is_create2

    @property
    def is_deploy(self) -> bool:
        deploy: bool = self.state.is_deploy  # type: ignore[attr-defined]
        return deploy

    @property
    def depth(self) -> int:
        return self.msg.depth

    @property
    def caller(self) -> bytes:
        return self.msg.sender

    @property
    def address(self) -> bytes:
        return self.msg.storage_address

    @property
    def input(self) -> bytes:
        return self.msg.data_as_bytes

    def operand(self, at: int) -> int:
        word = self._stack.values[-1 - at]  # type: ignore[attr-defined]
        return word if isinstance(word, int) else int.from_bytes(word, "big")

    def code_size(self, address: bytes) -> int:
        return len(self.state.get_code(Address(address)))

    def nonce(self, address: bytes) -> int:
        return self.state.get_nonce(Address(address))

    # --- messages

    @classmethod
    def apply_message(
        cls,
        state: StateAPI,
        message: MessageAPI,
        transaction_context: TransactionContextAPI,
        parent_computation: ComputationAPI | None = None,
    ) -> ComputationAPI:
        refused = cls.fork < FORK_10 and not message.is_create and message.code[-1:] == bytes([PUSH1])
        if refused and message.code_address not in cls.get_precompiles():
            computation = cls(state, message, transaction_context)
            computation.error = CodeRefused("the code ends with a PUSH1")
            return computation
        with _room(message.depth):
            return super().apply_message(state, message, transaction_context, parent_computation)

    @classmethod
    def apply_create_message(
        cls,
        state: StateAPI,
        message: MessageAPI,
        transaction_context: TransactionContextAPI,
        parent_computation: ComputationAPI | None = None,
    ) -> ComputationAPI:
        checkpoint = state.snapshot()
        state.mark_address_warm(message.storage_address)  # from fork 12 on a nested one is warm already, and stays so
        computation = super().apply_create_message(state, message, transaction_context, parent_computation)
        if computation.is_error:
            state.revert(checkpoint)
        return computation

    @classmethod
    def validate_contract_code(cls, contract_code: bytes) -> None:
        super().validate_contract_code(contract_code)
        if contract_code[:1] == b"\xef":
            raise ReservedCode("the code begins with ef")

    @classmethod
    def apply_computation(
        cls,
        state: StateAPI,
        message: MessageAPI,
        transaction_context: TransactionContextAPI,
        parent_computation: ComputationAPI | None = None,
    ) -> ComputationAPI:
        with cls(state, message, transaction_context) as computation:
            assert isinstance(computation, ZkComputation)
            computation.is_create2 = message.is_create and getattr(parent_computation, "opcode", None) == ops.CREATE2
            hook: OpcodeHook | None = state.hook  # type: ignore[attr-defined]
            precompile = cls.get_precompiles().get(message.code_address)
            if precompile is not None:
                computation.run_precompile(precompile, hook)
            elif message.code:
                computation.run_code(hook)
        return computation

    # --- what py-evm would collect from a tree of frames, after the end and by recursion

    def refund_gas(self, amount: int) -> None:
        self.state.refund += amount  # type: ignore[attr-defined]

    def add_log_entry(self, account: Address, topics: tuple[int, ...], data: bytes) -> None:
        log = Log(bytes(account), tuple(topic.to_bytes(32, "big") for topic in topics), bytes(data))
        self.state.logs.append(log)  # type: ignore[attr-defined]

    def add_child_computation(self, child_computation: ComputationAPI) -> None:
        made = child_computation.msg.is_create and child_computation.is_success
        self.return_data = b"" if made else child_computation.output

    # --- code

    def run_precompile(self, precompile: Precompile, hook: OpcodeHook | None) -> None:
        try:
            precompile(self)
        except VMError as exc:
            if hook is not None and is_paid(exc):
                hook.precompile(self, int.from_bytes(self.msg.code_address, "big"))
            raise
        if hook is not None:
            hook.precompile(self, int.from_bytes(self.msg.code_address, "big"))

    def run_code(self, hook: OpcodeHook | None) -> None:
        table = self.opcodes
        late = LATE_IN_STATIC if self.msg.is_static else LATE_ANYWHERE
        try:
            for opcode in self.code:
                self.opcode = opcode
                function = table.get(opcode, _undefined)
                if hook is None or not self._has_operands(opcode):
                    function(self)
                elif opcode in late and is_unpaid(self, opcode):
                    function(self)  # which fails
                else:
                    self._run_shown(hook, opcode, function)
        except Halt:
            return

    def _has_operands(self, opcode: int) -> bool:
        """Whether it is an opcode that a hook is shown, and its operands are on the stack."""
        height = self.heights.get(opcode)
        return height is not None and len(self._stack.values) >= height  # type: ignore[attr-defined]

    def _run_shown(self, hook: OpcodeHook, opcode: int, function: Callable[[ComputationAPI], object]) -> None:
        hook.opcode(self, opcode)
        try:
            function(self)
        except (OutOfGas, FullStack, InsufficientStack):  # never that of a frame it has called, which ends there
            hook.take_back()
            raise


def _undefined(computation: ComputationAPI) -> None:
    raise InvalidInstruction("undefined opcode")


@contextmanager
def _room(depth: int) -> Iterator[None]:
    """Deeply nested calls need more of the interpreter's stack than usual, and only they get it."""
    if depth != DEEP:
        yield
    else:
        with deeper_recursion(1025 * FRAMES_OF_PYTHON):
            yield


@cache
def computation_class(fork: int) -> type[ZkComputation]:
    """The rules of a fork."""
    return type(
        f"Fork{fork}Computation",
        (ZkComputation,),
        {
            "fork": fork,
            "opcodes": ops.opcodes(fork),
            "heights": ops.stack_heights(fork),
            "_precompiles": precompiles(fork),
        },
    )
