"""The suite's own promises: nothing is skipped in CI for want of a program, and a long run is longer."""

import sys
from pathlib import Path

import pytest
import suite
from hypothesis import settings
from suite import examples, needs

TESTS = Path(__file__).parent


@pytest.mark.parametrize(("ci", "skipped"), [("", True), ("true", False)], ids=["at a desk", "in CI"])
def test_a_program_that_is_not_installed_skips_its_test_except_in_ci(monkeypatch, ci, skipped):
    monkeypatch.setenv("CI", ci)

    assert needs("attestrio-no-such-program").args == (skipped,)
    assert needs(sys.executable).args == (False,)


def test_no_test_decides_for_itself_whether_a_program_is_there():
    deciders = [path.name for path in TESTS.rglob("*.py") if "shutil.which" + "(" in path.read_text("utf-8")]

    assert sorted(deciders) == ["suite.py"]


def test_a_long_run_tries_ten_times_as_many_examples(monkeypatch):
    monkeypatch.setattr(suite, "PROFILE", "default")
    usual = examples(50)
    monkeypatch.setattr(suite, "PROFILE", "long")

    assert (usual, examples(50)) == (50, 500)


def test_the_profile_of_this_run_is_in_force():
    assert settings.default.max_examples == examples(50)
    assert settings.default.deadline is None
    assert settings.default.print_blob
