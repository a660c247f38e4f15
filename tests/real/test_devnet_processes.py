"""A devnet of processes: one node is killed, seen to be gone, and brought back with the command that was printed."""

import os
import re
import shlex
import signal

import pytest
from attestrio.kit.files import read_bounded
from processes import run, started
from suite import patient

pytestmark = [pytest.mark.real, pytest.mark.slow]

TIMEOUT_S = patient(40)


def pid_of(said, name):
    return int(re.search(rf"^{name} +pid (\d+)", said, re.MULTILINE)[1])


async def test_a_killed_node_is_told_and_comes_back_with_the_command_that_was_printed(tmp_path):
    words = ("devnet", "--processes", "--attesters", 1, "--every", 0.2, "--web", "127.0.0.1:0", "--data-dir", tmp_path)

    async with started(*words, timeout_s=TIMEOUT_S) as network:
        await network.wait_said("batch 2 ")
        os.kill(pid_of(network.err, "attester-1"), signal.SIGKILL)
        await network.wait_said("bring it back: ")
        told = network.err.splitlines()[-1]
        before = int(network.out.splitlines()[-1].split()[1])
        async with started(*shlex.split(told.partition(": attestrio ")[2]), timeout_s=TIMEOUT_S) as node:
            await node.wait_said("node running")
            await network.wait_said(f"batch {before + 5} ")
            code, _ = await node.stop(signal.SIGTERM)
        ended, _ = await network.stop(signal.SIGTERM)
    known = run("batch", "list", "--last", 1_000, "-c", tmp_path / "attester-1" / "node.toml")

    assert told.startswith("attester-1 was killed by SIGKILL; bring it back: attestrio node run -c ")
    assert (code, ended) == (143, 143)
    assert f"batch {before + 1}  " in known.stdout


async def test_a_network_of_processes_goes_on_where_it_ended(tmp_path):
    words = ("devnet", "--processes", "--attesters", 1, "--every", 0.2, "--web", "127.0.0.1:0", "--data-dir", tmp_path)

    async with started(*words, "--batches", 3, timeout_s=TIMEOUT_S) as first:
        code = await first.ended()
    async with started(*words, "--batches", 3, timeout_s=TIMEOUT_S) as second:
        again = await second.ended()

    assert (code, again) == (0, 0)
    assert "3 certificates, batches 0 to 2: all read back" in first.out
    assert "3 certificates, batches 3 to 5: all read back" in second.out


async def test_a_node_that_cannot_start_ends_the_network_with_the_place_of_its_log(tmp_path):
    words = ("devnet", "--processes", "--attesters", 1, "--web", "127.0.0.1:0", "--data-dir", tmp_path)
    (tmp_path / "main-node").mkdir()
    (tmp_path / "main-node" / "data").write_text("no folder")

    async with started(*words, timeout_s=TIMEOUT_S) as network:
        code = await network.ended()

    assert code == 3
    assert f"main-node did not come up: the end of {tmp_path}/main-node/node.log says why [node_not_up]" in network.err
    assert b"data_dir_unwritable" in read_bounded(tmp_path / "main-node" / "node.log", 100_000)
