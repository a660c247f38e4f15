"""Building blocks: hashes and roots of chains that others have built, and which transactions cannot be in one."""

from __future__ import annotations

import pytest
from attestrio.zkevm.errors import BadTransaction, ForkUnsupported, NoSuchBlock, TxFailed, TxFault, WrongParent
from attestrio.zkevm.executor import BlockEnv, ChainRules, Executor, L1Info, intrinsic_gas
from attestrio.zkevm.genesis import Account, allocation, begin_chain
from attestrio.zkevm.nodes import MemoryNodes
from attestrio.zkevm.rlp import decode_untrusted, encode
from attestrio.zkevm.smt import Smt
from attestrio.zkevm.state import MemoryStore, State
from attestrio.zkevm.system import GER_MANAGER, SYSTEM, ger_slot, local_exit_root, root_slot
from attestrio.zkevm.transactions import tx_untrusted
from eth_account import Account as Wallet
from eth_utils import to_checksum_address
from execution_kit import (
    ALICE,
    BOB,
    CAROL,
    CHAIN_ID,
    COINBASE,
    COUNT,
    ETHER,
    LOGGED,
    SECRETS,
    Chain,
    asm,
    contract,
    store,
)
from zkevm_kit import golden, raw

GOLDEN = golden("chain")


def trace(chain):
    """All that a block under way has changed, to compare with later."""
    return chain.state.changes(), chain.executor.outcomes, chain.executor.gas_used


# --- chains of others


def test_every_block_of_the_chain_of_the_vectors_comes_out_the_same():
    begin = GOLDEN["genesis"]
    state, smt = State(MemoryStore()), Smt(MemoryNodes())
    accounts = {raw(address): Account(balance=int(wei)) for address, wei in begin["alloc"].items()}
    genesis = begin_chain(state, smt, accounts, timestamp=begin["time"])
    executor = Executor(state, smt, ChainRules(GOLDEN["chain_id"]))

    built, index = [], 0
    for block in GOLDEN["blocks"]:
        ger = raw(block["GER"])
        index, new = max(index, block["L1Index"]), block["L1Index"] > index or block["Number"] == 1
        executor.begin_block(
            BlockEnv(
                block["Number"], block["Time"], raw(block["Coinbase"]), GOLDEN["fork_id"], raw(block["ParentHash"]),
                state.tip.root, L1Info(ger, raw(block["L1Hash"]), write=new) if any(ger) else None,
            )
        )  # fmt: skip
        for tx in block["Txs"] or []:
            executor.apply(tx_untrusted(raw(tx["RLP"])), 255)
        built.append(executor.finish_block())

    assert genesis.hash() == raw(begin["hash"])
    assert [block.hash for block in built] == [raw(block["Hash"]) for block in GOLDEN["blocks"]]
    assert [block.block_info_root for block in built] == [raw(block["BlockInfoRoot"]) for block in GOLDEN["blocks"]]


def test_an_allocation_file_is_read_with_decimal_amounts_and_hex_storage():
    text = {
        "0x" + "0a" * 20: {"balance": "12", "nonce": "3", "code": "0x6000", "storage": {"0x01": "0x10"}},
        "0x" + "0b" * 20: {},
    }

    assert allocation(text) == {
        b"\x0a" * 20: Account(12, 3, b"\x60\0", {1: 16}),
        b"\x0b" * 20: Account(),
    }


def test_a_chain_begins_once():
    chain = Chain()

    with pytest.raises(RuntimeError):
        begin_chain(chain.state, chain.smt, {}, timestamp=0)


# --- what a block writes of its own


def test_contracts_find_number_time_and_roots_of_earlier_blocks_in_the_system_contract():
    chain = Chain()
    chain.begin()
    first = chain.finish()
    chain.begin()
    second = chain.finish()

    at = chain.state.storage
    assert (at(SYSTEM, 0), at(SYSTEM, 2)) == (2, second.header.timestamp)
    assert at(SYSTEM, 3) == int.from_bytes(second.block_info_root, "big")
    assert at(SYSTEM, root_slot(0)) == int.from_bytes(chain.genesis.state_root, "big")
    assert at(SYSTEM, root_slot(1)) == int.from_bytes(first.state_root, "big")


def test_time_in_the_state_does_not_go_back():
    chain = Chain()
    chain.begin()
    chain.finish()
    tip = chain.state.tip

    chain.executor.begin_block(BlockEnv(2, 3, COINBASE, 9, chain.hashes[1], tip.root))

    assert chain.state.storage(SYSTEM, 2) == 1_005
    assert chain.finish().header.timestamp == 3


def test_a_global_exit_root_is_written_once_and_only_when_it_is_due():
    chain, due, known = Chain(), L1Info(b"\1" * 32, b"\2" * 32), L1Info(b"\3" * 32, b"\4" * 32, write=False)
    for info in (due, L1Info(b"\1" * 32, b"\5" * 32), known, None):
        chain.begin(info)
        chain.finish()

    found = [chain.state.storage(GER_MANAGER, ger_slot(ger)) for ger in (due.ger, known.ger)]

    assert found == [int.from_bytes(due.block_hash, "big"), 0]
    assert local_exit_root(chain.state) == bytes(32)


# --- fees


@pytest.mark.parametrize(("percentage", "price"), [(255, 1001), (0, 3), (127, 500)])
def test_the_sender_pays_the_part_that_the_percentage_says(percentage, price):
    chain = Chain()

    outcome = chain.send(ALICE, BOB, value=7, gas_price=1001, percentage=percentage)

    assert (outcome.price, outcome.gas_used, outcome.status) == (price, 21_000, 1)
    assert chain.state.balance(ALICE) == 100 * ETHER - 7 - 21_000 * price
    assert chain.state.balance(BOB) == 100 * ETHER + 7
    assert chain.state.balance(COINBASE) == 21_000 * price
    assert chain.state.nonce(ALICE) == 1


def test_what_a_sender_has_need_only_cover_the_price_that_is_paid():
    chain, poor = Chain(), 21_000 * 500
    chain.begin()
    chain.state.add_balance(CAROL, poor - chain.state.balance(CAROL))

    outcome = chain.send(CAROL, BOB, gas=21_000, gas_price=1001, percentage=127)

    assert outcome.status == 1
    assert chain.state.balance(CAROL) == 0


def test_gas_adds_up_over_a_block():
    chain = Chain()

    outcomes = [chain.send(ALICE), chain.send(BOB, CAROL), chain.send(ALICE, CAROL)]
    built = chain.finish()

    assert [outcome.cumulative_gas for outcome in outcomes] == [21_000, 42_000, 63_000]
    assert built.header.gas_used == 63_000
    assert built.outcomes == tuple(outcomes)


def test_clearing_a_slot_gives_back_at_most_a_half():
    chain = Chain({contract(2): Account(code=asm(0x5F, 0x5F, 0x55), storage={0: 1})})

    outcome = chain.send(ALICE, contract(2))

    spent = 21_000 + 2 + 2 + 5_000
    assert outcome.gas_used == spent - spent // 2


# --- transactions that cannot be


FAULTS = {
    TxFault.CHAIN: {"chain_id": 5},
    TxFault.NONCE_LOW: {"sender": BOB, "nonce": 0},
    TxFault.NONCE_HIGH: {"nonce": 1},
    TxFault.BALANCE: {"value": 100 * ETHER},
    TxFault.GAS: {"gas": 21_000, "data": b"\0"},
    TxFault.BLOCK_GAS: {"gas": 2**50 + 1, "gas_price": 0},
    TxFault.SENDER: {"sender": CAROL},
}


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_transaction_that_cannot_be_executed_leaves_no_trace(fault):
    chain = Chain({CAROL: Account(balance=ETHER, code=b"\0")})
    chain.send(BOB, ALICE)
    before = trace(chain)

    with pytest.raises(TxFailed) as failed:
        chain.send(**FAULTS[fault])

    assert failed.value.fault == fault
    assert trace(chain) == before


def test_a_transaction_with_a_tip_is_not_known_before_london():
    signed = Wallet.sign_transaction(
        {"type": 2, "chainId": CHAIN_ID, "nonce": 0, "gas": 21_000, "to": to_checksum_address(BOB), "maxFeePerGas": 9,
         "maxPriorityFeePerGas": 2, "value": 0}, SECRETS[0],
    )  # fmt: skip
    chain = Chain()
    chain.begin()

    with pytest.raises(TxFailed) as failed:
        chain.executor.apply(tx_untrusted(encode(bytes(signed.raw_transaction))), 255)
    assert failed.value.fault == TxFault.TYPE


def test_an_access_list_is_paid_for_and_warm():
    code = asm((1,), 0x54, (2,), 0x54, store(3))
    chain = Chain({contract(1): Account(code=code)})
    slots = ["0x" + bytes(31).hex() + "01"]
    access = [{"address": to_checksum_address(contract(1)), "storageKeys": slots}]
    signed = Wallet.sign_transaction(
        {"type": 1, "chainId": CHAIN_ID, "nonce": 0, "gas": 100_000, "to": access[0]["address"], "gasPrice": 9,
         "value": 0, "accessList": access}, SECRETS[0],
    )  # fmt: skip
    tx = tx_untrusted(encode(bytes(signed.raw_transaction)))
    chain.begin()

    outcome = chain.executor.apply(tx, 255)
    built = chain.finish()

    assert intrinsic_gas(tx) == 21_000 + 2_400 + 1_900
    assert outcome.gas_used == 25_300 + 3 + 100 + 3 + 2_100 + 3 + 2_200  # slot 1 is warm, slots 2 and 3 are cold
    assert built.outcomes[0].receipt().type == 1


def test_a_transaction_for_no_chain_in_particular_is_taken():
    chain = Chain()

    assert chain.send(chain_id=0).status == 1


def test_a_signature_of_nobody_leaves_no_trace():
    chain = Chain()
    good = chain.tx()
    chain.begin()
    before = trace(chain)
    bad = tx_untrusted(encode([*decode_untrusted(good.encoded)[:7], b"\5", b"\1"]))

    with pytest.raises(BadTransaction):
        chain.executor.apply(bad, 255)
    assert trace(chain) == before


# --- going back


def test_a_transaction_that_is_taken_back_has_never_been_there():
    plain, other = (
        Chain({contract(1): Account(code=LOGGED + COUNT)}),
        Chain({contract(1): Account(code=LOGGED + COUNT)}),
    )
    for chain in (plain, other):
        chain.send(ALICE, contract(1))
    other.send(BOB, contract(1), value=5)
    other.executor.take_back_tx()
    for chain in (plain, other):
        chain.send(CAROL, contract(1))

    assert trace(plain) == trace(other)
    assert plain.finish().hash == other.finish().hash


def test_a_block_that_is_dropped_uses_up_nothing():
    plain, other = Chain(), Chain()
    other.begin(L1Info(b"\1" * 32, b"\2" * 32))
    other.send(ALICE, BOB, value=5)
    other.executor.drop_block()
    for chain in (plain, other):
        chain.send(BOB, CAROL)

    assert plain.finish().hash == other.finish().hash


def test_blocks_built_again_after_going_back_are_the_same():
    chain = Chain({contract(1): Account(code=LOGGED + COUNT)})
    txs, hashes = [], []
    for sender in (ALICE, BOB, CAROL, ALICE):
        txs.append(chain.tx(sender, contract(1)))
        chain.begin()
        chain.executor.apply(txs[-1], 255)
        hashes.append(chain.finish().hash)

    tip = chain.executor.unwind_to(1)
    again = []
    for tx in txs[1:]:
        chain.begin()
        chain.executor.apply(tx, 255)
        again.append(chain.finish().hash)

    assert tip.number == 1
    assert again == hashes[1:]
    with pytest.raises(NoSuchBlock):
        chain.executor.unwind_to(9)


def test_a_block_stands_on_the_end_of_the_one_before():
    chain = Chain()

    for number, root in ((1, b"\1" * 32), (2, chain.state.tip.root)):
        with pytest.raises(WrongParent):
            chain.executor.begin_block(BlockEnv(number, 1_005, COINBASE, 9, chain.hashes[0], root))


@pytest.mark.parametrize("fork", [7, 14])
def test_a_fork_whose_rules_are_not_known_is_refused(fork):
    chain = Chain(fork=fork)

    with pytest.raises(ForkUnsupported):
        chain.begin()


def test_one_block_at_a_time():
    chain = Chain()
    with pytest.raises(RuntimeError):
        chain.executor.finish_block()
    chain.begin()
    with pytest.raises(RuntimeError):
        chain.begin()


def test_the_fork_goes_by_the_batch():
    rules = ChainRules(1, ((12, 50), (9, 0), (13, 90)))

    assert [rules.fork_of(batch) for batch in (0, 1, 50, 51, 90, 91)] == [0, 9, 9, 12, 12, 13]
