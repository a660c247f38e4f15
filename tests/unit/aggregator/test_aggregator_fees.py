"""Prices: above the node's by the steps of the table, a tenth above the one before, and never above the cap."""

import pytest
from attestrio.aggregator.fees import cap, floor, offer
from attestrio.aggregator.settings import FeeSettings
from hypothesis import given
from hypothesis import strategies as st

RULE = FeeSettings()
GWEI = 10**9
prices = st.integers(1, 10**15)


@pytest.mark.parametrize(
    ("bumps", "percent"), [(0, 125), (1, 145), (2, 165), (3, 185), (4, 205), (5, 225), (6, 245), (7, 250), (50, 250)]
)
def test_each_replacement_goes_a_step_further_up_to_the_limit(bumps, percent):
    assert offer(RULE, 100 * GWEI, bumps) == percent * GWEI


def test_a_replacement_costs_a_tenth_more_where_the_steps_are_smaller():
    assert offer(RULE, 100 * GWEI, 1, before=140 * GWEI) == 154 * GWEI


def test_a_tenth_is_rounded_up_because_a_node_compares_exactly():
    assert floor(RULE, 11) == 13
    assert offer(RULE, 10, 1, before=11) == 15
    assert offer(RULE, 10, 1, before=14) == 16


def test_nothing_is_offered_above_the_cap_however_often_it_is_replaced():
    assert offer(RULE, 100 * GWEI, 9, before=228 * GWEI) is None
    assert offer(RULE, 100 * GWEI, 9, before=227 * GWEI) == 250 * GWEI


def test_nothing_is_offered_while_the_node_wants_more_than_the_owner_pays():
    rule = FeeSettings(max_price_wei=50 * GWEI)

    assert offer(rule, 51 * GWEI) is None
    assert offer(rule, 50 * GWEI) == 50 * GWEI
    assert offer(rule, 10 * GWEI) == 12.5 * GWEI


def test_a_chain_that_wants_nothing_is_offered_one_wei():
    assert offer(RULE, 0) == 1


@given(node=prices, bumps=st.integers(0, 100), before=st.one_of(st.just(0), prices))
def test_every_offer_is_within_its_bounds(node, bumps, before):
    price = offer(RULE, node, bumps, before)

    if price is None:
        assert floor(RULE, before) > cap(RULE, node)
    else:
        assert node <= price <= cap(RULE, node)
        assert price * 100 >= before * 110


@given(node=prices)
def test_a_price_that_does_not_move_is_raised_a_bounded_number_of_times(node):
    offers, before = 0, 0
    while (price := offer(RULE, node, offers, before)) is not None and offers < 100:
        offers, before = offers + 1, price

    assert offers < 20
