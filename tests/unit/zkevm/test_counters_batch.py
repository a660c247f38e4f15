"""What a sequencer is told while it builds a batch: what fits, what does not, and what has been taken back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from attestrio.zkevm.counters import BatchCounters, limits_of
from attestrio.zkevm.counters.transaction import processing_cost, reading_cost
from attestrio.zkevm.errors import TypedTransactionRefused
from attestrio.zkevm.executor import Outcome
from attestrio.zkevm.transactions import ACCESS_LIST, sign_legacy, unsigned_legacy
from counters_kit import Operands, amounts, of
from execution_kit import ALICE, BOB, SECRETS
from zkevm_kit import golden

GOLDEN = golden("counters")["examples"]
DEPTH = 25


def used(after, fork):
    """The golden numbers after a step."""
    return next(row["used"] for row in GOLDEN if row.get("after") == after and row["fork"] == fork)


def number(name, fork):
    return next(row[name] for row in GOLDEN if name in row and row["fork"] == fork)


def transfer(**fields):
    """111 bytes in the data of a batch, as the one behind the golden numbers."""
    fields = {"chain_id": 200, "nonce": 1, "gas_price": 10**9, "gas": 21_000, "to": BOB, "value": 10**18} | fields
    return sign_legacy(unsigned_legacy(**fields), SECRETS[0])


TRANSFER = transfer()


def ended(tx, returned=b""):
    """How the executor would tell that a transaction is in its block."""
    return Outcome(tx, ALICE, 255, tx.gas_price, 1, tx.gas, tx.gas, (), returned, None, None)


def begun(fork=9, limits=None, l1_info=False):
    """A batch with one block in it."""
    counters = BatchCounters(fork, DEPTH, limits or limits_of(fork))
    assert counters.begin_block(l1_info) is None
    return counters


def put(counters, tx=TRANSFER):
    """A transaction that executes nothing: None, or what has no room for it, before or after."""
    counting = counters.begin_tx(tx, 255, DEPTH)
    return counting if isinstance(counting, str) else counters.end_tx(ended(tx), 0)


# --- the numbers of the Go code


@pytest.mark.parametrize("fork", [9, 12, 13])
def test_a_batch_with_a_transfer_uses_what_it_uses_upstream(fork):
    counters = BatchCounters(fork, DEPTH, limits_of(fork))
    seen = [counters.used]
    counters.begin_block(l1_info=False)
    seen.append(counters.used)
    counters.begin_tx(TRANSFER, 255, DEPTH)
    seen.append(counters.used)
    counters.end_tx(ended(TRANSFER), 0)
    seen.append(counters.used)

    names = (
        "empty batch", "1 block, no l1 info index", "1 block + transfer, before execution (rlp only)",
        "1 block + transfer, after execution",
    )  # fmt: skip
    assert [step.as_map() for step in seen] == [amounts("") | used(name, fork) for name in names]
    flagged = begun(fork, l1_info=True).used.as_map()
    assert flagged == used("1 block, with l1 info index (merkle proof)", fork)


@pytest.mark.parametrize("fork", [9, 12, 13])
def test_the_parts_of_a_transfer_cost_what_they_cost_upstream(fork):
    assert len(TRANSFER.batch_l2_data(255)) == 111
    assert of(reading_cost(TRANSFER, 111)) == number("tx_rlp", fork)
    assert of(processing_cost(fork, 19, 0, deploy=False)) == number("tx_processing", fork)


@pytest.mark.parametrize("fork", [9, 12, 13])
def test_as_many_transfers_fit_into_a_block_as_upstream(fork):
    counters, fitting = begun(fork), 0

    while (short := put(counters, replace(TRANSFER, nonce=fitting))) is None:
        fitting += 1

    assert fitting == number("transfers_per_single_block_batch_before_overflow", fork)
    assert short == "A"


@pytest.mark.parametrize("fork", [9, 12])
def test_as_many_empty_blocks_fit_into_a_batch_as_upstream(fork):
    counters, fitting = BatchCounters(fork, DEPTH, limits_of(fork)), 0

    while (short := counters.begin_block(l1_info=False)) is None:
        fitting += 1

    assert fitting == number("empty_blocks_per_batch_before_overflow", fork)
    assert short == "P"


# --- transactions


def test_call_data_costs_by_the_byte_and_its_length_from_56_bytes_on():
    reading = [of(reading_cost(transfer(data=bytes(size)), 111)) for size in (0, 1, 55, 56)]

    assert reading[1]["S"] - reading[0]["S"] == 35 + 80
    assert reading[3]["S"] - reading[2]["S"] == 35 + 80 + 87 * 56 + 12  # upstream takes 56 for the bytes of the length
    assert reading[3]["B"] - reading[2]["B"] == 1 + 5 + 6 * 56


def test_a_signature_that_looks_empty_to_upstream_is_cheap():
    low = replace(TRANSFER, r=1 << 64)

    good, bad = of(reading_cost(TRANSFER, 111)), of(reading_cost(low, 111))

    assert {letter: good[letter] - bad[letter] for letter in "SABK"} == {"S": 6249, "A": 526, "B": 515, "K": 1}


def test_a_transaction_of_no_chain_has_a_chain_id_of_one_byte():
    assert of(reading_cost(transfer(chain_id=0), 111)) == of(reading_cost(TRANSFER, 111))
    assert of(reading_cost(transfer(chain_id=256), 111))["S"] == of(reading_cost(TRANSFER, 111))["S"] + 87


def test_a_deployment_pays_for_what_was_returned():
    tx = transfer(to=None, data=b"\0")
    counters = begun()
    counters.begin_tx(tx, 255, DEPTH)
    counters.end_tx(ended(tx, returned=bytes(100)), 7)

    assert counters.explain()["processing"].as_map() == of(processing_cost(9, 19, 100, deploy=True))
    assert of(processing_cost(9, 19, 100, deploy=True))["S"] == 760 + 1204


def test_a_typed_transaction_cannot_be_counted():
    with pytest.raises(TypedTransactionRefused):
        begun().begin_tx(replace(TRANSFER, type=ACCESS_LIST), 255, DEPTH)


def test_a_deep_tree_makes_a_transaction_dearer_and_not_its_batch():
    shallow, deep = begun(), begun()
    put(shallow)
    deep.begin_tx(TRANSFER, 255, 60)
    deep.end_tx(ended(TRANSFER), 0)

    assert deep.used.poseidon - shallow.used.poseidon == (14 + 2 + 4) * (36 - 19)
    assert deep.explain()["blocks"] == shallow.explain()["blocks"]


def test_what_a_transaction_executes_is_added_when_it_ends():
    counters = begun()
    counting = counters.begin_tx(TRANSFER, 255, DEPTH)
    counting.opcode(Operands(), 0x01)

    before = counters.used
    counters.end_tx(ended(TRANSFER), 0)

    assert counters.explain()["execution"].as_map() == amounts("S22 B1")
    assert counters.used.steps - before.steps == 22 + 825


# --- what does not fit


def test_a_transaction_that_cannot_be_read_within_the_limits_is_not_counted():
    counters = begun(limits=limits_of(9).lowered({"A": 569}))
    before = counters.used

    assert counters.begin_tx(TRANSFER, 255, DEPTH) == "A"
    assert (counters.used, counters.data_size) == (before, 9)


def test_a_transaction_that_does_not_fit_in_the_end_is_taken_back_whole():
    counters = begun(limits=limits_of(9).lowered({"S": 10_137}))
    before = counters.used

    assert put(counters) == "S"
    assert (counters.used, counters.data_size) == (before, 9)
    assert put(begun(limits=limits_of(9).lowered({"S": 10_138}))) is None


def test_a_block_that_does_not_fit_is_not_counted():
    counters = begun(limits=limits_of(9).lowered({"P": 76 + 298}))
    before = counters.used

    assert counters.begin_block(l1_info=False) == "P"
    assert counters.used == before
    assert counters.explain()["blocks"].poseidon == 298


def test_of_several_counters_without_room_the_first_is_named():
    counters = BatchCounters(9, DEPTH, limits_of(9).lowered({"P": 100, "B": 10}))

    assert counters.begin_block(l1_info=False) == "B"


def test_a_transaction_that_failed_stays_read_until_it_is_taken_back():
    counters = begun()
    before = counters.used
    counters.begin_tx(TRANSFER, 255, DEPTH)  # and the executor refuses it
    left = counters.used

    assert left.steps - before.steps == 8771
    counters.take_back_tx()
    assert counters.used == before


def test_a_failed_transaction_that_is_left_is_paid_again_with_the_next_try():
    counters = begun()
    counters.begin_tx(TRANSFER, 255, DEPTH)
    put(counters)

    assert counters.explain()["reading"].steps == 2 * 8771
    assert counters.data_size == 9 + 2 * 111


def test_a_transaction_can_be_taken_back_after_it_was_counted():
    counters = begun()
    put(counters)
    before = counters.used
    put(counters)

    counters.take_back_tx()

    assert counters.used == before
    with pytest.raises(RuntimeError):
        counters.end_tx(ended(TRANSFER), 0)


def test_a_block_is_taken_back_with_its_transactions():
    counters = begun(l1_info=True)
    put(counters)
    before = counters.used
    counters.begin_block(l1_info=False)
    put(counters)
    counters.begin_tx(TRANSFER, 255, DEPTH)

    counters.take_back_block()

    assert counters.used == before
    assert counters.data_size == 9 + 111
    assert put(counters) is None


# --- blocks


def test_the_index_of_the_last_block_is_charged_to_all():
    counters = begun()
    counters.begin_block(l1_info=False)
    plain = counters.used.keccak

    counters.begin_block(l1_info=True)
    flagged = counters.used.keccak
    counters.begin_block(l1_info=False)

    assert flagged - plain == 2 + 3 * 33
    assert counters.used.keccak == plain + 2 * 2


def test_an_index_is_not_charged_while_a_transaction_is_read():
    # With the flag one block and a transfer take 41 permutations, without it 8.
    counters = begun(limits=limits_of(9).lowered({"K": 40}), l1_info=True)

    assert not isinstance(counters.begin_tx(TRANSFER, 255, DEPTH), str)
    assert counters.end_tx(ended(TRANSFER), 0) == "K"


def test_keccak_grows_with_the_data_of_the_whole_batch():
    counters = begun()
    for _ in range(5):
        put(counters)

    assert counters.data_size == 9 + 5 * 111
    assert counters.explain()["batch"].keccak == 2 + -(-565 // 136)


def test_the_parts_add_up():
    counters = begun(l1_info=True)
    counting = counters.begin_tx(TRANSFER, 255, DEPTH)
    counting.opcode(Operands(), 0x55)
    counters.end_tx(ended(TRANSFER), 0)

    batch, blocks, *rest = counters.explain().values()

    assert sum(rest, batch + blocks) == counters.used
