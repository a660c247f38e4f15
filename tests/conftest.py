"""How much the properties are tried: `make check` sets ATTESTRIO_PROFILE=long, everything else tries fewer examples."""

import sys
from pathlib import Path

import pytest
from hypothesis import settings
from reasons import wanted_of, watched
from suite import PROFILE, examples

USUAL = 50

settings.register_profile("default", max_examples=USUAL, deadline=None, print_blob=True)
settings.register_profile("long", settings.get_profile("default"), max_examples=examples(USUAL))
settings.load_profile(PROFILE)


@pytest.fixture(autouse=True)
def _usual_recursion_limit():
    """py_ecc and py-evm raise it when a test imports them, and deep JSON then overflows the stack of the process."""
    sys.setrecursionlimit(1000)


@pytest.fixture(autouse=True)
def _its_reasons(request):
    """A test that `reasons.PRODUCED` names has to produce what stands there."""
    path = request.node.path.relative_to(Path(__file__).parent).as_posix()
    wanted = wanted_of(f"{path}::{request.node.name}")
    if not wanted:
        yield
        return
    with watched() as seen:
        yield
    seen.check()
    assert wanted <= seen.produced
