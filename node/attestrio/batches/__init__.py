"""Where the batch to sign comes from, and how it gets into the store."""

from attestrio.batches.api import BatchSource, KnowsFirstBatch
from attestrio.batches.feeder import BatchFeeder, BatchGap, LocalFeeder
from attestrio.batches.file import BatchFileMalformed, BatchFileUnreadable
from attestrio.batches.keeper import BatchKeeper
from attestrio.batches.local import BatchFileUnusable, LocalBatches
from attestrio.batches.main_node import (
    GivenBatches,
    KnowsBatches,
    MainNodeBatches,
    OtherBatchAnswered,
    OtherGenesisAnswered,
)
from attestrio.batches.stream import StreamBatches

__all__ = [
    "BatchFeeder",
    "BatchFileMalformed",
    "BatchFileUnreadable",
    "BatchFileUnusable",
    "BatchGap",
    "BatchKeeper",
    "BatchSource",
    "GivenBatches",
    "KnowsBatches",
    "KnowsFirstBatch",
    "LocalBatches",
    "LocalFeeder",
    "MainNodeBatches",
    "OtherBatchAnswered",
    "OtherGenesisAnswered",
    "StreamBatches",
]
