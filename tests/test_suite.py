"""The suite's own promises: nothing is skipped in CI for want of a program, and a long run is longer."""

import ast
import sys
from pathlib import Path

import pytest
import suite
from hypothesis import settings
from suite import examples, needs

TESTS = Path(__file__).parent

pytestmark = pytest.mark.check


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


def test_make_check_runs_all_that_a_long_run_does_for_longer():
    """Properties are marked `hypothesis` by hypothesis itself; who asks for examples in another way is marked here."""
    forgotten = []
    for path in TESTS.rglob("test_*.py"):
        text = path.read_text("utf-8")
        if "examples(" in text and "pytestmark = pytest.mark.check" not in text:
            for test in ast.walk(ast.parse(text)):
                if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef) and test.name.startswith("test_"):
                    asks = any("examples(" in ast.unparse(line) for line in test.body)
                    if asks and "pytest.mark.check" not in map(ast.unparse, test.decorator_list):
                        forgotten.append(f"{path.name}: {test.name}")

    assert forgotten == []
