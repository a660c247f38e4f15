"""`attestrio peers`: who is connected to a node that runs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, Any, ClassVar, Final

from cyclopts import Parameter

from attestrio.cli.config import ConfigFile, Overrides, overrides
from attestrio.cli.output import Output
from attestrio.cli.running import require_running
from attestrio.config import load_config
from attestrio.errors import SetupError
from attestrio.gossip.peers import Direction, PeerInfo
from attestrio.gossip.peers_file import PEERS, PeerList, read_peers
from attestrio.roles import NodePublicKey

STALE_S: Final = 30.0  # a node that runs writes the list every 2 s
HEAD: Final = ("peer", "way", "up", "received", "sent", "score", "address")
WAYS: Final = {Direction.INBOUND: "in", Direction.OUTBOUND: "out"}
AT_RIGHT: Final = {"up", "received", "sent", "score"}

DataDirFlag = Annotated[Path | None, Parameter(help="Instead of node.data_dir.")]


class NoPeersKept(SetupError):
    """A node runs in the data directory, and takes no part in the gossip network: it has no list of peers."""

    code: ClassVar[str] = "no_peers_kept"

    def __init__(self, data_dir: Path) -> None:
        super().__init__(
            f"the node in {data_dir} keeps no list of peers: it has no section [gossip], or began just now"
        )
        self.data_dir = data_dir


def peers(
    *, config: ConfigFile = None, set_: Overrides = (), data_dir: DataDirFlag = None, output: Output = Output()
) -> None:
    """Show who is connected to a node that runs: since when, bytes, and how well each has behaved (100 is best).

    Example: attestrio peers --data-dir /var/lib/attestrio
    """
    if data_dir is None:
        data_dir = Path(load_config(config, env=os.environ, overrides=overrides(set_)).node.data_dir)
    require_running(data_dir, "it has no peers")
    told = read_peers(data_dir / PEERS)
    if told is None:
        raise NoPeersKept(data_dir)
    now = time.time()
    output.result(document(told, now), lines(told, now, get_terminal_size().columns))


def document(told: PeerList, now: float) -> dict[str, Any]:
    return {
        "as_of": told.as_of,
        "age_s": age(told, now),
        "stale": age(told, now) > STALE_S,
        "node": str(told.node),
        "listening": told.listening,
        "peers": [
            {
                "key": str(one.key),
                "direction": one.direction,
                "address": one.address,
                "since": one.since,
                "received": one.received,
                "sent": one.sent,
                "score": one.score,
            }
            for one in told.peers
        ],
    }


def lines(told: PeerList, now: float, width: int) -> Iterator[str]:
    """The list for people, on a terminal of `width` columns; only an address that is long goes beyond them."""
    yield f"node {short(told.node)}, listening on {told.listening}"
    if told.peers:
        yield from table([HEAD, *(row(one, told.as_of) for one in told.peers)], width)
    inbound = sum(one.direction is Direction.INBOUND for one in told.peers)
    count = f"{inbound} in, {len(told.peers) - inbound} out" if told.peers else "no peers"
    yield f"{count}; as of {span(age(told, now))} ago"
    if age(told, now) > STALE_S:
        yield "silent since then: the node hangs, its disk is full, or it has no [gossip] now"


def row(one: PeerInfo, as_of: float) -> tuple[str, ...]:
    up = span(as_of - one.since)
    return short(one.key), WAYS[one.direction], up, size(one.received), size(one.sent), f"{one.score:.0f}", one.address


def table(rows: list[tuple[str, ...]], width: int) -> Iterable[str]:
    """Columns two blanks apart, or one where the terminal is too narrow for that."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    gap = "  " if sum(widths) + 2 * len(widths) - 2 <= width else " "
    for cells in rows:
        padded = [
            text.rjust(wide) if name in AT_RIGHT else text.ljust(wide)
            for name, text, wide in zip(HEAD, cells, widths, strict=True)
        ]
        yield gap.join(padded).rstrip()


def age(told: PeerList, now: float) -> float:
    """Seconds since the list was written; never below 0, clocks are set."""
    return max(0.0, now - told.as_of)


def short(key: NodePublicKey) -> str:
    """The beginning and the end of a key, enough to tell peers apart."""
    text = key.to_bytes().hex()
    return f"{text[:10]}...{text[-11:]}"


def span(seconds: float) -> str:
    """A time of any length in one unit."""
    whole = max(0, int(seconds))
    for size_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if whole >= size_s:
            return f"{whole // size_s} {unit}"
    return f"{whole} s"


def size(count: int) -> str:
    """Bytes in three or four digits."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 99.95:
            return f"{value:.1f} {unit}"
        if value < 999.5:
            return f"{value:.0f} {unit}"
    return f"{value:.0f} TB"
