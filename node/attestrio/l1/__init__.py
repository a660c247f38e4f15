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
from attestrio.l1.contract import Contract, Function, Reverts
from attestrio.l1.endpoint import Endpoint
from attestrio.l1.for_web3 import wait_receipt, web3_over
from attestrio.l1.logs import Event, filter_for
from attestrio.l1.provider import L1Provider
from attestrio.l1.retries import NETWORK, chain_schedule
from attestrio.l1.scan import LogScanner, ScanSettings
from attestrio.l1.shared import SharedChain, SingleFlight

__all__ = [
    "NETWORK",
    "Address",
    "At",
    "BlockHash",
    "BlockNumber",
    "BlockRef",
    "Chain",
    "Contract",
    "Endpoint",
    "Event",
    "Function",
    "Header",
    "L1Provider",
    "Log",
    "LogFilter",
    "LogScanner",
    "LogSink",
    "Reverts",
    "ScanSettings",
    "SharedChain",
    "SingleFlight",
    "Step",
    "Tag",
    "Topic",
    "TxHash",
    "chain_schedule",
    "filter_for",
    "wait_receipt",
    "web3_over",
]
