"""Readiness: named checks with a reason, that go back."""

import pytest
from attestrio.kit.metrics import Metrics
from attestrio.web.health import Check, Finding, Health
from web_kit import BAD, GOOD, Wall


def test_readiness_goes_back_and_comes_again_each_time_with_its_moment():
    wall, found = Wall(10.0), [GOOD]
    health = Health(wall)
    health.add("main_node", lambda: found[0])

    wall.now, found[0] = 20.0, BAD
    lost = health.look()
    wall.now = 30.0
    still_lost = health.look()
    wall.now, found[0] = 40.0, GOOD
    back = health.look()

    assert lost == still_lost == (Check("main_node", False, BAD.reason, 20.0),)
    assert back == (Check("main_node", True, GOOD.reason, 40.0),)
    assert health.ready


def test_one_bad_check_of_several_is_enough():
    health = Health(Wall())
    health.add("good", lambda: GOOD)
    health.add("bad", lambda: BAD)

    assert not health.ready
    assert [check.name for check in health.checks()] == ["good", "bad"]


def test_another_reason_is_news_and_the_same_again_is_none():
    found = [Finding(False, "a")]
    health = Health(Wall())
    health.add("one", lambda: found[0])
    before = health.version

    health.look()
    same = health.version
    found[0] = Finding(False, "b")
    health.look()

    assert same == before
    assert health.version == before + 1


def test_each_check_is_a_series():
    metrics, found = Metrics(), [GOOD]
    health = Health(Wall(), metrics)
    health.add("peers", lambda: found[0])
    good = metrics.value("attestrio_check_ok", check="peers")

    found[0] = BAD
    health.look()

    assert (good, metrics.value("attestrio_check_ok", check="peers")) == (1.0, 0.0)


def test_two_checks_of_one_name_are_a_slip():
    health = Health(Wall())
    health.add("peers", lambda: GOOD)

    with pytest.raises(ValueError, match="peers"):
        health.add("peers", lambda: GOOD)
