"""Who voted for a batch, through whom the vote came, who took ours, and what ends with an epoch or a restart."""

from attestrio.duty import EndState, EpochOf, Reason, Step
from attestrio.roles import Batch, BatchHash, BatchNumber, BatchQC, SignedBatch
from duty_kit import COMMITTEE, EIGHT, EPOCH, GENESIS, KEYS, NINE, PEERS, SEVEN, Clock, log_of, vote


def test_the_first_peer_that_brings_a_vote_is_remembered_with_the_time():
    clock = Clock()
    duty = log_of(clock)
    duty.record(SEVEN, Step.TOLD)

    clock.now = 1_001.0
    duty.heard([vote(1, 7)], PEERS[0])
    clock.now = 1_002.0
    duty.heard([vote(1, 7), vote(2, 7)], PEERS[1])

    heard = [(one.key, one.at, one.via) for one in duty.story(SEVEN).votes]
    assert heard == [(KEYS[1], 1_001.0, PEERS[0]), (KEYS[2], 1_002.0, PEERS[1])]


def test_who_did_not_vote_is_named_as_soon_as_the_batch_is_told():
    duty = log_of(Clock())

    duty.record(SEVEN, Step.TOLD)
    nobody = {one.key for one in duty.story(SEVEN).missing()}
    duty.heard([vote(0, 7), vote(2, 7)])

    assert nobody == set(KEYS)
    assert [one.key for one in duty.story(SEVEN).missing()] == [KEYS[1]]
    assert duty.story(SEVEN).weight(BatchHash(b"\xab" * 32)) == 20


def test_a_vote_that_came_before_the_batch_was_told_counts_too():
    duty = log_of(Clock())

    duty.heard([vote(1, 7)], PEERS[0])
    untold = duty.story(SEVEN)
    duty.record(SEVEN, Step.TOLD)

    assert untold is None  # a vote alone is no duty of this node
    assert [one.via for one in duty.story(SEVEN).votes] == [PEERS[0]]


def test_votes_for_the_far_future_take_nobody_elses_place():
    duty = log_of(Clock())
    duty.record(SEVEN, Step.TOLD)

    for number in range(1_000, 1_100):
        duty.heard([vote(2, number)])
    duty.heard([vote(1, 8)])
    duty.record(EIGHT, Step.TOLD)

    assert [one.key for one in duty.story(EIGHT).votes] == [KEYS[1]]
    assert duty.story(SEVEN).votes == ()


def test_votes_are_bounded_and_the_newest_batches_keep_theirs():
    duty = log_of(Clock(), max_ballots=4, max_votes=6)

    for number in range(20):
        duty.record(BatchNumber(number), Step.TOLD)
        duty.heard([vote(index, number) for index in range(3)])

    known = [number for number in duty.batches() if duty.story(number).votes is not None]
    assert known == [18, 19]


def test_peers_that_took_our_vote_are_told_once_each():
    duty = log_of(Clock())
    duty.record(SEVEN, Step.TOLD)

    for peer in (PEERS[0], PEERS[1], PEERS[0]):
        duty.delivered(peer, SEVEN)

    assert [one.peer for one in duty.story(SEVEN).deliveries] == PEERS


def test_a_certificate_from_elsewhere_says_who_voted_and_ends_a_missed_batch_as_certified():
    duty = log_of(Clock())
    duty.record(SEVEN, Step.TOLD)
    duty.heard([vote(0, 7)])
    duty.end(SEVEN, EndState.MISSED, Reason.SUPERSEDED)
    votes: list[SignedBatch] = [vote(index, 7) for index in (0, 1)]

    duty.obtained(BatchQC(votes[0].batch, {one.key: one.signature for one in votes}))

    story = duty.story(SEVEN)
    assert story.state is EndState.CERTIFIED
    assert [(one.key, one.in_certificate) for one in story.votes] == [(KEYS[0], False), (KEYS[1], True)]
    assert [one.key for one in story.missing()] == [KEYS[2]]


def test_a_certificate_of_a_batch_nobody_remembers_begins_no_story():
    duty = log_of(Clock())

    duty.obtained(BatchQC(Batch(SEVEN, BatchHash(bytes(32)), GENESIS), {}))

    assert duty.story(SEVEN) is None
    assert sum(duty.counts().values()) == 0


def test_the_end_of_an_epoch_ends_what_is_open_and_numbers_come_again():
    duty = log_of(Clock())
    duty.record(SEVEN, Step.TOLD)
    duty.heard([vote(0, 7)])
    duty.keep_book(EPOCH, [])
    duty.record(SEVEN, Step.PERSISTED)

    duty.begin_epoch(EpochOf(2, GENESIS, COMMITTEE, KEYS[0]))

    (story,) = duty.take_unwritten()
    assert (story.of, story.state, story.reason) == (EPOCH, EndState.SKIPPED, Reason.EPOCH_ENDED)
    assert len(story.votes) == 1
    assert duty.story(SEVEN) is None


def test_an_epoch_that_goes_on_keeps_its_batches():
    duty = log_of(Clock())
    duty.record(SEVEN, Step.TOLD)

    duty.begin_epoch(EpochOf(1, GENESIS, COMMITTEE, None))

    assert duty.end_state(SEVEN) is EndState.OPEN


def test_what_a_killed_run_left_open_is_missed_if_the_node_had_not_signed():
    before = log_of(Clock())
    for number in (SEVEN, EIGHT):
        before.record(number, Step.TOLD)
    before.record(EIGHT, Step.SIGNED)
    after = log_of(Clock(2_000.0), None)

    after.keep_book(EPOCH, [before.story(SEVEN), before.story(EIGHT)])
    after.begin_epoch(EPOCH)
    after.end_below(NINE)

    ends = [(after.end_state(number), after.end_reason(number)) for number in (SEVEN, EIGHT)]
    assert ends == [(EndState.MISSED, Reason.NODE_STOPPED), (EndState.SKIPPED, Reason.NODE_STOPPED)]
    stopped = after.timeline(SEVEN)[-1]
    assert (stopped.step, stopped.at, stopped.reason) == (Step.TOLD, 2_000.0, Reason.NODE_STOPPED)


def test_votes_known_before_a_restart_keep_their_times():
    clock = Clock()
    before = log_of(clock)
    before.record(SEVEN, Step.TOLD)
    before.heard([vote(1, 7)], PEERS[0])
    after = log_of(Clock(2_000.0), None)

    after.keep_book(EPOCH, [before.story(SEVEN)])
    after.begin_epoch(EPOCH)
    after.heard([vote(1, 7), vote(2, 7)], PEERS[1])  # peers send everything again

    assert [(one.at, one.via) for one in after.story(SEVEN).votes] == [(1_000.0, PEERS[0]), (2_000.0, PEERS[1])]


def test_nothing_is_gathered_for_a_book_that_nobody_keeps():
    duty = log_of(Clock())

    duty.record(SEVEN, Step.TOLD)
    duty.heard([vote(1, 7)])

    assert not duty.unwritten.value
    assert duty.take_unwritten() == []
