"""What the tests over a development chain share."""

import os

import pytest
from attestrio.sim.anvil import AnvilAbsent, find_anvil


def found():
    try:
        return find_anvil()
    except AnvilAbsent:
        return None


needs_anvil = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(
        found() is None and not os.environ.get("CI"),
        reason="anvil not found: ATTESTRIO_ANVIL, PATH or node_modules/@foundry-rs/anvil-linux-amd64",
    ),
]
