"""A supervisor that obeys the shipped unit file cannot undo a safety halt."""

import subprocess
import sys
from pathlib import Path

import pytest
from attestrio.errors import SafetyError
from attestrio.protection.halt import repair, write_halt
from attestrio.sim.cluster import Cluster, ClusterSpec
from suite import patient
from supervisor import Supervisor, Unit

pytestmark = [pytest.mark.slow, pytest.mark.real]

PROGRAM = str(Path(sys.executable).parent / "attestrio")


class Stopped(SafetyError):
    code = "test_halt"


def run_cli(*words):
    subprocess.run([PROGRAM, *words], check=True, capture_output=True, timeout=patient(30))


@pytest.fixture
def site(tmp_path):
    """One attester's folder as `Cluster` writes it; the main node it names does not run."""
    Cluster(tmp_path, ClusterSpec(attesters=1)).prepare()
    return tmp_path / "attester-1"


@pytest.fixture
def supervisor(site, tmp_path):
    unit = Unit("attestrio-node.service")
    command = unit.command(
        {
            "/usr/local/bin/attestrio": PROGRAM,
            "/etc/attestrio/node.toml": str(site / "node.toml"),
            "%S/attestrio-node": str(site / "data"),
        }
    )
    key = tmp_path / "etc" / "attester.key"
    run_cli("keys", "generate", str(key))
    run_cli("protection", "init", str(key), "--data-dir", str(site / "data"))
    env = unit.environment({"/etc/attestrio/attester.key": key}, tmp_path / "credentials")
    made = Supervisor(unit, [*command, "--main-node-url", "http://127.0.0.1:9"], tmp_path, env)
    yield made
    made.close()


def test_a_node_that_is_killed_is_started_again(supervisor):
    supervisor.start()
    assert supervisor.wait_ready()
    supervisor.process.kill()

    assert supervisor.wait_exit()
    assert supervisor.wait_ready()
    assert supervisor.exits == [-9]


def test_a_halt_stays_a_halt_whatever_the_supervisor_would_like(supervisor, site):
    supervisor.start()
    assert supervisor.wait_ready()
    supervisor.process.terminate()
    supervisor.process.wait(patient(20))
    write_halt(site / "data", Stopped("told by a test"), {"why": "test"})

    supervisor.start()
    assert not supervisor.wait_ready()
    assert not supervisor.wait_exit()
    assert supervisor.exits == [70]

    repair(site / "data", ack=True)
    supervisor.start()
    assert supervisor.wait_ready()


def test_a_lost_history_is_not_tried_again(supervisor, site):
    supervisor.start()
    assert supervisor.wait_ready()
    supervisor.process.terminate()
    supervisor.process.wait(patient(20))
    for path in (site / "data").glob("protection.db*"):
        path.unlink()

    supervisor.start()

    assert not supervisor.wait_exit()
    assert supervisor.exits == [71]


def test_the_mark_of_an_unused_key_is_used_up_by_protection_init(supervisor, tmp_path):
    with pytest.raises(subprocess.CalledProcessError) as refused:
        run_cli("protection", "init", str(tmp_path / "etc" / "attester.key"), "--data-dir", str(tmp_path / "other"))

    assert refused.value.returncode == 71
