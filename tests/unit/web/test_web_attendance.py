"""Who misses votes, and in which way."""

from attestrio.roles import BatchNumber, BatchQC
from web_kit import ALL, KEYS, SECRETS, Chain, batch


def running():
    """A chain past its first batch, which is held against nobody."""
    chain = Chain()
    chain.told(1)
    chain.told(2)
    return chain


def test_who_never_votes_is_named_as_silent_once_the_status_has_named_three_more_numbers():
    chain = running()
    chain.vote(2, [0, 1, 2, 3])

    chain.passed(3, 4, 5)
    before = chain.missed(4)
    chain.told(6)

    assert before == {}  # its vote may still arrive
    assert chain.missed(4) == {"silent": 1}
    assert [chain.missed(member) for member in range(4)] == [{}] * 4


def test_a_vote_that_comes_after_the_status_went_on_is_late_and_not_silent():
    chain = running()
    chain.vote(2, [0, 1, 2, 3])

    chain.passed(3, 4, 5)
    chain.vote(2, [4])
    chain.told(6)

    assert chain.missed(4) == {"late": 1}


def test_a_vote_in_a_certificate_from_elsewhere_was_in_time():
    chain = running()
    chain.vote(2, [0, 1, 2, 3])

    chain.told(3)
    chain.duty.obtained(BatchQC(batch(2), {KEYS[4]: SECRETS[4].sign_batch(batch(2)).signature}))
    chain.vote(2, [4])  # and then a peer that lags brings it too
    chain.passed(4, 5, 6)

    assert chain.missed(4) == {}


def test_a_vote_for_another_hash_than_most_is_told_apart():
    chain = running()
    chain.vote(2, [0, 1, 2, 3])
    chain.vote(2, [4], content=b"\x0b")

    chain.passed(3, 4, 5, 6)

    assert chain.missed(4) == {"other_hash": 1}


def test_the_first_batch_is_held_against_nobody():
    chain = Chain()
    chain.told(1)
    chain.vote(1, [0])

    chain.told(2)
    chain.vote(2, ALL)
    chain.passed(3, 4, 5, 6)

    assert [chain.missed(member) for member in ALL] == [{}] * len(ALL)


def test_a_batch_nobody_was_heard_on_is_held_against_nobody():
    chain = running()

    chain.passed(3, 4, 5, 6)

    assert [chain.missed(member) for member in ALL] == [{}] * len(ALL)


def test_the_same_number_again_changes_nothing():
    chain = running()
    chain.vote(2, [0, 1, 2, 3])
    since = chain.attendance.wanted_since

    chain.passed(2, 2, 2, 2, 2)

    assert chain.attendance.wanted_since == since
    assert chain.missed(4) == {}


def test_the_last_vote_of_a_member_is_its_newest():
    chain = running()
    chain.vote(2, [0, 1])
    chain.attendance.look()
    chain.told(3)
    chain.vote(3, [0])
    chain.vote(2, [2])

    chain.attendance.look()

    last = [chain.attendance.last(KEYS[member]) for member in range(4)]
    assert [None if one is None else one.number for one in last] == [
        BatchNumber(3),
        BatchNumber(2),
        BatchNumber(2),
        None,
    ]
