"""By what a chain is built: the rules of the chain, and what the operator chooses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from attestrio.zkevm.counters.batch import SMT_FACTOR
from attestrio.zkevm.executor import ChainRules
from attestrio.zkevm.transactions import Percentages

DATA_BUDGET: Final = 120_000
"""Bytes of a batch's data on L1."""
BLOCK_DATA: Final = 65
"""Of that, what the start of a block is counted as. It takes 9; this is upstream's number, and decides the same."""
BLOCK_SEAL_S: Final = 6.0
BATCH_SEAL_S: Final = 12.0


@dataclass(frozen=True, slots=True)
class Rules:
    """How batches are built. Two builders with equal rules, blocks and leaves make equal bytes."""

    chain_id: int
    forks: tuple[tuple[int, int], ...]
    """Pairs of a fork and the last batch that is not of it yet, in any order."""
    coinbase: bytes
    """20 bytes: who gets the fees of every block, rebuilt ones included."""
    percentages: Percentages = field(default_factory=Percentages)
    """Other ones give other hashes."""
    counters: bool = True
    """Whether batches are bounded by counters."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Counters whose limit is lower than their fork's, by name: S A B M K D P SHA."""
    smt_factor: float = SMT_FACTOR
    """Of the levels of the state tree, for the counters."""
    data_budget: int = DATA_BUDGET
    """Bytes."""
    block_seal_s: float = BLOCK_SEAL_S
    batch_seal_s: float = BATCH_SEAL_S
    """Since the first transaction, or since the batch began. Batches that are rebuilt have no clock."""

    @property
    def chain(self) -> ChainRules:
        return ChainRules(self.chain_id, self.forks)

    def fork_of(self, batch: int) -> int:
        """The fork of a batch; 0: none has begun."""
        return self.chain.fork_of(batch)
