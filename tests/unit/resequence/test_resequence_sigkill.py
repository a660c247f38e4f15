"""A process that is killed for real, at steps all over a rebuild: the next one goes on behind what is on disk."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from resequence_kit import copied, site_a

SCRIPT = Path(__file__).with_name("dying_rebuild.py")
MANY = 10_000
TIMEOUT_S = 60
STRIDE = 17
"""Steps from one moment that is tried to the next: some eight of them in a rebuild."""


def rebuild(folder, steps):
    """The exit code, and how many steps it took to the end."""
    command = [sys.executable, str(SCRIPT), str(folder), str(steps)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode, int(ended.stdout or 0)


def seen(site, folder):
    """Stream and database of a copy of `site` in `folder`, after what was done to it there."""
    with type(site)(folder, site.rules, site.leaves) as other:
        return other.state(), other.journal.unfinished()


@pytest.fixture
def site(tmp_path):
    (tmp_path / "begun").mkdir()
    with site_a(tmp_path / "begun") as site:
        yield site


@pytest.mark.real
@pytest.mark.slow
def test_killed_for_real_again_and_again_it_ends_as_if_nothing_had_happened(site, tmp_path):
    copied(site, tmp_path / "whole").close()
    _, steps = rebuild(tmp_path / "whole", MANY)
    ends = seen(site, tmp_path / "whole")

    for at in range(3, steps, STRIDE):
        folder = tmp_path / str(at)
        copied(site, folder).close()
        first, _ = rebuild(folder, at)
        again, _ = rebuild(folder, at // 2)
        if again:
            rebuild(folder, MANY)

        assert first == -signal.SIGKILL
        assert seen(site, folder) == ends, at
    assert ends[1] is None
