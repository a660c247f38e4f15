"""What can be wrong with a transaction, a block and the state they are executed on."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from attestrio.errors import PeerError, SafetyError, SetupError


class BadRlp(PeerError):
    """Bytes that should be RLP are not, or not in the one form it allows."""

    code: ClassVar[str] = "bad_rlp"


class BadTransaction(PeerError):
    """Bytes that should be a signed transaction are none, or its signature cannot be right on any chain."""

    code: ClassVar[str] = "bad_transaction"


class TypedTransactionRefused(PeerError):
    """A typed transaction was to go into a batch: what its form in the batch data is has not been decided upstream."""

    code: ClassVar[str] = "typed_transaction_refused"

    def __init__(self, type_: int) -> None:
        super().__init__(f"transaction of type {type_}, only legacy ones have a form in the batch data")
        self.type = type_


class TxFault(StrEnum):
    """Why a transaction cannot be executed at all."""

    CHAIN = "chain_id"
    TYPE = "type"
    NONCE_LOW = "nonce_too_low"
    NONCE_HIGH = "nonce_too_high"
    SENDER = "sender_has_code"
    BALANCE = "balance"
    GAS = "intrinsic_gas"
    BLOCK_GAS = "block_gas"


class TxFailed(PeerError):
    """A transaction cannot be executed on the state as it is: it leaves no trace, not even a receipt."""

    code: ClassVar[str] = "tx_failed"

    def __init__(self, fault: TxFault, got: int, limit: int) -> None:
        super().__init__(f"{fault}: {got}, the state allows {limit}")
        self.fault, self.got, self.limit = fault, got, limit


class ForkUnsupported(SetupError):
    """A batch belongs to a fork whose rules are not known here."""

    code: ClassVar[str] = "fork_unsupported"

    def __init__(self, fork: int, first: int, last: int) -> None:
        super().__init__(f"fork {fork}, this release knows {first} to {last}")
        self.fork, self.first, self.last = fork, first, last


class NoSuchBlock(SafetyError):
    """The state is to go back to a block it has never had, or no longer knows the way to."""

    code: ClassVar[str] = "no_such_block"

    def __init__(self, block: int, oldest: int, newest: int) -> None:
        super().__init__(f"the state can go back to blocks {oldest} to {newest}, not {block}")
        self.block, self.oldest, self.newest = block, oldest, newest


class WrongParent(SafetyError):
    """A block is to be built on something else than the end of the block before it."""

    code: ClassVar[str] = "wrong_parent"

    def __init__(self, number: int, got: bytes, tip: int, want: bytes) -> None:
        super().__init__(f"block {number} on root {got.hex()}, the state is at the end of block {tip}, {want.hex()}")
        self.number, self.got, self.tip, self.want = number, got, tip, want


class UnknownCounter(SetupError):
    """A limit was given for a counter that does not exist."""

    code: ClassVar[str] = "unknown_counter"

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"no counter is called {name!r}, there are {', '.join(known)}")
        self.name, self.known = name, known
