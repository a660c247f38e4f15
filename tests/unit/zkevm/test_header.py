"""Headers and the roots in them, against blocks of a real network and against another implementation of the trie."""

from __future__ import annotations

import pytest
from attestrio.zkevm.header import (
    Header,
    Log,
    Receipt,
    bloom_of,
    gas_limit,
    genesis_header,
    receipts_root,
    transactions_root,
)
from attestrio.zkevm.mpt import EMPTY_ROOT, list_root
from attestrio.zkevm.rlp import decode_untrusted, encode, encode_int
from attestrio.zkevm.transactions import tx_untrusted
from hypothesis import given
from hypothesis import strategies as st
from trie import HexaryTrie
from zkevm_kit import golden, raw

REAL = golden("real_blocks")["blocks"]
CHAIN = golden("chain")


def receipt_of(text):
    """A receipt of the vectors, which stands there with a bloom of zeros."""
    status, gas, bloom, logs = decode_untrusted(raw(text))
    assert bloom == bytes(256)
    number = int.from_bytes
    return Receipt(number(status, "big"), number(gas, "big"), tuple(Log(log[0], tuple(log[1]), log[2]) for log in logs))


@pytest.mark.parametrize("block", REAL, ids=lambda block: str(block["number"]))
def test_a_block_of_a_real_network_has_the_hash_it_has_there(block):
    txs = [tx_untrusted(raw(tx["rlp"])) for tx in block["txs"]]
    receipts = [receipt_of(text) for text in block["receipts_rlp"]]
    bloom = bloom_of(log for receipt in receipts for log in receipt.logs)

    header = Header(
        parent_hash=raw(block["parent_hash"]),
        coinbase=raw(block["coinbase"]),
        state_root=raw(block["state_root"]),
        number=block["number"],
        timestamp=block["timestamp"],
        gas_limit=block["gas_limit"],
        gas_used=block["gas_used"],
        transactions_root=transactions_root(txs),
        receipts_root=receipts_root(receipts),
        bloom=bloom,
    )

    assert header.hash().hex() == block["hash"]
    assert [receipt.encode().hex() for receipt in receipts] == block["receipts_rlp"]
    assert bloom == (raw(block["header_bloom"]) or bytes(256))


def test_the_real_blocks_include_logs():
    assert any(block["header_bloom"] for block in REAL)


def test_the_genesis_header_is_made_of_the_configuration():
    genesis = CHAIN["genesis"]

    header = genesis_header(raw(genesis["root"]), timestamp=genesis["time"])

    assert header.hash() == raw(genesis["hash"])


@pytest.mark.parametrize("block", CHAIN["blocks"], ids=lambda block: str(block["Number"]))
def test_a_header_is_encoded_as_the_go_code_does(block):
    txs = [tx_untrusted(raw(tx["RLP"])) for tx in block["Txs"] or []]
    receipts = [Receipt(1, tx["CumGas"], ()) for tx in block["Txs"] or []]

    header = Header(
        raw(block["ParentHash"]), raw(block["Coinbase"]), raw(block["Root"]), block["Number"], block["Time"],
        block["GasLimit"], block["GasUsed"], transactions_root(txs), receipts_root(receipts),
    )  # fmt: skip

    assert header.encode() == raw(block["HeaderRLP"])
    assert header.hash() == raw(block["Hash"])


def reference_root(values):
    trie = HexaryTrie({})
    for index, value in enumerate(values):
        trie[encode(encode_int(index))] = value
    return trie.root_hash


@pytest.mark.parametrize("count", [0, 1, 2, 16, 127, 128, 129, 257])
def test_the_root_of_a_list_is_that_of_the_trie(count):
    values = [bytes([index % 251 + 1]) * (index % 50 + 1) for index in range(count)]

    assert list_root(values) == reference_root(values)


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=40))
def test_any_list_has_the_root_of_the_trie(values):
    assert list_root(values) == reference_root(values)


def test_a_list_of_nothing_has_the_root_of_the_empty_trie():
    assert list_root([]) == EMPTY_ROOT
    assert EMPTY_ROOT.hex() == "56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"


def test_a_receipt_of_a_typed_transaction_begins_with_the_type():
    assert Receipt(1, 21_000, (), type=1).encode() == b"\1" + Receipt(1, 21_000, ()).encode()


def test_nothing_logged_is_a_bloom_of_zeros_and_each_item_adds_at_most_three_bits():
    log = Log(b"\1" * 20, (b"\2" * 32,), b"data")

    bits = int.from_bytes(bloom_of([log]), "big").bit_count()

    assert bloom_of([]) == bytes(256)
    assert 2 <= bits <= 6
    assert bloom_of([log, log]) == bloom_of([log])


@pytest.mark.parametrize(("fork", "limit"), [(6, 30_000_000), (7, 2**50), (13, 2**50)])
def test_the_gas_limit_goes_by_the_fork(fork, limit):
    assert gas_limit(fork) == limit
