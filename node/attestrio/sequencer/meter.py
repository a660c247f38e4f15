"""What a builder asks of whoever counts a batch: the counters of the chain's rules, or nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attestrio.sequencer.settings import Rules
from attestrio.zkevm.counters import BatchCounters, Counters, limits_of
from attestrio.zkevm.executor import Outcome
from attestrio.zkevm.hook import OpcodeHook
from attestrio.zkevm.transactions import Tx


class BatchMeter(Protocol):
    """The counters of one batch. Answers are the letter of a counter that would be above its limit.

    With such an answer nothing has been counted.
    """

    @property
    def used(self) -> Counters | None:
        """By the batch so far; None: nobody counts."""
        ...

    def begin_block(self, l1_info: bool) -> str | None:
        """`l1_info`: whether the block has an L1 info index."""
        ...

    def begin_tx(self, tx: Tx, percentage: int, depth: int) -> OpcodeHook | str | None:
        """Before it is executed: what its opcodes are shown to. `depth`: of the state tree at this moment."""
        ...

    def end_tx(self, outcome: Outcome, code_length: int) -> str | None:
        """`code_length`: of the recipient as it is now, 0 when a contract was made."""
        ...

    def take_back_tx(self) -> None:
        """The transaction that has begun could not be executed."""
        ...

    def take_back_block(self) -> None:
        """The block that was begun last has never been; it has no transaction."""
        ...


Meters = Callable[[int, int], BatchMeter]
"""A meter for a batch of this fork, begun on a state tree of this depth."""


class NoMeter:
    """A `BatchMeter` that has room for everything."""

    @property
    def used(self) -> None:
        return None

    def begin_block(self, l1_info: bool) -> None:
        return None

    def begin_tx(self, tx: Tx, percentage: int, depth: int) -> None:
        return None

    def end_tx(self, outcome: Outcome, code_length: int) -> None:
        return None

    def take_back_tx(self) -> None:
        """Nothing was counted."""

    def take_back_block(self) -> None:
        """Nothing was counted."""


def meters_of(rules: Rules) -> Meters:
    """The counters of a fork, with limits as low as the rules say; or none at all. Raises UnknownCounter."""
    if not rules.counters:
        return lambda fork, depth: NoMeter()
    limits_of(0).lowered(rules.limits)  # raises now, and not when the first batch begins

    def meter(fork: int, depth: int) -> BatchMeter:
        return BatchCounters(fork, depth, limits_of(fork).lowered(rules.limits), rules.smt_factor, stops=True)

    return meter
