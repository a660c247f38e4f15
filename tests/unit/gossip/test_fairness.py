"""The processor time of strangers: who uses little never waits, who uses much leaves the rest to others."""

import pytest
from attestrio.gossip.fairness import BURST_S, LONGEST_PAUSE_S, SHARE, Allowance


def flood(accounts, cost_s, seconds):
    """Each account spends whenever it may; the work done in all."""
    free_at, spent, now = dict.fromkeys(accounts, 0.0), 0.0, 0.0
    while now < seconds:
        for account in accounts:
            if free_at[account] <= now:
                pause = account.spend(0.0, now)
                if not pause:
                    spent += cost_s
                    pause = account.spend(cost_s, now)
                free_at[account] = now + pause
        now += 0.01
    return spent


def test_a_peer_that_calls_now_and_then_never_waits():
    account = Allowance().account(0.0)

    assert all(account.spend(0.001, second) == 0.0 for second in range(1, 1000))


def test_a_burst_is_for_nothing_and_what_goes_beyond_is_paid_by_waiting():
    account = Allowance().account(0.0)

    assert account.spend(BURST_S, 0.0) == 0.0
    assert account.spend(0.1, 0.0) == pytest.approx(0.1 / SHARE)
    assert account.spend(0.0, 0.1 / SHARE) == pytest.approx(0.0)


@pytest.mark.parametrize("count", [1, 8, 60])
def test_however_many_flood_they_use_their_share_together(count):
    allowance = Allowance()

    spent = flood([allowance.account(0.0) for _ in range(count)], 0.01, 20.0)

    assert spent <= SHARE * 20.0 + count * (BURST_S + 0.01) + 1.0
    assert spent >= SHARE * 20.0 * 0.8


def test_a_pause_is_short_enough_to_look_again():
    assert Allowance().account(0.0).spend(100.0, 0.0) == LONGEST_PAUSE_S


def test_who_has_left_takes_no_part_from_others():
    allowance = Allowance()
    gone, stays = allowance.account(0.0), allowance.account(0.0)
    gone.spend(1.0, 0.0)
    stays.spend(1.0, 0.0)
    assert allowance.rate() == SHARE / 2

    gone.close()

    assert allowance.rate() == SHARE
