"""What a contract would answer, and what a transaction would take, on the chain as it ends now.

Executed as in the next block, on a snapshot, so that the next block is built meanwhile. Nobody signs it, it pays
nothing, and the prover's counters do not limit it: its gas and the clock do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from attestrio.errors import PeerError
from attestrio.sequencer.settings import Rules
from attestrio.sequencer.snapshot import ChainSnapshot
from attestrio.zkevm.executor import FIRST_FORK, LAST_FORK, REFUND_PART, intrinsic_gas
from attestrio.zkevm.header import gas_limit
from attestrio.zkevm.hook import Frame, Stopped
from attestrio.zkevm.loading import load_vm
from attestrio.zkevm.system import write_before
from attestrio.zkevm.transactions import unsigned_legacy

STIPEND: Final = 2_300
REVERT: Final = "Revert"
OPCODES_BETWEEN_LOOKS: Final = 256
"""At the clock: some 100 µs, unless one of them is a precompile, which its gas bounds."""


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


class Patience:
    """How long something may be executed, all its attempts together. A hook, which stops it when the time is over.

    `stop` may be called from any thread.
    """

    def __init__(self, most_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._until = clock, clock() + most_s
        self._opcodes, self._stopped = 0, False

    def stop(self) -> None:
        """Nobody waits for the end any more."""
        self._stopped = True

    def opcode(self, frame: Frame, opcode: int) -> None:
        self._opcodes += 1
        if self._opcodes % OPCODES_BETWEEN_LOOKS == 0 and (self._stopped or self._clock() >= self._until):
            raise Stopped("time")

    def take_back(self) -> None:
        pass

    def precompile(self, frame: Frame, number: int) -> None:
        pass


def call(chain: ChainSnapshot, rules: Rules, wanted: Wanted, patience: Patience) -> bytes:
    """What it returns. Blocks, for as long as its gas and `patience` last. Raises CallFailed."""
    answered = _execute(chain, rules, wanted, patience)
    if answered.error is not None:
        raise _failed(answered)
    return answered.returned


def estimate(chain: ChainSnapshot, rules: Rules, wanted: Wanted, patience: Patience) -> int:
    """The gas with which it succeeds, exactly if that is what it uses, else at most a 64th more. Raises CallFailed."""
    most = _execute(chain, rules, wanted, patience)
    if most.error is not None:
        raise _failed(most)

    def is_enough(gas: int) -> bool:
        return _execute(chain, rules, replace(wanted, gas=gas), patience).error is None

    low, high = most.gas_used + most.refund, wanted.gas
    if is_enough(low):
        return low
    guess = min((low + STIPEND) * 64 // 63, high)  # a call hands on 63 of 64 parts
    while high - low > max(high // 64, 1):
        low, high = (low, guess) if is_enough(guess) else (guess, high)
        guess = (low + high) // 2
    return high


def _execute(chain: ChainSnapshot, rules: Rules, wanted: Wanted, patience: Patience) -> Answered:
    tip, batch, state = chain.tip, chain.last_batch, chain.state
    if tip is None or batch is None:
        raise CallFailed("the chain has not begun")
    fork = rules.fork_of(batch.number + 1)
    if not FIRST_FORK <= fork <= LAST_FORK:
        raise CallFailed(f"fork {fork} is not supported")
    shape = unsigned_legacy(
        chain_id=rules.chain_id, nonce=0, gas_price=wanted.gas_price, gas=wanted.gas, to=wanted.to, value=wanted.value,
        data=wanted.data,
    )  # fmt: skip
    if wanted.gas < (needed := intrinsic_gas(shape)):
        return Answered("OutOfGas", b"", needed, 0)
    if wanted.value > state.balance(wanted.sender):
        raise CallFailed("insufficient funds for transfer")
    write_before(state, tip.number + 1, tip.timestamp, tip.state_root)
    try:
        state.begin_tx()
        vm = load_vm()
        world = vm.World(fork, rules.chain_id, tip.timestamp, rules.coinbase, gas_limit(fork))
        gas, nonce = wanted.gas - needed, state.nonce(wanted.sender)
        message = vm.Call(wanted.sender, wanted.to, wanted.value, wanted.data, gas, wanted.gas_price, nonce)
        done = vm.run(state, world, message, patience)
        used = wanted.gas - done.gas_left
        refund = min(done.refund, used // REFUND_PART)
        return Answered(done.error, done.returned, used - refund, refund)
    except Stopped as exc:
        raise CallFailed("execution aborted: it takes too long") from exc
    finally:
        state.drop_block()


def _failed(answered: Answered) -> CallFailed:
    if answered.error == REVERT:
        return CallFailed("execution reverted", answered.returned)
    return CallFailed(f"execution failed: {answered.error}")
