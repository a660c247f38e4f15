"""Permits come back on a grid, one at a tick, and only for those that were used."""

import math

import pytest
from attestrio.gossip.limiter import UNLIMITED, Limiter, Rate
from hypothesis import given, settings
from hypothesis import strategies as st


class Clock:
    """A limiter and its time, which jumps to the next permit."""

    def __init__(self, rate, start=0.0):
        self.now = start
        self.limiter = Limiter(rate, start)

    def reserve(self):
        while (at := self.limiter.next_at(self.now)) is not None:
            self.now = max(self.now, at)
            if self.limiter.try_reserve(self.now):
                return
        raise AssertionError("only a release can help")

    def use(self, times=1):
        for _ in range(times):
            self.reserve()
            self.limiter.release(self.now)


def test_permits_used_at_once_come_back_one_a_tick():
    clock = Clock(Rate(5, 2.0))

    clock.use(5)
    assert clock.now == 0.0

    for count in range(6):
        asked = clock.now
        clock.now += 2.0 * count / 2  # some of the waiting is already over
        clock.use(count)
        assert clock.now == asked + 2.0 * count

    for count in range(6):
        clock.now += count * 2.0
        asked = clock.now
        clock.use(count)
        assert clock.now == asked
        clock.use()
        assert clock.now == asked + 2.0


@pytest.mark.parametrize("rate", [UNLIMITED, Rate(5, 0.0), Rate(1, -3.0), Rate(1, 1e-12)])
def test_a_rate_without_refresh_time_never_waits(rate):
    limiter = Limiter(rate, 7.0)

    for _ in range(100):
        assert limiter.next_at(7.0) == 7.0
        assert limiter.try_reserve(7.0)


def test_reserved_permits_do_not_come_back_before_they_are_used():
    clock = Clock(Rate(20, 1.0))

    for _ in range(19):
        assert clock.limiter.try_reserve(clock.now)
    clock.use()
    for _ in range(10):  # the one that is left comes back as usual
        asked = clock.now
        clock.use()
        assert clock.now == asked + 1.0

    assert clock.limiter.try_reserve(clock.now + 1.0)
    assert clock.limiter.next_at(clock.now + 100.0) is None
    assert not clock.limiter.try_reserve(clock.now + 100.0)


@pytest.mark.parametrize("delay", [15.0, 33.0, 80.0])
def test_a_permit_used_late_comes_back_a_tick_after_its_use(delay):
    limiter = Limiter(Rate(1, 1.0), 0.0)
    assert limiter.try_reserve(0.0)

    assert limiter.next_at(delay) is None
    limiter.release(delay)

    assert limiter.next_at(delay) == delay + 1.0
    assert not limiter.try_reserve(delay + 0.5)
    assert limiter.try_reserve(delay + 1.0)


def test_the_grid_is_anchored_where_the_limiter_was_made():
    limiter = Limiter(Rate(1, 10.0), 3.0)
    assert limiter.try_reserve(12.0)
    limiter.release(12.0)

    assert limiter.next_at(12.0) == 13.0  # a tick of the grid, not ten seconds after the use


def test_more_than_the_burst_is_never_saved_up():
    clock = Clock(Rate(2, 1.0))
    clock.use(2)
    clock.now = 1000.0

    clock.use(2)
    assert clock.now == 1000.0
    clock.use()
    assert clock.now == 1001.0


@pytest.mark.parametrize("refresh_s", [0.0, 1.0])
def test_a_burst_of_zero_is_never(refresh_s):
    limiter = Limiter(Rate(0, refresh_s), 0.0)

    assert not limiter.try_reserve(1e9)
    assert limiter.next_at(1e9) is None


def test_a_rate_that_never_refreshes_gives_its_burst():
    limiter = Limiter(Rate(1, math.inf), 0.0)

    assert limiter.try_reserve(5.0)
    limiter.release(5.0)

    assert limiter.next_at(1e12) == math.inf


@pytest.mark.parametrize(("burst", "refresh_s"), [(-1, 1.0), (1, math.nan)])
def test_nonsense_is_no_rate(burst, refresh_s):
    with pytest.raises(ValueError, match="is no rate"):
        Rate(burst, refresh_s)


def test_a_permit_that_nobody_holds_cannot_be_given_back():
    with pytest.raises(ValueError, match="nobody holds"):
        Limiter(Rate(1, 1.0), 0.0).release(0.0)


def test_time_that_goes_back_takes_no_permit_away():
    limiter = Limiter(Rate(1, 1.0), 10.0)
    assert limiter.try_reserve(20.0)
    limiter.release(20.0)

    assert limiter.next_at(15.0) == 21.0
    assert limiter.try_reserve(21.0)


@settings(deadline=None)
@given(
    start=st.floats(0, 1e9),
    burst=st.integers(1, 4),
    refresh_s=st.floats(1e-6, 1e3),
    waits=st.lists(st.floats(0, 1e4), max_size=12),
)
def test_whoever_waits_until_the_named_time_finds_a_permit_and_nobody_finds_one_before(start, burst, refresh_s, waits):
    limiter, now = Limiter(Rate(burst, refresh_s), start), start
    for wait in waits:
        now += wait
        at = limiter.next_at(now)
        if at > now:
            assert not limiter.try_reserve(now)
            assert at <= now + refresh_s * 1.000001 + 1e-6
        now = at

        assert limiter.try_reserve(now)
        limiter.release(now)
