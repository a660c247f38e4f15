"""What the sender asks Ethereum, byte for byte, and what it makes of the answers; no chain is behind it."""

import json
from types import SimpleNamespace

import httpx
import pytest
import rlp
import trio
from attestrio.aggregator.ethereum import EthereumAccount, Indices, Receipt, gas_and_data
from attestrio.aggregator.response import response_call
from attestrio.aggregator.surface import GET_CHECK_SIGNATURES_INDICES, RESPOND_TO_TASK, Contracts
from attestrio.bls import SecretKey, g2_words, sum_g1, sum_g2
from attestrio.kit.http import client
from attestrio.kit.jsonrpc import MalformedAnswer, RpcFailed
from attestrio.l1.api import Address, BlockHash, BlockNumber, BlockRef, TxHash
from attestrio.l1.endpoint import Endpoint
from attestrio.l1.errors import CallReverted
from attestrio.l1.provider import L1Provider
from attestrio.sim.artifacts import artifact
from eth_abi.abi import decode, encode
from eth_account import Account

ROOT, POSTER = b"\x11" * 32, b"\xb0" * 20
MANAGER, COORDINATOR, KEYS, RETRIEVER = (Address(bytes([n]) * 20) for n in (1, 2, 3, 4))
HASH = TxHash(b"\7" * 32)
SECRET = "0x" + "11" * 32


class Node:
    """Answers each method with what is set, and remembers what it was asked."""

    def __init__(self, **answers):
        self.answers = {"eth_chainId": "0x7a69"} | answers
        self.asked = []

    async def _handle(self, request):
        await trio.lowlevel.checkpoint()
        call = json.loads(request.content)
        self.asked.append((call["method"], call["params"]))
        answer = self.answers[call["method"]]
        told = {"error": answer} if isinstance(answer, dict) and "code" in answer else {"result": answer}
        body = json.dumps({"jsonrpc": "2.0", "id": call["id"]} | told).encode()
        return httpx.Response(200, stream=httpx.ByteStream(body))

    def account(self):
        http = client("http://node/", transport=httpx.MockTransport(self._handle))
        provider = L1Provider([Endpoint("http://node/", 31337, http=http)], schedule=())
        contracts = Contracts(MANAGER, COORDINATOR, KEYS, RETRIEVER)
        return EthereumAccount(provider, contracts, Account.from_key(SECRET))

    @property
    def last(self):
        return self.asked[-1]


async def test_a_simulation_has_a_price_a_sender_a_gas_limit_and_a_block(autojump_clock):
    node = Node(eth_call="0x")
    account = node.account()

    await account.simulate(b"\xab\x21", 5, 300_000)

    assert node.last == (
        "eth_call",
        [
            {
                "from": f"0x{account.address.hex()}", "to": f"0x{MANAGER.hex()}", "data": "0xab21", "gasPrice": "0x5",
                "gas": "0x493e0",
            },
            "latest",
        ],
    )  # fmt: skip


async def test_an_estimate_has_a_price_and_a_block_and_a_tenth_more_is_offered(autojump_clock):
    node = Node(eth_estimateGas=hex(200_000))
    account = node.account()

    assert await account.estimate(b"\xab", 5) == 220_000
    method, (call, block) = node.last
    assert (method, call["gasPrice"], block) == ("eth_estimateGas", "0x5", "latest")


async def test_a_refusal_keeps_its_data_and_is_not_asked_again(autojump_clock):
    node = Node(eth_call={"code": 3, "message": "execution reverted", "data": "0x9cf1aff2" + "11" * 32})

    with pytest.raises(CallReverted) as caught:
        await node.account().simulate(b"", 1, 1)

    assert caught.value.data == bytes.fromhex("9cf1aff2") + b"\x11" * 32
    assert [method for method, _ in node.asked] == ["eth_chainId", "eth_call"]


async def test_what_a_node_says_instead_of_taking_a_transaction_comes_out_as_it_is(autojump_clock):
    node = Node(eth_sendRawTransaction={"code": -32000, "message": "nonce too low"})

    with pytest.raises(RpcFailed, match="nonce too low"):
        await node.account().send(b"\1\2")

    assert node.last == ("eth_sendRawTransaction", ["0x0102"])


async def test_a_transaction_is_signed_for_this_chain_and_read_again(autojump_clock):
    account = Node().account()

    signed = account.sign(7, 2 * 10**9, 300_000, b"\xab\x21" * 100)

    nonce, price, gas, to, value, data, v, _, _ = (bytes(one) for one in rlp.decode(signed.raw))
    assert [int.from_bytes(one, "big") for one in (nonce, price, gas, value)] == [7, 2 * 10**9, 300_000, 0]
    assert (to, data) == (MANAGER, b"\xab\x21" * 100)
    assert int.from_bytes(v, "big") in (31337 * 2 + 35, 31337 * 2 + 36)
    assert Account.recover_transaction(signed.raw) == account.account.address
    assert gas_and_data(signed.raw) == (300_000, b"\xab\x21" * 100)
    assert signed == account.sign(7, 2 * 10**9, 300_000, b"\xab\x21" * 100), "the same bytes for the same intent"


async def test_a_filler_goes_to_ourselves_with_nothing_in_it(autojump_clock):
    account = Node().account()

    _, _, _, to, value, data, *_ = rlp.decode(account.sign(7, 1, 21_000, None).raw)

    assert (bytes(to), bytes(value), bytes(data)) == (account.address, b"", b"")


async def test_amounts_may_be_larger_than_any_block_number(autojump_clock):
    node = Node(eth_gasPrice=hex(10**18), eth_getTransactionCount="0x0")
    account = node.account()

    assert await account.gas_price() == 10**18
    assert await account.used_nonces() == 0
    assert node.last == ("eth_getTransactionCount", [f"0x{account.address.hex()}", "latest"])


@pytest.mark.parametrize("said", ["0x", "12", "-0x1", "0xzz", "0x" + "f" * 65, None, 5, [], "0x1_0"])
async def test_what_is_no_amount_is_refused(autojump_clock, said):
    with pytest.raises(MalformedAnswer):
        await Node(eth_gasPrice=said).account().gas_price()


@pytest.mark.parametrize(
    ("status", "succeeded"), [("0x1", True), ("0x0", False)], ids=["succeeded", "mined and refused"]
)
async def test_a_receipt_is_read(autojump_clock, status, succeeded):
    told = {"blockNumber": "0x10", "blockHash": "0x" + "22" * 32, "status": status, "logs": [], "gasUsed": "0x5208"}
    node = Node(eth_getTransactionReceipt=told)

    receipt = await node.account().receipt(HASH)

    assert receipt == Receipt(BlockRef(BlockNumber(16), BlockHash(b"\x22" * 32)), succeeded, 21_000)
    assert node.last == ("eth_getTransactionReceipt", [f"0x{HASH.hex()}"])


async def test_the_balance_is_that_of_the_newest_block(autojump_clock):
    node = Node(eth_getBalance=hex(10**25))
    account = node.account()

    assert await account.balance() == 10**25
    assert node.last == ("eth_getBalance", [f"0x{account.address.hex()}", "latest"])


async def test_no_receipt_is_no_error(autojump_clock):
    assert await Node(eth_getTransactionReceipt=None).account().receipt(HASH) is None


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"blockNumber": "0x1", "blockHash": "0x11", "status": "0x1"},
        {"blockNumber": "x", "blockHash": "0x" + "22" * 32, "status": "0x1"},
        {"blockNumber": "0x1", "blockHash": "0x" + "22" * 32},
        {"blockNumber": "0x1", "blockHash": "0x" + "22" * 32, "status": "0x1", "gasUsed": "0x" + "ff" * 32},
        "0x1",
    ],
)
async def test_what_is_no_receipt_is_refused(autojump_clock, told):
    with pytest.raises(MalformedAnswer):
        await Node(eth_getTransactionReceipt=told).account().receipt(HASH)


async def test_indices_are_asked_of_the_retriever_for_the_block_of_the_task(autojump_clock):
    returned = encode(["(uint32[],uint32[],uint32[],uint32[][])"], [((1, 2), (3,), (4,), ((5, 6),))])
    node = Node(eth_call=f"0x{returned.hex()}")

    indices = await node.account().indices(99, [b"\1" * 32, b"\2" * 32])

    assert indices == Indices((1, 2), (3,), (4,), ((5, 6),))
    _, (call, block) = node.last
    raw = bytes.fromhex(call["data"][2:])
    assert raw[:4].hex() == "4f739f74"
    assert decode([one.type for one in GET_CHECK_SIGNATURES_INDICES.parameters], raw[4:]) == (
        f"0x{COORDINATOR.hex()}", 99, b"\0", (b"\1" * 32, b"\2" * 32),
    )  # fmt: skip
    assert (call["to"], block) == (f"0x{RETRIEVER.hex()}", "latest")


def test_a_response_is_what_the_contract_declares():
    secrets = [SecretKey(1000 + n) for n in range(4)]
    signers, absent = secrets[:3], secrets[3]
    sigma = sum_g1([one.sign(b"\5" * 32) for one in signers])
    aggregate = SimpleNamespace(
        task=SimpleNamespace(root=ROOT, sender=POSTER), non_signer_keys=(absent.public_g1(),), sigma=sigma,
        apk_g2=sum_g2([one.public_g2() for one in signers]), quorum_apk=sum_g1([one.public_g1() for one in secrets]),
    )  # fmt: skip

    data = response_call(aggregate, Indices((8,), (1,), (2,), ((3,),)))

    assert data[:4].hex() == "ab21739a"
    assert artifact("ServiceManager").functions["respondToTaskV2"].selector == data[:4]
    root, sender, told = decode([one.type for one in RESPOND_TO_TASK.parameters], data[4:])
    bitmaps, keys, quorum, apk_g2, signed, quorum_indices, totals, stakes = told
    assert (root, sender) == (ROOT, f"0x{POSTER.hex()}")
    assert keys == ((absent.public_g1().x, absent.public_g1().y),)
    assert quorum == ((aggregate.quorum_apk.x, aggregate.quorum_apk.y),)
    assert apk_g2 == g2_words(aggregate.apk_g2), "imaginary part first"
    assert signed == (sigma.x, sigma.y)
    assert (bitmaps, quorum_indices, totals, stakes) == ((8,), (1,), (2,), ((3,),))
