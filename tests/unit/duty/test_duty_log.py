"""The duty log: what happened to each batch, and exactly one end for each."""

import pytest
from attestrio.duty import DutyEvent, DutyLog, EndState, Reason, Step
from attestrio.roles import BatchNumber
from hypothesis import given
from hypothesis import strategies as st

SEVEN, EIGHT = BatchNumber(7), BatchNumber(8)
ENDS = [EndState.CERTIFIED, EndState.MISSED, EndState.SKIPPED]


class Clock:
    """Wall time that moves one second with each look."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        self.now += 1.0
        return self.now


def log(**options):
    return DutyLog(Clock(), **options)


def test_a_timeline_tells_each_step_with_its_time_and_reason():
    duty = log()

    duty.record(SEVEN, Step.TOLD)
    duty.record(SEVEN, Step.HASHED, Reason.HASH_NOT_AVAILABLE, "asked twice")

    assert duty.timeline(SEVEN) == (
        DutyEvent(SEVEN, Step.TOLD, 101.0, Reason.OK, ""),
        DutyEvent(SEVEN, Step.HASHED, 102.0, Reason.HASH_NOT_AVAILABLE, "asked twice"),
    )


def test_a_batch_never_seen_has_no_timeline_and_no_end():
    duty = log()

    assert duty.timeline(SEVEN) == ()
    assert duty.end_state(SEVEN) is None
    assert duty.end_reason(SEVEN) is None
    assert duty.batches() == ()


def test_a_loop_that_waits_writes_its_reason_once_even_when_others_write_between():
    duty = log()

    for _ in range(3):
        duty.record(SEVEN, Step.HASHED, Reason.HASH_NOT_AVAILABLE)
        duty.record(SEVEN, Step.PERSISTED)

    assert [event.step for event in duty.timeline(SEVEN)] == [Step.HASHED, Step.PERSISTED]


def test_a_reason_that_comes_back_after_another_is_written_again():
    duty = log()

    for reason in (Reason.SOURCE_FAILED, Reason.OK, Reason.SOURCE_FAILED):
        duty.record(SEVEN, Step.PERSISTED, reason)

    assert [event.reason for event in duty.timeline(SEVEN)] == [Reason.SOURCE_FAILED, Reason.OK, Reason.SOURCE_FAILED]


def test_the_first_end_stays():
    duty = log()

    assert duty.end(SEVEN, EndState.MISSED, Reason.SUPERSEDED)
    assert not duty.end(SEVEN, EndState.SKIPPED, Reason.QC_ELSEWHERE)

    assert (duty.end_state(SEVEN), duty.end_reason(SEVEN)) == (EndState.MISSED, Reason.SUPERSEDED)


def test_a_certificate_that_comes_late_replaces_a_miss_but_nothing_replaces_it():
    duty = log()
    duty.end(SEVEN, EndState.MISSED, Reason.SUPERSEDED)

    assert duty.end(SEVEN, EndState.CERTIFIED)
    assert not duty.end(SEVEN, EndState.CERTIFIED, Reason.QC_KNOWN)
    assert not duty.end(SEVEN, EndState.SKIPPED, Reason.QC_ELSEWHERE)

    assert (duty.end_state(SEVEN), duty.end_reason(SEVEN)) == (EndState.CERTIFIED, Reason.OK)
    assert duty.counts() == {EndState.CERTIFIED: 1, EndState.MISSED: 0, EndState.SKIPPED: 0, EndState.OPEN: 0}


def test_a_batch_cannot_end_as_open():
    with pytest.raises(ValueError, match="cannot be ended as open"):
        log().end(SEVEN, EndState.OPEN)


def test_the_batch_seen_first_is_forgotten_first_and_stays_counted():
    duty = log(max_batches=2)

    for number in (SEVEN, EIGHT, BatchNumber(9)):
        duty.record(number, Step.TOLD)

    assert duty.batches() == (8, 9)
    assert duty.timeline(SEVEN) == ()
    assert duty.counts()[EndState.OPEN] == 3


def test_a_long_timeline_loses_its_middle():
    duty = log(max_events=4)

    for turn in range(8):
        duty.record(SEVEN, Step.PERSISTED, Reason.SOURCE_FAILED, str(turn))

    assert [event.detail for event in duty.timeline(SEVEN)] == ["0", "1", "6", "7"]


@pytest.mark.parametrize("options", [{"max_batches": 0}, {"max_events": 1}], ids=str)
def test_a_log_without_room_is_refused(options):
    with pytest.raises(ValueError, match="at least"):
        log(**options)


async def test_a_reader_is_woken_by_news_and_not_by_a_repetition(nursery, autojump_clock):
    duty = log()
    duty.record(SEVEN, Step.TOLD)
    seen = duty.watch.value

    duty.record(SEVEN, Step.TOLD)
    repeated = duty.watch.value
    duty.end(SEVEN, EndState.CERTIFIED)

    assert repeated == seen
    assert await duty.watch.wait_value(lambda version: version > seen) > seen


def test_what_hinders_a_vote_is_the_first_step_that_is_not_done_and_nothing_that_has_passed():
    duty, found = log(), []

    for step, reason in (
        (Step.TOLD, Reason.STATUS_LOWER),
        (Step.PERSISTED, Reason.SOURCE_FAILED),
        (Step.HASHED, Reason.HASH_NOT_AVAILABLE),
        (Step.PERSISTED, Reason.OK),
        (Step.HASHED, Reason.OK),
        (Step.SIGNED, Reason.NOT_ON_CHAIN),
    ):
        duty.record(SEVEN, step, reason)
        found.append(duty.hindrance(SEVEN))

    assert found == [
        None, Reason.SOURCE_FAILED, Reason.SOURCE_FAILED, Reason.HASH_NOT_AVAILABLE, None, Reason.NOT_ON_CHAIN,
    ]  # fmt: skip
    assert duty.hindrance(EIGHT) is None


def test_every_reason_has_a_code_of_its_own_and_a_sentence():
    for reason in Reason:
        assert reason.value == reason.name.lower()
        assert reason.meaning[0].isupper()
        assert reason.meaning.endswith(".")
        assert reason.meaning.count(". ") == 0  # one sentence, not two
    assert f"{Reason.SUPERSEDED}" == "superseded"


ACTIONS = st.one_of(
    st.tuples(st.just("record"), st.integers(0, 12), st.sampled_from(Step), st.sampled_from(Reason)),
    st.tuples(st.just("end"), st.integers(0, 12), st.sampled_from(ENDS), st.sampled_from(Reason)),
)


@given(st.lists(ACTIONS, max_size=80), st.integers(1, 14))
def test_end_states_always_add_up_to_the_batches_seen(actions, max_batches):
    duty = log(max_batches=max_batches, max_events=3)
    remembered, seen = [], 0
    for verb, number, what, reason in actions:
        if number not in remembered:
            seen += 1
            remembered = [*remembered, number][-max_batches:]
        getattr(duty, verb)(BatchNumber(number), what, reason)

        assert sum(duty.counts().values()) == seen
        assert min(duty.counts().values()) >= 0
        assert list(duty.batches()) == remembered
    for number in duty.batches():
        assert duty.end_state(number) in EndState
        assert (duty.end_reason(number) is None) == (duty.end_state(number) is EndState.OPEN)
        assert len(duty.timeline(number)) <= 3
