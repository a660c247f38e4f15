"""The examples do what they say: called in this process, and run as a reader would run them."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from suite import patient

EMBED = Path(__file__).parent.parent / "examples" / "embed.py"


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_node(output):
    """The numbers each node printed as certified, in order."""
    found = {}
    for name, number in re.findall(r"^(.+): batch (\d+) certified, 1 vote\(s\)$", output, re.MULTILINE):
        found.setdefault(name, []).append(int(number))
    return found


async def test_embedded_main_node_goes_on_while_the_attester_is_stopped_and_started_again(tmp_path, capsys):
    with trio.fail_after(patient(10)):
        await load(EMBED).main(tmp_path, batches=4, every_s=0.01)

    output = capsys.readouterr().out
    numbers = by_node(output)["main node"]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 4
    assert output.count("attester stopped, its data kept") == 2
    assert re.search(r"^\d+ batches sealed, 4 certified$", output, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.real
def test_embed_runs_as_a_program(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EMBED)],
        capture_output=True,
        text=True,
        timeout=patient(60),
        cwd=tmp_path,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    numbers = by_node(done.stdout)
    assert numbers["main node"][:6] == [0, 1, 2, 3, 4, 5]
    assert {0, 1, 2} <= set(numbers["attester"])  # in one of its lives: it may end before it has printed the last
