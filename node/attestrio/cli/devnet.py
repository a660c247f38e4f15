"""`attestrio devnet`: a whole network in one process, on loopback."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, ClassVar

import trio
from cyclopts import Parameter
from rich.live import Live
from rich.table import Table

from attestrio.app import RunningNode
from attestrio.cli.logs import set_up_logs
from attestrio.cli.output import Output
from attestrio.errors import SafetyError
from attestrio.roles import BatchNumber, BatchQC, Genesis
from attestrio.sim.cluster import MAIN, Cluster, ClusterSpec
from attestrio.store.certificates import open_certificates


class CertificateLost(SafetyError):
    """The file does not hold what the network reported: a bug, or a disk that lies."""

    code: ClassVar[str] = "certificate_lost"
    exit_code = 1

    def __init__(self, missing: list[int]) -> None:
        super().__init__(f"reported as certified, but not in the main node's database: batches {missing}")
        self.missing = missing


def devnet(
    *,
    batches: Annotated[int | None, Parameter(help="Stop after this many certificates; without it, run on.")] = None,
    data_dir: Annotated[Path | None, Parameter(help="Keep the network here and go on where it ended.")] = None,
    attesters: Annotated[int, Parameter(help="How many vote.")] = 4,
    every: Annotated[float, Parameter(help="Seconds between two batches.")] = 1.0,
    output: Output = Output(),
) -> int:
    """Run a main node and some attesters that poll it over HTTP, a batch every second, certificates in SQLite.

    Example: attestrio devnet --batches 5
    """
    set_up_logs("auto", "warning")
    spec = ClusterSpec(attesters=attesters, batch_every_s=every)
    with folder(data_dir) as path:
        cluster = Cluster(path, spec)
        code, done = trio.run(run_until, cluster, batches, output)
        if batches is not None and code == 0:
            summarise(cluster, done, output)
    return code


@contextmanager
def folder(data_dir: Path | None) -> Iterator[Path]:
    """`data_dir`, or one that is gone afterwards."""
    if data_dir is not None:
        yield data_dir
        return
    with tempfile.TemporaryDirectory(prefix="attestrio-devnet-") as made:
        yield Path(made)


async def run_until(cluster: Cluster, batches: int | None, output: Output) -> tuple[int, list[BatchQC]]:
    """Run until `batches` certificates are on the main node's disk, or a signal; exit code and certificates."""
    done: list[BatchQC] = []
    code = 0
    async with trio.open_nursery() as nursery:

        async def obey() -> None:
            nonlocal code
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for number in signals:
                    code = 128 + number
                    nursery.cancel_scope.cancel()

        nursery.start_soon(obey)
        nodes = await nursery.start(cluster.run)
        with display(cluster, output) as show:
            async for certificate in new_certificates(nodes[MAIN]):
                done.append(certificate)
                show(certificate)
                if batches is not None and len(done) == batches:
                    break
        nursery.cancel_scope.cancel()
    return code, done


async def new_certificates(node: RunningNode) -> AsyncIterator[BatchQC]:
    """Certificates of `node` in order, each once it is durable, from the first after those that were there before."""
    epoch = await node.wait_epoch()
    last = await epoch.store.last_qc()
    first = BatchNumber(0) if last is None else last.batch.number.next()
    while True:
        version = node.duty.watch.value
        for certificate in await epoch.store.qcs(first, 100):
            first = certificate.batch.number.next()
            yield certificate
        await node.duty.watch.wait_value(lambda now, seen=version: now != seen)  # type: ignore[misc]


@contextmanager
def display(cluster: Cluster, output: Output) -> Iterator[Callable[[BatchQC], None]]:
    """What to do with each certificate: a live table on a terminal, otherwise one line (or one JSON object) each."""
    started = time.monotonic()
    if sys.stdout.isatty() and not output.json:
        recent: deque[tuple[BatchQC, float]] = deque(maxlen=10)
        with Live(auto_refresh=False) as live:

            def draw(certificate: BatchQC) -> None:
                recent.append((certificate, time.monotonic() - started))
                live.update(table(cluster, recent), refresh=True)

            yield draw
        return

    def line(certificate: BatchQC) -> None:
        batch = certificate.batch
        if output.json:
            print(json.dumps({"event": "certificate", **brief(certificate)}), flush=True)
        else:
            print(f"batch {batch.number}  {batch.hash.to_text()}  {len(certificate.signatures)} votes", flush=True)

    yield line


def table(cluster: Cluster, recent: Iterable[tuple[BatchQC, float]]) -> Table:
    """The newest certificates and who signed them."""
    made = Table(title=f"attestrio devnet: {cluster.spec.attesters} attesters, {cluster.data_dir}")
    made.add_column("batch", justify="right")
    made.add_column("hash")
    made.add_column("after", justify="right")
    for name in cluster.names:
        made.add_column(name, justify="center")
    keys = cluster.public_keys()
    for certificate, seconds in recent:
        batch = certificate.batch
        marks = ["✓" if keys[name] in certificate.signatures else "·" for name in cluster.names]
        made.add_row(str(batch.number), batch.hash.to_bytes().hex()[:16] + "…", f"{seconds:.1f} s", *marks)
    return made


def brief(certificate: BatchQC) -> dict[str, object]:
    batch = certificate.batch
    return {"batch": int(batch.number), "hash": batch.hash.to_text(), "votes": len(certificate.signatures)}


def summarise(cluster: Cluster, done: list[BatchQC], output: Output) -> None:
    """Read the certificates back from the main node's file and verify each. Raises CertificateLost, PeerError."""
    genesis = Genesis.from_json((cluster.data_dir / "genesis.json").read_text("utf-8"))
    kept: dict[int, BatchQC] = {}
    with open_certificates(cluster.database(MAIN)) as file:
        for certificate in file.certificates(first=done[0].batch.number):
            certificate.verify(genesis)
            kept[certificate.batch.number] = certificate
    lost = [int(one.batch.number) for one in done if kept.get(one.batch.number) != one]
    if lost:
        raise CertificateLost(lost)
    threshold = genesis.attesters.threshold if genesis.attesters else 0
    document = {
        "event": "summary",
        "certificates": [brief(one) for one in done],
        "verified": len(done),
        "threshold": threshold,
        "database": str(cluster.database(MAIN)),
    }
    if output.json:
        print(json.dumps(document))
        return
    print(
        f"{len(done)} certificates, batches {done[0].batch.number} to {done[-1].batch.number}:"
        f" all read back from the main node's database and verified, threshold {threshold} of {cluster.spec.attesters}"
    )
