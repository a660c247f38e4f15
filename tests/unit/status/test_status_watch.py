"""The status watch: moves forward only, wakes whoever waits, and nobody for nothing."""

import pytest
import trio
from attestrio.errors import SafetyError, SourceError
from attestrio.roles import BatchNumber, GenesisHash
from attestrio.status import AttestationStatus, AttestationStatusWatch, GenesisChanged, MovedBackwards, while_current
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

GENESIS, FORK = GenesisHash(b"\x11" * 32), GenesisHash(b"\x22" * 32)
SEVEN = BatchNumber(7)


def status(number, genesis=GENESIS):
    return AttestationStatus(genesis, None if number is None else BatchNumber(number))


def at(number):
    watch = AttestationStatusWatch(GENESIS)
    watch.update(status(number))
    return watch


async def collect(watch, seen):
    async for now in watch.subscribe():
        seen.append(now.next_batch)


def test_a_new_watch_knows_the_genesis_and_no_number():
    assert AttestationStatusWatch(GENESIS).status == status(None)


def test_a_greater_number_is_taken_whatever_the_gap():
    watch = at(7)

    assert watch.update(status(8))
    assert watch.update(status(1_000))
    assert watch.status == status(1_000)


def test_the_same_status_again_is_no_news():
    watch = at(7)

    assert not watch.update(status(7))
    assert not watch.update(status(None))
    assert watch.status == status(7)


def test_a_lower_number_is_refused_and_leaves_the_status_alone():
    watch = at(7)

    with pytest.raises(MovedBackwards, match="next batch to attest moved backwards: 7 -> 6") as caught:
        watch.update(status(6))

    assert (caught.value.old, caught.value.new) == (7, 6)
    assert watch.status == status(7)


@pytest.mark.parametrize("number", [None, 6, 7, 8])
def test_another_genesis_is_refused_whatever_its_number(number):
    watch = at(7)

    with pytest.raises(GenesisChanged, match=r"the attestation status genesis changed: .*1111 -> .*2222") as caught:
        watch.update(status(number, FORK))

    assert (caught.value.old, caught.value.new) == (GENESIS, FORK)
    assert watch.status == status(7)


def test_both_refusals_end_the_epoch():
    assert issubclass(GenesisChanged, SafetyError)
    assert issubclass(MovedBackwards, SafetyError)
    assert (GenesisChanged.code, MovedBackwards.code) == ("genesis_changed", "moved_backwards")


@given(st.lists(st.integers(0, 20)))
def test_the_number_is_always_the_greatest_that_was_told(numbers):
    watch = AttestationStatusWatch(GENESIS)
    greatest = None
    for number in numbers:
        if greatest is not None and number < greatest:
            with pytest.raises(MovedBackwards):
                watch.update(status(number))
        else:
            assert watch.update(status(number)) == (number != greatest)
            greatest = number

        assert watch.status == status(greatest)


async def test_a_subscriber_gets_the_current_status_first_and_then_each_change(nursery):
    watch, seen = at(7), []
    nursery.start_soon(collect, watch, seen)

    await wait_all_tasks_blocked()
    watch.update(status(8))
    await wait_all_tasks_blocked()
    watch.update(status(8))
    await wait_all_tasks_blocked()
    nursery.cancel_scope.cancel()

    assert seen == [7, 8]


async def test_a_subscriber_that_was_busy_gets_only_the_newest(nursery):
    watch = at(7)
    statuses = watch.subscribe()
    first = await anext(statuses)

    watch.update(status(8))
    watch.update(status(11))

    assert first == status(7)
    assert await anext(statuses) == status(11)


async def test_subscribers_do_not_take_news_from_each_other(nursery):
    watch, early, late = at(7), [], []
    nursery.start_soon(collect, watch, early)
    await wait_all_tasks_blocked()
    watch.update(status(8))
    nursery.start_soon(collect, watch, late)
    await wait_all_tasks_blocked()
    watch.update(status(9))
    await wait_all_tasks_blocked()
    nursery.cancel_scope.cancel()

    assert (early, late) == ([7, 8, 9], [8, 9])


async def test_a_subscription_can_be_left_and_cancelled_without_trace(nursery, autojump_clock):
    watch = at(7)
    async for _ in watch.subscribe():
        break
    statuses = watch.subscribe()
    await anext(statuses)

    with trio.move_on_after(1) as scope:
        await anext(statuses)
    watch.update(status(8))

    assert scope.cancelled_caught
    assert await anext(statuses) == status(8)


async def test_taking_news_that_is_there_is_still_a_cancel_point():
    statuses = at(7).subscribe()

    with trio.CancelScope() as scope:
        scope.cancel()
        await anext(statuses)

    assert scope.cancelled_caught


async def test_waiting_for_what_holds_already_returns_at_once(autojump_clock):
    assert await at(7).wait_for(lambda now: now.next_batch == 7) == status(7)
    assert trio.current_time() == 0.0


async def test_a_predicate_that_raises_hurts_only_its_owner(nursery):
    watch, seen = at(7), []
    nursery.start_soon(collect, watch, seen)

    async def wait_wrongly():
        with pytest.raises(ZeroDivisionError):
            await watch.wait_for(lambda now: 1 // (8 - now.next_batch) == 5)
        seen.append("failed alone")

    nursery.start_soon(wait_wrongly)
    await wait_all_tasks_blocked()
    watch.update(status(8))
    await wait_all_tasks_blocked()
    nursery.cancel_scope.cancel()

    assert sorted(seen, key=str) == [7, 8, "failed alone"]


async def test_waiting_past_a_number_ignores_that_number(nursery, autojump_clock):
    watch = AttestationStatusWatch(GENESIS)

    async def climb():
        for number in (6, 7, 9):
            await trio.sleep(1)
            watch.update(status(number))

    nursery.start_soon(climb)

    assert await watch.wait_past(SEVEN) == status(9)
    assert trio.current_time() == 3.0


async def test_work_that_ends_while_its_number_is_current_gives_its_result(autojump_clock):
    async def work():
        await trio.sleep(5)
        return "done"

    assert await while_current(at(7), SEVEN, work) == "done"
    assert trio.current_time() == 5.0


async def test_work_is_cancelled_when_the_status_moves_past_its_number(nursery, autojump_clock):
    watch = at(7)

    async def climb():
        await trio.sleep(2)
        watch.update(status(8))

    nursery.start_soon(climb)

    assert await while_current(watch, SEVEN, trio.sleep_forever) is None
    assert trio.current_time() == 2.0


async def test_work_that_ends_in_the_moment_the_status_moves_counts(autojump_clock):
    watch = at(7)

    async def work():
        watch.update(status(8))
        return "done"

    assert await while_current(watch, SEVEN, work) == "done"


async def test_an_error_of_the_work_comes_out_as_it_is():
    async def work():
        await trio.lowlevel.checkpoint()
        raise SourceError("store away")

    with pytest.raises(SourceError, match="store away"):
        await while_current(at(7), SEVEN, work)


async def test_an_outer_cancellation_goes_through_the_work(autojump_clock):
    with trio.move_on_after(3) as scope:
        await while_current(at(7), SEVEN, trio.sleep_forever)

    assert scope.cancelled_caught
    assert trio.current_time() == 3.0
