"""`attestrio aggregator`: run an aggregator of Aligned, see what it does, tell it what to do."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import tomli_w
import trio
from cyclopts import App, Parameter, validators

from attestrio.aggregator import rows
from attestrio.aggregator.commands import Command, Verb
from attestrio.aggregator.report import queue_of, report_of
from attestrio.app.aggregator import RunningAggregator, account_of, check_parts, run_aggregator, standing_journal
from attestrio.app.aggregator_config import LAYOUT, AggregatorConfig, lacking
from attestrio.app.aggregator_tell import tell
from attestrio.app.aligned_yaml import Imported, import_yaml
from attestrio.cli.config import ConfigFile, Overrides, overrides
from attestrio.cli.logs import LogFormatFlag, follow_config
from attestrio.cli.output import Output
from attestrio.cli.signals import until_signal
from attestrio.cli.standing import aggregator_line
from attestrio.configuring import BadConfig
from attestrio.journal import Journal
from attestrio.kit.files import DISK_FAULTS, FileUnwritable, write_new
from attestrio.kit.notify import READY, keep_alive, notify
from attestrio.kit.settle import settle
from attestrio.operator.errors import NothingSuch

log = logging.getLogger("attestrio.cli")

app = App(
    name="aggregator",
    help="An aggregator of Aligned: collects signatures, answers batches.\n\n"
    "Example: attestrio aggregator run -c aggregator.toml",
)

DataDirFlag = Annotated[Path | None, Parameter(help="Instead of aggregator.data_dir.")]
Batch = Annotated[str, Parameter(help="Identifier hash of a batch: 0x and 64 hex digits.")]
R = TypeVar("R")


@app.command
def run(
    *,
    config: ConfigFile = None,
    set_: Overrides = (),
    data_dir: DataDirFlag = None,
    log_format: LogFormatFlag = None,
    output: Output = Output(),
) -> int:
    """Run an aggregator until SIGTERM or SIGINT; logs go to stderr. With a shared journal it stands by while another
    one leads.

    Example: attestrio aggregator run --config configs/aggregator.toml
    """
    made = load(config, set_, data_dir)
    follow_config(made.log, log_format, as_json=output.json)
    for name in LAYOUT.unused_environment(os.environ):
        log.warning("the environment variable %s names no key", name)
    return trio.run(until_signal, partial(run_logged, partial(run_aggregator, made), made.aggregator.data_dir))


async def run_logged(run: Callable[..., Awaitable[object]], data_dir: str) -> None:
    """Run the aggregator until cancelled, and say when it has started."""
    async with trio.open_nursery() as nursery:
        running: RunningAggregator = await nursery.start(run)
        log.info(
            "aggregator running, data in %s, operators at %s, metrics at %s", data_dir, running.address,
            running.metrics_url or "nowhere",
        )  # fmt: skip
        settle()
        notify(READY, os.environ)
        nursery.start_soon(keep_alive, os.environ, partial(aggregator_line, running))


@app.command
def check(*, config: ConfigFile = None, set_: Overrides = (), output: Output = Output()) -> None:
    """Read a configuration as `run` would, with the account and the addresses it names, and say what is wrong or
    missing. Nothing is connected to.

    Example: attestrio aggregator check --config configs/aggregator.toml
    """
    made = load(config, set_, None)
    missing, account = lacking(made), None
    if made.ecdsa.keystore is not None and os.path.lexists(made.ecdsa.keystore):
        account = account_of(made).address
    elif made.ecdsa.keystore is not None:
        missing.append(f"ecdsa.keystore {made.ecdsa.keystore}: no such file yet")
    trio.run(check_parts, made)
    unused = LAYOUT.unused_environment(os.environ)
    lines = [
        "ok" if not missing else "ok so far; still missing:",
        *(f"  {one}" for one in missing),
        *([] if account is None else [f"answers are sent from {account}"]),
        *(f"warning: the environment variable {name} names no key" for name in unused),
    ]
    document = {"ok": True, "missing": missing, "account": account, "unused_environment": unused}
    output.result(document, lines)


@app.command
def status(
    *, config: ConfigFile = None, set_: Overrides = (), data_dir: DataDirFlag = None, output: Output = Output()
) -> None:
    """Who leads, how far the chain is scanned, what waits and for what, in numbers. It may run meanwhile.

    Example: attestrio aggregator status --data-dir /var/lib/attestrio-aggregator
    """
    report = ask(load(config, set_, data_dir), report_of)
    output.result(report.document(), report.lines())


@app.command
def queue(
    *,
    most: Annotated[int, Parameter(validator=validators.Number(gte=1), help="Of each kind.")] = 50,
    config: ConfigFile = None,
    set_: Overrides = (),
    data_dir: DataDirFlag = None,
    output: Output = Output(),
) -> None:
    """The batches that wait, one by one, the oldest first: for signatures, for the chain, for a person.

    Example: attestrio aggregator queue --data-dir /var/lib/attestrio-aggregator
    """
    found = ask(load(config, set_, data_dir), lambda journal: queue_of(journal, most))
    output.result(found.document(), found.lines())


@app.command
def retry(
    batch: Batch, /, *, config: ConfigFile = None, set_: Overrides = (), data_dir: DataDirFlag = None,
    output: Output = Output(),
) -> None:  # fmt: skip
    """Answer a batch at once that was put off or dropped, or look again for one that is not on the chain.

    Example: attestrio aggregator retry 0x3f0c... --data-dir /var/lib/attestrio-aggregator
    """
    command("retry", batch, load(config, set_, data_dir), output)


@app.command
def drop(
    batch: Batch, /, *, config: ConfigFile = None, set_: Overrides = (), data_dir: DataDirFlag = None,
    output: Output = Output(),
) -> None:  # fmt: skip
    """Send nothing for a batch any more; forget one that is not on the chain.

    Example: attestrio aggregator drop 0x3f0c... --data-dir /var/lib/attestrio-aggregator
    """
    command("drop", batch, load(config, set_, data_dir), output)


@app.command
def fetch(
    batch: Batch,
    /,
    *,
    blocks: Annotated[
        int, Parameter(validator=validators.Number(gte=1), help="How far below the head it may have been posted.")
    ] = 100_000,
    config: ConfigFile = None,
    set_: Overrides = (),
    data_dir: DataDirFlag = None,
    output: Output = Output(),
) -> None:
    """Look further back on the chain, now, for a batch that operators have signed and nobody has found.

    Example: attestrio aggregator fetch 0x3f0c... --blocks 200000 --data-dir /var/lib/attestrio-aggregator
    """
    command("fetch", batch, load(config, set_, data_dir), output, blocks)


@app.command(name="import-config")
def import_config(
    file: Path,
    /,
    *,
    base: Annotated[
        Path | None, Parameter(help="Folder that paths in FILE begin at: where their aggregator is started; else here.")
    ] = None,
    out: Annotated[Path | None, Parameter(help="File to be written, never over another one; otherwise stdout.")] = None,
    output: Output = Output(),
) -> None:
    """Make a configuration of the YAML of Aligned's own aggregator, and say what is not taken over and why.

    Example: attestrio aggregator import-config config-aggregator.yaml --out aggregator.toml
    """
    imported = import_yaml(file, base or Path.cwd())
    text = toml_of(imported, file)
    if out is not None:
        write_config(out, text)
    lines = [text.rstrip("\n")] if out is None else [f"{out} written", *imported.remarks]
    output.result({"config": imported.tables, "remarks": list(imported.remarks)}, lines)


def toml_of(imported: Imported, file: Path) -> str:
    """A file of ours, with the remarks at its head."""
    remarks = "".join(f"# - {one}\n" for one in imported.remarks)
    return (
        f"# Made of {file.name} by `attestrio aggregator import-config`.\n{remarks}\n{tomli_w.dumps(imported.tables)}"
    )


def write_config(file: Path, text: str) -> None:
    """Raises BadConfig, FileUnwritable."""
    if not file.name:
        raise BadConfig("--out", "names no file")
    try:
        write_new(file, text)
    except FileExistsError:
        raise BadConfig(str(file), "exists already; choose another name") from None
    except OSError as exc:
        if exc.errno in DISK_FAULTS:
            raise FileUnwritable(file, exc) from None
        raise BadConfig(str(file), f"cannot be written: {exc.strerror}") from None


def load(config: Path | None, pairs: tuple[str, ...], data_dir: Path | None) -> AggregatorConfig:
    """The configuration with flags over `--set` pairs over environment over file. Raises BadConfig."""
    flags = {} if data_dir is None else {"aggregator.data_dir": str(data_dir)}
    return LAYOUT.explain(config, env=os.environ, overrides=overrides(pairs) | flags)[0]


def ask(config: AggregatorConfig, question: Callable[[Journal], Awaitable[R]]) -> R:
    """What a journal says, whoever uses it meanwhile. Raises NoAggregator, JournalAway."""

    async def answer() -> R:
        async with standing_journal(config) as journal:
            return await question(journal)

    return trio.run(answer)


def command(verb: Verb, batch: str, config: AggregatorConfig, output: Output, blocks: int = 0) -> None:
    """Have a command carried out by whoever leads, here where nobody does. Raises NothingSuch, NoAggregator."""
    reply = trio.run(tell, Command(verb, identifier_of(batch), blocks), config)
    if not reply.done:
        raise NothingSuch(reply.text)
    output.result({"batch": batch, "command": verb, "done": reply.text}, [f"{batch}: {reply.text}"])


def identifier_of(text: str) -> bytes:
    """Raises NothingSuch."""
    digits = text.removeprefix("0x")
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        raw = b""
    if len(raw) != rows.ID_BYTES or len(digits) != 2 * rows.ID_BYTES:
        raise NothingSuch(f"{text} is no identifier hash: 0x and 64 hex digits")
    return raw
