"""How much of the prover a batch uses, counted while it is built: eight counters, with limits by fork.

`BatchCounters` is what a sequencer asks; `helpers` and `opcodes` hold the rules. Upstream calls them virtual counters.
"""

from attestrio.zkevm.counters.batch import BatchCounters, levels_at
from attestrio.zkevm.counters.transaction import TxCounters
from attestrio.zkevm.counters.values import LETTERS, UNLIMITED, Counters, limits_of

__all__ = ["LETTERS", "UNLIMITED", "BatchCounters", "Counters", "TxCounters", "levels_at", "limits_of"]
