"""What wants to see every opcode before it runs, and what it gets to see: the counters of a batch do.

A hook is called once an opcode's operands are on the stack, and before any of it is done, calls and creations included.
What gas it takes is known only while it runs; where there is too little, the hook is told at once that this opcode has
never run.
"""

from __future__ import annotations

from typing import Protocol


class Frame(Protocol):
    """A message that is being executed."""

    @property
    def is_create(self) -> bool:
        """The code is the init code of a CREATE, or of a transaction that makes a contract."""
        ...

    @property
    def is_create2(self) -> bool:
        """The code is the init code of a CREATE2."""
        ...

    @property
    def is_deploy(self) -> bool:
        """The transaction makes a contract: true in all of its frames."""
        ...

    @property
    def depth(self) -> int:
        """0: called by the transaction itself."""
        ...

    @property
    def caller(self) -> bytes:
        """20 bytes: what CALLER gives."""
        ...

    @property
    def address(self) -> bytes:
        """20 bytes: what ADDRESS gives."""
        ...

    @property
    def input(self) -> bytes:
        """The call data."""
        ...

    def operand(self, at: int) -> int:
        """Of the opcode that comes next: the word `at` below the top of the stack."""
        ...

    def code_size(self, address: bytes) -> int:
        """Bytes of code there, as the state is now. No access is noted."""
        ...

    def nonce(self, address: bytes) -> int: ...


class Stopped(Exception):
    """Raised by a hook, no error: whatever else the transaction does, it fits nowhere, and is to be taken back."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        """The letter of the counter that is above its limit."""


class OpcodeHook(Protocol):
    """All three are called on the way, in the order of execution. Only `opcode` may raise something: Stopped."""

    def opcode(self, frame: Frame, opcode: int) -> None:
        """This comes next. Undefined opcodes are not shown, INVALID is, and so is the STOP behind the end of code."""
        ...

    def take_back(self) -> None:
        """The opcode shown last has not run after all: too little gas, or no room on the stack."""
        ...

    def precompile(self, frame: Frame, number: int) -> None:
        """A precompile was called (its address as a number) that is enabled and whose gas is paid."""
        ...
