"""Ethereum: blocks, logs and calls over JSON-RPC, and a scanner that delivers each log once and in order."""

from attestrio.l1.api import (
    Address,
    At,
    BlockHash,
    BlockNumber,
    BlockRef,
    Chain,
    Header,
    Log,
    LogFilter,
    LogSink,
    Step,
    Tag,
    Topic,
    TxHash,
)

__all__ = [
    "Address",
    "At",
    "BlockHash",
    "BlockNumber",
    "BlockRef",
    "Chain",
    "Header",
    "Log",
    "LogFilter",
    "LogSink",
    "Step",
    "Tag",
    "Topic",
    "TxHash",
]
