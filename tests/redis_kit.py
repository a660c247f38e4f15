"""Redis servers that tests start themselves, on loopback, with a folder of their own, and kill."""

import os
import signal
import socket
import subprocess
import time

import pytest
from suite import found, free_port, needs, patient

START_S = patient(20.0)
DURABLE = {"appendonly": "yes", "appendfsync": "always", "save": ""}

needs_redis = [pytest.mark.real, pytest.mark.slow, needs("redis-server")]


class RedisProcess:
    """A server that can be killed and started again on its port and folder. Its calls block for some milliseconds."""

    def __init__(self, folder, **settings) -> None:
        self.folder, self.settings = folder, DURABLE | settings
        self.port = free_port()
        self._process = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, **settings) -> None:
        """Until it answers; `settings` change those of before."""
        self.settings |= settings
        given = {"port": self.port, "bind": "127.0.0.1", "dir": self.folder, "daemonize": "no"} | self.settings
        arguments = [text for name, value in given.items() for text in (f"--{name}", str(value))]
        self._process = subprocess.Popen([found("redis-server"), *arguments], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S
        while not self._answers():
            assert self._process.poll() is None, f"redis-server ended with {self._process.returncode}"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.005)

    def kill(self) -> None:
        """As kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


@pytest.fixture
def redis(tmp_path):
    """A durable server, not started yet."""
    (tmp_path / "redis").mkdir()
    server = RedisProcess(tmp_path / "redis")
    yield server
    server.kill()
