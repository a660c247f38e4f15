"""A data stream served over TCP, compared with a socket that sends the same bytes and does nothing else.

    python bench/stream_tcp.py [--quick] [--json] [--rounds 5]

The floor: a trio socket that sends the stream from memory, page by page, with `send_all`. Ours: the server, from its
file, to a client that sends Start 0 and counts bytes. Both on loopback to the same reader in a process of its own, in
turn. The first time, for which the server has to look for the end of every page, is told apart.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import trio
from _floor import Figure, arguments, report
from attestrio.stream.bookmarks import DataStream, MemoryBookmarks
from attestrio.stream.entries import PAGE
from attestrio.stream.file import StreamFile
from attestrio.stream.live import LiveStream
from attestrio.stream.messages import Bookmark, L2Block, L2BlockEnd, Transaction
from attestrio.stream.protocol import RESULTS, Command, Request, Status
from attestrio.stream.server import serve_stream

MIB, QUICK_MIB = 128, 16
READ = 1 << 18
OK = RESULTS[Status.OK]
START = Request(Command.START, 0).encode()


def write_stream(path: Path, size: int) -> DataStream:
    """Blocks with a transaction each, as a busy network has them."""
    stream = DataStream(StreamFile.create(path), MemoryBookmarks())
    first = 0
    while stream.header.total_length < size:
        with stream.atomic():
            for number in range(first, first + 10_000):
                stream.add_message(Bookmark.block(number))
                stream.add_message(L2Block(number, number // 10, number, hash=bytes(32), state_root=bytes(32)))
                stream.add_message(Transaction(number, encoded=bytes(110), im_state_root=bytes(32)))
                stream.add_message(L2BlockEnd(number))
        first += 10_000
    return stream


def slices_of(stream: DataStream) -> list[bytes]:
    """What goes over the wire, pads left out."""
    found, position = [], 4096
    while position < stream.header.total_length:
        cut = stream.file.read_bytes(position, PAGE)
        found.append(cut.data)
        position = cut.next
    return found


async def serve_raw(slices: list[bytes], task_status: trio.TaskStatus[str]) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some(len(START))
        await stream.send_all(OK)
        for one in slices:
            await stream.send_all(one)
        await stream.receive_some(1)  # until the reader leaves

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    task_status.started(f"127.0.0.1:{listener.socket.getsockname()[1]}")
    await trio.serve_listeners(handle, [listener])


READER = f"""
import socket, sys, time
START, wanted = bytes.fromhex("{START.hex()}"), int(sys.argv[1])
buffer = bytearray({READ})
for line in sys.stdin:
    host, port = line.split()
    with socket.create_connection((host, int(port))) as sock:
        began = time.perf_counter()
        sock.sendall(START)
        left = wanted
        while left:
            left -= sock.recv_into(buffer)
        print(time.perf_counter() - began, flush=True)
"""


async def read_all(reader: trio.Process, address: str) -> float:
    """Seconds until the reader had everything."""
    assert reader.stdin is not None
    assert reader.stdout is not None
    await reader.stdin.send_all(address.replace(":", " ").encode() + b"\n")
    said = b""
    while not said.endswith(b"\n"):
        said += await reader.stdout.receive_some()
    return float(said)


async def measure(size: int, rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="attestrio-stream-") as name:
        with write_stream(Path(name) / "stream.bin", size) as stream:
            slices = slices_of(stream)
            total = sum(map(len, slices))
            stream.file.close()
        with DataStream(StreamFile.open(Path(name) / "stream.bin"), MemoryBookmarks()) as stream:
            async with trio.open_nursery() as nursery:
                ours = await nursery.start(serve_stream, LiveStream(stream), "127.0.0.1:0")
                floor = await nursery.start(serve_raw, slices)
                command = [sys.executable, "-c", READER, str(total + len(OK))]
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
                reader = await trio.lowlevel.open_process(command, **pipes)
                first = await read_all(reader, ours)
                pairs = [(await read_all(reader, floor), await read_all(reader, ours)) for _ in range(rounds)]
                reader.kill()
                await reader.wait()
                nursery.cancel_scope.cancel()
    ratio = median(raw / served for raw, served in pairs)
    return [
        Figure("stream served, of a raw socket with the same bytes", ratio, "ratio", 0.3),
        Figure("the same, for the first client", median(raw for raw, _ in pairs) / first, "ratio"),
        Figure("stream served", total / median(served for _, served in pairs) / 2**20, "MiB/s"),
        Figure("raw socket", total / median(raw for raw, _ in pairs) / 2**20, "MiB/s"),
        Figure("entries served", stream.header.total_entries / median(served for _, served in pairs), "entries/s"),
    ]


def main() -> int:
    args = arguments(__doc__.splitlines()[0])
    began = time.perf_counter()
    figures = trio.run(measure, (QUICK_MIB if args.quick else MIB) * 2**20, args.rounds)
    figures.append(Figure("seconds for all of it", time.perf_counter() - began, "s"))
    return report("stream_tcp", figures, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
