"""`attestrio devnet`: a whole network in one process, on loopback."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

import trio
from cyclopts import Parameter, validators
from rich.box import SIMPLE
from rich.live import Live
from rich.table import Table

from attestrio.app import RunningNode
from attestrio.cli.logs import LogFormatFlag, set_up_logs
from attestrio.cli.output import Output, Usage, say
from attestrio.cli.signals import until_signal
from attestrio.errors import PeerError, SafetyError, SetupError
from attestrio.kit.datadir import DataDirUnwritable
from attestrio.kit.settle import settle
from attestrio.roles import AttesterPublicKey, BatchNumber, BatchQC, Genesis
from attestrio.sim.anvil import find_anvil
from attestrio.sim.cluster import MAIN, Cluster, ClusterSpec
from attestrio.store.certificates import open_certificates

DEFAULT_ATTESTERS = 4
DEFAULT_OPERATORS = 4
ROWS = 10  # newest certificates in the table
NETWORK_S = 1.0  # between two batches; with less the limits of the network's methods are lifted
MAX_COLUMNS = 8  # attesters that get a column each on a terminal of 80


class CertificateLost(SafetyError):
    """The file does not hold what the network reported: a bug, or a disk that lies."""

    code: ClassVar[str] = "certificate_lost"
    exit_code = 1

    def __init__(self, missing: list[int]) -> None:
        super().__init__(f"reported as certified, but not in the main node's database: batches {missing}")
        self.missing = missing


class NetworkUnusable(SetupError):
    """The genesis or a key of a network that was kept cannot be read."""

    code: ClassVar[str] = "network_unusable"

    def __init__(self, data_dir: Path, problem: str) -> None:
        super().__init__(f"{data_dir} holds a network that cannot be used ({problem}): choose another directory")
        self.data_dir = data_dir


def devnet(
    *,
    batches: Annotated[
        int | None,
        Parameter(validator=validators.Number(gte=1), help="Stop after this many certificates; otherwise run on."),
    ] = None,
    data_dir: Annotated[
        Path | None, Parameter(help="Keep the network here, and go on where it ended; otherwise it is thrown away.")
    ] = None,
    attesters: Annotated[
        int | None,
        Parameter(validator=validators.Number(gte=1, lte=100), help="How many vote; 4, or as many as DATA_DIR has."),
    ] = None,
    every: Annotated[
        float, Parameter(validator=validators.Number(gt=0, lte=3600), help="Seconds between two batches.")
    ] = 1.0,
    chain: Annotated[
        bool, Parameter(negative="", help="Commit the batches on an Ethereum of its own; attesters look there.")
    ] = False,
    anvil: Annotated[
        Path | None,
        Parameter(help="Program for --chain and --aligned; otherwise ATTESTRIO_ANVIL, the PATH or node_modules."),
    ] = None,
    aligned: Annotated[
        bool, Parameter(negative="", help="Aligned instead: operators and an aggregator, on an Ethereum of its own.")
    ] = False,
    operators: Annotated[
        int | None, Parameter(validator=validators.Number(gte=1, lte=9), help="With --aligned: how many; 4.")
    ] = None,
    redis: Annotated[
        str | None, Parameter(help="With --aligned: URL of a Redis for the aggregator's journal; otherwise a file.")
    ] = None,
    processes: Annotated[
        bool, Parameter(negative="", help="Every node a process of its own, six attesters, of which one can be killed.")
    ] = False,
    web: Annotated[
        str | None,
        Parameter(help="HOST:PORT of the main node's (aggregator's) page; the others are at the ports above. 0: free."),
    ] = None,
    log_format: LogFormatFlag = None,
    output: Output = Output(),
) -> int:
    """Run a whole network: a main node, attesters that poll it over HTTP, a batch every second, votes, certificates.

    Example: attestrio devnet --batches 5

    To kill one node and see what it misses: attestrio devnet --processes --data-dir devnet-data
    """
    set_up_logs(log_format or "auto", "info", shown="warning")
    if aligned:
        useless = {"--chain": chain, "--data-dir": data_dir, "--attesters": attesters, "--processes": processes}
        refuse_beside("--aligned", useless)
        return of_aligned(operators, batches, every, redis, anvil, web, output)
    refuse_without("--aligned", {"--operators": operators, "--redis": redis})
    # with more attesters than have to sign, one of them is late for many a batch: no news where all run in one process
    logging.getLogger("attestrio.attester").setLevel(logging.ERROR)
    with folder(data_dir) as path:
        if processes:
            refuse_beside("--processes", {"--chain": chain, "--anvil": anvil})
            return of_processes(path, attesters, batches, every, web, output)
        cluster = prepared(path, attesters, every, find_anvil(anvil) if chain or anvil else None, page_of(web))
        done: list[BatchQC] = []
        code = trio.run(until_signal, partial(collect, cluster, batches, done, output))
        if batches is not None and code == 0:
            summarise(cluster, done, output)
    return code


def of_aligned(
    operators: int | None,
    batches: int | None,
    every: float,
    redis: str | None,
    anvil: Path | None,
    web: str | None,
    output: Output,
) -> int:
    """A network of Aligned. Returns the exit code; raises AnvilAbsent, Usage and what the network raises."""
    from attestrio.cli.devnet_aligned import run_aligned  # here, because its imports take half a second
    from attestrio.sim.aligned import AlignedSpec

    found, page = find_anvil(anvil), page_of(web)
    spec = AlignedSpec(operators or DEFAULT_OPERATORS, batches, every, redis_url=redis or "", anvil=found, web=page)
    return run_aligned(spec, output)


def of_processes(
    path: Path, attesters: int | None, batches: int | None, every: float, web: str | None, output: Output
) -> int:
    """A network whose nodes can be killed one by one. Returns the exit code; raises as `prepared`, and Usage."""
    from attestrio.cli.devnet_processes import ATTESTERS, PAGES, run_processes

    cluster = prepared(path, attesters, every, web=page_of(web) or PAGES, default=ATTESTERS)
    return run_processes(cluster, batches, output)


def refuse_beside(option: str, others: Mapping[str, object]) -> None:
    """Raises Usage for the first of `others` that is given."""
    for name, value in others.items():
        if value:
            raise Usage(f"{name} has no meaning beside {option}")


def refuse_without(option: str, others: Mapping[str, object]) -> None:
    """Raises Usage for the first of `others` that is given."""
    for name, value in others.items():
        if value:
            raise Usage(f"{name} is for {option}")


@contextmanager
def folder(data_dir: Path | None) -> Iterator[Path]:
    """`data_dir`, or one that is gone afterwards."""
    if data_dir is not None:
        yield data_dir
        return
    with tempfile.TemporaryDirectory(prefix="attestrio-devnet-") as made:
        yield Path(made)


def page_of(bind: str | None) -> tuple[str, int] | None:
    """Host and port of --web. Raises Usage."""
    if bind is None:
        return None
    host, _, port = bind.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal() and len(port) <= 5):
        raise Usage("--web wants HOST:PORT, for example 127.0.0.1:9464")
    return host, int(port)


def prepared(
    path: Path,
    attesters: int | None,
    every: float,
    anvil: Path | None = None,
    web: tuple[str, int] | None = None,
    *,
    default: int = DEFAULT_ATTESTERS,
) -> Cluster:
    """The network of a folder, made where there is none.

    Raises NetworkUnusable, OtherCluster, OtherRollup, DataDirUnwritable.
    """
    kept = path / "genesis.json"
    try:
        known = len(Genesis.from_json(kept.read_bytes()).attesters or ()) if kept.exists() else None
        size = attesters or known or default
        # the network's limits let two pushes of votes a second through, which is about one certificate
        spec = ClusterSpec(attesters=size, batch_every_s=every, lift_rates=every < NETWORK_S, anvil=anvil, web=web)
        cluster = Cluster(path, spec)
        cluster.prepare()
    except OSError as exc:
        raise DataDirUnwritable(path, f"{exc.filename}: {exc.strerror}") from None
    except (PeerError, UnicodeDecodeError) as exc:
        raise NetworkUnusable(path, str(exc)) from None
    return cluster


async def collect(cluster: Cluster, batches: int | None, done: list[BatchQC], output: Output) -> None:
    """Run the network until `batches` certificates are on the main node's disk; they go to `done`."""
    async with trio.open_nursery() as nursery:
        with display(cluster, output) as show:
            nodes = await nursery.start(cluster.run)
            settle()
            tell_pages(cluster.pages)
            async with aclosing(new_certificates(nodes[MAIN])) as certificates:
                async for certificate in certificates:
                    done.append(certificate)
                    show(certificate)
                    if len(done) == batches:
                        break
        nursery.cancel_scope.cancel()


def tell_pages(pages: Mapping[str, str]) -> None:
    """Where the pages are: on stderr, since stdout is for certificates."""
    for name, url in pages.items():
        print(f"{name}: {url}/", file=sys.stderr, flush=True)


async def new_certificates(node: RunningNode) -> AsyncGenerator[BatchQC, None]:
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
    if sys.stdout.isatty() and not output.json:
        recent: deque[tuple[BatchQC, float]] = deque(maxlen=ROWS)
        keys, started = cluster.public_keys(), time.monotonic()
        with Live(table(keys, recent), auto_refresh=False) as live:

            def draw(certificate: BatchQC) -> None:
                recent.append((certificate, time.monotonic() - started))
                live.update(table(keys, recent), refresh=True)

            yield draw
        return

    def line(certificate: BatchQC) -> None:
        batch = certificate.batch
        if output.json:
            say(json.dumps({"event": "certificate", **brief(certificate)}))
        else:
            say(f"batch {batch.number}  {batch.hash.to_text()}  {len(certificate.signatures)} votes")

    yield line


def table(keys: Mapping[str, AttesterPublicKey], recent: Iterable[tuple[BatchQC, float]]) -> Table:
    """The newest certificates and who signed them: by column as long as they fit, else as a count."""
    made = Table(title=f"attestrio devnet: a main node and {len(keys)} attesters", title_justify="left", box=SIMPLE)
    made.add_column("batch", justify="right")
    made.add_column("hash", no_wrap=True)
    made.add_column("after start", justify="right")
    shown = keys if len(keys) <= MAX_COLUMNS else {}
    made.add_column("votes", justify="right")
    for name in shown:
        made.add_column(name.removeprefix("attester-"), justify="center")
    for certificate, seconds in recent:
        batch, signers = certificate.batch, certificate.signatures
        marks = ["✓" if key in signers else "·" for key in shown.values()]
        text = f"{batch.hash.to_bytes().hex()[:16]}…"
        made.add_row(str(batch.number), text, f"{seconds:.1f} s", f"{len(signers)} of {len(keys)}", *marks)
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
        say(json.dumps(document))
        return
    say(
        f"{len(done)} certificates, batches {done[0].batch.number} to {done[-1].batch.number}:"
        f" all read back from the main node's database and verified, threshold {threshold} of {cluster.spec.attesters}"
    )
