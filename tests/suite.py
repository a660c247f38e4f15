"""What every test may use: how much a property is tried, and programs that a test cannot do without."""

from __future__ import annotations

import os
import random
import shutil
import socket

import pytest

LONG = 10
PATIENCE = 4
PORTS = 20_000, 32_000
PROFILE = os.environ.get("ATTESTRIO_PROFILE", "default")


def examples(usual: int) -> int:
    """For `settings(max_examples=...)`: as many as usual, ten times as many with ATTESTRIO_PROFILE=long."""
    return usual * LONG if PROFILE == "long" else usual


def patient(seconds: float) -> float:
    """A deadline for what takes less than that on a machine with little else to do: others may be busy here.

    It only ends what hangs. How quick something is, is never shown by a deadline.
    """
    return PATIENCE * seconds


def free_port() -> int:
    """A port that nobody has, for a listener that comes later or comes again.

    It lies below those the system gives away (for port 0, and to whoever dials), so nobody else gets it meanwhile.
    """
    while True:
        port = random.SystemRandom().randrange(*PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def found(program: str) -> str | None:
    """Where `program` is on the PATH, for what a test starts itself."""
    return shutil.which(program)


def needs(program: str) -> pytest.MarkDecorator:
    """Skips a test where `program` is not installed; in CI the test then fails, so that none goes missing unseen."""
    absent = shutil.which(program) is None and not os.environ.get("CI")
    return pytest.mark.skipif(absent, reason=f"{program} is not installed")
