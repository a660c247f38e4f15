"""The register: which vote counts, what a bad one does, what a quorum is, and what came after a mark."""

import pytest
from attestrio.quorum import BadVoteSignature, DuplicateEntry, VoteRegister, VotesAdded, WrongGenesis
from attestrio.roles import Committee, WeightedAttester
from hypothesis import given
from hypothesis import strategies as st
from quorum_kit import GENESIS, KEYS, OTHER_GENESIS, STRANGER, batch, committee, forged, vote

COMMITTEE = committee()  # ten of weight 1: nine are a quorum
HIGHEST = 2**64 - 1


def register_with(*votes):
    register = VoteRegister()
    register.update(COMMITTEE, GENESIS, votes)
    return register


# Which vote counts


def test_first_votes_of_members_are_added():
    register = VoteRegister()

    added = register.update(COMMITTEE, GENESIS, [vote(key, 5) for key in KEYS[:6]])

    assert added == VotesAdded(6, 6, 5)
    assert register.votes == {key.public(): vote(key, 5) for key in KEYS[:6]}
    assert register.support == {batch(5): 6}


def test_newer_number_replaces_the_vote_of_a_member():
    register = register_with(vote(KEYS[0], 5))

    added = register.update(COMMITTEE, GENESIS, [vote(KEYS[0], 6)])

    assert added.added == 1
    assert register.support == {batch(6): 1}


@pytest.mark.parametrize("number", [4, 5])
def test_same_and_older_number_are_ignored_without_a_word(number):
    register = register_with(vote(KEYS[0], 5))

    added = register.update(COMMITTEE, GENESIS, [vote(KEYS[0], number)])

    assert added == VotesAdded(0, 0, None)
    assert register.support == {batch(5): 1}


def test_same_number_with_a_higher_hash_replaces_and_with_a_lower_hash_does_not():
    register = register_with(vote(KEYS[0], 5, fill=0x80))

    register.update(COMMITTEE, GENESIS, [vote(KEYS[0], 5, fill=0x7F)])
    register.update(COMMITTEE, GENESIS, [vote(KEYS[0], 5, fill=0x81)])

    assert register.support == {batch(5, 0x81): 1}


def test_stranger_is_ignored_and_not_even_verified():
    register = VoteRegister()

    added = register.update(COMMITTEE, GENESIS, [vote(STRANGER, 5), forged(STRANGER, 6)][:1])

    assert added.added == 0
    assert register.update(COMMITTEE, GENESIS, [forged(STRANGER, 6)]).added == 0
    assert not register.votes


def test_vote_below_the_floor_is_ignored_and_not_even_verified():
    register = VoteRegister()
    register.set_min_batch_number(5)

    added = register.update(COMMITTEE, GENESIS, [forged(KEYS[0], 4), vote(KEYS[1], 5)])

    assert added == VotesAdded(1, 1, 5)


def test_vote_for_the_last_number_silences_its_author_only():
    register = register_with(vote(KEYS[0], HIGHEST))

    added = register.update(COMMITTEE, GENESIS, [vote(KEYS[0], 7), vote(KEYS[1], 7)])

    assert added.added == 1
    assert register.support == {batch(7): 1, batch(HIGHEST): 1}


def test_last_added_is_the_one_counted_last_not_the_largest():
    register = VoteRegister()

    added = register.update(COMMITTEE, GENESIS, [vote(KEYS[0], 9), vote(KEYS[1], 3)])

    assert added == VotesAdded(2, 2, 3)


# What a bad one does


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (forged(KEYS[2], 5), BadVoteSignature),
        (vote(KEYS[2], 5, genesis=OTHER_GENESIS), WrongGenesis),
        (vote(STRANGER, 5, genesis=OTHER_GENESIS), WrongGenesis),
        (vote(KEYS[2], 1, genesis=OTHER_GENESIS), WrongGenesis),
        (vote(KEYS[0], 6), DuplicateEntry),
    ],
    ids=["bad signature", "other genesis", "other genesis of a stranger", "other genesis below the floor", "duplicate"],
)
def test_entries_before_a_bad_one_stay_and_those_after_it_are_not_looked_at(bad, error):
    register = VoteRegister()
    register.set_min_batch_number(5)

    with pytest.raises(error) as raised:
        register.update(COMMITTEE, GENESIS, [vote(KEYS[0], 5), vote(KEYS[1], 5), bad, vote(KEYS[3], 5)])

    assert raised.value.added == VotesAdded(2, 2, 5)
    assert set(register.votes) == {KEYS[0].public(), KEYS[1].public()}


def test_duplicate_is_noticed_for_strangers_and_below_the_floor_and_before_the_genesis():
    register = VoteRegister()
    register.set_min_batch_number(5)

    with pytest.raises(DuplicateEntry):
        register.update(COMMITTEE, GENESIS, [vote(STRANGER, 5), vote(STRANGER, 6, genesis=OTHER_GENESIS)])
    with pytest.raises(DuplicateEntry):
        register.update(COMMITTEE, GENESIS, [vote(KEYS[0], 1), vote(KEYS[0], 1)])


def test_bad_signature_comes_before_a_duplicate_that_stands_after_it():
    with pytest.raises(BadVoteSignature):
        VoteRegister().update(COMMITTEE, GENESIS, [forged(KEYS[0], 5), vote(KEYS[1], 5), vote(KEYS[1], 5)])


def test_bad_signature_of_a_vote_that_would_not_count_is_nobody_s_fault():
    register = register_with(vote(KEYS[0], 5))

    assert register.update(COMMITTEE, GENESIS, [forged(KEYS[0], 5), vote(KEYS[1], 5)]).added == 1


def test_refusals_say_whose_entry_it_was():
    with pytest.raises(DuplicateEntry, match="duplicate entry for " + KEYS[0].public().to_text()):
        VoteRegister().update(COMMITTEE, GENESIS, [vote(KEYS[0], 5)] * 2)
    with pytest.raises(WrongGenesis, match="different genesis hash: " + OTHER_GENESIS.to_text()):
        VoteRegister().update(COMMITTEE, GENESIS, [vote(KEYS[0], 5, genesis=OTHER_GENESIS)])
    with pytest.raises(BadVoteSignature, match=KEYS[0].public().to_text()):
        VoteRegister().update(COMMITTEE, GENESIS, [forged(KEYS[0], 5)])


# What a quorum is


@pytest.mark.parametrize("voters", range(11))
def test_certificate_appears_exactly_at_the_threshold(voters):
    register = register_with(*[vote(key, 5) for key in KEYS[:voters]])

    certificate = register.find_quorum(COMMITTEE, GENESIS)

    assert (certificate is not None) == (voters >= COMMITTEE.threshold == 9)
    if certificate is not None:
        assert certificate.batch == batch(5)
        assert set(certificate.signatures) == {key.public() for key in KEYS[:voters]}
        certificate.verify_with(GENESIS, COMMITTEE)


def test_votes_for_the_same_hash_with_another_number_do_not_get_into_a_certificate():
    register = register_with(*[vote(key, 5) for key in KEYS[:9]], vote(KEYS[9], 6))

    certificate = register.find_quorum(COMMITTEE, GENESIS)

    assert certificate is not None
    assert KEYS[9].public() not in certificate.signatures
    certificate.verify_with(GENESIS, COMMITTEE)


def test_weight_decides_and_not_the_number_of_votes():
    heavy = Committee([WeightedAttester(key.public(), 92 if i == 0 else 1) for i, key in enumerate(KEYS[:9])])
    register = VoteRegister()

    register.update(heavy, GENESIS, [vote(key, 5) for key in KEYS[1:9]])
    assert register.find_quorum(heavy, GENESIS) is None
    register.update(heavy, GENESIS, [vote(KEYS[0], 5)])

    assert register.find_quorum(heavy, GENESIS) is not None


def test_quorum_is_lost_when_members_go_on_and_reached_again_for_the_next_batch():
    register = register_with(*[vote(key, 5) for key in KEYS])
    agreed = []

    for key in KEYS:
        register.update(COMMITTEE, GENESIS, [vote(key, 6)])
        certificate = register.find_quorum(COMMITTEE, GENESIS)
        agreed.append(certificate and (certificate.batch.number, len(certificate.signatures)))

    assert agreed == [(5, 9)] + [None] * 7 + [(6, 9), (6, 10)]


def test_certificate_given_out_does_not_change_when_votes_come_and_go():
    register = register_with(*[vote(key, 5) for key in KEYS[:9]])
    early = register.find_quorum(COMMITTEE, GENESIS)

    register.update(COMMITTEE, GENESIS, [vote(KEYS[9], 5)])
    full = register.find_quorum(COMMITTEE, GENESIS)
    register.update(COMMITTEE, GENESIS, [vote(key, 6) for key in KEYS])

    assert set(early.signatures) == {key.public() for key in KEYS[:9]}
    assert set(full.signatures) == {key.public() for key in KEYS}
    early.verify_with(GENESIS, COMMITTEE)
    full.verify_with(GENESIS, COMMITTEE)


def test_quorum_is_the_same_object_until_a_vote_for_it_comes():
    register = register_with(*[vote(key, 5) for key in KEYS[:9]])

    assert register.find_quorum(COMMITTEE, GENESIS) is register.find_quorum(COMMITTEE, GENESIS)


def test_quorum_is_not_found_for_another_genesis():
    register = register_with(*[vote(key, 5) for key in KEYS])

    assert register.find_quorum(COMMITTEE, OTHER_GENESIS) is None


def test_another_committee_counts_its_own_members_with_its_own_weights():
    register = register_with(*[vote(key, 5) for key in KEYS[:5]])
    smaller = committee(KEYS[:6], weight=3)

    certificate = register.find_quorum(smaller, GENESIS)

    assert certificate is not None
    assert register.support == {batch(5): 15}


def test_equal_committee_built_anew_keeps_everything():
    register = register_with(*[vote(key, 5) for key in KEYS[:9]])
    mark = register.version

    assert register.find_quorum(committee(), GENESIS) is not None
    assert register.version == mark


# The floor


def test_floor_at_the_last_batch_keeps_it_and_one_more_empties_the_register():
    register = register_with(*[vote(key, 5) for key in KEYS[:3]], vote(KEYS[3], 4))

    register.set_min_batch_number(5)
    kept = dict(register.support)
    register.set_min_batch_number(6)

    assert kept == {batch(5): 3}
    assert not register.votes
    assert not register.support
    assert register.find_quorum(COMMITTEE, GENESIS) is None


def test_floor_that_passes_a_quorum_takes_it_away():
    register = register_with(*[vote(key, 5) for key in KEYS])

    register.set_min_batch_number(6)

    assert register.find_quorum(COMMITTEE, GENESIS) is None


def test_member_may_vote_lower_again_only_above_the_floor():
    register = register_with(vote(KEYS[0], 5))

    register.set_min_batch_number(8)
    register.set_min_batch_number(3)

    assert register.min_batch_number == 3
    assert register.update(COMMITTEE, GENESIS, [vote(KEYS[0], 4)]).added == 1


# What came after a mark


def test_everything_is_newer_than_zero_in_the_order_it_came():
    votes = [vote(KEYS[i], 5) for i in (3, 1, 2)]
    register = register_with(*votes)

    newer, mark = register.newer_than(0)

    assert newer == votes
    assert register.newer_than(mark) == ([], mark)


def test_mark_stays_good_when_votes_are_replaced_and_dropped():
    register = register_with(vote(KEYS[0], 5), vote(KEYS[1], 5), vote(KEYS[2], 9))
    _, mark = register.newer_than(0)

    register.update(COMMITTEE, GENESIS, [vote(KEYS[0], 6), vote(KEYS[3], 9)])
    register.update(COMMITTEE, GENESIS, [vote(KEYS[0], 9)])
    register.set_min_batch_number(9)

    newer, _ = register.newer_than(mark)
    assert newer == [vote(KEYS[3], 9), vote(KEYS[0], 9)]


def test_version_grows_with_votes_and_floors_only():
    register = VoteRegister()
    versions = [register.version]

    for change in (
        lambda: register.update(COMMITTEE, GENESIS, [vote(KEYS[0], 5)]),
        lambda: register.update(COMMITTEE, GENESIS, [vote(KEYS[0], 5)]),
        lambda: register.set_min_batch_number(3),
        lambda: register.set_min_batch_number(3),
    ):
        change()
        versions.append(register.version)

    assert versions == [0, 1, 1, 2, 2]


def test_a_thousand_changes_of_mind_leave_one_vote_per_member():
    register = VoteRegister()

    for number in range(200):
        register.update(COMMITTEE, GENESIS, [vote(key, number) for key in KEYS[:5]])

    assert len(register) == 5
    assert register.support == {batch(199): 5}
    assert len(register.newer_than(0)[0]) == 5


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("vote"), st.integers(0, 9), st.integers(0, 4), st.sampled_from([0x10, 0x20])),
        st.tuples(st.just("floor"), st.integers(0, 5)),
        st.tuples(st.just("ask"), st.integers(0, 2)),
    ),
    max_size=40,
)
SIGNED = {(i, n, fill): vote(KEYS[i], n, fill) for i in range(10) for n in range(5) for fill in (0x10, 0x20)}


@given(MOVES)
def test_a_peer_that_follows_its_mark_ends_with_the_votes_of_the_register(moves):
    """A peer keeps the newest vote per member; so does the register, apart from what the floor has dropped."""
    register = VoteRegister()
    peers, marks = [{}, {}, {}], [0, 0, 0]

    for move in [*moves, ("ask", 0), ("ask", 1), ("ask", 2)]:
        match move:
            case ("vote", i, number, fill):
                register.update(COMMITTEE, GENESIS, [SIGNED[i, number, fill]])
            case ("floor", number):
                register.set_min_batch_number(max(number, register.min_batch_number))
            case ("ask", peer):
                news, marks[peer] = register.newer_than(marks[peer])
                peers[peer] |= {signed.key: signed for signed in news}

    for peer in peers:
        kept = {key: signed for key, signed in peer.items() if signed.batch.number >= register.min_batch_number}
        assert kept == register.votes


@given(MOVES)
def test_support_and_quorum_are_those_of_a_recount(moves):
    register = VoteRegister()

    for move in moves:
        match move:
            case ("vote", i, number, fill):
                register.update(COMMITTEE, GENESIS, [SIGNED[i, number, fill]])
            case ("floor", number):
                register.set_min_batch_number(number)

        recount = {}
        for signed in register.votes.values():
            recount[signed.batch] = recount.get(signed.batch, 0) + 1
        reached = [voted for voted, weight in recount.items() if weight >= COMMITTEE.threshold]
        certificate = register.find_quorum(COMMITTEE, GENESIS)
        assert register.support == recount
        assert list(register.support) == sorted(recount)
        assert ([certificate.batch] if certificate else []) == reached
