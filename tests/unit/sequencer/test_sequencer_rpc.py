"""JSON-RPC of a sequencer: what wallets ask, on a chain with a bit of everything."""

import json

import pytest
from attestrio.kit.blocking import inline
from attestrio.kit.jsonrpc import answer
from attestrio.sequencer.call_desk import CallDesk
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.intake import Intake
from attestrio.sequencer.pool import Pool
from attestrio.sequencer.rpc import RpcSettings, SequencerRpc
from attestrio.sequencer.shared import SharedChain
from attestrio.sequencer.snapshot import ChainSnapshot
from attestrio.sim.l2 import CHAIN_ID, GWEI, MIXER, Wallets, address_of, build, demo_plan
from attestrio.zkevm.transactions import tx_untrusted
from eth_abi import encode
from eth_utils import keccak

pytestmark = pytest.mark.slow  # the chain takes half a second, once

PLAN = demo_plan()
TALLY_AT, MIXER_AT = PLAN.contracts


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    """Built once, and only read."""
    db = ChainDb.open(tmp_path_factory.mktemp("rpc") / "chain.db")
    for _ in build(db, PLAN):
        pass
    yield db
    db.close()


class Rpc:
    """The methods, asked as JSON."""

    def __init__(self, db, snapshot):
        self.pool = Pool(CHAIN_ID)
        self._methods = SequencerRpc(
            Intake(SharedChain(db, inline), self.pool),
            CallDesk(snapshot, PLAN.rules, most_s=60.0, run=inline),
            RpcSettings("test", call_gas=1_000_000),
        ).methods

    async def __call__(self, method, *params):
        """The result; raises Refused with the error."""
        raw = await answer(
            json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode(), self._methods
        )
        told = json.loads(raw)
        if "error" in told:
            raise Refused(told["error"]["code"], told["error"]["message"], told["error"].get("data"))
        return told["result"]


class Refused(Exception):
    pass


@pytest.fixture
def rpc(db):
    with ChainSnapshot.open(db._path) as snapshot:
        yield Rpc(db, snapshot)


def hexed(raw):
    return f"0x{raw.hex()}"


def word(number):
    return hexed(number.to_bytes(32, "big"))


def wallet_at_the_end():
    """Which has signed everything of the plan."""
    wallets = Wallets()
    for batch in PLAN.batches:
        for block in batch.blocks:
            for encoded in block.txs:
                tx = tx_untrusted(encoded)
                for user in range(4):
                    if tx.sender() == address_of(user):
                        wallets.go_on(user, tx.nonce + 1)
    return wallets


async def test_the_chain_says_who_and_where_it_is(rpc):
    assert await rpc("eth_chainId") == hex(CHAIN_ID)
    assert await rpc("net_version") == str(CHAIN_ID)
    assert await rpc("eth_blockNumber") == hex(26)
    assert await rpc("zkevm_batchNumber") == hex(11)
    assert await rpc("zkevm_batchNumberByBlockNumber", hex(12)) == hex(5)
    assert await rpc("zkevm_batchNumberByBlockNumber", hex(99)) is None
    assert await rpc("eth_syncing") is False


@pytest.mark.parametrize("number", [0, 1, 12, 26])
async def test_the_hash_of_a_block_is_the_hash_of_its_fields(rpc, db, number):
    told = await rpc("eth_getBlockByNumber", hex(number), False)

    assert told["hash"] == hexed(keccak(db.block(number).header.encode()))
    assert told == await rpc("eth_getBlockByHash", told["hash"], False)
    assert int(told["number"], 16) == number
    assert told["transactions"] == [hexed(tx.hash) for tx in db.transactions(number)]


async def test_blocks_have_names(rpc):
    assert (await rpc("eth_getBlockByNumber", "latest", False))["number"] == hex(26)
    assert (await rpc("eth_getBlockByNumber", "earliest", True))["number"] == "0x0"
    assert await rpc("eth_getBlockByNumber", hex(27), False) is None
    assert await rpc("eth_getBlockByHash", "0x" + "00" * 32, False) is None


async def test_receipts_have_logs_counted_over_the_block(rpc, db):
    block = await rpc("eth_getBlockByNumber", hex(12), True)

    receipts = [await rpc("eth_getTransactionReceipt", tx["hash"]) for tx in block["transactions"]]

    assert [int(log["logIndex"], 16) for receipt in receipts for log in receipt["logs"]] == list(range(12))
    assert {receipt["logs"][0]["address"] for receipt in receipts} == {hexed(TALLY_AT)}
    assert receipts[-1]["cumulativeGasUsed"] == block["gasUsed"]
    assert [receipt["from"] for receipt in receipts] == [tx["from"] for tx in block["transactions"]]


async def test_a_failed_transaction_and_a_deployment_are_told_as_such(rpc):
    (failed,) = (await rpc("eth_getBlockByNumber", hex(23), False))["transactions"]
    (deployed,) = (await rpc("eth_getBlockByNumber", hex(2), False))["transactions"]

    assert (await rpc("eth_getTransactionReceipt", failed))["status"] == "0x0"
    receipt = await rpc("eth_getTransactionReceipt", deployed)
    assert (receipt["contractAddress"], receipt["to"]) == (hexed(TALLY_AT), None)


async def test_a_transaction_is_found_by_its_hash_waiting_or_not(rpc):
    (known,) = (await rpc("eth_getBlockByNumber", hex(9), False))["transactions"]
    waiting = await rpc("eth_sendRawTransaction", hexed(wallet_at_the_end().transfer(0, 1)))

    assert (await rpc("eth_getTransactionByHash", known))["blockNumber"] == hex(9)
    assert (await rpc("eth_getTransactionByHash", waiting))["blockNumber"] is None
    assert await rpc("eth_getTransactionReceipt", waiting) is None
    assert await rpc("eth_getTransactionByHash", "0x" + "00" * 32) is None


async def test_waiting_transactions_count_only_as_pending(rpc):
    user, wallets = hexed(address_of(0)), wallet_at_the_end()
    latest = int(await rpc("eth_getTransactionCount", user, "latest"), 16)

    await rpc("eth_sendRawTransaction", hexed(wallets.transfer(0, 1)))
    await rpc("eth_sendRawTransaction", hexed(wallets.transfer(0, 1)))

    assert int(await rpc("eth_getTransactionCount", user, "latest"), 16) == latest
    assert int(await rpc("eth_getTransactionCount", user, "pending"), 16) == latest + 2


async def test_a_refused_transaction_is_told_why(rpc):
    with pytest.raises(Refused, match="nonce too low") as exc_info:
        await rpc("eth_sendRawTransaction", hexed(PLAN.batches[0].blocks[0].txs[0]))

    assert exc_info.value.args[0] == -32000


async def test_the_newest_state_is_told(rpc, db):
    total = int(await rpc("eth_getStorageAt", hexed(TALLY_AT), "0x0", "latest"), 16)

    assert total > 100
    assert await rpc("eth_getCode", hexed(MIXER_AT), "latest") == hexed(MIXER)
    assert int(await rpc("eth_getBalance", hexed(address_of(2)), hex(26)), 16) == db.state.balance(address_of(2))
    assert await rpc("eth_getBalance", "0x" + "00" * 19 + "99") == "0x0"


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_getBalance", (hexed(TALLY_AT), "0x5")),
        ("eth_getTransactionCount", (hexed(TALLY_AT), hex(27))),
        ("eth_getStorageAt", (hexed(TALLY_AT), "0x0", "0x0")),
        ("eth_call", ({"to": hexed(TALLY_AT)}, "0x1")),
    ],
)
async def test_the_state_of_other_blocks_is_refused_and_not_made_up(rpc, method, params):
    with pytest.raises(Refused, match="only the newest state is kept"):
        await rpc(method, *params)


async def test_a_call_changes_nothing(rpc, db):
    before = db.state.tip

    for _ in range(2):
        assert await rpc("eth_call", {"to": hexed(TALLY_AT), "data": word(5)}, "latest") == "0x"

    assert db.state.tip == before
    assert db.tip.state_root == before.root


async def test_a_call_returns_what_the_code_returns(rpc):
    # returns NUMBER . CALLER
    code = hexed(bytes.fromhex("436000523360205260406000f3"))

    told = await rpc("eth_call", {"data": code, "from": hexed(address_of(1))}, "latest")

    assert told == word(27) + "00" * 12 + address_of(1).hex()


async def test_a_revert_is_told_with_its_reason(rpc):
    reason = bytes.fromhex("08c379a0") + encode(["string"], ["not yours"])
    words = [(at, reason[at : at + 32].ljust(32, b"\0")) for at in range(0, len(reason), 32)]
    code = b"".join(bytes([0x7F]) + part + bytes([0x60, at, 0x52]) for at, part in words)
    code += bytes([0x60, len(reason), 0x60, 0, 0xFD])

    with pytest.raises(Refused) as exc_info:
        await rpc("eth_call", {"data": hexed(code)}, "latest")

    assert exc_info.value.args == (3, "execution reverted: not yours", hexed(reason))


@pytest.mark.parametrize("method", ["eth_call", "eth_estimateGas"])
@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"data": "0xfe"}, "execution failed"),
        ({"data": "0x5b600056"}, "execution failed: OutOfGas"),
        ({"to": hexed(TALLY_AT), "gas": "0x5207"}, "execution failed: OutOfGas"),
        ({"to": hexed(TALLY_AT), "value": "0x1"}, "insufficient funds"),
    ],
    ids=["invalid", "endless", "too little gas", "no funds"],
)
async def test_what_cannot_be_executed_is_told(rpc, method, message, said):
    with pytest.raises(Refused, match=said):
        await rpc(method, message, "latest")


async def test_a_transfer_is_estimated_exactly(rpc):
    message = {"from": hexed(address_of(0)), "to": hexed(address_of(1)), "value": hex(GWEI)}

    assert await rpc("eth_estimateGas", message) == hex(21_000)


async def test_a_transaction_with_its_estimate_does_not_run_out_of_gas(rpc):
    message = {"from": hexed(address_of(0)), "to": hexed(MIXER_AT), "data": word(300)}

    gas = int(await rpc("eth_estimateGas", message), 16)

    assert await rpc("eth_call", message | {"gas": hex(gas)}, "latest") == "0x"
    with pytest.raises(Refused, match="OutOfGas"):
        await rpc("eth_call", message | {"gas": hex(gas * 63 // 64 - 1)}, "latest")


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_getBlockByNumber", ()),
        ("eth_getBlockByNumber", ("12", True)),
        ("eth_getBlockByNumber", ("0x", True)),
        ("eth_getBlockByNumber", ("0x-1", True)),
        ("eth_getBlockByNumber", (hex(1 << 63), True)),
        ("eth_getBlockByNumber", ("safe", True)),
        ("eth_getBlockByHash", ("0x12", True)),
        ("eth_getBlockByHash", (5, True)),
        ("eth_getBalance", ("0x" + "0 " * 20,)),
        ("eth_getBalance", (hexed(TALLY_AT), {"blockHash": "0x0"})),
        ("eth_getStorageAt", (hexed(TALLY_AT), "0x" + "f" * 65)),
        ("eth_sendRawTransaction", ("c0",)),
        ("eth_sendRawTransaction", ("0xc",)),
        ("eth_call", ()),
        ("eth_call", (5,)),
        ("eth_call", ({"to": "0x12"},)),
        ("eth_call", ({"gas": "many"},)),
        ("eth_call", ({}, "latest", {})),
        ("eth_getTransactionReceipt", ([],)),
    ],
    ids=str,
)
async def test_parameters_that_are_none_are_refused(rpc, method, params):
    with pytest.raises(Refused) as exc_info:
        await rpc(method, *params)

    assert exc_info.value.args[0] == -32602
