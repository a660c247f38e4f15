"""What each client of a Redis server does there: ways in of their own, and the server's own account of its commands."""

import re

import trio

CHUNK = 1 << 16
WRITES = {
    "hset", "hdel", "set", "del", "unlink", "incr", "sadd", "srem", "zadd", "zrem", "xadd", "xdel", "xack", "xtrim",
    "xclaim", "xautoclaim", "xreadgroup", "xgroup",
}  # fmt: skip
LINE = re.compile(r'\+[\d.]+ \[\d+ (\S+)\] "(\w+)"')
SCRIPTS = ("evalsha", "eval", "fcall")


class Door:
    """A port that leads to another one; `ports` are those its own connections come from."""

    def __init__(self, port):
        self._behind = port
        self.port = 0
        self.ports = set()

    async def run(self, *, task_status):
        listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        await trio.serve_listeners(self._pass_on, [listener], task_status=task_status)

    async def _pass_on(self, ours):
        theirs = await trio.open_tcp_stream("127.0.0.1", self._behind)
        self.ports.add(theirs.socket.getsockname()[1])
        async with theirs, trio.open_nursery() as nursery:
            nursery.start_soon(_copy, ours, theirs, nursery.cancel_scope)
            nursery.start_soon(_copy, theirs, ours, nursery.cancel_scope)


async def _copy(source, target, scope):
    try:
        async for chunk in source:
            await target.send_all(chunk)
    except (trio.BrokenResourceError, trio.ClosedResourceError):  # one of them was killed
        pass
    scope.cancel()


class Monitor:
    """MONITOR: every command, with who gave it; those of a script follow the script's own line."""

    def __init__(self, port):
        self._port = port
        self.commands = []
        """(port it came from, name) in order; what a script does counts as of whoever called it."""

    async def run(self, *, task_status):
        async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
            await stream.send_all(b"MONITOR\r\n")
            task_status.started()
            left, by = b"", 0
            async for chunk in stream:
                *lines, left = (left + chunk).split(b"\r\n")
                for line in lines:
                    if (said := LINE.match(line.decode("utf-8", "replace"))) is not None:
                        by = by if said[1] == "lua" else int(said[1].rpartition(":")[2])
                        self.commands.append((by, said[2].lower()))

    def of(self, ports, after=0):
        """Names of the commands of these clients, from that place on."""
        return [name for by, name in self.commands[after:] if by in ports]
