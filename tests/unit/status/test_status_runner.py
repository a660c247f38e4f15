"""The status runner, poll by poll: what counts as an answer, what is held, what ends it, what it tells others."""

import logging

import pytest
import trio
from attestrio.duty import DutyLog, EndState, Reason
from attestrio.errors import SourceError
from attestrio.roles import BatchNumber, GenesisHash
from attestrio.status import (
    AttestationStatus,
    AttestationStatusRunner,
    AttestationStatusWatch,
    GenesisChanged,
    MovedBackwards,
    PollOutcome,
    PollResult,
)

GENESIS, FORK = GenesisHash(b"\x11" * 32), GenesisHash(b"\x22" * 32)


class Refused(SourceError):
    code = "refused"


class TimedOut(SourceError):
    code = "timed_out"


def status(number, genesis=GENESIS):
    return AttestationStatus(genesis, None if number is None else BatchNumber(number))


class ScriptedSource:
    """Gives one answer a poll, the last one for ever. Numbers stand for statuses, errors are raised."""

    def __init__(self, *answers, takes_s=0.0):
        self.answers, self.takes_s, self.calls = list(answers), takes_s, 0

    async def attestation_status(self):
        self.calls += 1
        await trio.sleep(self.takes_s)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return status(answer) if isinstance(answer, int) else answer


async def poll(source, polls, **options):
    """Run until so many polls are done; what it told, and the watch."""
    watch, outcomes = AttestationStatusWatch(GENESIS), []
    runner = AttestationStatusRunner(source, watch, every_s=5.0, on_poll=outcomes.append, **options)
    with trio.move_on_after((polls - 1) * 5.0 + 1.0):
        await runner.run()
    return watch, outcomes


async def to_its_end(runner):
    """Run until it raises; one that polls for ever fails instead."""
    with trio.fail_after(1_000):
        await runner.run()


def results(outcomes):
    return [outcome.result for outcome in outcomes]


async def test_each_poll_is_reported_with_what_it_brought(autojump_clock):
    source = ScriptedSource(Refused("no"), None, 7, 7, 9, 8)

    watch, outcomes = await poll(source, 6)

    assert results(outcomes) == [
        PollResult.FAILED, PollResult.UNKNOWN, PollResult.MOVED, PollResult.SAME, PollResult.MOVED, PollResult.LOWER,
    ]  # fmt: skip
    assert outcomes[0] == PollOutcome(PollResult.FAILED, 0.0, "refused")
    assert watch.status == status(9)


async def test_the_interval_starts_when_an_answer_is_here_and_its_time_is_reported(autojump_clock):
    source, outcomes = ScriptedSource(7, takes_s=2.0), []
    runner = AttestationStatusRunner(source, AttestationStatusWatch(GENESIS), every_s=5.0, on_poll=outcomes.append)

    with trio.move_on_after(16.5):  # asked at 0, 7, 14
        await runner.run()

    assert source.calls == 3
    assert outcomes[0].took_s == 2.0


async def test_a_poll_that_hangs_can_be_cancelled(autojump_clock):
    runner = AttestationStatusRunner(ScriptedSource(7, takes_s=1e9), AttestationStatusWatch(GENESIS))

    with trio.move_on_after(3) as scope:
        await runner.run()

    assert scope.cancelled_caught
    assert trio.current_time() == 3.0


async def test_a_status_without_a_number_means_ask_again(autojump_clock):
    watch, outcomes = await poll(ScriptedSource(status(None), 7), 2)

    assert results(outcomes) == [PollResult.UNKNOWN, PollResult.MOVED]
    assert watch.status == status(7)


async def test_another_genesis_ends_it_even_without_a_number(autojump_clock):
    watch, outcomes = AttestationStatusWatch(GENESIS), []
    source = ScriptedSource(7, status(None, FORK))

    with pytest.raises(GenesisChanged):
        await to_its_end(AttestationStatusRunner(source, watch, every_s=5.0, on_poll=outcomes.append))

    assert outcomes[-1].result is PollResult.REFUSED
    assert outcomes[-1].code == "genesis_changed"
    assert watch.status == status(7)


async def test_a_lower_number_is_fatal_at_once_when_there_is_no_grace(autojump_clock):
    runner = AttestationStatusRunner(ScriptedSource(7, 6), AttestationStatusWatch(GENESIS), 5.0, stale_grace_s=0.0)

    with pytest.raises(MovedBackwards):
        await to_its_end(runner)

    assert trio.current_time() == 5.0


async def test_silence_neither_excuses_nor_forgives_a_lower_number(autojump_clock):
    source = ScriptedSource(7, 6, Refused("no"), None, Refused("no"), 6)
    runner = AttestationStatusRunner(source, AttestationStatusWatch(GENESIS), 5.0, stale_grace_s=20.0)

    with pytest.raises(MovedBackwards):
        await to_its_end(runner)

    assert trio.current_time() == 25.0  # first lower answer at 5, 20 s later the next one that counts


async def test_an_answer_that_is_not_lower_starts_the_grace_anew(autojump_clock):
    source = ScriptedSource(7, 6, 6, 7, 6, 6, 6)
    runner = AttestationStatusRunner(source, AttestationStatusWatch(GENESIS), 5.0, stale_grace_s=10.0)

    with pytest.raises(MovedBackwards):
        await to_its_end(runner)

    assert trio.current_time() == 30.0  # lower at 5 and 10, well at 15, lower at 20, 25 and 30


async def test_an_error_that_is_no_source_error_is_not_hidden(autojump_clock):
    with pytest.raises(ZeroDivisionError):
        await poll(ScriptedSource(ZeroDivisionError()), 1)


async def test_an_outage_is_logged_once_for_each_kind_and_its_end_once(autojump_clock, caplog):
    caplog.set_level(logging.INFO, "attestrio.status")
    source = ScriptedSource(7, Refused("no"), Refused("no"), TimedOut("late"), TimedOut("late"), 7, 7, 8)

    await poll(source, 8)

    assert [record.getMessage() for record in caplog.records] == [
        "status not read, asking again every 5 s: no",
        "status not read, asking again every 5 s: late",
        "batch 7: status is well again",
    ]


async def test_nothing_is_logged_while_all_is_well(autojump_clock, caplog):
    caplog.set_level(logging.DEBUG, "attestrio.status")

    await poll(ScriptedSource(7, 7, 8, 9), 4)

    assert caplog.records == []


async def test_the_duty_log_says_when_a_batch_was_told_and_what_came_between(autojump_clock):
    duty = DutyLog(trio.current_time)

    await poll(ScriptedSource(Refused("no"), 7, 7, Refused("no"), None, 7, 6, 8), 8, duty=duty)

    start = duty.timeline(BatchNumber(7))[0].at
    assert [(event.at - start, event.reason) for event in duty.timeline(BatchNumber(7))] == [
        (0.0, Reason.OK),
        (10.0, Reason.MAIN_NODE_DOWN),
        (15.0, Reason.STATUS_NOT_KNOWN),
        (20.0, Reason.OK),
        (25.0, Reason.STATUS_LOWER),
    ]
    assert duty.batches() == (7, 8)


@pytest.mark.parametrize(
    ("told", "reason"),
    [(status(7, FORK), Reason.GENESIS_CHANGED), (6, Reason.MOVED_BACKWARDS)],
    ids=["genesis", "lower"],
)
async def test_a_batch_that_was_open_when_the_epoch_ended_says_so(told, reason, autojump_clock):
    duty = DutyLog(trio.current_time)

    with pytest.raises((GenesisChanged, MovedBackwards)):
        await poll(ScriptedSource(7, told), 3, duty=duty, stale_grace_s=0.0)

    assert duty.timeline(BatchNumber(7))[-1].reason is reason
    assert (duty.end_state(BatchNumber(7)), duty.end_reason(BatchNumber(7))) == (EndState.SKIPPED, reason)
