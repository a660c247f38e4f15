"""Under a genesis without attesters every batch ends too, on nodes with a key and without."""

from dataclasses import replace

from attestrio.duty import EndState, EpochOf, Reason, Step
from duty_kit import EIGHT, GENESIS, NINE, SEVEN, Clock, log_of

NOBODY = EpochOf(1, GENESIS, None)


def test_each_batch_ends_with_the_first_thing_that_is_seen_of_it():
    duty = log_of(Clock(), NOBODY)

    duty.record(NINE, Step.PERSISTED)  # the feeder of a main node is ahead of the status, which stands still
    duty.record(SEVEN, Step.TOLD)
    duty.record(SEVEN, Step.HASHED)
    duty.record(EIGHT, Step.TOLD, Reason.MAIN_NODE_DOWN)

    ends = [(duty.end_state(one), duty.end_reason(one)) for one in (SEVEN, EIGHT, NINE)]
    assert ends == [(EndState.SKIPPED, Reason.NO_COMMITTEE)] * 3
    assert duty.counts() == {state: 3 if state is EndState.SKIPPED else 0 for state in EndState}
    assert [event.step for event in duty.timeline(SEVEN)] == [Step.TOLD, Step.HASHED]


def test_what_an_earlier_run_left_open_ends_when_the_node_starts_again():
    earlier = log_of(Clock())
    earlier.record(SEVEN, Step.TOLD)
    left_open = replace(earlier.story(SEVEN), of=NOBODY, votes=None)

    duty = log_of(Clock(), None)
    duty.keep_book(NOBODY, [left_open])

    assert (duty.end_state(SEVEN), duty.end_reason(SEVEN)) == (EndState.SKIPPED, Reason.NO_COMMITTEE)
    assert sum(duty.counts().values()) == 1
