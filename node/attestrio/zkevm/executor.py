"""Building blocks: transactions one by one, each of which can be taken back, then roots and header.

    executor = Executor(state, smt, rules)
    executor.begin_block(env)
    executor.apply(tx, percentage)         TxFailed: nothing has happened
    executor.take_back_tx()                the last one has never been there
    built = executor.finish_block()        or drop_block()

A block is finished for good: to undo it, go back with `unwind_to`.

Source: specified for cdk-erigon 2723db784b, core/state_transition.go; all blocks of chain 779 recompute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from attestrio.zkevm.block_info import BlockFacts, LogFacts, TxFacts, block_info_root
from attestrio.zkevm.code_hash import hash_bytes
from attestrio.zkevm.errors import ForkUnsupported, TxFailed, TxFault, WrongParent
from attestrio.zkevm.header import (
    Header,
    Log,
    Receipt,
    bloom_of,
    gas_limit,
    receipts_root,
    transactions_root,
)
from attestrio.zkevm.hook import OpcodeHook, Stopped
from attestrio.zkevm.loading import load_vm
from attestrio.zkevm.smt import Smt
from attestrio.zkevm.state import State, Tip
from attestrio.zkevm.system import write_after, write_before, write_ger
from attestrio.zkevm.transactions import ACCESS_LIST, LEGACY, Tx
from attestrio.zkevm.tree import tree_changes

if TYPE_CHECKING:
    from attestrio.zkevm.vm import Done

FIRST_FORK, LAST_FORK = 8, 13
"""Before fork 8 receipts carry a state root of their own for each transaction, which nothing here makes."""

ZERO: Final = bytes(32)
REFUND_PART: Final = 2
"""At most a half of the gas used is refunded."""

TX_GAS, CREATE_GAS = 21_000, 32_000
ZERO_BYTE_GAS, OTHER_BYTE_GAS = 4, 16
ACCESS_ADDRESS_GAS, ACCESS_SLOT_GAS = 2_400, 1_900


@dataclass(frozen=True, slots=True)
class ChainRules:
    """What holds for all blocks of a chain."""

    chain_id: int
    forks: tuple[tuple[int, int], ...] = ((9, 0),)
    """Pairs of a fork and the last batch that is not of it yet, in any order."""

    def fork_of(self, batch: int) -> int:
        """The fork of a batch: the newest of those that began before it. 0: none has."""
        return max((fork for fork, last in self.forks if last < batch), default=0)


@dataclass(frozen=True, slots=True)
class L1Info:
    """What a block takes over from L1."""

    ger: bytes
    """The global exit root, 32 bytes."""
    block_hash: bytes
    """Of the L1 block it is from, 32 bytes."""
    write: bool = True
    """Whether the state gets it: not when a block before has had this one, or a later one."""


@dataclass(frozen=True, slots=True)
class BlockEnv:
    """A block to build."""

    number: int
    timestamp: int
    """Seconds since 1970."""
    coinbase: bytes
    """20 bytes: who gets the fees."""
    fork: int
    parent_hash: bytes
    """Of the parent's header; contracts see its state root instead."""
    parent_state_root: bytes
    l1_info: L1Info | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A transaction that is in the block."""

    tx: Tx
    sender: bytes
    percentage: int
    """Of its price that it pays: n stands for (n + 1) / 256."""
    price: int
    """In wei for one gas, of what it pays."""
    status: int
    """1, or 0: reverted, or out of gas, or what else went wrong."""
    gas_used: int
    cumulative_gas: int
    logs: tuple[Log, ...]
    returned: bytes
    """What the outermost code has returned or reverted with; also code that could not be stored."""
    created: bytes | None
    """The address of the contract it was to make."""
    error: str | None
    """The name of what went wrong, "Revert" included."""

    def receipt(self) -> Receipt:
        return Receipt(self.status, self.cumulative_gas, self.logs, self.tx.type)

    def facts(self) -> TxFacts:
        """For the block info root."""
        logs = tuple(LogFacts(log.topics, log.data) for log in self.logs)
        return TxFacts(hash_bytes(self.tx.l2_form()), self.status, self.cumulative_gas, self.percentage, logs)


@dataclass(frozen=True, slots=True)
class Built:
    """A finished block."""

    env: BlockEnv
    header: Header
    hash: bytes
    """Of the header."""
    block_info_root: bytes
    outcomes: tuple[Outcome, ...]

    @property
    def state_root(self) -> bytes:
        return self.header.state_root


class Executor:
    """One block after the other, on one state and one tree. One thread at a time.

    Args:
      smt: what the state's tip says is taken over at each block; its nodes are the caller's to keep.
      hook: sees every opcode; it can be replaced between two transactions.
    """

    def __init__(self, state: State, smt: Smt, rules: ChainRules, hook: OpcodeHook | None = None) -> None:
        self.state, self.smt, self.rules = state, smt, rules
        self.hook = hook
        self._env: BlockEnv | None = None
        self._done: list[Outcome] = []
        self._load = load_vm()

    # --- the block under way

    @property
    def env(self) -> BlockEnv:
        """Of the block under way. Raises RuntimeError: there is none."""
        if self._env is None:
            raise RuntimeError("no block is under way")
        return self._env

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Of its transactions so far."""
        return tuple(self._done)

    @property
    def gas_used(self) -> int:
        """By its transactions so far."""
        return self._done[-1].cumulative_gas if self._done else 0

    def begin_block(self, env: BlockEnv) -> None:
        """Raises WrongParent, ForkUnsupported; RuntimeError while a block is under way."""
        if self._env is not None:
            raise RuntimeError("a block is under way")
        if not FIRST_FORK <= env.fork <= LAST_FORK:
            raise ForkUnsupported(env.fork, FIRST_FORK, LAST_FORK)
        tip = self.state.tip
        if env.parent_state_root != tip.root or env.number != tip.number + 1:
            raise WrongParent(env.number, env.parent_state_root, tip.number, tip.root)
        self._env = env
        self._done.clear()
        write_before(self.state, env.number, env.timestamp, env.parent_state_root)
        if env.l1_info is not None and env.l1_info.write:
            write_ger(self.state, env.l1_info.ger, env.l1_info.block_hash)

    def apply(self, tx: Tx, percentage: int) -> Outcome:
        """Put a transaction into the block. Raises TxFailed, BadTransaction, and Stopped if the hook does; with any of
        them nothing has happened."""
        env, sender = self.env, tx.sender()
        price = tx.gas_price * (percentage + 1) // 256
        self._check(tx, sender, price)
        self.state.begin_tx()
        try:
            done = self._execute(tx, sender, price)
        except Stopped:
            self.state.take_back_tx()
            raise
        used = tx.gas - done.gas_left
        used -= min(done.refund, used // REFUND_PART)
        self.state.add_balance(sender, (tx.gas - used) * price)
        self.state.add_balance(env.coinbase, used * price)
        outcome = Outcome(
            tx, sender, percentage, price, int(done.error is None), used, self.gas_used + used,
            done.logs if done.error is None else (), done.returned, done.created, done.error,
        )  # fmt: skip
        self._done.append(outcome)
        return outcome

    def take_back_tx(self) -> None:
        """The last transaction of the block has never been applied. Only once for each `apply`."""
        self._done.pop()
        self.state.take_back_tx()

    def drop_block(self) -> None:
        """The block under way has never begun."""
        self._env = None
        self._done.clear()
        self.state.drop_block()

    def finish_block(self) -> Built:
        """Roots and header; the state is then at the end of this block.

        Raises StorageUnusable, after which the block can only be dropped.
        """
        env, outcomes, root = self.env, self.outcomes, self._block_info_root()
        write_after(self.state, root)
        tip = self.state.tip
        self.smt.root_bytes, self.smt.depth = tip.root, tip.depth
        state_root = self.smt.apply(tree_changes(self.state.changes()))
        receipts = [outcome.receipt() for outcome in outcomes]
        header = Header(
            parent_hash=env.parent_hash,
            coinbase=env.coinbase,
            state_root=state_root,
            number=env.number,
            timestamp=env.timestamp,
            gas_limit=gas_limit(env.fork),
            gas_used=self.gas_used,
            transactions_root=transactions_root([outcome.tx for outcome in outcomes]),
            receipts_root=receipts_root(receipts),
            bloom=bloom_of(log for outcome in outcomes for log in outcome.logs),
        )
        self.state.commit(state_root, self.smt.depth)
        self._env = None
        self._done.clear()
        return Built(env, header, header.hash(), root, outcomes)

    def unwind_to(self, number: int) -> Tip:
        """State and tree as at the end of block `number`. Raises NoSuchBlock, StorageUnusable."""
        self.drop_block()
        tip = self.state.unwind_to(number)
        self.smt.root_bytes, self.smt.depth = tip.root, tip.depth
        return tip

    # --- within

    def _check(self, tx: Tx, sender: bytes, price: int) -> None:
        """In upstream's order, so that the same complaint comes first."""
        nonce, left = self.state.nonce(sender), gas_limit(self.env.fork) - self.gas_used
        if tx.type not in (LEGACY, ACCESS_LIST):
            raise TxFailed(TxFault.TYPE, tx.type, ACCESS_LIST)
        if tx.chain_id not in (0, self.rules.chain_id):
            raise TxFailed(TxFault.CHAIN, tx.chain_id, self.rules.chain_id)
        if tx.nonce != nonce:
            raise TxFailed(TxFault.NONCE_LOW if tx.nonce < nonce else TxFault.NONCE_HIGH, tx.nonce, nonce)
        if code := self.state.code(sender):
            raise TxFailed(TxFault.SENDER, len(code), 0)
        if tx.gas * price + tx.value > self.state.balance(sender):
            raise TxFailed(TxFault.BALANCE, tx.gas * price + tx.value, self.state.balance(sender))
        if tx.gas > left:
            raise TxFailed(TxFault.BLOCK_GAS, tx.gas, left)
        if tx.gas < (needed := intrinsic_gas(tx)):
            raise TxFailed(TxFault.GAS, tx.gas, needed)

    def _execute(self, tx: Tx, sender: bytes, price: int) -> Done:
        env = self.env
        self.state.add_balance(sender, -tx.gas * price)
        self.state.set_nonce(sender, tx.nonce + 1)
        world = self._load.World(env.fork, self.rules.chain_id, env.timestamp, env.coinbase, gas_limit(env.fork))
        gas = tx.gas - intrinsic_gas(tx)
        call = self._load.Call(sender, tx.to, tx.value, tx.data, gas, price, tx.nonce, tx.access_list)
        done: Done = self._load.run(self.state, world, call, self.hook)
        return done

    def _block_info_root(self) -> bytes:
        env = self.env
        info = env.l1_info or L1Info(ZERO, ZERO)
        facts = BlockFacts(
            parent_state_root=env.parent_state_root,
            coinbase=env.coinbase,
            number=env.number,
            gas_limit=gas_limit(env.fork),
            timestamp=env.timestamp,
            ger=info.ger,
            l1_block_hash=info.block_hash,
            gas_used=self.gas_used,
        )
        return block_info_root(facts, [outcome.facts() for outcome in self._done])


def intrinsic_gas(tx: Tx) -> int:
    """What a transaction costs before any of it is executed."""
    zeros = tx.data.count(0)
    gas = TX_GAS + CREATE_GAS * tx.is_deploy + ZERO_BYTE_GAS * zeros + OTHER_BYTE_GAS * (len(tx.data) - zeros)
    slots = sum(len(slots) for _, slots in tx.access_list)
    return gas + ACCESS_ADDRESS_GAS * len(tx.access_list) + ACCESS_SLOT_GAS * slots
