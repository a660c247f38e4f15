"""The Go program of `tests/real/gostream`, built with the machine's Go: the published data streamer, both ends."""

import os
import subprocess
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio
from go_peer import GO
from suite import free_port

SOURCE = Path(__file__).parent / "gostream"


def build(folder):
    """The program, in `folder`. Its modules come through the module proxy once, as go.sum has their hashes."""
    program = folder / "streampeer"
    env = {**os.environ, "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    subprocess.run([GO, "build", "-o", str(program), "."], cwd=SOURCE, env=env, check=True, timeout=600)
    return str(program)


async def ask(program, address, *words, until=None):
    """What Go's client says, a line each; it ends by itself. `until`: end it at this line."""
    if until is None:
        done = await trio.run_process([program, "ask", address, *words], capture_stdout=True, capture_stderr=True)
        return done.stdout.decode().splitlines()
    lines = []
    async with trio.open_nursery() as nursery:
        started = partial(trio.run_process, [program, "ask", address, *words], stdout=subprocess.PIPE, check=False)
        process = await nursery.start(started)
        rest = ""
        while until not in lines:
            rest += (await process.stdout.receive_some()).decode()
            *whole, rest = rest.split("\n")
            lines += whole
        nursery.cancel_scope.cancel()
    return lines


class GoServer:
    """Go's server. `address` is where it listens."""

    def __init__(self, process, address):
        self._process, self.address = process, address
        self._said = ""

    async def line(self):
        while "\n" not in self._said:
            self._said += (await self._process.stdout.receive_some()).decode()
        line, _, self._said = self._said.partition("\n")
        return line

    async def do(self, *words):
        """Entries and bytes that are committed then."""
        await self._process.stdin.send_all((" ".join(words) + "\n").encode())
        _, entries, size = (await self.line()).split()
        return int(entries), int(size)

    async def commit(self, entries):
        return await self.do("commit", *(f"{kind}:{data.hex()}" for kind, data in entries))


@asynccontextmanager
async def go_server(program, base, port=None):
    """Go's server of the stream `base`.bin, ended at the end."""
    port = port or free_port()
    command = [program, "serve", str(port), str(base)]
    async with trio.open_nursery() as nursery:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = await nursery.start(partial(trio.run_process, command, check=False, **pipes))
        server = GoServer(process, f"127.0.0.1:{port}")
        assert (await server.line()).startswith("ready")
        yield server
        nursery.cancel_scope.cancel()
