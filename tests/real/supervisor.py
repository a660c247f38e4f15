"""A supervisor for tests that obeys a unit file's ExecStart, Type=notify, Restart and RestartPreventExitStatus.

It reads the shipped unit, so what is tested is what is installed; only paths and waits are replaced. Never systemd.
"""

import configparser
import os
import shlex
import socket
import subprocess
import time
from pathlib import Path

UNITS = Path(__file__).parents[2] / "configs" / "systemd"


class Unit:
    """The parts of a unit file that matter here; a key given twice is not."""

    def __init__(self, name):
        parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), strict=True)
        parser.optionxform = str
        parser.read_string((UNITS / name).read_text())
        self.service = parser["Service"]

    @property
    def never_restart(self):
        return {int(code) for code in self.service["RestartPreventExitStatus"].split()}

    def environment(self, sources, folder):
        """What Environment= says, with the credentials of LoadCredential= copied to `folder` as systemd copies them:
        the named file alone, read-only. `sources` are the files in place of the unit's paths."""
        name, path = self.service["LoadCredential"].split(":")
        folder.mkdir()
        (folder / name).write_bytes(sources[path].read_bytes())
        (folder / name).chmod(0o400)
        variable, value = self.service["Environment"].split("=", 1)
        return {variable: value.replace("%d", str(folder))}

    def command(self, replacements):
        line = self.service["ExecStart"]
        for old, new in replacements.items():
            assert old in line, f"{old} is not in ExecStart"
            line = line.replace(old, new)
        return shlex.split(line)


class Supervisor:
    """Starts what the unit says, waits until it is ready, starts it again when the unit says so."""

    def __init__(self, unit, command, folder, env=None):
        assert unit.service["Type"] == "notify"
        assert unit.service["Restart"] == "always"
        self.unit, self.command = unit, command
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / "notify"))
        self.env = {**os.environ, **(env or {}), "NOTIFY_SOCKET": str(folder / "notify")}
        self.log = (folder / "node.log").open("wb")
        self.process, self.starts, self.exits = None, 0, []

    def start(self):
        self.starts += 1
        self.process = subprocess.Popen(self.command, env=self.env, stdout=self.log, stderr=self.log)

    def wait_ready(self, within_s=20.0):
        """Until READY=1 comes; False when the process ended first."""
        deadline = time.monotonic() + within_s
        self.socket.settimeout(0.1)
        while time.monotonic() < deadline:
            try:
                if b"READY=1" in self.socket.recv(1000):
                    return True
            except TimeoutError:
                if self.process.poll() is not None:
                    return False
        raise AssertionError("neither ready nor ended")

    def wait_exit(self, within_s=20.0):
        """The exit code, negative for a signal; then what Restart=always does. True when it was started again."""
        code = self.process.wait(within_s)
        self.exits.append(code)
        if code in self.unit.never_restart:
            return False
        self.start()
        return True

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        self.socket.close()
        self.log.close()
