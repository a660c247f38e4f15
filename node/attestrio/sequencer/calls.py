"""What a contract would answer, and what a transaction would take, on the chain as it ends now.

Executed as in the next block, and taken back. Nobody signs it, it pays nothing, and the prover's counters do not limit
it: its gas does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Final

from attestrio.errors import PeerError
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.settings import Rules
from attestrio.zkevm.executor import REFUND_PART, BlockEnv, Executor, intrinsic_gas
from attestrio.zkevm.header import gas_limit
from attestrio.zkevm.loading import load_vm
from attestrio.zkevm.transactions import unsigned_legacy

STIPEND: Final = 2_300
REVERT: Final = "Revert"


class CallFailed(PeerError):
    """A call, or a transaction whose gas is asked for, cannot be executed, or fails."""

    code: ClassVar[str] = "execution_refused"

    def __init__(self, why: str, returned: bytes = b"") -> None:
        super().__init__(why)
        self.returned = returned
        """What it has reverted with."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A message nobody has signed."""

    to: bytes | None
    """None: `data` is to make a contract."""
    data: bytes = b""
    sender: bytes = bytes(20)
    value: int = 0
    gas: int = 30_000_000
    gas_price: int = 0
    """What GASPRICE says; nothing is paid."""


@dataclass(frozen=True, slots=True)
class Answered:
    """How it ended."""

    error: str | None
    """The name of what went wrong, `REVERT` included."""
    returned: bytes
    gas_used: int
    """What it would pay for."""
    refund: int
    """What it used, and has not to pay for."""


def call(db: ChainDb, rules: Rules, wanted: Wanted) -> bytes:
    """What it returns. Blocks, for as long as its gas lasts. Raises CallFailed."""
    answered = _execute(db, rules, wanted)
    if answered.error is not None:
        raise _failed(answered)
    return answered.returned


def estimate(db: ChainDb, rules: Rules, wanted: Wanted) -> int:
    """The gas with which it succeeds, exactly if that is what it uses, else at most a 64th more. Raises CallFailed."""
    most = _execute(db, rules, wanted)
    if most.error is not None:
        raise _failed(most)

    def is_enough(gas: int) -> bool:
        return _execute(db, rules, replace(wanted, gas=gas)).error is None

    low, high = most.gas_used + most.refund, wanted.gas
    if is_enough(low):
        return low
    guess = min((low + STIPEND) * 64 // 63, high)  # a call hands on 63 of 64 parts
    while high - low > max(high // 64, 1):
        low, high = (low, guess) if is_enough(guess) else (guess, high)
        guess = (low + high) // 2
    return high


def _execute(db: ChainDb, rules: Rules, wanted: Wanted) -> Answered:
    tip, batch = db.tip, db.last_batch
    if tip is None or batch is None:
        raise CallFailed("the chain has not begun")
    fork = rules.fork_of(batch.number + 1)
    shape = unsigned_legacy(
        chain_id=rules.chain_id, nonce=0, gas_price=wanted.gas_price, gas=wanted.gas, to=wanted.to, value=wanted.value,
        data=wanted.data,
    )  # fmt: skip
    if wanted.gas < (needed := intrinsic_gas(shape)):
        return Answered("OutOfGas", b"", needed, 0)
    if wanted.value > db.state.balance(wanted.sender):
        raise CallFailed("insufficient funds for transfer")
    executor = Executor(db.state, db.smt, rules.chain)
    executor.begin_block(BlockEnv(tip.number + 1, tip.timestamp, rules.coinbase, fork, tip.hash, tip.state_root))
    try:
        db.state.begin_tx()
        vm = load_vm()
        world = vm.World(fork, rules.chain_id, tip.timestamp, rules.coinbase, gas_limit(fork))
        gas = wanted.gas - needed
        nonce = db.state.nonce(wanted.sender)
        done = vm.run(
            db.state, world,
            vm.Call(wanted.sender, wanted.to, wanted.value, wanted.data, gas, wanted.gas_price, nonce),
        )  # fmt: skip
        used = wanted.gas - done.gas_left
        refund = min(done.refund, used // REFUND_PART)
        return Answered(done.error, done.returned, used - refund, refund)
    finally:
        executor.drop_block()


def _failed(answered: Answered) -> CallFailed:
    if answered.error == REVERT:
        return CallFailed("execution reverted", answered.returned)
    return CallFailed(f"execution failed: {answered.error}")
