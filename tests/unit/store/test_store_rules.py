import pytest
from attestrio.roles import BatchNumber
from attestrio.store import StoreState
from attestrio.store.rules import HeadMovedBackwards, Ranges, extended, is_pruned, next_to_attest
from hypothesis import given, settings
from hypothesis import strategies as st

NUMBERS = st.integers(0, 30).map(BatchNumber)


def range_of(first, last=None) -> StoreState:
    return StoreState(BatchNumber(first), None if last is None else BatchNumber(last))


def test_a_range_that_ends_before_it_begins_cannot_be_made():
    with pytest.raises(ValueError, match=r"5\.\.4"):
        range_of(5, 4)


@pytest.mark.parametrize(
    ("state", "inside", "outside", "after"),
    [(range_of(3), [], [2, 3, 4], 3), (range_of(3, 3), [3], [2, 4], 4), (range_of(3, 5), [3, 4, 5], [2, 6], 6)],
    ids=["empty", "one", "three"],
)
def test_a_range_knows_what_it_holds_and_what_comes_next(state, inside, outside, after):
    assert [n for n in range(8) if state.contains(n)] == inside
    assert not any(state.contains(n) for n in outside)
    assert state.next() == after


@pytest.mark.parametrize(
    ("before", "number", "after"),
    [
        (range_of(5), 5, range_of(5, 5)),
        (range_of(5), 2, range_of(2, 2)),
        (range_of(5), 9, range_of(9, 9)),
        (range_of(5, 7), 8, range_of(5, 8)),
        (range_of(5, 7), 9, range_of(9, 9)),
        (range_of(5, 7), 6, range_of(5, 7)),
        (range_of(5, 7), 1, range_of(5, 7)),
    ],
)
def test_storing_a_batch_extends_the_range_or_begins_it_anew(before, number, after):
    assert extended(before, BatchNumber(number)) == after


@pytest.mark.parametrize(
    ("persisted", "queued", "moved_to", "queued_after"),
    [
        (range_of(0, 3), range_of(0, 6), range_of(0, 4), range_of(0, 6)),  # the queue is ahead
        (range_of(0, 3), range_of(0, 3), range_of(0, 5), range_of(0, 5)),  # stored by another way
        (range_of(0, 3), range_of(0, 6), range_of(5, 5), range_of(5, 6)),  # begun anew inside the queue
        (range_of(0, 3), range_of(0, 6), range_of(9, 9), range_of(9, 9)),  # begun anew above it
        (range_of(0), range_of(0), range_of(4, 4), range_of(4, 4)),
        (range_of(5), range_of(5), range_of(3, 3), range_of(3, 3)),  # the first batch lies below the expected one
        (range_of(5), range_of(5, 6), range_of(3, 3), range_of(3, 3)),  # the same, with a hole up to the queue
        (range_of(5), range_of(5, 6), range_of(4, 4), range_of(4, 6)),  # the same, without a hole
        (range_of(0, 3), range_of(0, 3), range_of(2, 3), range_of(2, 3)),  # pruned at the lower end
    ],
)
def test_the_queue_follows_what_is_persisted(persisted, queued, moved_to, queued_after):
    assert Ranges(persisted, queued).moved(moved_to) == Ranges(moved_to, queued_after)


@pytest.mark.parametrize(
    ("queued", "whole", "held"),
    [
        (range_of(3), range_of(0), range_of(3)),  # nothing here at all
        (range_of(3, 7), range_of(0), range_of(8)),  # hashes only
        (range_of(3, 7), range_of(3, 6), range_of(8)),  # of the last one only the hash
        (range_of(3, 7), range_of(5, 7), range_of(5, 7)),
        (range_of(3, 7), range_of(0, 7), range_of(3, 7)),  # begun anew inside the run
        (range_of(8), range_of(0, 7), range_of(8)),
    ],
)
def test_only_the_whole_batches_that_reach_the_end_of_the_queue_are_held(queued, whole, held):
    assert Ranges(queued, queued, whole).held == held


def test_what_a_lower_beginning_took_back_is_held_once_it_is_written():
    ranges = Ranges(range_of(5), range_of(5)).enqueued().enqueued()
    assert ranges.held == range_of(5, 6)

    lower = ranges.moved(range_of(3, 3))
    assert lower.held == range_of(4)

    assert lower.moved(range_of(5, 6), [BatchNumber(5), BatchNumber(6)]).held == range_of(5, 6)


def test_a_durable_range_that_shrinks_is_an_alarm():
    with pytest.raises(HeadMovedBackwards, match=r"0\.\.3 back to 0\.\.2"):
        Ranges(range_of(0, 3), range_of(0, 5)).moved(range_of(0, 2))


@settings(deadline=None)
@given(st.lists(st.one_of(st.just("queue"), NUMBERS), max_size=40))
def test_whatever_is_stored_the_queue_never_falls_behind(steps):
    ranges = Ranges(range_of(5), range_of(5))

    for step in steps:
        before = ranges
        if step == "queue":
            ranges = ranges.enqueued()
        else:
            ranges = ranges.moved(extended(ranges.persisted, step))
            assert ranges.persisted.contains(step) or step < ranges.persisted.first
        assert ranges.queued.next() >= ranges.persisted.next()
        assert ranges.queued.first >= ranges.persisted.first or ranges.persisted.last is None
        assert before.persisted.last is None or ranges.persisted.next() >= before.persisted.next()
        assert ranges.persisted.last is None or ranges.queued.contains(ranges.persisted.last)
        assert ranges.held.next() == ranges.queued.next()
        assert ranges.queued.first <= ranges.held.first


@pytest.mark.parametrize(
    ("first_batch", "persisted", "last", "gap", "want_gap", "want_max"),
    [
        (0, range_of(0), None, 0, 0, 0),
        (4, range_of(0, 3), None, 4, 4, 4),
        (4, range_of(0, 2), None, 4, None, None),
        (4, range_of(5, 9), None, 4, None, None),
        (0, range_of(0, 9), 6, 3, 3, 7),
        (0, range_of(0, 6), 6, 7, 7, 7),
        (9, range_of(0, 6), 6, 9, None, 7),  # to begin again further on, where nothing is made yet
    ],
)
def test_what_is_next_follows_the_rule(first_batch, persisted, last, gap, want_gap, want_max):
    last = None if last is None else BatchNumber(last)

    answers = [
        next_to_attest(rule, BatchNumber(first_batch), persisted, last, lambda start: BatchNumber(max(start, gap)))
        for rule in ("gap", "max")
    ]

    assert answers == [want_gap, want_max]


def test_only_a_range_that_began_too_late_counts_as_pruned():
    assert is_pruned(BatchNumber(4), range_of(5, 9), None)
    assert not is_pruned(BatchNumber(4), range_of(5, 9), BatchNumber(6))
    assert not is_pruned(BatchNumber(5), range_of(5, 9), None)
