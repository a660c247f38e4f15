"""`attestrio stream serve|follow`: a stream over the network."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import trio
from cyclopts import Parameter, validators

from attestrio.cli.logs import LogFormatFlag, set_up_logs
from attestrio.cli.output import Output, say
from attestrio.cli.progress import progress_bar
from attestrio.cli.signals import until_signal
from attestrio.cli.stream import StreamPath, index_beside
from attestrio.errors import SourceError
from attestrio.kit.notify import READY, keep_alive, notify
from attestrio.stream.bookmarks import DataStream, open_index
from attestrio.stream.client import connect
from attestrio.stream.file import StreamFile
from attestrio.stream.follow import Progress, StreamFollower
from attestrio.stream.live import LiveStream
from attestrio.stream.server import StreamLimits, serve_stream

log = logging.getLogger("attestrio.cli")

RETRY_S = 5.0  # while nobody can be asked how a new copy has to begin
Seconds = validators.Number(gt=0)
Bookmarks = Annotated[
    Path | None, Parameter(help="The index: a LevelDB folder, or a file of ours; FILE.bookmarks if not given.")
]


def serve(
    file: StreamPath,
    /,
    *,
    bind: Annotated[str, Parameter(help="HOST:PORT to listen on.")] = "127.0.0.1:6900",
    bookmarks: Bookmarks = None,
    connections: Annotated[int, Parameter(validator=validators.Number(gte=1), help="Clients at once.")] = 100,
    write_timeout: Annotated[float, Parameter(validator=Seconds, help="Seconds that a client may take nothing.")] = 20,
    inactivity_timeout: Annotated[
        float, Parameter(validator=validators.Number(gte=0), help="Seconds without a byte; 0: for ever.")
    ] = 600,
    log_format: LogFormatFlag = None,
    output: Output = Output(),
) -> int:
    """Serve a stream file until stopped. Nobody else may write it.

    Example: attestrio stream serve data-stream.bin --bind 0.0.0.0:6900
    """
    set_up_logs(log_format or "auto", "warning")
    silence = inactivity_timeout or math.inf
    limits = StreamLimits(
        max_connections=connections, write_s=write_timeout, inactivity_s=silence, check_s=min(300.0, silence / 2)
    )

    async def run() -> None:
        with DataStream.open(StreamFile.open(file), open_index(bookmarks or index_beside(file))) as stream:
            async with trio.open_nursery() as nursery:
                address = await nursery.start(serve_stream, LiveStream(stream), bind, limits)
                _tell_served(file, address, stream.header.total_entries, output)
                notify(READY, os.environ)
                nursery.start_soon(keep_alive, os.environ)

    return trio.run(until_signal, run)


def follow(
    server: Annotated[str, Parameter(help="HOST:PORT of the server.")],
    file: StreamPath,
    /,
    *,
    bookmarks: Bookmarks = None,
    once: Annotated[bool, Parameter(negative="", help="Stop when the copy has what the server had.")] = False,
    serve: Annotated[str | None, Parameter(help="Serve the copy on HOST:PORT while it follows.")] = None,
    log_format: LogFormatFlag = None,
    output: Output = Output(),
) -> int:
    """Keep a copy of a server's stream, made if it is missing. Kill it at any time: it goes on where it ended.

    Example: attestrio stream follow sequencer:6900 data-stream.bin --once
    """
    set_up_logs(log_format or "auto", "warning")

    async def run() -> None:
        if not file.exists():
            await _create_like(server, file)
        with DataStream.open(StreamFile.open(file), open_index(bookmarks or index_beside(file))) as stream:
            with progress_bar("following", output) as tell:
                await _follow(file, server, stream, serve, output, _teller(output, tell), once=once)
            if once:
                header = stream.header
                document = {"event": "done", "entries": header.total_entries, "bytes": header.total_length}
                say(json.dumps(document) if output.json else f"{header.total_entries} entries in {file}")

    async def supervised() -> None:
        async with trio.open_nursery() as nursery:
            notify(READY, os.environ)  # at work from here on, whether or not the server is there
            nursery.start_soon(keep_alive, os.environ)
            await run()
            nursery.cancel_scope.cancel()

    return trio.run(until_signal, supervised)


async def _follow(
    file: Path,
    server: str,
    stream: DataStream,
    bind: str | None,
    output: Output,
    tell: Callable[[Progress], None],
    *,
    once: bool,
) -> None:
    """Until cancelled, or (`once`) until the copy has what the server had; it is served meanwhile where `bind` says."""
    copy = LiveStream(stream)
    follower = StreamFollower(server, copy)
    async with trio.open_nursery() as nursery:
        if bind is not None:
            address = await nursery.start(serve_stream, copy, bind)
            _tell_served(file, address, stream.header.total_entries, output)
        nursery.start_soon(follower.run)
        seen = None
        while not (once and seen is not None and seen.caught_up):
            seen = await follower.progress.wait_value(partial(_is_news, seen))
            if seen is not None:
                tell(seen)
        nursery.cancel_scope.cancel()
    if once:
        await follower.cut()  # what the server had more before: a copy is what the server has


def _is_news(seen: Progress | None, now: Progress | None) -> bool:
    return now is not None and now != seen


def _teller(output: Output, bar: Callable[[int, int], None]) -> Callable[[Progress], None]:
    """A line for every step where there is no terminal to draw a bar on."""

    def tell(progress: Progress) -> None:
        bar(progress.entries, max(progress.entries, progress.wanted))
        if output.json:
            say(json.dumps({"event": "progress", "entries": progress.entries, "wanted": progress.wanted}))
        elif not sys.stderr.isatty():
            say(f"{progress.entries} of {max(progress.entries, progress.wanted)} entries")

    return tell


async def _create_like(server: str, file: Path) -> None:
    """Make an empty stream with the version and system id of the server's, however long it takes to answer."""
    while True:
        try:
            async with connect(server) as client:
                header = await client.header()
        except SourceError as exc:
            log.warning("%s: no copy can be begun yet", exc)
            await trio.sleep(RETRY_S)
        else:
            StreamFile.create(file, version=header.version, system_id=header.system_id).close()
            return


def _tell_served(file: Path, address: str, entries: int, output: Output) -> None:
    document = {"event": "serving", "address": address, "entries": entries}
    say(json.dumps(document) if output.json else f"{file} on {address}, {entries} entries")
