"""The committed bytecode is what the compiler makes of the committed source."""

import os
import subprocess
from pathlib import Path

import pytest
from suite import found, patient

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT / "contracts"
NAMES = ("Diamond", "RollupManager", "ServiceManager")


def find_solc():
    """The folder of the package solc: named, in node_modules, or the one whose `solcjs` is on the PATH."""
    command = found("solcjs")
    candidates = [os.environ.get("ATTESTRIO_SOLC"), ROOT / "node_modules" / "solc", command and Path(command).resolve()]
    for one in filter(None, candidates):
        folder = Path(one) if Path(one).is_dir() else Path(one).parent
        if (folder / "package.json").exists():
            return folder
    return None


NODE, SOLC = found("node"), find_solc()


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(
    (NODE is None or SOLC is None) and not os.environ.get("CI"),
    reason="node or solc not found: ATTESTRIO_SOLC, node_modules/solc (npm i solc@0.8.37) or solcjs on the PATH",
)
def test_the_contracts_are_those_that_were_compiled(tmp_path):
    subprocess.run(
        [NODE, CONTRACTS / "build.js", tmp_path],
        env={**os.environ, "ATTESTRIO_SOLC": str(SOLC)},
        check=True,
        timeout=patient(60),
    )

    for name in NAMES:
        assert (tmp_path / f"{name}.json").read_text() == (CONTRACTS / f"{name}.json").read_text(), name
