"""The shipped alerts, evaluated by Prometheus's own promtool over what real parts counted in stories."""

import inspect
import re
import subprocess

import alert_stories
import pytest
import trio
import trio.testing
from alert_recording import RULES, rules
from alert_stories import FAULTS, SOAKS
from suite import needs, patient

pytestmark = [pytest.mark.real, needs("promtool")]


def promtool(*arguments):
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=patient(60))


def played(story, folder):
    folder.mkdir()
    return trio.run(story, folder, clock=trio.testing.MockClock(autojump_threshold=0))


def test_the_rules_are_valid():
    done = promtool("check", "rules", RULES)

    assert done.returncode == 0, done.stderr


def test_every_alert_has_a_fault_that_fires_it():
    stated = re.findall(r'Fired\.of\("(\w+)"', inspect.getsource(alert_stories))

    assert {f"Attestrio{name}" for name in stated} == {rule["alert"] for rule in rules()}


@pytest.mark.slow
@pytest.mark.parametrize("story", [*SOAKS, *FAULTS], ids=lambda story: story.__name__)
def test_exactly_the_alerts_of_a_story_fire(story, tmp_path):
    taken = played(story, tmp_path / "world")
    file = tmp_path / "story.json"
    file.write_text(taken.document(RULES), "utf-8")

    done = promtool("test", "rules", file)

    assert done.returncode == 0, done.stdout + done.stderr
    assert (taken.fired == set()) == (story in SOAKS)
