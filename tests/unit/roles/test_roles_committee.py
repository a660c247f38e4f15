"""Committees: which lists are one, in which order, and how much weight is enough."""

import pickle

import pytest
from attestrio import roles
from hypothesis import given, settings
from hypothesis import strategies as st
from roles_values import KEY_1, KEY_2, U64, committees, members
from suite import examples


def key(number: int) -> roles.AttesterPublicKey:
    return roles.AttesterSecretKey(number.to_bytes(32, "big")).public()


def committee(*weights: int) -> roles.Committee:
    return roles.Committee(roles.WeightedAttester(key(at + 1), weight) for at, weight in enumerate(weights))


def test_members_stand_in_the_order_of_x_whatever_their_compressed_bytes_say():
    one, eleven = key(1), key(11)

    mixed = roles.Committee([roles.WeightedAttester(one, 1), roles.WeightedAttester(eleven, 2)])

    assert one.to_bytes().hex().startswith("0279be66")
    assert eleven.to_bytes().hex().startswith("03774ae7")
    assert one.to_bytes() < eleven.to_bytes()
    assert eleven < one
    assert [member.key for member in mixed] == [eleven, one]
    assert (mixed.index(eleven), mixed.index(one), mixed.index(key(2))) == (0, 1, None)


def test_keys_with_one_x_are_ordered_by_y():
    even = roles.AttesterPublicKey.from_bytes(b"\x02" + key(5).to_bytes()[1:])
    odd = roles.AttesterPublicKey.from_bytes(b"\x03" + key(5).to_bytes()[1:])

    smaller, greater = sorted([even, odd])

    assert smaller.xy[:32] == greater.xy[:32]
    assert smaller.xy[32:] < greater.xy[32:]
    assert smaller <= greater
    assert greater > smaller
    assert greater >= smaller
    assert even != odd


def test_running_sums_of_weights_are_as_upstream():
    weights, sums = [1000, 600, 800, 6000, 900, 700], [1000, 1600, 2400, 8400, 9300, 10000]

    totals = [committee(*weights[: count + 1]).total_weight for count in range(len(weights))]

    assert totals == sums


@pytest.mark.parametrize(
    ("total", "enough"),
    [
        *((1, 1), (2, 2), (5, 5), (6, 5), (7, 6), (10, 9), (11, 9), (16, 13), (21, 17), (30, 25), (100, 81)),
        (U64, 14757395258967641293),
    ],
)
def test_threshold_is_what_the_network_asks_for(total, enough):
    assert roles.threshold(total) == enough
    assert committee(total).threshold == enough


def test_there_is_no_threshold_of_nothing():
    with pytest.raises(ValueError, match="total weight is 0"):
        roles.threshold(0)


def test_a_key_twice_is_refused_before_its_weight_is_looked_at():
    with pytest.raises(roles.DuplicateAttester):
        roles.Committee([roles.WeightedAttester(KEY_1, 1), roles.WeightedAttester(KEY_1, 0)])


def test_a_weight_of_zero_is_refused():
    with pytest.raises(roles.ZeroWeight):
        committee(1, 0, U64)


def test_weights_beyond_64_bits_are_refused():
    with pytest.raises(roles.WeightOverflow) as refused:
        committee(*[U64 // 5] * 6)

    assert (refused.value.got, refused.value.limit) == (U64 // 5 * 6, U64)
    with pytest.raises(roles.NumberOutOfRange):
        committee(U64 + 1)


def test_a_committee_of_nobody_is_refused():
    with pytest.raises(roles.EmptyCommittee):
        roles.Committee([])


def test_weight_of_keys_counts_members_only_and_one_given_twice_twice():
    two = committee(3, 4)

    assert two.weight_of_keys([key(1), key(1), key(9)]) == 6
    assert (two.weight(key(2)), two.weight(key(9))) == (4, None)
    assert key(1) in two
    assert key(9) not in two


def test_a_committee_cannot_be_changed():
    one = committee(1)

    with pytest.raises(AttributeError):
        one.threshold = 0
    with pytest.raises(AttributeError):
        del one.total_weight


@settings(max_examples=examples(20), deadline=None)
@given(one=committees, extra=members, randoms=st.randoms(use_true_random=False))
def test_committees_are_equal_when_their_members_are(one, extra, randoms):
    shuffled = list(one)
    randoms.shuffle(shuffled)

    assert roles.Committee(shuffled) == one
    assert hash(roles.Committee(shuffled)) == hash(one)
    assert pickle.loads(pickle.dumps(one)) == one
    if extra.key not in one:
        assert roles.Committee([*one, extra]) != one


def test_a_committee_shows_keys_and_weights():
    shown = repr(roles.Committee([roles.WeightedAttester(KEY_1, 10), roles.WeightedAttester(KEY_2, 20)]))

    assert KEY_1.to_text() + "=10" in shown
    assert KEY_2.to_text() + "=20" in shown
