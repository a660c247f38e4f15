"""What a shell can do to a command's streams, and people and supervisors who send a signal more than once."""

import json
import os
import resource
import signal
import subprocess
import sys

import pytest
import trio
from attestrio.mainnode.client import MainNodeClient
from attestrio.roles import AttesterSecretKey
from attestrio.sim.cluster import Cluster, ClusterSpec
from processes import ATTESTRIO, TIMEOUT_S, environment, run, started
from suite import free_port

pytestmark = [pytest.mark.real, pytest.mark.slow]

ONE_BATCH = ("devnet", "--batches", "1", "--every", "0.1")


@pytest.fixture
def key(tmp_path):
    secret = AttesterSecretKey.from_bytes(b"\x01" * 32)
    (tmp_path / "my.key").write_text(secret.to_text())
    return tmp_path / "my.key"


def run_without(closed, *words):
    """A command whose caller has closed these streams, as `>&-` does."""
    program = f"import os\nfor number in {closed}: os.close(number)\nos.execv({sys.executable!r}, {[*ATTESTRIO]} + "
    starter = [sys.executable, "-c", program + f"{[str(word) for word in words]})"]
    return subprocess.run(starter, capture_output=True, text=True, timeout=TIMEOUT_S, env=environment(), check=False)


# streams


@pytest.mark.parametrize(
    "words", [ONE_BATCH, ("--help",), ("--version",), ("keys", "generate", "new.key")], ids=" ".join
)
def test_a_closed_stdout_is_an_output_that_cannot_be_written(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)

    ended = run_without([1], *words)

    assert ended.returncode == 4
    assert ended.stderr == "attestrio: standard output cannot be written: Bad file descriptor [output_unwritable]\n"


def test_a_closed_stderr_keeps_errors_out_of_the_output_and_the_exit_code_as_it_is(tmp_path):
    ended = run_without([2], "keys", "public", tmp_path / "nokey")

    assert (ended.returncode, ended.stdout) == (2, "")


@pytest.mark.parametrize("closed", [[2], [0, 2], [0]])
def test_a_network_needs_no_other_stream_than_the_one_it_prints_to(closed):
    ended = run_without(closed, *ONE_BATCH)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("batch 0 ")


def test_with_all_streams_closed_the_exit_code_is_left(key, tmp_path):
    assert run_without([0, 1, 2], "keys", "public", key).returncode == 4
    assert run_without([0, 1, 2], "keys", "public", tmp_path / "nokey").returncode == 2


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("words", [("--help",), ("--version",), ("keys", "--help")], ids=" ".join)
def test_help_that_meets_a_full_disk_is_exit_4(words, unbuffered):
    with open("/dev/full", "w") as full:
        ended = run(
            *words,
            stdout=full,
            stderr=subprocess.PIPE,
            capture_output=False,
            env=environment(PYTHONUNBUFFERED=unbuffered),
        )

    assert ended.returncode == 4
    assert ended.stderr == "attestrio: standard output cannot be written: No space left on device [output_unwritable]\n"


def test_an_error_that_cannot_be_printed_keeps_its_exit_code(tmp_path):
    with open("/dev/full", "w") as full:
        ended = run("keys", "public", tmp_path / "nokey", stdout=subprocess.PIPE, stderr=full, capture_output=False)

    assert (ended.returncode, ended.stdout) == (2, "")


def test_a_network_whose_output_fails_leaves_nothing_unfinished():
    with open("/dev/full", "w") as full:
        ended = run(
            *ONE_BATCH,
            stdout=full,
            stderr=subprocess.PIPE,
            capture_output=False,
            env=environment(PYTHONWARNINGS="error::ResourceWarning"),
        )

    assert ended.returncode == 4
    assert ended.stderr == "attestrio: standard output cannot be written: No space left on device [output_unwritable]\n"


# signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("every_s", [0.002, 0.02])
async def test_a_signal_that_is_repeated_changes_nothing(tmp_path, number, code, every_s):
    async with started("devnet", "--every", "0.1", env=environment(TMPDIR=str(tmp_path))) as running:
        await running.wait_said("batch 1")
        made = os.listdir(tmp_path)
        ended = None
        while ended is None:
            os.kill(running.pid, number)
            with trio.move_on_after(every_s):
                ended = await running.ended()

    assert (ended, running.err) == (code, "")
    assert (len(made), os.listdir(tmp_path)) == (1, [])


async def test_a_signal_that_is_repeated_while_a_network_is_prepared_changes_nothing(tmp_path):
    async with started("devnet", "--attesters", "100", env=environment(TMPDIR=str(tmp_path))) as running:
        while not os.listdir(tmp_path):
            await trio.lowlevel.checkpoint()
        ended = None
        while ended is None:
            os.kill(running.pid, signal.SIGTERM)
            with trio.move_on_after(0.002):
                ended = await running.ended()

    assert (ended, running.out, running.err) == (143, "", "")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("before", "then", "code"), [("SIG_DFL", "await trio.sleep_forever()", 129), ("SIG_IGN", "pass", 0)]
)
def test_a_terminal_that_is_closed_ends_what_runs_in_order_unless_nohup_started_it(before, then, code):
    program = f"""
import os, signal, trio
signal.signal(signal.SIGHUP, signal.{before})
from attestrio.cli.signals import until_signal

async def work():
    os.kill(os.getpid(), signal.SIGHUP)
    {then}

print(trio.run(until_signal, work))
"""

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT_S)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{code}\n", "")


def test_once_a_signal_was_obeyed_no_other_is_written_to_a_socket_that_trio_is_about_to_close():
    program = """
import os, signal, trio
from attestrio.cli.signals import until_signal

async def work():
    os.kill(os.getpid(), signal.SIGTERM)
    await trio.sleep_forever()

async def main():
    print(await until_signal(work), signal.set_wakeup_fd(-1))

trio.run(main)
"""

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT_S)

    assert (ended.returncode, ended.stdout) == (0, "143 -1\n")


# descriptors


@pytest.mark.parametrize("limit", [8, 16, 32, 50])
def test_a_network_without_enough_descriptors_says_what_is_missing(limit):
    ended = run(*ONE_BATCH, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))

    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.endswith(
        ": raise the limit on open files (`ulimit -n`, LimitNOFILE=), 1024 is enough [out_of_descriptors]\n"
    )
    before = [json.loads(line) for line in ended.stderr.splitlines()[:-1]]  # its log, of which every line is JSON
    assert not any("Traceback" in str(line) for line in before)


async def test_a_main_node_without_descriptors_says_so_in_its_log_and_serves_again_afterwards(tmp_path):
    genesis = Cluster(tmp_path, ClusterSpec(attesters=1)).prepare()
    port = free_port()
    words = (
        *("main-node", "run", "--bind", f"127.0.0.1:{port}", "--data-dir", tmp_path / "main"),
        *("--set", f"genesis.file={tmp_path}/genesis.json", "--set", "batches.source=file"),
        *("--set", f"batches.file={tmp_path}/batches.jsonl"),
    )

    async with started(*words, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))) as running:
        await running.wait_said("node running")
        clients = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(60)]
        await running.wait_said("accept returned EMFILE")
        for one in clients:
            await one.aclose()
        async with MainNodeClient(f"http://127.0.0.1:{port}") as asking:
            told = await asking.consensus_genesis()
        code, _ = await running.stop(signal.SIGTERM)

    assert told == genesis
    assert code == 143
    assert running.err.count("\n") == len(running.logged()), "log lines and nothing else: no traceback"
    assert len([line for line in running.logged() if line.startswith("accept returned")]) == 1
