"""Block info roots and the linear hash: those of real blocks, and what makes a difference to them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from attestrio.zkevm import BlockFacts, LogFacts, TxFacts, block_info_root, hash_bytes
from attestrio.zkevm.block_info import TX_LOG
from attestrio.zkevm.keys import key_of, slot_capacity
from attestrio.zkevm.rlp import decode_untrusted
from attestrio.zkevm.transactions import tx_untrusted
from hypothesis import given
from hypothesis import strategies as st
from zkevm_kit import golden, poseidon, raw, root_of

EMPTY_BLOCK = BlockFacts(bytes(32), bytes(20), 0, 0, 0, bytes(32), bytes(32), 0)
BLOCK = BlockFacts(b"\1" * 32, b"\2" * 20, 7, 1 << 50, 1_700_000_000, b"\3" * 32, b"\4" * 32, 21_000)
TX = TxFacts(b"\5" * 32, 1, 21_000, 255)
LOG = LogFacts((b"\6" * 32,), b"data")
OTHER = LogFacts((), b"other")


def facts_of(one):
    """A block of `real_blocks.json`, and its transactions."""
    block = BlockFacts(
        raw(one["parent_state_root"]), raw(one["coinbase"]), one["number"], one["gas_limit"], one["timestamp"],
        raw(one["ger"]), raw(one["l1_block_hash"]), one["gas_used"],
    )  # fmt: skip
    txs = [
        tx_facts(raw(tx["rlp"]), tx["effective_gas_price_percentage"], raw(receipt))
        for tx, receipt in zip(one["txs"], one["receipts_rlp"], strict=True)
    ]
    return block, txs


def tx_facts(encoded, percentage, receipt):
    status, gas, _, logs = decode_untrusted(receipt)
    return TxFacts(
        hash_bytes(tx_untrusted(encoded).l2_form()),
        int.from_bytes(status, "big"),
        int.from_bytes(gas, "big"),
        percentage,
        tuple(LogFacts(tuple(topics), data) for _, topics, data in logs),
    )


@pytest.mark.parametrize("one", golden("real_blocks")["blocks"], ids=lambda one: str(one["number"]))
def test_real_blocks_have_the_root_that_was_published(one):
    assert block_info_root(*facts_of(one)) == raw(one["block_info_root"])


@pytest.mark.parametrize("one", golden("chain")["blocks"], ids=lambda one: str(one["Number"]))
def test_blocks_with_an_exit_root_have_the_root_of_the_vectors(one):
    chain = golden("chain")
    block = BlockFacts(
        raw(one["ParentRoot"]), raw(one["Coinbase"]), one["Number"], one.get("GasLimit", chain["gas_limit"]),
        one["Time"], raw(one["GER"]), raw(one["L1Hash"]), one["GasUsed"],
    )  # fmt: skip
    txs = [TxFacts(hash_bytes(tx_untrusted(raw(tx["RLP"])).l2_form()), 1, tx["CumGas"], 255) for tx in one["Txs"] or []]

    assert block_info_root(block, txs) == raw(one["BlockInfoRoot"])


def test_what_is_zero_has_no_leaf():
    assert block_info_root(EMPTY_BLOCK) == bytes(32)
    assert block_info_root(EMPTY_BLOCK, [TxFacts(bytes(32), 0, 0, 0)] * 3) == bytes(32)


@pytest.mark.parametrize(
    "other",
    [
        {"parent_state_root": bytes(32)}, {"coinbase": bytes(20)}, {"number": 8}, {"gas_limit": 0}, {"timestamp": 1},
        {"ger": bytes(32)}, {"l1_block_hash": bytes(32)}, {"gas_used": 0},
    ],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
def test_the_root_tells_every_fact_of_a_block(other):
    assert block_info_root(replace(BLOCK, **other), [TX]) != block_info_root(BLOCK, [TX])


@pytest.mark.parametrize(
    "other",
    [{"l2_hash": bytes(32)}, {"status": 0}, {"cumulative_gas": 1}, {"percentage": 254}, {"logs": (LOG,)}],
    ids=lambda other: next(iter(other)),
)
def test_the_root_tells_every_fact_of_a_transaction(other):
    assert block_info_root(BLOCK, [TX, replace(TX, **other)]) != block_info_root(BLOCK, [TX, TX])


def test_logs_are_counted_over_the_block():
    with_logs = [replace(TX, logs=(LOG,)), TX, replace(TX, logs=(OTHER, LOG))]

    leaves = {
        key_of(tx, TX_LOG, slot_capacity(index)): int.from_bytes(hash_bytes(said), "big")
        for tx, index, said in [(0, 0, b"data" + b"\6" * 32), (2, 1, b"other"), (2, 2, b"data" + b"\6" * 32)]
    }
    alone = [replace(tx, l2_hash=bytes(32), status=0, cumulative_gas=0, percentage=0) for tx in with_logs]

    root = block_info_root(EMPTY_BLOCK, alone)
    assert root == sum(word << (64 * at) for at, word in enumerate(root_of(leaves))).to_bytes(32, "big")


# --- the linear hash


@pytest.mark.parametrize(
    "one", golden("smt_vectors")["bytecode_hash"], ids=lambda one: f"{len(one['code']) // 2 - 1} B"
)
def test_the_hash_of_bytes_is_that_of_the_vectors(one):
    assert hash_bytes(raw(one["code"])) == raw(one["hash"])


@given(st.integers(0, 170), st.randoms())
def test_the_last_chunk_is_filled_whatever_the_length(length, random):
    data = random.randbytes(length)

    padded = data + b"\1" + bytes(55 - length % 56)
    padded = padded[:-1] + bytes([padded[-1] | 0x80])
    out = (0, 0, 0, 0)
    for start in range(0, len(padded), 56):
        elements = [int.from_bytes(padded[at : at + 7], "little") for at in range(start, start + 56, 7)]
        out = poseidon(elements, out)

    assert hash_bytes(data) == b"".join(word.to_bytes(8, "big") for word in reversed(out))


@pytest.mark.parametrize("one", golden("smt_vectors")["l2_tx_hash"], ids=lambda one: f"chain {one['chain_id']}")
def test_the_hash_of_a_transaction_is_one_of_bytes(one):
    said = b"".join(
        [
            bytes([one["chain_id"] != 0]),
            one["nonce"].to_bytes(8, "big"),
            int(one["gas_price"]).to_bytes(32, "big"),
            one["gas"].to_bytes(8, "big"),
            b"\0" + raw(one["to"]) if one["to"] else b"\1",
            int(one["value"]).to_bytes(32, "big"),
            len(raw(one["data"])).to_bytes(3, "big"),
            raw(one["data"]),
            one["chain_id"].to_bytes(8, "big") if one["chain_id"] else b"",
            raw(one["from"]),
        ]
    )

    assert hash_bytes(said) == raw(one["hash"])
