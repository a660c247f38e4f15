"""A chain as it grows: its database, the builder of batches, and the writer of its stream.

Named here is what needs no file.
"""

from attestrio.sequencer.leaves import Leaf, Leaves, MemoryLeaves, next_index
from attestrio.sequencer.sealed import BatchHead, SealedBatch, SealedBlock, SealedTx
from attestrio.sequencer.settings import BATCH_SEAL_S, BLOCK_DATA, BLOCK_SEAL_S, DATA_BUDGET, Rules

__all__ = [
    "BATCH_SEAL_S",
    "BLOCK_DATA",
    "BLOCK_SEAL_S",
    "DATA_BUDGET",
    "BatchHead",
    "Leaf",
    "Leaves",
    "MemoryLeaves",
    "Rules",
    "SealedBatch",
    "SealedBlock",
    "SealedTx",
    "next_index",
]
