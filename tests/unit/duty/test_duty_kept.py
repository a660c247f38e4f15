"""What must not be lost on the way into the book, nor change its meaning there."""

import apsw
import trio
from attestrio.duty import EndState, Reason, Step, rows
from attestrio.duty.book import DutyBook
from attestrio.duty.reader import open_book
from attestrio.duty.telling import of_story
from attestrio.kit.blocking import inline
from attestrio.roles import BatchQC
from duty_kit import EIGHT, EPOCH, KEYS, NINE, PEERS, SEVEN, Clock, log_of, vote


def certificate(number, *members):
    votes = [vote(index, number) for index in members]
    return BatchQC(votes[0].batch, {one.key: one.signature for one in votes})


def test_a_batch_that_is_forgotten_before_it_was_written_is_written_all_the_same():
    duty = log_of(Clock(), max_batches=1)
    duty.keep_book(None, [])

    for number in (SEVEN, EIGHT, NINE):
        duty.record(number, Step.TOLD)

    assert duty.batches() == (NINE,)
    assert [story.number for story in duty.take_unwritten()] == [SEVEN, EIGHT, NINE]
    assert duty.take_unwritten() == []


def test_a_peer_that_takes_our_vote_again_took_it_the_first_time():
    clock = Clock()
    duty = log_of(clock)
    duty.record(SEVEN, Step.TOLD)
    duty.delivered(PEERS[0], SEVEN)
    first = duty.story(SEVEN).deliveries

    clock.now += 5.0
    duty.delivered(PEERS[0], SEVEN)

    assert duty.story(SEVEN).deliveries == first


def test_a_vote_known_from_a_certificate_is_heard_as_soon_as_somebody_brings_it():
    clock = Clock()
    duty = log_of(clock)
    duty.record(SEVEN, Step.TOLD)
    duty.obtained(certificate(7, 0, 1))

    clock.now += 1.0
    duty.heard([vote(1, 7)], PEERS[0])

    by_key = {one.key: (one.via, one.in_certificate) for one in duty.story(SEVEN).votes}
    assert by_key == {KEYS[0]: (None, True), KEYS[1]: (PEERS[0], False)}


def test_who_is_only_in_a_certificate_that_came_late_was_not_late():
    clock = Clock()
    duty = log_of(clock)
    duty.record(SEVEN, Step.TOLD)
    duty.heard([vote(0, 7)])
    clock.now += 1.0
    duty.record(SEVEN, Step.SUBMITTED)
    clock.now += 1.0

    duty.obtained(certificate(7, 0, 1))
    duty.heard([vote(2, 7)], PEERS[0])

    assert duty.story(SEVEN).latecomers() == {KEYS[2]: 1.0}


async def test_what_only_a_certificate_has_is_the_same_out_of_the_book(tmp_path, nursery, autojump_clock):
    duty = log_of(Clock())
    book = DutyBook(tmp_path / "duty.db", duty, inline)
    await nursery.start(book.run)
    duty.record(SEVEN, Step.TOLD)
    duty.heard([vote(0, 7)])
    duty.obtained(certificate(7, 0, 1))
    await book.close()

    with open_book(tmp_path / "duty.db") as file:
        (story,) = file.stories(SEVEN)

    assert story == duty.story(SEVEN)
    assert {one.key: one.in_certificate for one in story.votes} == {KEYS[0]: False, KEYS[1]: True}


async def test_after_a_write_that_failed_the_next_ones_can_be_read(
    tmp_path, nursery, autojump_clock, monkeypatch, caplog
):
    duty, put, faults = log_of(Clock(), epoch=None), rows.put_stories, [apsw.FullError("database or disk is full")]

    def full_once(connection, stories):
        if faults:
            raise faults.pop()
        put(connection, stories)

    monkeypatch.setattr(rows, "put_stories", full_once)
    book = DutyBook(tmp_path / "duty.db", duty, inline)
    await nursery.start(book.run)
    duty.begin_epoch(EPOCH)
    duty.record(SEVEN, Step.TOLD)
    await trio.sleep(5.0)
    duty.record(EIGHT, Step.TOLD)
    await book.close()

    with open_book(tmp_path / "duty.db") as file:
        read = [story.number for story in file.newest(9)]

    assert caplog.text.count("the duty book is not written") == 1
    assert read == [EIGHT]


def test_why_a_batch_was_missed_is_not_told_with_the_detail_of_something_else():
    duty = log_of(Clock())
    duty.record(SEVEN, Step.TOLD)
    duty.record(SEVEN, Step.SIGNED, Reason.SUPERSEDED, "status moved to 8")
    duty.record(SEVEN, Step.SEEN, Reason.VOTE_INVALID, "of a peer")
    duty.end(SEVEN, EndState.MISSED, Reason.SUPERSEDED)

    assert of_story(duty.story(SEVEN)).why == f"{Reason.SUPERSEDED.meaning} (status moved to 8)"
