"""A batch that was attested while the node was away is told all the same: why it was not seen, and who voted."""

import pytest
from attestrio.duty import EndState, EpochOf, Reason, Step
from attestrio.duty.book import BOOK, DutyBook
from attestrio.duty.reader import open_book
from attestrio.duty.telling import of_story
from attestrio.duty.unseen import unseen
from attestrio.kit.blocking import inline
from attestrio.roles import BatchNumber, BatchQC, GenesisHash
from duty_kit import COMMITTEE, EPOCH, GENESIS, KEYS, SEVEN, Clock, log_of, vote

TEN = BatchNumber(10)


def around(*, stopped=True, epoch=EPOCH):
    """Batch 7, in which the node may have stopped, and batch 10, an hour later."""
    clock = Clock()
    duty = log_of(clock, epoch)
    duty.record(SEVEN, Step.TOLD)
    if stopped:
        duty.record(SEVEN, Step.TOLD, Reason.NODE_STOPPED, "started again")
    clock.now += 3_600
    duty.record(TEN, Step.TOLD)
    return duty.story(SEVEN), duty.story(TEN)


def certificate(number, genesis=GENESIS):
    votes = [vote(index, number) for index in (1, 2)]
    batch = votes[0].batch if genesis == GENESIS else type(votes[0].batch)(number, votes[0].batch.hash, genesis)
    return BatchQC(batch, {one.key: one.signature for one in votes})


def test_a_batch_that_passed_while_the_node_was_down_is_missed_because_of_that():
    story = unseen(BatchNumber(8), *around())

    assert (story.state, story.reason) == (EndState.MISSED, Reason.NODE_STOPPED)
    told = list(of_story(story).lines())
    assert told[0] == "batch 8: missed"
    assert f"{Reason.NODE_STOPPED.meaning} (never told of it: after batch 7 came batch 10)" in told[1]


def test_a_node_that_stopped_between_two_batches_says_so_with_the_first_one_afterwards():
    clock = Clock()
    earlier, duty = log_of(clock), log_of(clock, None)
    earlier.record(SEVEN, Step.TOLD)
    earlier.heard([vote(index, 7) for index in (0, 1, 2)])
    earlier.end(SEVEN, EndState.CERTIFIED)
    duty.keep_book(EPOCH, [earlier.story(SEVEN)])
    for _ in range(2):
        duty.record(TEN, Step.TOLD)

    story = unseen(BatchNumber(8), duty.story(SEVEN), duty.story(TEN))

    assert [event.detail for event in duty.timeline(TEN)] == ["the first one since this node was started"]
    assert story.reason is Reason.NODE_STOPPED


@pytest.mark.parametrize(
    ("own", "reason", "state"),
    [(KEYS[0], Reason.SUPERSEDED, EndState.MISSED), (None, Reason.QC_ELSEWHERE, EndState.SKIPPED)],
    ids=["a voter", "a node without a vote"],
)
def test_a_batch_that_was_passed_between_two_looks_at_the_status_ended_as_the_role_has_it(own, reason, state):
    story = unseen(BatchNumber(8), *around(stopped=False, epoch=EpochOf(1, GENESIS, COMMITTEE, own)))

    assert (story.state, story.reason) == (state, reason)


def test_the_certificate_of_an_unseen_batch_tells_who_voted():
    story = unseen(BatchNumber(8), *around(), certificate(8))

    told = of_story(story, {KEYS[0].to_text(): "alice"})
    assert told.state == "certified, without this node's vote"
    assert told.why.startswith(Reason.NODE_STOPPED.meaning)
    assert told.after == ("missed: alice (this node), weight 10",)
    assert {one.key for one in story.votes} == set(KEYS[1:])


def test_a_certificate_of_another_genesis_says_nothing_of_the_batch():
    story = unseen(BatchNumber(8), *around(), certificate(8, GenesisHash(b"\x22" * 32)))

    assert story.state is EndState.MISSED


async def test_a_book_tells_of_what_lies_between_two_batches_and_of_nothing_else(nursery, tmp_path):
    duty = log_of(Clock(), None)
    book = DutyBook(tmp_path / BOOK, duty, inline)
    await nursery.start(book.run)
    duty.begin_epoch(EPOCH)
    for number in (SEVEN, TEN):
        duty.record(number, Step.TOLD)
    await book.close()

    with open_book(tmp_path / BOOK) as file:
        found = {number: file.unseen(BatchNumber(number)) for number in (6, 7, 8, 9, 10, 11)}

    assert [number for number, story in found.items() if story is not None] == [8, 9]


def test_a_certified_batch_that_lacks_the_vote_of_this_node_says_what_held_it():
    duty = log_of(Clock())
    duty.record(SEVEN, Step.TOLD)
    duty.record(SEVEN, Step.PERSISTED, Reason.BATCH_NOT_PERSISTED)
    duty.heard([vote(1, 7), vote(2, 7)])
    duty.end(SEVEN, EndState.CERTIFIED)

    told = of_story(duty.story(SEVEN))

    assert told.state == "certified, without this node's vote"
    assert told.why == Reason.BATCH_NOT_PERSISTED.meaning
    assert told.todo


def test_a_step_that_went_well_in_the_end_held_nobody():
    duty = log_of(Clock())
    duty.record(SEVEN, Step.PERSISTED, Reason.BATCH_NOT_PERSISTED)
    duty.record(SEVEN, Step.PERSISTED)
    duty.heard([vote(1, 7), vote(2, 7)])
    duty.end(SEVEN, EndState.CERTIFIED)

    assert duty.story(SEVEN).hindrance() is None
