"""What a batch uses of its eight counters, asked before a block begins, and before and after each transaction.

    counters = BatchCounters(fork, depth, limits_of(fork))
    counters.begin_block(l1_info=False)            a letter: the block does not fit, the batch ends
    counting = counters.begin_tx(tx, 255, depth)   a letter: the transaction does not fit
    executor.hook = counting
    outcome = executor.apply(tx, 255)
    counters.end_tx(outcome, code_length)          a letter: it does not fit and has been taken back

What does not fit has not been counted. A transaction that could not be executed keeps its first part counted, as it
does upstream, until `take_back_tx`; whoever wants it counted leaves it.

Source: cdk-erigon 2723db784b, core/vm/zk_batch_counters.go. There a block that does not fit stays counted, which
nothing is left to see, as the batch ends with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from attestrio.zkevm.counters.helpers import (
    CONSOLIDATE,
    DIV,
    KECCAK_BYTES,
    MAX_LEVELS,
    ceil_div,
    cost,
)
from attestrio.zkevm.counters.transaction import TxCounters, counted_whole, processing_cost, reading_cost
from attestrio.zkevm.counters.values import Counters, is_over, room_of, unpacked
from attestrio.zkevm.executor import Outcome
from attestrio.zkevm.transactions import Tx

SMT_FACTOR: Final = 0.6
"""What upstream expects of the levels that a batch touches, `zkevm.virtual-counters-smt-reduction`."""
LEAVES_ADDED: Final = 50_000
LEAST_LEVELS: Final = 32
"""Of blocks and transactions, before the factor."""
BLOCK_BYTES: Final = 9
"""That the beginning of a block takes in the data of a batch."""
DEEPEST: Final = 255


def levels_at(depth: int, factor: float, *, least: int = 0) -> int:
    """Of a state tree whose deepest leaf is so many levels down, once a batch has added to it."""
    bits = ((1 << min(depth, DEEPEST)) + LEAVES_ADDED).bit_length()
    return int(max(bits, least) * factor)


@dataclass(frozen=True, slots=True)
class Parts:
    """What is in a batch, its costs packed."""

    blocks: int = 0
    size: int = 0
    """Bytes of its data."""
    reading: int = 0
    execution: int = 0
    processing: int = 0


class BatchCounters:
    """The counters of one batch. A transaction takes 0.1 ms besides its opcodes, whatever it holds.

    Args:
      depth: of the state tree when the batch begins.
      limits: of its fork, or less.
      factor: the part of the tree's levels that counts.
      stops: hooks raise Stopped when a transaction alone is above the limits; `take_back_tx` is then to be called.
    """

    def __init__(
        self, fork: int, depth: int, limits: Counters, factor: float = SMT_FACTOR, *, stops: bool = False
    ) -> None:
        self.fork, self.limits, self._stops = fork, limits, stops
        self._factor, self._room = factor, room_of(limits)
        self._batch_levels = levels_at(depth, factor)
        block_levels = levels_at(depth, factor, least=LEAST_LEVELS)
        self._block = tuple(block_cost(block_levels, l1_info=flag) for flag in (False, True))
        self._parts, self._l1_info = Parts(), False
        self._before_block = (self._parts, self._l1_info)
        self._before_tx = self._parts
        self._tx: tuple[TxCounters, int] | None = None

    # --- building

    def begin_block(self, l1_info: bool) -> str | None:
        """A block begins, with an index into the L1 info tree or without.

        None, or the letter of the counter that has no room for it: then nothing has been counted. Upstream charges
        every block of the batch as if it had an index when this one has.
        """
        parts = replace(self._parts, blocks=self._parts.blocks + 1, size=self._parts.size + BLOCK_BYTES)
        if short := self._short(parts, l1_info):
            return short
        self._before_block = (self._parts, self._l1_info)
        self._parts, self._before_tx, self._l1_info, self._tx = parts, parts, l1_info, None
        return None

    def begin_tx(self, tx: Tx, percentage: int, depth: int) -> TxCounters | str:
        """Count that a transaction is read, and get the hook that counts while it is executed.

        Or the letter of the counter that has no room for it: then nothing has been counted. Raises
        TypedTransactionRefused.

        Args:
          depth: of the state tree at the end of the last block.
        """
        size = len(tx.batch_l2_data(percentage))
        levels = levels_at(depth, self._factor, least=LEAST_LEVELS)
        reading = self._parts.reading + counted_whole(reading_cost(tx, size), self.limits)
        parts = replace(self._parts, size=self._parts.size + size, reading=reading)
        if short := self._short(parts, l1_info=False):
            return short
        self._before_tx, self._parts = self._parts, parts
        counting = TxCounters(self.fork, levels, self.limits, stops=self._stops)
        self._tx = (counting, levels)
        return counting

    def end_tx(self, outcome: Outcome, code_length: int) -> str | None:
        """Count what the transaction begun last has executed, and its processing.

        None, or the letter of the counter that has no room for it: then all of it has been taken back, and so should
        the executor. Raises RuntimeError: none is under way.

        Args:
          code_length: bytes of the recipient's code, now that it has ended. Not looked at when it makes a contract.
        """
        if self._tx is None:
            raise RuntimeError("no transaction is being counted")
        counting, levels = self._tx
        deploy = outcome.tx.is_deploy
        length = len(outcome.returned) if deploy else code_length
        processing = counted_whole(processing_cost(self.fork, levels, length, deploy=deploy), self.limits)
        parts = replace(
            self._parts,
            execution=self._parts.execution + counting.packed,
            processing=self._parts.processing + processing,
        )
        self._tx = None
        if short := self._short(parts, self._l1_info):
            self._parts = self._before_tx
            return short
        self._parts = parts
        return None

    def take_back_tx(self) -> None:
        """The transaction begun last, ended or not, has not been there."""
        self._parts, self._tx = self._before_tx, None

    def take_back_block(self) -> None:
        """The block begun last, with its transactions, has not been there."""
        self._parts, self._l1_info = self._before_block
        self._before_tx, self._tx = self._parts, None

    # --- what is used

    @property
    def used(self) -> Counters:
        """By all blocks and transactions so far, and what the batch itself needs."""
        return unpacked(self._total(self._parts, self._l1_info))

    @property
    def data_size(self) -> int:
        """Bytes of the batch's data, 9 for each block; the budget of 120,000 bytes has 65 there."""
        return self._parts.size

    def explain(self) -> dict[str, Counters]:
        """What `used` is the sum of: the batch, its blocks, and the three parts of its transactions."""
        parts = self._parts
        return {
            "batch": unpacked(batch_cost(self._batch_levels, parts.size)),
            "blocks": unpacked(parts.blocks * self._block[self._l1_info]),
            "reading": unpacked(parts.reading),
            "execution": unpacked(parts.execution),
            "processing": unpacked(parts.processing),
        }

    def _total(self, parts: Parts, l1_info: bool) -> int:
        blocks = parts.blocks * self._block[l1_info]
        return batch_cost(self._batch_levels, parts.size) + blocks + parts.reading + parts.execution + parts.processing

    def _short(self, parts: Parts, l1_info: bool) -> str | None:
        """The letter of the first counter that would be above its limit."""
        total = self._total(parts, l1_info)
        return unpacked(total).over(self.limits)[0] if is_over(self._room, total) else None


def batch_cost(levels: int, size: int) -> int:
    """Of a batch with so many bytes of data, packed."""
    hashed = ceil_div(size + 1, KECCAK_BYTES)
    begins = cost(S=100 + 2, B=2, K=hashed, P=levels) + DIV
    return (begins + CONSOLIDATE + cost(S=200, B=2, K=2, P=levels)).whole


def block_cost(levels: int, *, l1_info: bool) -> int:
    """Of one block, packed."""
    begins = cost(S=70, B=8, K=2, P=6 * levels) + CONSOLIDATE + cost(S=40, B=7, P=6 * MAX_LEVELS) + cost(S=50)
    return (begins + cost(S=250, B=1, K=33)).whole if l1_info else begins.whole
