"""What every test may use: how much a property is tried, and programs that a test cannot do without."""

from __future__ import annotations

import os
import shutil

import pytest

LONG = 10
PROFILE = os.environ.get("ATTESTRIO_PROFILE", "default")


def examples(usual: int) -> int:
    """For `settings(max_examples=...)`: as many as usual, ten times as many with ATTESTRIO_PROFILE=long."""
    return usual * LONG if PROFILE == "long" else usual


def found(program: str) -> str | None:
    """Where `program` is on the PATH, for what a test starts itself."""
    return shutil.which(program)


def needs(program: str) -> pytest.MarkDecorator:
    """Skips a test where `program` is not installed; in CI the test then fails, so that none goes missing unseen."""
    absent = shutil.which(program) is None and not os.environ.get("CI")
    return pytest.mark.skipif(absent, reason=f"{program} is not installed")
