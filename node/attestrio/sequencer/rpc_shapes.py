"""Blocks, transactions and receipts in the shapes that wallets know. Values only."""

from __future__ import annotations

from typing import Any, Final

from attestrio.sequencer.sealed import SealedBlock, SealedTx
from attestrio.zkevm.header import EMPTY_UNCLES, Log, bloom_of
from attestrio.zkevm.transactions import Tx, tx_untrusted

Json = dict[str, Any]
NO_NONCE: Final = "0x" + "00" * 8


def hex_number(number: int) -> str:
    """As Ethereum's JSON-RPC writes quantities."""
    return hex(number)


def hex_bytes(raw: bytes) -> str:
    return f"0x{raw.hex()}"


def block_json(block: SealedBlock, *, full: bool) -> Json:
    """A block with the hashes of its transactions, or with them. It has no base fee."""
    header = block.header
    txs: list[Any] = [hex_bytes(tx.hash) for tx in block.txs]
    if full:
        txs = [tx_json(tx_untrusted(tx.encoded), block, at) for at, tx in enumerate(block.txs)]
    return {
        "number": hex_number(block.number),
        "hash": hex_bytes(block.hash),
        "parentHash": hex_bytes(header.parent_hash),
        "nonce": NO_NONCE,
        "sha3Uncles": hex_bytes(EMPTY_UNCLES),
        "logsBloom": hex_bytes(header.bloom),
        "transactionsRoot": hex_bytes(header.transactions_root),
        "stateRoot": hex_bytes(header.state_root),
        "receiptsRoot": hex_bytes(header.receipts_root),
        "miner": hex_bytes(header.coinbase),
        "difficulty": hex_number(header.difficulty),
        "totalDifficulty": "0x0",
        "mixHash": hex_bytes(bytes(32)),
        "extraData": "0x",
        "size": hex_number(len(header.encode())),
        "gasLimit": hex_number(header.gas_limit),
        "gasUsed": hex_number(header.gas_used),
        "timestamp": hex_number(header.timestamp),
        "transactions": txs,
        "uncles": [],
    }


def tx_json(tx: Tx, block: SealedBlock | None, at: int | None = None) -> Json:
    """A transaction; one that waits has no block."""
    v = 35 + 2 * tx.chain_id + tx.parity if tx.chain_id else 27 + tx.parity
    return {
        "hash": hex_bytes(tx.hash()),
        "type": hex_number(tx.type),
        "chainId": hex_number(tx.chain_id) if tx.chain_id else None,
        "nonce": hex_number(tx.nonce),
        "from": hex_bytes(tx.sender()),
        "to": None if tx.to is None else hex_bytes(tx.to),
        "value": hex_number(tx.value),
        "gas": hex_number(tx.gas),
        "gasPrice": hex_number(tx.gas_price),
        "input": hex_bytes(tx.data),
        "v": hex_number(v if not tx.type else tx.parity),
        "r": hex_number(tx.r),
        "s": hex_number(tx.s),
        "blockHash": None if block is None else hex_bytes(block.hash),
        "blockNumber": None if block is None else hex_number(block.number),
        "transactionIndex": None if at is None else hex_number(at),
    }


def receipt_json(block: SealedBlock, at: int) -> Json:
    """How the transaction at this place of a block has ended."""
    sealed = block.txs[at]
    tx, before = tx_untrusted(sealed.encoded), sum(len(one.logs) for one in block.txs[:at])
    return {
        "transactionHash": hex_bytes(sealed.hash),
        "transactionIndex": hex_number(at),
        "blockHash": hex_bytes(block.hash),
        "blockNumber": hex_number(block.number),
        "from": hex_bytes(sealed.sender),
        "to": None if tx.to is None else hex_bytes(tx.to),
        "type": hex_number(tx.type),
        "status": hex_number(sealed.status),
        "gasUsed": hex_number(sealed.gas_used),
        "cumulativeGasUsed": hex_number(sealed.cumulative_gas),
        "effectiveGasPrice": hex_number(tx.gas_price * (sealed.percentage + 1) // 256),
        "contractAddress": hex_bytes(sealed.created) if sealed.created and sealed.status else None,
        "logsBloom": hex_bytes(bloom_of(sealed.logs)),
        "logs": [_log_json(log, block, sealed, at, before + index) for index, log in enumerate(sealed.logs)],
    }


def _log_json(log: Log, block: SealedBlock, sealed: SealedTx, at: int, index: int) -> Json:
    return {
        "address": hex_bytes(log.address),
        "topics": [hex_bytes(topic) for topic in log.topics],
        "data": hex_bytes(log.data),
        "blockNumber": hex_number(block.number),
        "blockHash": hex_bytes(block.hash),
        "transactionHash": hex_bytes(sealed.hash),
        "transactionIndex": hex_number(at),
        "logIndex": hex_number(index),
        "removed": False,
    }
