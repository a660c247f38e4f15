"""What a node tells the sender, if it can be true."""

import json

import pytest
from attestrio.aggregator.ethereum import EthereumAccount
from attestrio.aggregator.surface import Contracts
from attestrio.kit.jsonrpc import MalformedAnswer
from attestrio.l1.api import Address, TxHash
from eth_account import Account
from msgspec import Raw

CONTRACT = Address(b"\1" * 20)
HASH = "0x" + "22" * 32


class Node:
    """Says the same to everything."""

    chain_id = 1

    def __init__(self, result):
        self._result = Raw(json.dumps(result).encode())

    async def ask(self, method, params, read, final=()):
        return read(self._result, "node")


def account(result):
    return EthereumAccount(Node(result), Contracts(*[CONTRACT] * 4), Account.from_key(b"\1" * 32))


async def test_numbers_of_the_usual_size_are_taken():
    assert await account("0x7").used_nonces() == 7
    assert await account("0x0").gas_price() == 0
    assert await account(hex(200_000)).estimate(b"", 1) == 220_000
    found = await account({"blockNumber": "0x9", "blockHash": HASH, "status": "0x1"}).receipt(TxHash(b"\3" * 32))
    assert (found.block.number, found.succeeded) == (9, True)


IMPOSSIBLE = {
    "nonce that no row holds": ("0x" + "f" * 40, lambda one: one.used_nonces()),
    "price that no row holds": (hex(1 << 65), lambda one: one.gas_price()),
    "no gas": ("0x0", lambda one: one.estimate(b"", 1)),
    "more gas than a block has": (hex(1 << 70), lambda one: one.estimate(b"", 1)),
    "block that no row holds": (
        {"blockNumber": "0x" + "f" * 30, "blockHash": HASH, "status": "0x1"},
        lambda one: one.receipt(TxHash(b"\3" * 32)),
    ),
}


@pytest.mark.parametrize(("result", "asked"), IMPOSSIBLE.values(), ids=list(IMPOSSIBLE))
async def test_what_cannot_be_true_is_no_answer(result, asked):
    with pytest.raises(MalformedAnswer):
        await asked(account(result))
