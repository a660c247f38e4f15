"""Programs started by tests, ended by tests: the command line as a process of its own."""

import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager

import trio
from suite import patient

ATTESTRIO = (sys.executable, "-c", "from attestrio.cli import main; main()")
TIMEOUT_S = patient(30)


def environment(**more):
    """Of this process, without settings of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ATTESTRIO_")} | more


def run(*tokens, **options):
    """A command that ends by itself; `options` are those of subprocess.run."""
    options = {"capture_output": True, "text": True, "timeout": TIMEOUT_S, "env": environment(), **options}
    return subprocess.run([*ATTESTRIO, *map(str, tokens)], check=False, **options)


class Running:
    """A command that runs: its lines as they come, on stdout and stderr."""

    def __init__(self, process):
        self._process = process
        self.pid = process.pid
        self.out, self.err, self._silent = "", "", False
        self._news = trio.Condition()

    async def read(self, *, task_status):
        async with trio.open_nursery() as nursery:
            for name, stream in (("out", self._process.stdout), ("err", self._process.stderr)):
                if stream is not None:
                    nursery.start_soon(self._follow, name, stream)
            task_status.started()
        self._silent = True
        async with self._news:
            self._news.notify_all()

    async def _follow(self, name, stream):
        async for chunk in stream:
            setattr(self, name, getattr(self, name) + chunk.decode())
            async with self._news:
                self._news.notify_all()

    async def wait_said(self, text):
        """Until `text` was printed, on either stream, both of which may end before."""
        async with self._news:
            while text not in self.out + self.err:
                assert not self._silent, f"ended without {text!r}:\n{self.out}\n{self.err}"
                await self._news.wait()

    def logged(self):
        """The texts of the log so far; the error at the end is no log."""
        return [json.loads(line)["event"] for line in self.err.splitlines() if line.startswith('{"event"')]

    async def stop(self, number):
        """Send a signal; the exit code, and the seconds it took."""
        began = trio.current_time()
        self._process.send_signal(number)
        return await self.ended(), trio.current_time() - began

    async def ended(self):
        return await self._process.wait()


@asynccontextmanager
async def started(*tokens, timeout_s=TIMEOUT_S, **options):
    """A command as a process, killed at the end if it still runs."""
    with trio.fail_after(timeout_s):
        process = await trio.lowlevel.open_process(
            [*ATTESTRIO, *map(str, tokens)],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment(), **options},
        )
        try:
            async with trio.open_nursery() as nursery:
                running = Running(process)
                await nursery.start(running.read)
                yield running
                if process.returncode is None:
                    process.kill()
        finally:
            if process.returncode is None:
                process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
