"""Blocks, batches and transactions as rows of the database, and back. No waiting here: values only.

What a row holds was written by us, so nothing here expects anything else; a damaged file is SQLite's to notice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from attestrio.sequencer.sealed import BatchHead, SealedBatch, SealedBlock, SealedTx
from attestrio.stream.messages import BatchType
from attestrio.zkevm.counters import Counters
from attestrio.zkevm.header import Header, Log
from attestrio.zkevm.rlp import Item, decode_untrusted, encode

CHAIN_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE batches (
    number INTEGER PRIMARY KEY, kind INTEGER NOT NULL, fork INTEGER NOT NULL, depth INTEGER NOT NULL,
    first_block INTEGER, last_block INTEGER NOT NULL, state_root BLOB NOT NULL,
    closed INTEGER NOT NULL, local_exit_root BLOB NOT NULL, data INTEGER NOT NULL, counters TEXT, cursor BLOB
) STRICT;
CREATE TABLE blocks (
    number INTEGER PRIMARY KEY, batch INTEGER NOT NULL, hash BLOB NOT NULL, header BLOB NOT NULL,
    delta INTEGER NOT NULL, block_info_root BLOB NOT NULL, l1_index INTEGER NOT NULL, l1_progress INTEGER NOT NULL,
    min_timestamp INTEGER NOT NULL, ger BLOB NOT NULL, l1_hash BLOB NOT NULL,
    data INTEGER NOT NULL, counters TEXT, cursor BLOB
) STRICT;
CREATE INDEX blocks_hash ON blocks (hash);
CREATE TABLE transactions (
    block INTEGER NOT NULL, position INTEGER NOT NULL, hash BLOB NOT NULL, encoded BLOB NOT NULL,
    percentage INTEGER NOT NULL, sender BLOB NOT NULL, status INTEGER NOT NULL,
    gas_used INTEGER NOT NULL, cumulative_gas INTEGER NOT NULL, created BLOB, logs BLOB NOT NULL,
    PRIMARY KEY (block, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX transactions_hash ON transactions (hash);
"""
"""`first_block` is NULL in a batch without blocks. Headers and logs are RLP. `data` and `counters` of a block are those
of its batch so far, so that a batch that lost its last blocks is known as well as before; `l1_progress` is the highest
L1 info index up to this block; a cursor says where a rebuild has got to with this block, or with the end of the batch.
"""

BATCH: Final = "number, kind, fork, depth, closed, first_block, last_block, state_root, local_exit_root, data, counters"
BLOCK: Final = "header, hash, delta, block_info_root, l1_index, min_timestamp, ger, l1_hash, data, counters, batch"
TX: Final = "encoded, percentage, hash, sender, status, gas_used, cumulative_gas, created, logs"


def batch_row(batch: SealedBatch) -> tuple[Any, ...]:
    """In the order of `BATCH`."""
    head = batch.head
    return (
        head.number, int(head.kind), head.fork, head.depth, int(batch.closed), batch.first_block, batch.last_block,
        batch.state_root, batch.local_exit_root, batch.data, _counters_text(batch.counters),
    )  # fmt: skip


def batch_of(row: Sequence[Any]) -> SealedBatch:
    number, kind, fork, depth, closed, first, last, root, exit_root, data, counters = row
    head = BatchHead(number, BatchType(kind), fork, depth)
    return SealedBatch(head, bool(closed), first, last, root, exit_root, data, _counters_of(counters))


def block_row(block: SealedBlock) -> tuple[Any, ...]:
    """In the order of `BLOCK`."""
    return (
        block.header.encode(), block.hash, block.delta, block.block_info_root, block.l1_index, block.min_timestamp,
        block.ger, block.l1_hash, block.data, _counters_text(block.counters), block.batch.number,
    )  # fmt: skip


def block_of(row: Sequence[Any], batch: SealedBatch, txs: tuple[SealedTx, ...]) -> SealedBlock:
    """`batch`: the one the row names."""
    raw, hash, delta, info_root, index, min_timestamp, ger, l1_hash, data, counters, _ = row
    header = _header_of(raw)
    return SealedBlock(
        header, hash, batch.head, header.number == batch.first_block, delta, info_root, index, min_timestamp, ger,
        l1_hash, data, _counters_of(counters), txs,
    )  # fmt: skip


def tx_row(tx: SealedTx) -> tuple[Any, ...]:
    """In the order of `TX`."""
    logs = encode([log.fields() for log in tx.logs])
    return (
        tx.encoded, tx.percentage, tx.hash, tx.sender, tx.status, tx.gas_used, tx.cumulative_gas, tx.created, logs,
    )  # fmt: skip


def tx_of(row: Sequence[Any]) -> SealedTx:
    encoded, percentage, hash, sender, status, used, cumulative, created, raw = row
    logs = tuple(_log_of(_list(item)) for item in _list(decode_untrusted(raw)))
    return SealedTx(encoded, percentage, hash, sender, status, used, cumulative, created, logs)


def _header_of(raw: bytes) -> Header:
    items = [item for item in _list(decode_untrusted(raw)) if isinstance(item, bytes)]
    parent, _, coinbase, root, txs, receipts, bloom, *numbers = items[:12]
    difficulty, number, limit, used, timestamp = (int.from_bytes(item, "big") for item in numbers)
    return Header(parent, coinbase, root, number, timestamp, limit, used, txs, receipts, bloom, difficulty)


def _log_of(item: list[Item]) -> Log:
    address, topics, data = item
    assert isinstance(address, bytes)
    assert isinstance(data, bytes)
    return Log(address, tuple(topic for topic in _list(topics) if isinstance(topic, bytes)), data)


def _list(item: Item) -> list[Item]:
    assert isinstance(item, list)
    return item


def _counters_text(counters: Counters | None) -> str | None:
    return None if counters is None else json.dumps(counters.as_map())


def _counters_of(text: str | None) -> Counters | None:
    return None if text is None else Counters.from_map(json.loads(text))
