"""What a supervisor hears of a process that works, hangs and stops; the limits are shorter than in the units."""

import signal
import sys

import pytest
from attestrio.sim.cluster import Cluster, ClusterSpec
from suite import patient
from supervisor import Supervisor, Unit

pytestmark = [pytest.mark.slow, pytest.mark.real]

LIMIT_S = 4.0  # a busy machine lets a process wait for a second or two
# The program as it is installed, but for a signal that makes its event loop hang: for tests only.
HANGS = """
import signal, sys, time
def hang_on_purpose(*_):
    time.sleep(60)
signal.signal(signal.SIGUSR1, hang_on_purpose)
from attestrio.cli import main
main()
"""


@pytest.fixture
def supervisor(tmp_path):
    """One node without a key, whose main node does not answer."""
    Cluster(tmp_path, ClusterSpec(attesters=1)).prepare()
    unit = Unit("attestrio-node.service")
    words = unit.command(
        {"/etc/attestrio/node.toml": str(tmp_path / "node.toml"), "%S/attestrio-node": str(tmp_path / "data")}
    )
    (tmp_path / "node.toml").write_text(
        f'[genesis]\nfile = "{tmp_path / "genesis.json"}"\n[main_node]\nurl = "http://127.0.0.1:9"\n'
    )
    env = {"PYTHONFAULTHANDLER": "1", "WATCHDOG_USEC": str(int(LIMIT_S * 1e6))}
    made = Supervisor(unit, [sys.executable, "-c", HANGS, *words[1:]], tmp_path, env)
    yield made
    made.close()


def test_a_node_whose_loop_turns_is_left_alone_and_says_how_it_goes(supervisor):
    supervisor.start()

    assert supervisor.wait_ready()
    assert supervisor.wait_told("STATUS=epoch ")
    assert not supervisor.watch(for_s=1.5 * LIMIT_S)


def test_a_node_whose_loop_hangs_is_aborted_says_where_and_is_started_again(supervisor):
    supervisor.start()
    assert supervisor.wait_ready()
    supervisor.process.send_signal(signal.SIGUSR1)

    assert supervisor.watch(for_s=5 * LIMIT_S)

    assert supervisor.wait_exit()
    assert supervisor.exits == [-signal.SIGABRT]
    assert "in hang_on_purpose" in supervisor.log_file.read_text()
    assert supervisor.wait_ready(), supervisor.log_file.read_text()


def test_a_node_that_is_told_to_stop_says_so_and_ends_in_order(supervisor):
    supervisor.start()
    assert supervisor.wait_ready()

    supervisor.process.send_signal(signal.SIGTERM)

    assert supervisor.wait_told("STOPPING=1")
    assert supervisor.process.wait(patient(20)) == 128 + signal.SIGTERM


def test_a_copy_of_a_stream_is_at_work_while_its_server_is_away(tmp_path):
    unit = Unit("attestrio-stream.service")
    words = unit.command({"${UPSTREAM}": "127.0.0.1:9", "${BIND}": "127.0.0.1:0", "%S/attestrio-stream": str(tmp_path)})
    env = {"WATCHDOG_USEC": str(int(LIMIT_S * 1e6))}
    supervisor = Supervisor(unit, [sys.executable, "-c", HANGS, *words[1:]], tmp_path, env)
    try:
        supervisor.start()

        assert supervisor.wait_ready()
        assert not supervisor.watch(for_s=1.5 * LIMIT_S)
        supervisor.process.send_signal(signal.SIGTERM)
        assert supervisor.wait_told("STOPPING=1")
        assert supervisor.process.wait(patient(20)) == 128 + signal.SIGTERM
    finally:
        supervisor.close()
