"""Asks one page a thousand times, as a crowd of curls would: a connection for each request.

    python bench/_flood.py HOST PORT PATH REQUESTS AT_ONCE

One line to stdout: seconds, answers by class ("2xx", "5xx", "none": the connection was closed unread).
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter

import trio

ENOUGH = 64 << 10  # of a stream that never ends: its first document


async def main(host: str, port: int, path: str, requests: int, at_once: int) -> None:
    answers: Counter[str] = Counter()
    left = iter(range(requests))

    async def client() -> None:
        for _ in left:
            answers[await ask(host, port, path)] += 1

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(client)
    print(json.dumps({"took_s": time.perf_counter() - began, "answers": answers}))


async def ask(host: str, port: int, path: str) -> str:
    """The class of the answer."""
    raw = b""
    try:
        async with await trio.open_tcp_stream(host, port) as stream:
            await stream.send_all(
                b"GET %s HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n\r\n" % (path.encode(), host.encode())
            )
            while chunk := await stream.receive_some():
                raw += chunk
                if path == "/events" and (b"\ndata: " in raw or len(raw) > ENOUGH):
                    break
    except (OSError, trio.BrokenResourceError):
        pass
    return f"{raw[9:10].decode()}xx" if raw else "none"


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
