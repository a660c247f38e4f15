"""Who gets in, who is shown how, and what misbehaviour costs."""

from dataclasses import FrozenInstanceError, replace

import pytest
from attestrio.gossip.peers import AlreadyConnected, Direction, LimitExceeded, PeerInfo, Pool
from attestrio.gossip.scores import BEST, POINTS, Fault, PeerRefused, ScoreRules, Scores
from attestrio.roles import NodeSecretKey
from hypothesis import given, settings
from hypothesis import strategies as st

KEYS = [NodeSecretKey(bytes([i]) * 32).public() for i in range(1, 9)]
ANNA, BEN, CARL, DORA = KEYS[:4]
FALLS_AT = 5  # refused pushes until the score is below the floor


# Pools


def test_a_peer_is_in_until_its_connection_ends():
    pool = Pool(extra_limit=2)

    pool.insert(ANNA, "link of Anna")
    pool.insert(BEN, "link of Ben")
    pool.remove(ANNA, "link of Anna")

    assert list(pool) == ["link of Ben"]
    assert (len(pool), pool.extra, pool.get(ANNA), pool.get(BEN)) == (1, 1, None, "link of Ben")


def test_the_second_connection_of_a_key_is_refused_and_the_first_stays():
    pool = Pool(allowed=[ANNA], extra_limit=1)
    first, second = object(), object()
    pool.insert(ANNA, first)

    with pytest.raises(AlreadyConnected) as caught:
        pool.insert(ANNA, second)
    pool.remove(ANNA, second)  # the shell cleans up after every connection, refused ones too

    assert caught.value.key == ANNA
    assert list(pool) == [first]


def test_strangers_are_let_in_up_to_the_limit():
    pool = Pool(extra_limit=2)
    pool.insert(ANNA, 1)
    pool.insert(BEN, 2)

    with pytest.raises(LimitExceeded, match="3 dynamic peers, limit 2") as caught:
        pool.insert(CARL, 3)

    assert (caught.value.got, caught.value.limit) == (3, 2)
    assert list(pool) == [1, 2]


def test_a_place_is_free_again_when_a_stranger_leaves():
    pool = Pool(extra_limit=1)
    link = object()
    pool.insert(ANNA, link)

    pool.remove(ANNA, link)
    pool.remove(ANNA, link)
    pool.insert(BEN, 2)

    assert pool.extra == 1
    with pytest.raises(LimitExceeded):
        pool.insert(CARL, 3)


def test_a_key_that_is_in_already_hears_so_even_when_the_pool_is_full():
    pool = Pool(extra_limit=1)
    pool.insert(ANNA, 1)

    with pytest.raises(AlreadyConnected):
        pool.insert(ANNA, 2)


def test_static_peers_take_nothing_from_the_limit_and_get_in_when_it_is_reached():
    pool = Pool(allowed=[ANNA, BEN], extra_limit=1)

    pool.insert(ANNA, 1)
    pool.insert(CARL, 2)
    pool.insert(BEN, 3)

    assert (len(pool), pool.extra) == (3, 1)
    with pytest.raises(LimitExceeded):
        pool.insert(DORA, 4)


def test_an_outbound_pool_takes_only_whom_we_dial():
    pool = Pool(allowed=[ANNA])

    with pytest.raises(LimitExceeded):
        pool.insert(BEN, 1)


def test_the_same_key_may_be_connected_in_both_directions():
    inbound, outbound = Pool(extra_limit=1), Pool(allowed=[ANNA])

    inbound.insert(ANNA, 1)
    outbound.insert(ANNA, 2)

    assert (list(inbound), list(outbound)) == ([1], [2])


def test_links_may_leave_while_somebody_goes_through_them():
    pool = Pool(extra_limit=3)
    for key in KEYS[:3]:
        pool.insert(key, key)

    for link in pool:
        pool.remove(link, link)

    assert len(pool) == 0


@pytest.mark.parametrize(
    "make", [lambda: Pool(extra_limit=-1), lambda: ScoreRules(floor=101), lambda: ScoreRules(remembered=0)]
)
def test_limits_that_mean_nothing_are_refused(make):
    with pytest.raises(ValueError, match=r"at least|floor is"):
        make()


@settings(deadline=None)
@given(
    st.sets(st.sampled_from(KEYS), max_size=3),
    st.integers(0, 3),
    st.lists(st.tuples(st.booleans(), st.sampled_from(KEYS)), max_size=40),
)
def test_whatever_comes_and_goes_the_limits_hold(allowed, limit, steps):
    pool = Pool(allowed, limit)
    inside = {}

    for comes, key in steps:
        link = object()
        if comes:
            room = key in allowed or sum(one not in allowed for one in inside) < limit
            if key in inside or not room:
                with pytest.raises(AlreadyConnected if key in inside else LimitExceeded):
                    pool.insert(key, link)
                pool.remove(key, link)
            else:
                pool.insert(key, link)
                inside[key] = link
        elif key in inside:
            pool.remove(key, inside.pop(key))
        assert list(pool) == list(inside.values())
        assert pool.extra == sum(one not in allowed for one in inside) <= limit


def test_what_is_shown_of_a_peer_is_of_one_moment():
    info = PeerInfo(ANNA, Direction.INBOUND, "192.0.2.1:3054", since=1.7e9, received=10, sent=20, score=BEST)

    assert str(info.direction) == "inbound"
    assert replace(info, sent=21) != info
    with pytest.raises(FrozenInstanceError):
        info.sent = 22


# Scores


def test_a_peer_nobody_complained_about_has_the_best_score_and_costs_no_memory():
    scores = Scores()

    scores.check(ANNA, 0.0)

    assert scores.score(ANNA, 0.0) == 100.0
    assert len(scores) == 0


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_lowers_the_score_of_its_peer_alone(fault):
    scores = Scores()

    fell = scores.lower(ANNA, fault, 0.0)

    assert not fell
    assert scores.score(ANNA, 0.0) == 100.0 - POINTS[fault] < 100.0
    assert scores.score(BEN, 0.0) == 100.0


def test_a_score_recovers_with_time_to_the_best_and_no_further():
    scores = Scores(rules=ScoreRules(recover_per_s=0.5))

    scores.lower(ANNA, Fault.REFUSED_PUSH, 1_000.0)

    assert [scores.score(ANNA, 1_000.0 + after) for after in (0, 10, 39, 41, 1e6)] == [80, 85, 99.5, 100, 100]


def test_a_clock_that_goes_back_lowers_nothing():
    scores = Scores()

    scores.lower(ANNA, Fault.REFUSED_PUSH, 1_000.0)

    assert scores.score(ANNA, 0.0) == 80.0


def test_a_score_does_not_go_below_zero():
    scores = Scores()

    for _ in range(20):
        scores.lower(ANNA, Fault.BROKEN_PROTOCOL, 0.0)

    assert scores.score(ANNA, 0.0) == 0.0
    assert scores.score(ANNA, 100.0) == 10.0


def test_a_peer_that_falls_below_the_floor_is_said_once_and_refused_for_a_while():
    scores = Scores()

    fell = [scores.lower(ANNA, Fault.REFUSED_PUSH, 0.0) for _ in range(FALLS_AT + 1)]

    assert fell == [False] * (FALLS_AT - 1) + [True, False]
    with pytest.raises(PeerRefused, match="refused for 600 s more"):
        scores.check(ANNA, 0.0)
    with pytest.raises(PeerRefused) as caught:
        scores.check(ANNA, 599.0)
    assert (caught.value.score, caught.value.floor, caught.value.for_s) == (pytest.approx(59.9), 20.0, 1.0)
    scores.check(ANNA, 600.0)
    scores.check(BEN, 0.0)


def test_faults_that_are_far_enough_apart_never_refuse_anybody():
    scores = Scores()

    fell = [scores.lower(ANNA, Fault.REFUSED_PUSH, 200.0 * i) for i in range(1_000)]

    assert not any(fell)
    scores.check(ANNA, 200_000.0)


def test_a_fault_above_the_floor_does_not_end_or_lengthen_a_refusal():
    scores = Scores(rules=ScoreRules(recover_per_s=1.0, refuse_s=100.0))
    for _ in range(FALLS_AT):
        scores.lower(ANNA, Fault.REFUSED_PUSH, 0.0)

    scores.lower(ANNA, Fault.BAD_REQUEST, 90.0)

    with pytest.raises(PeerRefused):
        scores.check(ANNA, 99.0)
    scores.check(ANNA, 100.0)


def test_a_static_peer_is_reported_and_never_refused():
    scores = Scores(static=[ANNA])

    fell = [scores.lower(ANNA, Fault.REFUSED_PUSH, 0.0) for _ in range(FALLS_AT)]
    scores.check(ANNA, 0.0)

    assert fell[-1]
    assert scores.score(ANNA, 0.0) == 0.0


def test_strangers_do_not_fill_the_memory_and_the_latest_faults_are_kept():
    scores = Scores(rules=ScoreRules(remembered=3))

    for now, key in enumerate([ANNA, BEN, CARL, ANNA, DORA]):
        scores.lower(key, Fault.BAD_REQUEST, float(now))

    assert len(scores) == 3
    assert [scores.score(key, 4.0) < 100.0 for key in (ANNA, BEN, CARL, DORA)] == [True, False, True, True]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(Fault), st.floats(0, 500)), max_size=60))
def test_a_score_stays_in_its_range_and_memory_in_its_bound(steps):
    scores, now = Scores(rules=ScoreRules(remembered=4)), 0.0

    for key, fault, pause in steps:
        now += pause
        before = scores.score(key, now)
        scores.lower(key, fault, now)
        assert scores.score(key, now) == max(0.0, before - POINTS[fault])
        assert all(0.0 <= scores.score(one, now) <= BEST for one in KEYS)
        assert len(scores) <= 4
