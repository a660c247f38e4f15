"""A supervisor for tests that obeys a unit file: Type=notify, WatchdogSec, Restart and RestartPreventExitStatus.

It reads the shipped unit, so what is tested is what is installed; only paths and waits are replaced. Never systemd.
"""

import configparser
import os
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path

from suite import patient

WITHIN_S = patient(20.0)
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
        the named file alone, or each file of a folder, read-only. `sources` are those in place of the unit's paths."""
        folder.mkdir()
        if "LoadCredential" in self.service:
            name, path = self.service["LoadCredential"].split(":")
            source = sources[path]
            files = {f"{name}_{one.name}": one for one in source.iterdir()} if source.is_dir() else {name: source}
            for called, one in files.items():
                (folder / called).write_bytes(one.read_bytes())
                (folder / called).chmod(0o400)
        words = shlex.split(self.service["Environment"])
        return {name: value.replace("%d", str(folder)) for name, value in (word.split("=", 1) for word in words)}

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
        self.log_file = folder / "node.log"
        self.log = self.log_file.open("wb")
        self.heard = []
        self.process, self.starts, self.exits = None, 0, []

    def start(self):
        self.starts += 1
        self.process = subprocess.Popen(self.command, env=self.env, stdout=self.log, stderr=self.log)

    def wait_ready(self, within_s=WITHIN_S):
        """Until READY=1 comes; False when the process ended first."""
        return self.wait_told("READY=1", within_s)

    def wait_told(self, line, within_s=WITHIN_S):
        """Until a line comes that begins so; False when the process ended first. What was told is in `heard`."""
        deadline = time.monotonic() + within_s
        self.socket.settimeout(0.1)
        while time.monotonic() < deadline:
            try:
                told = self.socket.recv(1000).decode().split("\n")
            except TimeoutError:
                if self.process.poll() is not None:
                    return False
            else:
                self.heard += told
                if any(one.startswith(line) for one in told):
                    return True
        raise AssertionError(f"neither told {line} nor ended")

    def watch(self, for_s):
        """What WatchdogSec= does, with the seconds of WATCHDOG_USEC: a process that gives no sign of life for so long
        is aborted. True when that happened within `for_s`."""
        limit_s = int(self.env["WATCHDOG_USEC"]) / 1e6
        now = begin = last = time.monotonic()
        self.socket.settimeout(0.05)
        while now - begin < for_s:
            try:
                if b"WATCHDOG=1" in self.socket.recv(1000):
                    last = time.monotonic()
            except TimeoutError:
                pass
            now = time.monotonic()
            if now - last > limit_s:
                self.process.send_signal(signal.SIGABRT)
                return True
        return False

    def wait_exit(self, within_s=WITHIN_S):
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
            self.process.wait(patient(20))
        self.socket.close()
        self.log.close()
