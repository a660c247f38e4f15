"""Transactions: read as a stream carries them, and only when the signature can be right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attestrio.zkevm.errors import BadTransaction, TypedTransactionRefused
from attestrio.zkevm.rlp import decode_untrusted, encode, encode_int
from attestrio.zkevm.transactions import CURVE_ORDER, Percentages, sign_legacy, tx_untrusted, unsigned_legacy
from eth_account import Account
from execution_kit import ALICE, SECRETS
from hypothesis import given
from hypothesis import strategies as st

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "zkevm" / "transactions.json").read_text())["transactions"]
SIGNER = bytes.fromhex("f39fd6e51aad88f6f4ce6ab8827279cfffb92266")
LEGACY = {case["name"]: bytes.fromhex(case["stream_encoded"]) for case in GOLDEN}
TO = b"\x10" * 20


def fields_of(name="legacy_eip155"):
    return decode_untrusted(LEGACY[name])


def with_field(at, value):
    fields = fields_of()
    fields[at] = value
    return encode(fields)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_hash_and_sender_are_those_of_the_go_code(case):
    tx = tx_untrusted(bytes.fromhex(case["stream_encoded"]))

    assert tx.hash().hex() == case["hash"][2:]
    assert tx.sender() == SIGNER


@pytest.mark.parametrize(
    "case", [case for case in GOLDEN if case["name"] != "dynamic_fee"], ids=lambda case: case["name"]
)
def test_a_legacy_transaction_stands_in_a_batch_as_the_go_code_writes_it(case):
    tx = tx_untrusted(bytes.fromhex(case["stream_encoded"]))

    assert tx.batch_l2_data(255).hex() == case["batch_l2_data_fork8_pct255"]


def test_a_typed_transaction_has_no_place_in_a_batch():
    tx = tx_untrusted(LEGACY["dynamic_fee"])

    with pytest.raises(TypedTransactionRefused) as refused:
        tx.batch_l2_data(255)
    assert refused.value.type == 2


@pytest.mark.parametrize("kind", [1, 2])
def test_a_typed_transaction_of_a_wallet_is_read(kind):
    slots = ["0x" + "00" * 31 + "07"]
    price = {"gasPrice": 9} if kind == 1 else {"maxFeePerGas": 9, "maxPriorityFeePerGas": 2}
    wanted = {
        "type": kind,
        "chainId": 1001,
        "nonce": 3,
        "gas": 50_000,
        "to": "0x" + TO.hex(),
        "value": 5,
        "data": "0x0102",
    }
    signed = Account.sign_transaction(
        wanted | price | {"accessList": [{"address": "0x" + TO.hex(), "storageKeys": slots}]}, SECRETS[0]
    )

    tx = tx_untrusted(encode(bytes(signed.raw_transaction)))

    assert (tx.type, tx.chain_id, tx.nonce, tx.gas_price, tx.gas, tx.to) == (kind, 1001, 3, 9, 50_000, TO)
    assert (tx.value, tx.data, tx.access_list) == (5, b"\1\2", ((TO, (7,)),))
    assert tx.hash() == bytes(signed.hash)
    assert tx.sender() == ALICE
    assert tx.canonical() == bytes(signed.raw_transaction)


@pytest.mark.parametrize("chain_id", [0, 1, 1001, 2**32])
@pytest.mark.parametrize("to", [None, TO])
def test_what_is_signed_is_read_back_with_its_sender(chain_id, to):
    unsigned = unsigned_legacy(chain_id=chain_id, nonce=7, gas_price=10**9, gas=21_000, to=to, value=1, data=b"\0\1")

    tx = sign_legacy(unsigned, SECRETS[0])

    assert tx.sender() == ALICE
    assert (tx.chain_id, tx.nonce, tx.to, tx.data, tx.is_deploy) == (chain_id, 7, to, b"\0\1", to is None)
    assert tx_untrusted(tx.encoded) == tx


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, b"\0"),
        (0, b"\1" * 9),
        (1, b"\1" * 33),
        (2, b"\1" * 9),
        (3, b"\1" * 19),
        (4, b"\1" * 33),
        (5, [b""]),
        (6, b""),
        (6, b"\x1d"),
        (6, b"\xff" * 9),
        (7, b""),
        (7, CURVE_ORDER.to_bytes(32, "big")),
        (8, b""),
        (8, encode_int(CURVE_ORDER // 2 + 1)),
    ],
)
def test_a_field_that_cannot_be_is_refused(at, value):
    with pytest.raises(BadTransaction):
        tx_untrusted(with_field(at, value))


@pytest.mark.parametrize(
    "raw", [b"", b"\xc0", b"\x80", b"\x03", b"\x82\x04\xc0", encode([b""] * 8), encode([b""] * 10)]
)
def test_what_is_no_transaction_at_all_is_refused(raw):
    with pytest.raises(BadTransaction):
        tx_untrusted(raw)


def test_a_signature_no_key_can_have_made_is_refused_when_the_sender_is_asked_for():
    # 5 is no x of a point of the curve.
    tx = tx_untrusted(with_field(7, b"\5"))

    with pytest.raises(BadTransaction):
        tx.sender()


@given(st.sampled_from(sorted(LEGACY)), st.data())
def test_whatever_bytes_arrive_a_transaction_comes_out_or_one_kind_of_error(name, data):
    raw = bytearray(LEGACY[name])
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))

    try:
        tx = tx_untrusted(bytes(raw))
        tx.sender()
    except BadTransaction:
        return

    assert encode(decode_untrusted(tx.encoded)) == bytes(raw)


TRANSFER_FROM = bytes.fromhex("23b872dd")


@pytest.mark.parametrize(
    ("to", "data", "percentage"),
    [
        (TO, b"", 1),
        (TO, bytes.fromhex("a9059cbb") + bytes(4), 2),
        (TO, TRANSFER_FROM + bytes(64), 2),
        (TO, TRANSFER_FROM + bytes(3), 3),
        (TO, b"\0", 3),
        (None, b"", 4),
        (None, TRANSFER_FROM + bytes(64), 4),
    ],
)
def test_the_percentage_goes_by_what_a_transaction_does(to, data, percentage):
    tx = unsigned_legacy(chain_id=1, nonce=0, gas_price=1, gas=1, to=to, data=data)

    assert Percentages(1, 2, 3, 4).of(tx) == percentage


def test_fractions_are_rounded_half_up():
    assert Percentages.from_fractions(1, 0.5, 0.1, 0) == Percentages(255, 128, 26, 0)
