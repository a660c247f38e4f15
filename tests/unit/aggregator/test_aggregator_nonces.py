"""Nonces: none is left out, none is two batches' at once, and what nobody needs is found."""

import pytest
from attestrio.aggregator.nonces import MAX_GAPS, Nonces, filler_key
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from suite import examples

A, B, C = b"a" * 32, b"b" * 32, b"c" * 32


def test_nonces_are_given_out_one_after_the_other_from_the_first_unused():
    nonces = Nonces(used=7)

    for expected, owner in ((7, A), (8, B), (9, C)):
        assert nonces.lowest() == expected
        nonces.take(expected, owner, 1)

    assert nonces.gaps() == []


def test_what_is_held_firmly_is_nobody_elses():
    nonces = Nonces()
    nonces.take(0, A, 1)

    with pytest.raises(ValueError, match="another"):
        nonces.take(0, B, 1)
    nonces.take(0, A, 2)


def test_a_nonce_that_is_let_go_is_a_gap_and_the_next_ones():
    nonces = Nonces()
    for nonce, owner in enumerate((A, B)):
        nonces.take(nonce, owner, 100)
    nonces.loosen(0, A)

    assert nonces.gaps() == [0]
    assert nonces.lowest() == 0
    assert nonces.price(0) == 100, "what replaces it has to cost more"
    assert nonces.owns(0, A)
    nonces.take(0, C, 110)
    assert not nonces.owns(0, A)
    assert nonces.gaps() == []


def test_a_nonce_that_is_let_go_with_nobody_behind_it_is_no_gap():
    nonces = Nonces()
    nonces.take(0, A, 100)
    nonces.loosen(0, A)

    assert nonces.gaps() == []
    assert nonces.lowest() == 0


def test_who_lost_a_nonce_cannot_free_or_loosen_it():
    nonces = Nonces()
    nonces.take(0, A, 100)
    nonces.loosen(0, A)
    nonces.take(0, B, 110)

    nonces.free(0, A)
    nonces.loosen(0, A)

    assert nonces.lowest() == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_rows_with_one_nonce_the_firm_one_has_it_and_the_highest_price_counts(order):
    nonces, rows = Nonces(), [(A, 100, False), (B, 90, True)]

    for at in order:
        owner, price, firm = rows[at]
        nonces.hold(5, owner, price, firm=firm)

    assert nonces.owns(5, B)
    assert nonces.price(5) == 100


def test_nonces_below_the_chains_count_are_over_and_open_again_after_a_reorg():
    nonces = Nonces()
    nonces.take(0, A, 1)
    nonces.used = 1
    assert nonces.is_over(0)
    assert nonces.lowest() == 1

    nonces.used = 0

    assert not nonces.is_over(0)
    assert nonces.lowest() == 1, "it is still A's"


def test_a_filler_is_never_taken_for_a_batch():
    assert len(filler_key(7)) != 32
    assert filler_key(7) < filler_key(256)


@pytest.mark.parametrize(("ahead", "filled"), [(MAX_GAPS, MAX_GAPS), (1_000_000, 0)])
def test_what_a_node_that_was_wrong_once_leaves_open_is_not_filled(ahead, filled):
    nonces = Nonces(used=ahead)
    nonces.take(nonces.lowest(), A, 1)

    nonces.used = 0

    assert len(nonces.gaps()) == filled
    assert nonces.lowest() == 0  # batches go on from there


def test_gaps_are_filled_while_another_nonce_is_far_ahead():
    nonces = Nonces()
    nonces.take(1_000_000, A, 1)
    nonces.take(2, B, 1)

    assert nonces.gaps() == [0, 1]
    assert nonces.far() == [1_000_000]


class Account(RuleBasedStateMachine):
    """Batches that come, are put off, go on, and are mined, in any order."""

    def __init__(self):
        super().__init__()
        self.nonces, self.owners, self.held = Nonces(), 0, {}

    @rule()
    def comes(self):
        self.owners += 1
        owner, nonce = self.owners.to_bytes(32, "big"), self.nonces.lowest()
        self.nonces.take(nonce, owner, 1)
        self.held[nonce] = owner

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def is_put_off(self, data):
        nonce = data.draw(st.sampled_from(sorted(self.held)))
        self.nonces.loosen(nonce, self.held.pop(nonce))

    @precondition(lambda self: self.nonces.used in self.held)
    @rule()
    def is_mined(self):
        nonce = self.nonces.used
        self.nonces.used += 1
        self.nonces.free(nonce, self.held.pop(nonce))

    @invariant()
    def no_nonce_is_left_out(self):
        last = max(self.held, default=self.nonces.used)
        missing = [nonce for nonce in range(self.nonces.used, last) if nonce not in self.held]
        assert self.nonces.gaps() == missing
        assert self.nonces.lowest() not in self.held
        assert all(nonce in self.held for nonce in range(self.nonces.used, self.nonces.lowest()))


Account.TestCase.settings = settings(max_examples=examples(20), stateful_step_count=30, deadline=None)
TestAccount = Account.TestCase
