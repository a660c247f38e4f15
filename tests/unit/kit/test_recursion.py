"""What a library that is imported may not change."""

import subprocess
import sys

import pytest
from attestrio.kit.recursion import recursion_limit_kept


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
