"""What a library that is imported may not change."""

import subprocess
import sys

import pytest
from attestrio.kit.recursion import deeper_recursion, recursion_limit_kept


def test_the_limit_is_what_it_was_after_a_library_has_raised_it():
    before = sys.getrecursionlimit()

    with recursion_limit_kept():
        sys.setrecursionlimit(before + 5000)

    assert sys.getrecursionlimit() == before


@pytest.mark.slow
def test_a_node_that_uses_web3_still_survives_deep_json():
    script = (
        "import sys; from attestrio.l1 import Endpoint, L1Provider, web3_over;"
        " before = sys.getrecursionlimit();"
        " from attestrio.l1.for_web3 import web3_over;"
        " web3_over.__globals__['L1Provider'] = object;"
        " w3 = web3_over(object());"
        " assert 'web3' in sys.modules;"
        " print(before == sys.getrecursionlimit())"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.strip() == "True"


def test_the_recursion_limit_is_what_it_was_also_after_a_failure():
    before = sys.getrecursionlimit()

    with deeper_recursion(before + 500):
        inside = sys.getrecursionlimit()
    with pytest.raises(KeyError), deeper_recursion(10):
        raise KeyError(sys.getrecursionlimit())

    assert (inside, sys.getrecursionlimit()) == (before + 500, before)


def test_a_thread_that_is_done_does_not_lower_the_limit_below_what_another_needs():
    before = sys.getrecursionlimit()

    first, second, importing = deeper_recursion(before + 300), deeper_recursion(before + 500), recursion_limit_kept()
    with first:
        second.__enter__()
        importing.__enter__()
        assert sys.getrecursionlimit() == before + 500
    importing.__exit__(None, None, None)
    assert sys.getrecursionlimit() == before + 500
    second.__exit__(None, None, None)

    assert sys.getrecursionlimit() == before
