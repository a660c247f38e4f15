"""Batches, what is to be signed of them, and their certificates; in memory or in SQLite."""

from attestrio.store.api import (
    BatchConflict,
    BatchNumberTooLarge,
    BatchStore,
    NextRule,
    OtherGenesis,
    QCConflict,
    StoreClosed,
    StoreOfOtherGenesis,
    StoreState,
)
from attestrio.store.certificates import CertificateFile, EpochInfo, open_certificates, read_only_certificates
from attestrio.store.memory import MemoryBatchStore
from attestrio.store.sqlite import SqliteBatchStore

__all__ = [
    "BatchConflict",
    "BatchNumberTooLarge",
    "BatchStore",
    "CertificateFile",
    "EpochInfo",
    "MemoryBatchStore",
    "NextRule",
    "OtherGenesis",
    "QCConflict",
    "SqliteBatchStore",
    "StoreClosed",
    "StoreOfOtherGenesis",
    "StoreState",
    "open_certificates",
    "read_only_certificates",
]
