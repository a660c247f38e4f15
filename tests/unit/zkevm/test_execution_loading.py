"""py-evm is loaded when a block is executed, not before, and changes nothing for the rest of the process."""

from __future__ import annotations

import json
import subprocess
import sys

import attestrio.zkevm
import pytest
from attestrio.errors import MissingExtra
from attestrio.zkevm.loading import load_vm


def test_without_py_evm_the_extra_is_named(monkeypatch):
    monkeypatch.delattr(attestrio.zkevm, "vm", raising=False)
    monkeypatch.delitem(sys.modules, "attestrio.zkevm.vm", raising=False)
    monkeypatch.setitem(sys.modules, "eth.exceptions", None)

    with pytest.raises(MissingExtra) as missing:
        load_vm()

    assert missing.value.extra == "zkevm"


@pytest.mark.real
@pytest.mark.slow
def test_the_folder_alone_loads_no_py_evm_and_loading_it_keeps_the_recursion_limit():
    program = (
        "import json, sys, attestrio.zkevm as zkevm; early = 'eth' in sys.modules; limit = sys.getrecursionlimit();"
        "from attestrio.zkevm.loading import load_vm; load_vm();"
        "print(json.dumps([early, 'eth' in sys.modules, sys.getrecursionlimit() == limit]))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert json.loads(done.stdout) == [False, True, True]
