"""Who looks on sees our own key and every contradiction, in whatever order votes come; what counts stays the same."""

from functools import partial

import pytest
from attestrio.kit.blocking import inline
from attestrio.quorum import BadVoteSignature, DuplicateEntry, VotesAdded, WrongGenesis
from attestrio.quorum.verify import Verifier
from attestrio.quorum.watch import VotesWatch
from attestrio.quorum.witness import CHECKS, REMEMBERED, Witness
from attestrio.roles import SignedBatch
from hypothesis import given
from hypothesis import strategies as st
from quorum_kit import GENESIS, KEYS, OTHER_GENESIS, STRANGER, batch, committee, forged, vote

COMMITTEE = committee()
OWN, MEMBER = KEYS[0], KEYS[1]
LOW, HIGH = 0x10, 0xF0


class Seen:
    """A watch, and what its witness told."""

    def __init__(self, own=OWN, run_blocking=inline):
        self.heard, self.conflicts = [], []
        witness = Witness(own.public(), self.heard.append, lambda *pair: self.conflicts.append(pair))
        self.watch = VotesWatch(COMMITTEE, GENESIS, Verifier(run_blocking, threads_from=0, thread_chunk=2), witness)

    def add(self, *votes):
        for one in votes:
            self.watch.add([one])
        return self


# Contradictions


@pytest.mark.parametrize("fills", [(LOW, HIGH), (HIGH, LOW)], ids=["replaced", "skipped"])
def test_two_hashes_for_one_number_are_told_in_the_order_they_came(fills):
    first, second = (vote(MEMBER, 5, fill) for fill in fills)

    seen = Seen().add(first, second)

    assert seen.conflicts == [(first, second)]


@pytest.mark.parametrize("later", [6, 8])
def test_contradiction_of_an_older_vote_is_told(later):
    first, second = vote(MEMBER, 5, LOW), vote(MEMBER, 5, HIGH)

    seen = Seen().add(first, vote(MEMBER, later), second)

    assert seen.conflicts == [(first, second)]


def test_contradiction_below_the_floor_is_told():
    first, second = vote(MEMBER, 5, LOW), vote(MEMBER, 5, HIGH)
    seen = Seen().add(first)

    seen.watch.raise_floor(9)
    seen.add(second)

    assert seen.conflicts == [(first, second)]


def test_contradiction_is_told_before_the_vote_counts():
    support = []
    first, second = vote(MEMBER, 5, LOW), vote(MEMBER, 5, HIGH)
    witness = Witness(None, on_conflict=lambda *_: support.append(watch.support(second.batch)))
    watch = VotesWatch(COMMITTEE, GENESIS, None, witness)

    watch.add([first])
    watch.add([second])

    assert support == [0]
    assert watch.support(second.batch) == 1


def test_one_contradiction_for_each_number_is_enough():
    seen = Seen().add(*[vote(MEMBER, 5, fill) for fill in (3, 1, 2, 4, 1, 2)])

    assert seen.conflicts == [(vote(MEMBER, 5, 3), vote(MEMBER, 5, 1))]


def test_equal_votes_other_numbers_and_other_members_are_no_contradiction():
    seen = Seen().add(vote(MEMBER, 5), vote(MEMBER, 5), vote(MEMBER, 6, LOW), vote(KEYS[2], 5, LOW), vote(MEMBER, 5))

    assert seen.conflicts == []


def test_junk_contradicts_nobody():
    seen = Seen().add(vote(MEMBER, 5, HIGH), forged(MEMBER, 5, LOW))

    assert seen.conflicts == []


def test_votes_of_another_genesis_contradict_nobody():
    seen = Seen().add(vote(MEMBER, 5, HIGH))

    with pytest.raises(WrongGenesis):
        seen.add(vote(MEMBER, 5, LOW, OTHER_GENESIS))

    assert seen.conflicts == []


def test_strangers_are_not_remembered():
    seen = Seen().add(vote(STRANGER, 5, HIGH), vote(STRANGER, 5, LOW))

    assert seen.conflicts == []


def test_junk_buys_few_checks_for_each_number():
    junk = [forged(MEMBER, 5, fill) for fill in range(CHECKS)]
    second = vote(MEMBER, 5, LOW)

    tried = Seen().add(vote(MEMBER, 5, HIGH), *junk[:-1], second)
    too_often = Seen().add(vote(MEMBER, 5, HIGH), *junk, second)

    assert len(tried.conflicts) == 1
    assert too_often.conflicts == []


def test_only_the_last_votes_of_a_member_are_remembered():
    numbers = range(5, 5 + REMEMBERED + 1)
    seen = Seen().add(*[vote(MEMBER, number, HIGH) for number in numbers])

    seen.add(*[vote(MEMBER, number, LOW) for number in numbers])

    assert [first.batch.number for first, _ in seen.conflicts] == list(numbers)[1:]


# The own key


@pytest.mark.parametrize("key", [OWN, STRANGER], ids=["member", "no member"])
@pytest.mark.parametrize("floor", [0, 9], ids=["counted", "below the floor"])
def test_votes_of_the_own_key_are_heard_wherever_the_floor_is_and_whoever_votes(key, floor):
    seen = Seen(own=key)
    seen.watch.raise_floor(floor)

    seen.add(vote(key, 5))

    assert seen.heard == [vote(key, 5)]


def test_own_vote_is_heard_before_it_counts():
    support = []
    witness = Witness(OWN.public(), on_heard=lambda one: support.append(watch.support(one.batch)))
    watch = VotesWatch(COMMITTEE, GENESIS, None, witness)

    watch.add([vote(OWN, 5)])

    assert support == [0]


def test_own_vote_that_comes_back_is_not_heard_again():
    seen = Seen().add(vote(OWN, 5), vote(OWN, 5), vote(OWN, 6), vote(OWN, 5))

    assert seen.heard == [vote(OWN, 5), vote(OWN, 6)]


@pytest.mark.parametrize("number", [3, 5, 9])
def test_junk_under_the_own_key_is_not_heard_however_much_there_is(number):
    seen = Seen().add(vote(OWN, 5, HIGH))
    seen.watch.raise_floor(6)
    junk = [forged(OWN, number, fill) for fill in range(3 * CHECKS)]

    for one in junk:
        if number < 6:
            seen.add(one)
        else:
            with pytest.raises(BadVoteSignature):
                seen.add(one)
    seen.add(vote(OWN, 4, LOW))

    assert seen.heard == [vote(OWN, 5, HIGH), vote(OWN, 4, LOW)]


def test_another_hash_under_the_own_key_is_heard_and_told():
    first, second = vote(OWN, 5, HIGH), vote(OWN, 5, LOW)

    seen = Seen().add(first, second)

    assert seen.heard == [first, second]
    assert seen.conflicts == [(first, second)]


def test_others_are_not_heard():
    seen = Seen().add(vote(MEMBER, 5), vote(STRANGER, 5))

    assert seen.heard == []


def test_without_an_own_key_nothing_is_heard():
    heard = []
    watch = VotesWatch(COMMITTEE, GENESIS, None, Witness(None, heard.append))

    watch.add([vote(OWN, 5), vote(STRANGER, 5)])

    assert heard == []


# Lists


def test_entries_before_a_bad_one_are_seen():
    seen = Seen().add(vote(OWN, 5), vote(MEMBER, 5, HIGH))
    seen.watch.raise_floor(6)

    with pytest.raises(DuplicateEntry):
        seen.watch.add([vote(OWN, 4), vote(MEMBER, 5, LOW), vote(MEMBER, 6)])

    assert seen.heard == [vote(OWN, 5), vote(OWN, 4)]
    assert seen.conflicts == [(vote(MEMBER, 5, HIGH), vote(MEMBER, 5, LOW))]


VOTES = st.lists(
    st.tuples(st.sampled_from([*KEYS[:4], STRANGER]), st.integers(3, 6), st.sampled_from([LOW, HIGH]), st.booleans()),
    max_size=12,
)


@given(VOTES, st.integers(3, 6))
async def test_large_lists_are_seen_as_single_votes_are_and_count_as_without_a_witness(drawn, floor):
    votes = [vote(key, number, fill) if good else forged(key, number, fill) for key, number, fill, good in drawn]
    single, many, blind = Seen(), Seen(), VotesWatch(COMMITTEE, GENESIS)
    for watch in (single.watch, many.watch, blind):
        watch.raise_floor(floor)

    outcomes = []
    for one in votes:
        outcomes.append([await outcome(partial(many.watch.add_many, [one]))])
        for watch in (single.watch, blind):
            outcomes[-1].append(await outcome(partial(add, watch, one)))

    assert all(told == rest[0] == rest[1] for told, *rest in outcomes)
    assert single.watch.votes() == many.watch.votes() == blind.votes()
    assert (single.heard, single.conflicts) == (many.heard, many.conflicts)
    assert set(map(_pair, single.conflicts)) <= contradictions(votes)


async def add(watch, one):
    return watch.add([one])


async def outcome(call) -> VotesAdded | str:
    try:
        return await call()
    except BadVoteSignature as exc:
        return str(exc)


def _pair(conflict):
    return frozenset(conflict)


def contradictions(votes):
    """Every pair of valid votes of one key for one number with two hashes, found the slow way."""
    good = [one for one in votes if one == SignedBatch(one.batch, one.key, vote_of(one).signature)]
    return {
        frozenset((one, other))
        for one in good
        for other in good
        if one.key == other.key and one.batch.number == other.batch.number and one.batch.hash != other.batch.hash
    }


def vote_of(one):
    key = next(key for key in [*KEYS, STRANGER] if key.public() == one.key)
    return key.sign_batch(batch(one.batch.number, one.batch.hash.raw[0]))


async def test_vote_that_was_overtaken_while_it_was_checked_is_seen():
    overtaken = []
    first, second = vote(MEMBER, 5, HIGH), vote(MEMBER, 5, LOW)

    async def slowly(fn):
        verdicts = await inline(fn)
        if not overtaken:
            overtaken.append(seen.watch.add([first]))
        return verdicts

    seen = Seen(run_blocking=slowly)
    added = await seen.watch.add_many([second])

    assert added == VotesAdded()
    assert seen.conflicts == [(first, second)]
