"""The command line as real processes: signals, exit codes, locks, ports, pipes, and whole networks."""

import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys

import pytest
import trio
from attestrio.roles import AttesterSecretKey, Batch, BatchHash, BatchNumber, Genesis
from attestrio.sim import faults
from attestrio.sim.cluster import Cluster, ClusterSpec
from attestrio.sim.main_node import SimMainNode
from attestrio.store.certificates import read_only_certificates
from attestrio.store.memory import MemoryBatchStore
from processes import ATTESTRIO, TIMEOUT_S, environment, run, started
from suite import free_port, patient

pytestmark = [pytest.mark.real, pytest.mark.slow]

NOWHERE = "http://127.0.0.1:9"  # discard: nobody listens
PROMPT_S = patient(5.0)  # to stop: hundredths of a second, and the load of this machine; a node may take a minute
ENDS = [(signal.SIGTERM, 143), (signal.SIGINT, 130)]


@pytest.fixture
def genesis(tmp_path):
    """The files of one attester: genesis.json, attester-1/attester.key."""
    return Cluster(tmp_path, ClusterSpec(attesters=1)).prepare()


@pytest.fixture
def node(tmp_path, genesis):
    """The words that run an attester node, which then asks `url`."""

    def words(url=NOWHERE, *more):
        return (
            *("node", "run", "--main-node-url", url, "--data-dir", tmp_path / "node"),
            *("--set", f"genesis.file={tmp_path}/genesis.json", "--set", "main_node.poll_s=0.05"),
            *("--set", f"keys.attester_file={tmp_path}/attester-1/attester.key", "--set", "batches.poll_s=0.05"),
            *("--set", "node.grace_s=60", *more),
        )

    return words


@pytest.fixture
def main_node(tmp_path, genesis):
    """The words that run a main node over the file batches.jsonl."""

    def words(bind="127.0.0.1:0", *more, folder="main"):
        return (
            *("main-node", "run", "--bind", bind, "--data-dir", tmp_path / folder),
            *("--set", f"genesis.file={tmp_path}/genesis.json", "--set", "main_node.poll_s=0.05"),
            *("--set", "batches.source=file", "--set", f"batches.file={tmp_path}/batches.jsonl"),
            *("--set", "batches.poll_s=0.05", "--set", "node.grace_s=60", *more),
        )

    return words


@pytest.fixture
def full_disk():
    with open("/dev/full", "w") as full:
        yield full


def batch_line(number):
    return json.dumps({"number": number, "hash": BatchHash(bytes([number + 1]) * 32).to_text()}) + "\n"


def is_sound(path):
    """Whether SQLite finds nothing wrong with a database."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        connection.close()


# signals


@pytest.mark.parametrize(("number", "code"), ENDS, ids=["SIGTERM", "SIGINT"])
async def test_a_signal_stops_a_node_promptly_and_leaves_its_database_sound(node, tmp_path, number, code):
    async with started(*node()) as running:
        await running.wait_said("node running")
        ended, seconds = await running.stop(number)

    assert ended == code
    assert seconds < PROMPT_S
    assert running.logged()[-1] == f"stopping on {signal.Signals(number).name}"
    assert running.err.count("\n") == len(running.logged()), "log lines and nothing else: no traceback"
    assert is_sound(tmp_path / "node" / "store.db")


@pytest.mark.parametrize(("number", "code"), ENDS, ids=["SIGTERM", "SIGINT"])
async def test_a_signal_stops_a_main_node_that_is_being_asked(main_node, node, tmp_path, number, code):
    (tmp_path / "batches.jsonl").write_text(batch_line(0))
    port = free_port()

    async with started(*main_node(f"127.0.0.1:{port}")) as serving:
        await serving.wait_said("node running")
        async with started(*node(f"http://127.0.0.1:{port}")) as asking:
            await asking.wait_said("batch 0 certified by 1 votes")
            ended, seconds = await serving.stop(number)
            await asking.wait_said("status not read, asking again")
            outlived = await asking.stop(signal.SIGTERM)

    assert ended == code
    assert seconds < PROMPT_S
    assert outlived[0] == 143
    assert is_sound(tmp_path / "main" / "store.db")
    (certificate,) = read_only_certificates(tmp_path / "node" / "store.db")
    certificate.verify(Genesis.from_json((tmp_path / "genesis.json").read_text()))


@pytest.mark.parametrize(("number", "code"), ENDS, ids=["SIGTERM", "SIGINT"])
async def test_a_signal_ends_a_devnet_and_all_its_databases_are_sound(tmp_path, number, code):
    async with started("devnet", "--data-dir", tmp_path, "--every", 0.1) as running:
        await running.wait_said("batch 2")
        ended, seconds = await running.stop(number)

    assert ended == code
    assert seconds < PROMPT_S
    assert running.err == ""
    databases = sorted(tmp_path.glob("*/data/store.db"))
    assert [is_sound(path) for path in databases] == [True] * 5
    numbers = [int(one.batch.number) for one in read_only_certificates(tmp_path / "main-node" / "data" / "store.db")]
    assert numbers[:3] == [0, 1, 2]


@pytest.mark.parametrize(("number", "code"), ENDS, ids=["SIGTERM", "SIGINT"])
def test_a_signal_while_the_program_is_still_loading_is_no_traceback(number, code):
    program = f"""
import os, sys
class Impatient:
    def find_spec(self, name, *_):
        if name == "attestrio.cli.root":
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Impatient())
from attestrio.cli import main
main(["devnet"])
"""

    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", "")


async def test_a_killed_devnet_starts_again_with_what_it_had(tmp_path):
    words = ("devnet", "--data-dir", tmp_path, "--every", 0.1)

    async with started(*words) as running:
        await running.wait_said("batch 2")
        ended, _ = await running.stop(signal.SIGKILL)
    kept = [int(one.batch.number) for one in read_only_certificates(tmp_path / "main-node" / "data" / "store.db")]
    again = run(*words, "--batches", 1, "--json")

    assert ended == -signal.SIGKILL
    assert kept[:3] == [0, 1, 2]
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout.splitlines()[0])["batch"] == kept[-1] + 1


# what two processes cannot share


async def test_a_second_process_on_a_data_directory_names_the_first(node, tmp_path):
    async with started(*node()) as first:
        await first.wait_said("node running")
        second = run(*node())

    assert (second.returncode, second.stdout) == (5, "")
    assert second.stderr == (
        f"attestrio: data directory {tmp_path}/node is in use by process {first.pid}:"
        " stop it or choose another directory [data_dir_in_use]\n"
    )


async def test_a_second_process_on_a_port_names_the_address(main_node, tmp_path):
    port = free_port()

    async with started(*main_node(f"127.0.0.1:{port}")) as first:
        await first.wait_said("node running")
        second = run(*main_node(f"127.0.0.1:{port}", folder="other"))

    assert (second.returncode, second.stdout) == (3, "")
    assert second.stderr.startswith(f"attestrio: cannot listen on 127.0.0.1:{port}: the address is in use; ")
    assert second.stderr.endswith(" [address_in_use]\n")
    assert len(second.stderr.splitlines()) == 1


# a safety halt


async def test_another_hash_for_a_batch_begins_an_epoch_in_which_it_is_not_signed(main_node, tmp_path):
    batches = tmp_path / "batches.jsonl"
    batches.write_text(batch_line(0))
    words = main_node("127.0.0.1:0", "--set", f"keys.attester_file={tmp_path}/attester-1/attester.key")
    async with started(*words) as running:
        await running.wait_said("batch 0 certified by 1 votes")
        await running.stop(signal.SIGTERM)

    batches.write_text(batch_line(0).replace("01", "99"))
    async with started(*words) as running:
        await running.wait_said("batch 0: not signed: batch 0: ")
        code, _ = await running.stop(signal.SIGTERM)

    assert code == 143
    assert any(text.startswith("epoch 1 ended (resequenced): batch 0 has the hash") for text in running.logged())
    assert "certified" not in running.err
    assert "Traceback" not in running.err
    assert is_sound(tmp_path / "main" / "store.db")


async def test_a_halted_node_does_not_start_and_exits_with_70(main_node, tmp_path):
    (tmp_path / "batches.jsonl").write_text(batch_line(0))
    (tmp_path / "main").mkdir(mode=0o700)
    (tmp_path / "main" / "HALT").write_text("{}")

    async with started(*main_node()) as running:
        code = await running.ended()

    assert code == 70
    assert running.err.splitlines()[-1].endswith(" [halted]")
    assert "Traceback" not in running.err


async def test_a_rollback_ends_the_process_where_a_supervisor_shall_start_it_again(node, tmp_path, genesis, nursery):
    fork = Genesis.from_json({**genesis.to_json(), "forkNumber": "1"})
    store = MemoryBatchStore(genesis.hash())
    await nursery.start(store.run)
    await store.put_batch_to_sign(Batch(BatchNumber(0), BatchHash(b"\x01" * 32), genesis.hash()))
    simulated = SimMainNode(store, genesis)
    url = await nursery.start(simulated.run)

    async with started(*node(url, "--set", "protection.on_rollback=exit", "--init-protection")) as running:
        await running.wait_said("batch 0 certified by 1 votes")
        simulated.fault = faults.OtherGenesis(fork)
        code = await running.ended()

    last = running.err.splitlines()[-1]
    assert code == 3
    assert last.startswith("attestrio: the epoch ended (genesis_changed) and on_rollback is exit: ")
    assert last.endswith(" [rollback_exit]")
    assert "Traceback" not in running.err
    assert is_sound(tmp_path / "node" / "store.db")
    assert len(read_only_certificates(tmp_path / "node" / "store.db")) == 1


# streams


def test_a_devnet_prints_a_line_per_certificate_and_a_summary():
    ended = run("devnet", "--batches", 3, "--every", 0.1)

    lines = ended.stdout.splitlines()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [line.split()[:2] for line in lines[:3]] == [["batch", "0"], ["batch", "1"], ["batch", "2"]]
    assert lines[3:] == [
        "3 certificates, batches 0 to 2: all read back from the main node's database and verified, threshold 4 of 4"
    ]


def test_a_devnet_speaks_json_line_by_line():
    ended = run("devnet", "--batches", 2, "--every", 0.1, "--attesters", 6, "--json")

    *certificates, summary = map(json.loads, ended.stdout.splitlines())
    assert ended.returncode == 0
    assert [(one["event"], one["batch"]) for one in certificates] == [("certificate", 0), ("certificate", 1)]
    assert all(5 <= one["votes"] <= 6 for one in certificates)
    assert (summary["event"], summary["verified"], summary["threshold"]) == ("summary", 2, 5)
    assert [one["batch"] for one in summary["certificates"]] == [0, 1]


def test_a_devnet_on_a_terminal_is_a_table_of_who_voted():
    ours, theirs = pty.openpty()
    size = {"COLUMNS": "80", "LINES": "30", "TERM": "xterm", "NO_COLOR": "1"}
    with subprocess.Popen(
        [*ATTESTRIO, "devnet", "--batches", "2", "--every", "0.1"],
        stdout=theirs,
        stderr=theirs,
        env=environment(**size),
    ) as process:
        os.close(theirs)
        text = b""
        while chunk := read(ours):
            text += chunk
    os.close(ours)

    assert process.returncode == 0
    shown = text.decode()
    assert "attestrio devnet: a main node and 4 attesters" in shown
    assert "4 of 4   ✓   ✓   ✓   ✓" in shown
    assert "2 certificates, batches 0 to 1: all read back" in shown
    assert max(len(line) for line in shown.replace("\x1b", "\n").splitlines()) <= 120


def read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: the other side is closed, which is how a terminal says that it ended
        return b""


def test_a_reader_that_leaves_is_no_error():
    reading, writing = os.pipe()
    with subprocess.Popen(
        [*ATTESTRIO, "devnet", "--every", "0.1"], stdout=writing, stderr=subprocess.PIPE, env=environment()
    ) as process:
        os.close(writing)
        first = os.read(reading, 5)
        os.close(reading)
        _, err = process.communicate(timeout=TIMEOUT_S)

    assert first == b"batch"
    assert (process.returncode, err) == (0, b"")


@pytest.mark.parametrize("words", [("config", "show"), ("devnet", "--batches", "1", "--json")], ids=" ".join)
def test_a_full_disk_behind_stdout_is_exit_4(full_disk, words):
    ended = run(*words, stdout=full_disk, stderr=subprocess.PIPE, capture_output=False)

    assert ended.returncode == 4
    assert "standard output cannot be written: No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


async def test_logs_that_nobody_can_read_do_not_stop_a_node(node, genesis, nursery, full_disk):
    asked = trio.Event()

    async def refuse(call, honest):
        if call.index == 3:  # it goes on asking, after each answer that made it log
            asked.set()
        return await faults.Result(call.index)(call, honest)

    simulated = SimMainNode(MemoryBatchStore(genesis.hash()), genesis, fault=refuse)
    url = await nursery.start(simulated.run)

    async with started(*node(url), stderr=full_disk) as running:
        await asked.wait()
        code, _ = await running.stop(signal.SIGTERM)

    assert code == 143


# a cluster of processes over a file of batches


async def test_batches_of_a_file_are_certified_in_order_and_verified_from_the_file(main_node, tmp_path, genesis):
    batches = tmp_path / "batches.jsonl"
    batches.write_text(batch_line(0) + batch_line(1))
    words = main_node("127.0.0.1:0", "--set", f"keys.attester_file={tmp_path}/attester-1/attester.key")

    async with started(*words) as running:
        await running.wait_said("batch 1 certified by 1 votes")
        with batches.open("a") as file:
            file.write(batch_line(2))
        await running.wait_said("batch 2 certified by 1 votes")
        code, _ = await running.stop(signal.SIGTERM)
    verified = run("cert", "verify", tmp_path / "main" / "store.db", "--genesis", tmp_path / "genesis.json", "--json")

    assert code == 143
    assert verified.returncode == 0
    assert [(one["batch"], one["verified"]) for one in json.loads(verified.stdout)] == [(0, True), (1, True), (2, True)]


async def test_the_key_may_come_from_the_environment_and_is_printed_nowhere(main_node, tmp_path, genesis):
    (tmp_path / "batches.jsonl").write_text(batch_line(0))
    secret = (tmp_path / "attester-1" / "attester.key").read_text().strip()
    env = environment(ATTESTRIO_KEYS_ATTESTER=secret, ATTESTRIO_LOG_LEVEL="debug", ATTESTRIO_NODE_PORT="tcp://10.0.0.1")

    async with started(*main_node(), "--init-protection", env=env) as running:
        await running.wait_said("batch 0 certified by 1 votes")
        await running.stop(signal.SIGTERM)

    assert "the environment variable ATTESTRIO_NODE_PORT names no key" in running.logged()
    assert secret.rpartition(":")[2] not in running.out + running.err
    (certificate,) = read_only_certificates(tmp_path / "main" / "store.db")
    assert set(certificate.signatures) == {AttesterSecretKey.from_text(secret).public()}
