"""The shipped unit files: systemd reads them, every role has one, and they agree on what keeps a key safe."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from attestrio.app.aggregator import GRACE_S
from attestrio.app.aggregator_config import LAYOUT as AGGREGATOR
from attestrio.app.operator_config import LAYOUT as OPERATOR
from attestrio.app.sequencer_config import LAYOUT as SEQUENCER
from attestrio.config import NodeConfig, unused_environment
from processes import environment
from suite import needs, patient
from supervisor import UNITS, Unit

PROGRAM = str(Path(sys.executable).parent / "attestrio")
PATHS = sorted(UNITS.glob("*.service"))
ROLES = {
    "attestrio-node": ("node", "run"),
    "attestrio-main-node": ("main-node", "run"),
    "attestrio-operator": ("operator", "run"),
    "attestrio-aggregator": ("aggregator", "run"),
    "attestrio-sequencer": ("sequencer", "run"),
    "attestrio-stream": ("stream", "follow"),
}
UNUSED = {
    "attestrio-node": unused_environment,
    "attestrio-main-node": unused_environment,
    "attestrio-operator": OPERATOR.unused_environment,
    "attestrio-aggregator": AGGREGATOR.unused_environment,
    "attestrio-sequencer": SEQUENCER.unused_environment,
}
OWN = {
    "User", "StateDirectory", "LoadCredential", "Environment", "EnvironmentFile", "ExecStart", "StandardOutput",
}  # fmt: skip

each_unit = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def text_in_force(path, tmp_path):
    """The unit with the program of this tree, and with every line that is only commented out."""
    text = path.read_text("utf-8").replace("/usr/local/bin/attestrio", PROGRAM)
    text = re.sub(r"^#(?=[A-Z][A-Za-z]+=)", "", text, flags=re.MULTILINE)
    made = tmp_path / path.name
    made.write_text(text, "utf-8")
    return made


@needs("systemd-analyze")
@pytest.mark.slow
@pytest.mark.real
@each_unit
def test_systemd_finds_nothing_wrong_with_the_unit(path, tmp_path):
    unit = text_in_force(path, tmp_path)

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=patient(60)
    )

    complaints = [line for line in done.stderr.splitlines() if path.name in line]
    assert done.returncode == 0, done.stderr
    assert complaints == []


@needs("systemd-analyze")
@pytest.mark.slow
@pytest.mark.real
@each_unit
def test_systemd_finds_the_service_well_shut_in(path, tmp_path):
    unit = text_in_force(path, tmp_path)

    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=20", str(unit)],
        capture_output=True, text=True, timeout=patient(60),
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-300:] + done.stderr  # above an exposure of 2.0 of 10


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("name", sorted(UNUSED))
def test_the_command_of_a_unit_is_understood_and_says_what_its_configuration_lacks(name, tmp_path):
    role = name.removeprefix("attestrio-")
    shipped = UNITS.parent / f"{role}.toml"
    command = Unit(f"{name}.service").command(
        {"/usr/local/bin/attestrio": PROGRAM, f"/etc/attestrio/{role}.toml": str(shipped), "%S": str(tmp_path)}
    )

    done = subprocess.run(command, capture_output=True, text=True, timeout=patient(60), env=environment())

    assert done.returncode == 2
    assert "[usage]" not in done.stderr
    assert re.search(r"(main_node\.url|genesis\.json|ecdsa\.|bls\.|l1\.|chain\.)", done.stderr), done.stderr


def test_every_role_has_a_unit_that_runs_it():
    found = {path.stem: tuple(Unit(path.name).command({"/usr/local/bin/attestrio": ""})[:2]) for path in PATHS}

    assert found == ROLES


@each_unit
def test_codes_that_must_not_be_retried_are_not(path):
    assert Unit(path.name).never_restart == {2, 70, 71}


@each_unit
def test_a_unit_differs_from_the_others_in_nothing_but_its_role(path):
    def shared(name):
        return {key: value for key, value in Unit(name).service.items() if key not in OWN}

    assert shared(path.name) == shared("attestrio-node.service")
    assert Unit(path.name).service["StateDirectory"] == Unit(path.name).service["User"] == path.stem


@each_unit
def test_a_stop_leaves_time_to_write_what_was_begun_and_the_watchdog_does_not_shorten_it(path):
    service = Unit(path.name).service
    stop_s, watchdog_s = int(service["TimeoutStopSec"]), int(service["WatchdogSec"])

    assert stop_s >= 3 * max(NodeConfig().node.grace_s, GRACE_S)
    assert stop_s < watchdog_s - watchdog_s / 3  # the last sign of life is so old at most when the stop begins


@each_unit
def test_no_memory_with_a_key_in_it_is_written_to_swap_or_when_the_watchdog_aborts(path):
    assert Unit(path.name).service["MemorySwapMax"] == "0", "doctor says that it is"
    assert Unit(path.name).service["LimitCORE"] == "0"
    assert "PYTHONFAULTHANDLER=1" in Unit(path.name).service["Environment"].split()


@pytest.mark.parametrize("name", sorted(UNUSED))
def test_every_variable_that_a_unit_sets_is_a_key_of_its_role(name, tmp_path):
    lines = re.findall(r"^#?Environment=(.*)$", (UNITS / f"{name}.service").read_text("utf-8"), re.MULTILINE)
    given = dict(word.split("=", 1) for line in lines for word in line.split())

    assert UNUSED[name](given) == []
