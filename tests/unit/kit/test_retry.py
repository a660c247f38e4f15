"""Trying again on a schedule, in virtual time."""

import pytest
import trio
from attestrio.errors import PeerError, SourceError
from attestrio.kit.retry import retry


class Scripted:
    """Raises or returns its script's entries in turn."""

    def __init__(self, *script):
        self.script = list(script)
        self.at = []

    async def __call__(self):
        self.at.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


async def test_waits_as_the_schedule_says(autojump_clock):
    fn = Scripted(SourceError("down"), SourceError("down"), "up")

    assert await retry((1.0, 2.5, 9.0), fn) == "up"
    assert fn.at == [0.0, 1.0, 3.5]


async def test_gives_the_last_error_when_the_schedule_is_used_up(autojump_clock):
    fn = Scripted(SourceError("first"), SourceError("second"), "never asked")

    with pytest.raises(SourceError, match="second"):
        await retry((1.0,), fn)
    assert fn.at == [0.0, 1.0]


async def test_what_is_not_worth_a_retry_goes_through(autojump_clock):
    fn = Scripted(PeerError("no"), "never asked")

    with pytest.raises(PeerError):
        await retry((1.0,), fn)
    assert fn.at == [0.0]


async def test_tells_about_each_failure_and_the_wait(autojump_clock):
    told = []

    await retry((1.0,), Scripted(SourceError("down"), 7), told=lambda exc, wait_s: told.append((str(exc), wait_s)))

    assert told == [("down", 1.0)]


async def test_a_cancel_while_waiting_ends_it(autojump_clock):
    fn = Scripted(SourceError("down"), "never asked")

    with trio.move_on_after(3.0) as scope:
        await retry((10.0,), fn)

    assert scope.cancelled_caught
    assert fn.at == [0.0]
