"""What the container file starts, under bubblewrap: process 1, no user of this machine, a root that is read-only."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import attestrio
import pytest
from attestrio.sim.cluster import Cluster, ClusterSpec
from processes import environment
from suite import free_port, needs, patient

pytestmark = [pytest.mark.slow, pytest.mark.real, needs("bwrap")]

ROOT = Path(__file__).parents[2]
CONTAINER = ROOT / "configs" / "container"
HEALTHY = CONTAINER / "healthy.py"
INSTALLED = "/opt/attestrio"
LINES = re.sub(r"\\\n", "", (CONTAINER / "Containerfile").read_text("utf-8")).splitlines()
WITHIN_S = patient(30.0)


def said(word):
    """What the last stage says after `word`, the last time."""
    last = len(LINES) - next(at for at, line in enumerate(reversed(LINES)) if line.startswith("FROM "))
    return [line.removeprefix(word + " ") for line in LINES[last:] if line.startswith(word + " ")][-1]


def words(word):
    """The exec form: a JSON list, so that no shell stands between the runtime and the process."""
    return json.loads(said(word))


HEALTHCHECK = json.loads(said("HEALTHCHECK").split(" CMD ")[1])
USER, GROUP = said("USER").split(":")
ENVIRONMENT = dict(word.split("=", 1) for word in shlex.split(said("ENV")))
DATA = json.loads(f'"{said("VOLUME")}"')


@contextmanager
def sandbox(site, tokens, **more):
    """`tokens` as a container runtime would start them; the process, and the pid of its process 1."""
    program = Path(sys.executable).parent
    sources = {ROOT, program.parent, Path(sys.base_prefix), Path(attestrio.__file__).parents[1]}
    env = ENVIRONMENT | {"PATH": f"{program}:{ENVIRONMENT['PATH']}"} | more
    told, tell = os.pipe()
    command = [
        "bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--as-pid-1", "--die-with-parent", "--clearenv",
        "--uid", USER, "--gid", GROUP, "--cap-drop", "ALL", "--info-fd", str(tell),
        "--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc",
        *[word for name in ("bin", "lib", "lib64") for word in ("--symlink", f"usr/{name}", f"/{name}")],
        *[word for path in sorted(sources) for word in ("--ro-bind", str(path), str(path))],
        "--ro-bind", str(HEALTHY), f"{INSTALLED}/healthy.py", "--ro-bind", str(site), "/run/site",
        "--perms", "0700", "--tmpfs", DATA, "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/",
        "--chdir", said("WORKDIR"), *[word for pair in env.items() for word in ("--setenv", *pair)], *tokens,
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pass_fds=(tell,), env=environment()
    )
    os.close(tell)
    try:
        with os.fdopen(told) as info:
            inner = json.load(info)["child-pid"]
        yield process, inner
    finally:
        process.kill()
        process.communicate(timeout=WITHIN_S)


@pytest.fixture
def site(tmp_path):
    """A genesis and an attester's configuration; nobody runs the main node that it names."""
    Cluster(tmp_path, ClusterSpec(attesters=1)).prepare()
    (tmp_path / "node.toml").write_text(
        '[genesis]\nfile = "/run/site/genesis.json"\n[main_node]\nurl = "http://127.0.0.1:9"\n'
    )
    for path in tmp_path.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return tmp_path


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def run_words(port):
    """ENTRYPOINT and CMD, with another port and the configuration of the test."""
    replaced = {"/etc/attestrio/node.toml": "/run/site/node.toml", "0.0.0.0:9464": f"127.0.0.1:{port}"}
    command = words("CMD")
    assert set(replaced) <= set(command)
    return [*words("ENTRYPOINT"), *[replaced.get(word, word) for word in command]]


def wait_for(process, text):
    """Read stderr until `text`; what was read."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def health(site, port):
    with sandbox(site, HEALTHCHECK, HEALTH_URL=f"http://127.0.0.1:{port}/readyz") as (process, _):
        out, err = process.communicate(timeout=WITHIN_S)
        return process.returncode, out + err


def test_the_sandbox_is_one(site):
    """Otherwise the tests below would prove nothing."""
    look = "import os\nprint(os.getpid(), os.getuid(), os.getgid())\nopen('/written', 'w')"

    with sandbox(site, ["python", "-c", look]) as (process, _):
        out, err = process.communicate(timeout=WITHIN_S)

    assert out.split() == ["1", USER, GROUP]
    assert "Read-only file system: '/written'" in err
    assert int(USER) >= 1000


def test_a_container_that_is_stopped_ends_in_order_with_143(site, run_words):
    with sandbox(site, run_words) as (process, inner):
        wait_for(process, "node running")
        os.kill(inner, signal.SIGTERM)

        assert process.wait(WITHIN_S) == 128 + signal.SIGTERM
        assert "stopping on SIGTERM" in process.stderr.read()


def test_a_container_whose_configuration_is_wrong_ends_with_2(site, run_words):
    (site / "node.toml").write_text("[nodes]\n")

    with sandbox(site, run_words) as (process, _):
        assert process.wait(WITHIN_S) == 2


def test_a_node_that_lacks_its_main_node_is_alive_and_not_healthy_and_the_check_says_why(site, run_words, port):
    with sandbox(site, run_words) as (process, _):
        wait_for(process, "node running")
        code, text = health(site, port)

    assert code == 1
    assert "main_node" in text


def test_a_container_that_does_not_serve_yet_is_not_healthy(site, port):
    code, text = health(site, port)

    assert code == 1
    assert "does not answer" in text


def test_a_main_node_that_is_ready_is_healthy(site, port):
    (site / "batches.jsonl").touch()
    (site / "main-node.toml").write_text(
        '[genesis]\nfile = "/run/site/genesis.json"\n[batches]\nsource = "file"\nfile = "/run/site/batches.jsonl"\n'
        '[serve]\nbind = "127.0.0.1:0"\n'
    )
    role = ["main-node", "run", "--config", "/run/site/main-node.toml", "--data-dir", DATA]

    with sandbox(site, [*words("ENTRYPOINT"), *role, "--web", f"127.0.0.1:{port}"]) as (process, _):
        wait_for(process, "node running")
        answer, until = health(site, port), time.monotonic() + WITHIN_S
        while answer[0] and time.monotonic() < until:  # a check of its first seconds may still be going back to ok
            time.sleep(0.2)
            answer = health(site, port)

    assert answer == (0, "ready\n")
