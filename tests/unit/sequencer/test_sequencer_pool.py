"""The pool: what it takes in, in which order it gives, and when it forgets."""

from dataclasses import replace

import pytest
from attestrio.sequencer.pool import AccountFacts, NoRoom, Pool, PoolSettings, TransactionRefused
from attestrio.zkevm.transactions import tx_untrusted
from hypothesis import given, settings
from hypothesis import strategies as st
from sequencer_kit import ALICE, BOB, CHAIN_A, ETHER, GWEI, tx
from suite import examples

RICH = AccountFacts(0, 100 * ETHER)


def pool(**changed):
    return Pool(CHAIN_A, replace(PoolSettings(), **changed))


def add(into, encoded, facts=RICH, now=0.0):
    """Take one in as the wallet's bytes; the transaction."""
    read = into.read_untrusted(encoded)
    into.add(read, facts, now)
    return read


def nonces(txs):
    return [(one.sender(), one.nonce) for one in txs]


@pytest.mark.parametrize(
    ("encoded", "said"),
    [
        (b"", "invalid transaction"),
        (b"\x02\xc0", "transaction type not supported: 2"),
        (b"\xc0", "invalid transaction"),
        (b"\xf8" + bytes(200), "invalid transaction"),
        (tx(0)[:-1], "invalid transaction"),
        (tx(0, chain_id=5), "invalid chain id for signer: have 5 want 1001"),
        (tx(0, chain_id=0), "only replay-protected"),
        (tx(0, gas=20_999), "intrinsic gas too low: have 20999, want 21000"),
        (tx(0, gas=30_000_001), "exceeds block gas limit"),
        (tx(0, gas_price=GWEI - 1), "transaction underpriced"),
        (tx(0, data=bytes(200_000)), "oversized data"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_can_be_in_no_block_is_refused_in_the_words_of_wallets(encoded, said):
    with pytest.raises(TransactionRefused, match=said):
        pool(min_gas_price=GWEI).read_untrusted(encoded)


@given(st.binary(max_size=300))
@settings(max_examples=examples(200), deadline=None)
def test_whatever_a_stranger_sends_is_refused_and_nothing_else(raw):
    with pytest.raises(TransactionRefused):
        pool().read_untrusted(raw)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (AccountFacts(4, ETHER), "nonce too low: next nonce 4, tx nonce 3"),
        (AccountFacts(3, 100_000 * GWEI), "insufficient funds for gas \\* price \\+ value"),
    ],
)
def test_what_the_account_cannot_do_is_refused(facts, said):
    with pytest.raises(TransactionRefused, match=said):
        add(pool(), tx(3), facts)


def test_a_nonce_far_ahead_is_refused_and_one_a_little_ahead_waits():
    waiting = pool(ahead=3)

    add(waiting, tx(3))
    with pytest.raises(TransactionRefused, match="nonce too high"):
        add(waiting, tx(4))

    assert waiting.ready(10) == []
    assert waiting.nonce_after(ALICE, 0) == 0
    add(waiting, tx(0))
    with pytest.raises(NoRoom, match="nonce too high"):  # but its turn comes nearer
        add(waiting, tx(4))


def test_the_same_again_is_known_and_another_of_its_nonce_has_to_pay_more():
    waiting = pool()
    old = add(waiting, tx(0, gas_price=100))

    with pytest.raises(TransactionRefused, match="already known"):
        add(waiting, tx(0, gas_price=100))
    with pytest.raises(TransactionRefused, match="replacement transaction underpriced"):
        add(waiting, tx(0, gas_price=109))
    new = add(waiting, tx(0, gas_price=110))

    assert waiting.ready(10) == [new]
    assert (waiting.get(old.hash()), waiting.get(new.hash())) == (None, new)


def test_first_come_first_served_and_each_account_in_the_order_of_its_nonces():
    waiting = pool()
    for encoded in (tx(1), tx(0, sender=BOB), tx(0), tx(1, sender=BOB), tx(3)):
        add(waiting, encoded)

    assert nonces(waiting.ready(10)) == [(ALICE, 0), (BOB, 0), (ALICE, 1), (BOB, 1)]
    assert nonces(waiting.ready(1)) == [(ALICE, 0)]


def test_what_is_in_a_block_is_gone_with_all_below_its_nonce():
    waiting = pool()
    add(waiting, tx(0))
    add(waiting, tx(2))

    waiting.done([tx_untrusted(tx(1))])  # which somebody else had put into a block

    assert nonces(waiting.ready(10)) == [(ALICE, 2)]
    assert len(waiting) == 1


def test_what_comes_after_a_dropped_one_waits_for_another_of_its_nonce():
    waiting = pool()
    bad = add(waiting, tx(0))
    add(waiting, tx(1))

    waiting.drop(bad)

    assert waiting.ready(10) == []
    add(waiting, tx(0, value=2))
    assert nonces(waiting.ready(10)) == [(ALICE, 0), (ALICE, 1)]


def test_dropping_what_was_replaced_meanwhile_leaves_its_successor():
    waiting = pool()
    old = add(waiting, tx(0, gas_price=100))
    new = add(waiting, tx(0, gas_price=200))

    waiting.drop(old)

    assert waiting.ready(10) == [new]


def test_a_chain_that_went_back_expects_earlier_nonces():
    waiting = pool()
    add(waiting, tx(5), AccountFacts(5, ETHER))
    assert len(waiting.ready(10)) == 1

    waiting.renew({ALICE: 4, BOB: 0})

    assert waiting.ready(10) == []
    waiting.renew({ALICE: 6})
    assert len(waiting) == 0


def test_a_full_pool_takes_only_replacements():
    waiting = pool(most=2)
    add(waiting, tx(0, gas_price=100))
    add(waiting, tx(1))

    with pytest.raises(NoRoom):
        add(waiting, tx(2))
    add(waiting, tx(0, gas_price=200))

    assert len(waiting) == 2


def test_what_waits_for_too_long_is_forgotten():
    waiting = pool(lifetime_s=10.0)
    add(waiting, tx(0), now=0.0)
    add(waiting, tx(1), now=5.0)

    assert waiting.expire(10.0) == 0
    assert waiting.expire(10.5) == 1
    assert waiting.ready(10) == []
    assert waiting.expire(16.0) == 1
    assert waiting.senders() == ()


TWELVE = {(sender, nonce): tx(nonce, sender=sender) for sender in (ALICE, BOB) for nonce in range(6)}


@given(st.permutations(sorted(TWELVE)), st.integers(0, 12))
@settings(max_examples=examples(50), deadline=None)
def test_whatever_the_order_of_arrival_nonces_are_offered_without_gaps(order, arrived):
    waiting = pool()
    for key in order[:arrived]:
        add(waiting, TWELVE[key])

    offered = nonces(waiting.ready(100))

    for sender in (ALICE, BOB):
        mine = [nonce for who, nonce in offered if who == sender]
        there = {nonce for who, nonce in order[:arrived] if who == sender}
        assert mine == list(range(len(mine)))
        assert len(mine) not in there
