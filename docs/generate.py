"""Writes errors.md, reasons.md, events.md and metrics.md, which are made from the code: run it after adding to one.

`tests/test_docs.py` compares. All are tables, so that a code found in a log or a metric leads to its line.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attestrio
import trio
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.sender_metrics import SenderMetrics
from attestrio.aggregator.server_metrics import ServerMetrics
from attestrio.aggregator.telemetry import Telemetry
from attestrio.app import run_node
from attestrio.config import (
    BatchesSection,
    GenesisSection,
    GossipSection,
    KeysSection,
    L1Section,
    MainNodeSection,
    NodeConfig,
    NodeSection,
    Secret,
    ServeSection,
    WebSection,
)
from attestrio.duty import Reason
from attestrio.duty.events import ENDS
from attestrio.errors import NodeError, PeerError, SafetyError, SetupError, SourceError
from attestrio.journal import SqliteJournal
from attestrio.kit.blocking import inline
from attestrio.kit.events import FIELDS, EventName
from attestrio.kit.metrics import MetricDoc, Metrics
from attestrio.l1.api import Address, BlockNumber
from attestrio.l1.endpoint import Endpoint
from attestrio.l1.provider import L1Provider
from attestrio.l1.scan import LogScanner, ScanSettings
from attestrio.operator.metrics import OperatorMetrics
from attestrio.operator.sink import EventSink
from attestrio.operator.state import OperatorState
from attestrio.operator.surface import wanted
from attestrio.roles import NodeSecretKey
from attestrio.sequencer.metrics import SequencerMetrics
from attestrio.sim.cluster import Cluster, ClusterSpec

DOCS = Path(__file__).parent
BRANCHES = (SetupError, SafetyError, SourceError, PeerError)
EXIT_CODES = """\
| exit code | means |
|---|---|
| 0 | the work is done |
| 1 | a bug; the lines above the last one say where |
| 2 | wrong usage, configuration, key or genesis: change it, start again |
| 3 | something this node needs at its start is not there, or its address is taken |
| 4 | a database or directory is corrupt, foreign, full or cannot be written |
| 5 | the data directory is in use by another process |
| 70 | safety halt: going on could sign or store something wrong |
| 71 | the key has been used, and its signing history is not here |
| 129, 130, 143 | ended by SIGHUP (its terminal was closed), SIGINT, SIGTERM, in order |
"""


def errors() -> list[type[NodeError]]:
    """Every class that is raised on purpose, by branch and code. Imports the whole package."""
    for module in pkgutil.walk_packages(attestrio.__path__, "attestrio."):
        importlib.import_module(module.name)
    found = {one for one in _below(NodeError) if one.__module__.startswith("attestrio.")}
    return sorted(found, key=lambda one: (BRANCHES.index(branch(one)), one.code))


def _below(kind: type[NodeError]) -> Iterator[type[NodeError]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


def branch(kind: type[NodeError]) -> type[NodeError]:
    """Which of the four it belongs to: what has to happen next."""
    return next(one for one in BRANCHES if issubclass(kind, one))


def first_line(kind: type) -> str:
    """The first sentence or two of a docstring, on one line."""
    return " ".join((kind.__doc__ or "").strip().split("\n\n")[0].split())


def errors_page() -> str:
    """docs/errors.md."""
    lines = [
        "# Errors",
        "",
        "Made by `docs/generate.py` from the classes. A code is stable: it stands in brackets at the end of an error",
        "line, in JSON output, in logs and in metrics. The exit code counts when the error ends the process; otherwise",
        "a PeerError ends a connection, and a SourceError is a question that is asked again.",
        "",
        *EXIT_CODES.splitlines(),
    ]
    everything = errors()
    for kind in BRANCHES:
        lines += ["", f"## {kind.__name__}", "", first_line(kind), "", "| code | exit code | means |", "|---|---|---|"]
        lines += [
            f"| `{one.code}` | {one.exit_code} | {first_line(one)} |" for one in everything if branch(one) is kind
        ]
    return "\n".join(lines) + "\n"


def reasons_page() -> str:
    """docs/reasons.md."""
    lines = [
        "# Reasons",
        "",
        "Made by `docs/generate.py` from `attestrio.duty.Reason`. A reason says how one step of one batch went on this",
        "node; the code is stable. Every batch ends once: as certified, missed or skipped, a batch of Aligned in the",
        "words of its operator. A reason that ends none is a note beside a step: it passes, or hinders nobody.",
        "",
        "| code | ends a batch as | means |",
        "|---|---|---|",
        *(f"| `{reason.value}` | {', '.join(ENDS.get(reason, ()))} | {reason.meaning} |" for reason in Reason),
    ]
    return "\n".join(lines) + "\n"


def events_page() -> str:
    """docs/events.md."""
    lines = [
        "# Events",
        "",
        "Made by `docs/generate.py` from `attestrio.kit.events`. These log records have a stable `name` and stable",
        "fields in JSON and logfmt (`--log-format`, or `[log] format`); the text in `event` is for people and may",
        'change. To see those of level debug: `[log] levels = { "attestrio.duty" = "debug" }`.',
        "Alerts belong on metrics, which are complete; a log may be cut off.",
        "",
        "| field | means |",
        "|---|---|",
        *(f"| `{field}` | {meaning} |" for field, meaning in FIELDS.items()),
        "",
        "| name | level | fields | means |",
        "|---|---|---|---|",
        *(
            f"| `{one.value}` | {one.level} | {', '.join(f'`{field}`' for field in one.fields)} | {one.meaning} |"
            for one in EventName
        ),
    ]
    return "\n".join(lines) + "\n"


def metrics() -> tuple[MetricDoc, ...]:
    """What the registry of a node holds once it runs: one that serves, signs, shows a page, and asks several main
    nodes and Ethereum."""
    with tempfile.TemporaryDirectory() as folder:
        Cluster(Path(folder), ClusterSpec(attesters=1)).prepare()
        secret = (Path(folder) / "attester-1" / "attester.key").read_text("ascii").strip()
        config = NodeConfig(
            node=NodeSection(data_dir=f"{folder}/data"),
            keys=KeysSection(attester=Secret(secret)),
            genesis=GenesisSection(file=f"{folder}/genesis.json"),
            main_node=MainNodeSection(urls=("http://127.0.0.1:9", "http://127.0.0.1:10"), poll_s=3600.0),
            serve=ServeSection(bind="127.0.0.1:0"),
            batches=BatchesSection(check_l1=True),
            l1=L1Section(rpc_urls=("http://127.0.0.1:9",), diamond="0x" + "00" * 20),
            gossip=GossipSection(bind="127.0.0.1:0", node_key=Secret(NodeSecretKey.generate().to_text())),
            web=WebSection(bind="127.0.0.1:0"),
        )
        of_node = trio.run(_registry, config)
    return tuple(sorted({*of_node, *_of_operator(), *_of_aggregator()}, key=lambda doc: doc.name))


def _of_operator() -> tuple[MetricDoc, ...]:
    """What an operator has: its own series and those of its scanner."""
    registry = Metrics()
    state = OperatorState(SqliteJournal("unused"), OperatorMetrics(registry))
    chain = L1Provider([Endpoint("http://127.0.0.1:9", 1)])
    LogScanner(chain, wanted(Address(bytes(20))), EventSink(state), ScanSettings(BlockNumber(0)), metrics=registry)
    return registry.describe()


def _of_aggregator() -> tuple[MetricDoc, ...]:
    """What an aggregator has; its scanner's series are those of the operator's."""
    registry = Metrics()
    AggregatorMetrics(registry)
    SequencerMetrics(registry)
    SenderMetrics(registry)
    ServerMetrics(registry)
    Telemetry(None, registry)
    return registry.describe()


async def _registry(config: NodeConfig) -> tuple[MetricDoc, ...]:
    async with trio.open_nursery() as nursery:

        async def run(*, task_status: trio.TaskStatus[attestrio.app.RunningNode]) -> None:
            await run_node(config, init_protection=True, run_blocking=inline, task_status=task_status)

        node = await nursery.start(run)
        nursery.cancel_scope.cancel()
    described: tuple[MetricDoc, ...] = node.metrics.describe()
    return described


def metrics_page() -> str:
    """docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Made by `docs/generate.py` from the registries of a node that runs, an operator, an aggregator and a",
        "sequencer. The series of the last three begin with `attestrio_operator_`, `attestrio_aggregator_` and",
        "`attestrio_sequencer_`, but for those of their scanners. Names and labels are stable. A node lacks the",
        "series of parts it does not have: one without a key signs nothing. Series whose labels are known are",
        "there from the start, at 0; the number of a batch is NaN while nobody knows it. `attestrio_build_info` and",
        "`attestrio_process_*` come on top.",
        "",
        "| name | type | labels | means |",
        "|---|---|---|---|",
    ]
    for doc in metrics():
        labels = ", ".join(f"`{label}`" for label in doc.labels)
        lines.append(f"| `{doc.name}` | {doc.kind} | {labels} | {doc.help} |")
    return "\n".join(lines) + "\n"


PAGES = {"errors.md": errors_page, "reasons.md": reasons_page, "events.md": events_page, "metrics.md": metrics_page}


def main() -> None:
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), "utf-8")
        print(f"{name} written", file=sys.stderr)


if __name__ == "__main__":
    main()
