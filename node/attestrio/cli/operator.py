"""`attestrio operator`: run an operator of Aligned, see what it does, tell it what to do, make its key."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import trio
from cyclopts import App, Parameter

from attestrio.app.aligned import password_of, provider_of
from attestrio.app.operator import JOURNAL, RunningOperator, bls_secret, run_operator
from attestrio.app.operator_config import LAYOUT, OperatorConfig, lacking
from attestrio.bls import SecretKey as BlsKey
from attestrio.bls import encode_g2, operator_id, read_keystore, write_keystore
from attestrio.cli.config import ConfigFile, Overrides, overrides
from attestrio.cli.logs import LogFormatFlag, follow_config
from attestrio.cli.output import Output
from attestrio.cli.signals import until_signal
from attestrio.cli.standing import operator_line
from attestrio.errors import DataDirInUse, SetupError
from attestrio.journal import SqliteJournal
from attestrio.kit.blocking import in_thread
from attestrio.kit.datadir import DataDir
from attestrio.kit.metrics import Metrics
from attestrio.kit.notify import READY, keep_alive, notify
from attestrio.kit.settle import settle
from attestrio.operator import rows
from attestrio.operator.commands import Answer, Command, Verb, carry_out
from attestrio.operator.errors import NothingSuch
from attestrio.operator.metrics import OperatorMetrics
from attestrio.operator.report import Report, report_of
from attestrio.operator.state import OperatorState

log = logging.getLogger("attestrio.cli")

app = App(
    name="operator",
    help="An operator of Aligned: verifies batches, signs them.\n\nExample: attestrio operator run -c operator.toml",
)
keystore = App(name="keystore", help="The BLS key.\n\nExample: attestrio operator keystore new operator.bls.json")
app.command(keystore)

ANSWER_S = 10.0  # for a running operator, which looks every second
ANSWER_EVERY_S = 0.1

DataDirFlag = Annotated[Path | None, Parameter(help="Instead of operator.data_dir.")]
Batch = Annotated[str, Parameter(help="Identifier hash of a batch: 0x and 64 hex digits.")]
PasswordFile = Annotated[Path | None, Parameter(help="File with the password; else ATTESTRIO_BLS_PASSWORD.")]


class NoOperator(SetupError):
    """No operator has ever run in the data directory."""

    code: ClassVar[str] = "no_operator"

    def __init__(self, data_dir: Path) -> None:
        super().__init__(f"no operator has run in {data_dir}: there is no {JOURNAL}")
        self.data_dir = data_dir


class NoPassword(SetupError):
    """A keystore is asked for and nobody says its password."""

    code: ClassVar[str] = "no_password"

    def __init__(self) -> None:
        super().__init__("no password: give --password-file, or set ATTESTRIO_BLS_PASSWORD")


@app.command
def run(
    *,
    config: ConfigFile = None,
    set_: Overrides = (),
    data_dir: DataDirFlag = None,
    log_format: LogFormatFlag = None,
    output: Output = Output(),
) -> int:
    """Run an operator until SIGTERM or SIGINT; logs go to stderr. It starts whether or not the aggregator is there.

    Example: attestrio operator run --config configs/operator.toml
    """
    made = load(config, set_, data_dir)
    follow_config(made.log, log_format, as_json=output.json)
    for name in LAYOUT.unused_environment(os.environ):
        log.warning("the environment variable %s names no key", name)
    return trio.run(until_signal, partial(run_logged, partial(run_operator, made), made.operator.data_dir))


async def run_logged(run: Callable[..., Awaitable[object]], data_dir: str) -> None:
    """Run the operator until cancelled, and say when it has started."""
    async with trio.open_nursery() as nursery:
        running: RunningOperator = await nursery.start(run)
        log.info("operator running, data in %s, metrics at %s", data_dir, running.metrics_url or "nowhere")
        settle()
        notify(READY, os.environ)
        nursery.start_soon(keep_alive, os.environ, partial(operator_line, running))


@app.command
def check(*, config: ConfigFile = None, set_: Overrides = (), output: Output = Output()) -> None:
    """Read a configuration as `run` would, with the key it names, and say what is wrong or missing.

    Example: attestrio operator check --config configs/operator.toml
    """
    made = load(config, set_, None)
    missing = lacking(made)
    if made.bls.keystore is not None and os.path.lexists(made.bls.keystore):
        bls_secret(made)
    elif made.bls.keystore is not None:
        missing.append(f"bls.keystore {made.bls.keystore}: no such file yet")

    async def read_urls() -> None:
        async with provider_of(made.l1):
            await trio.lowlevel.checkpoint()

    if made.l1.rpc_urls:
        trio.run(read_urls)
    unused = LAYOUT.unused_environment(os.environ)
    lines = [
        "ok" if not missing else "ok so far; still missing:",
        *(f"  {one}" for one in missing),
        *(f"warning: the environment variable {name} names no key" for name in unused),
    ]
    output.result({"ok": True, "missing": missing, "unused_environment": unused}, lines)


@app.command
def status(
    *, config: ConfigFile = None, set_: Overrides = (), data_dir: DataDirFlag = None, output: Output = Output()
) -> None:
    """How far the operator is, what waits, and what was missed and why. It may run meanwhile.

    Example: attestrio operator status --data-dir /var/lib/attestrio-operator
    """
    folder = Path(load(config, set_, data_dir).operator.data_dir)

    async def ask() -> Report:
        async with opened(folder) as journal:
            return await report_of(journal)

    report = trio.run(ask)
    output.result(report.document(), report.lines())


@app.command
def retry(
    batch: Batch, /, *, config: ConfigFile = None, set_: Overrides = (), data_dir: DataDirFlag = None,
    output: Output = Output(),
) -> None:  # fmt: skip
    """Try a batch at once that waits, or anew one that was refused, missed or dropped.

    Example: attestrio operator retry 0x3f0c... --data-dir /var/lib/attestrio-operator
    """
    tell("retry", batch, load(config, set_, data_dir), output)


@app.command
def drop(
    batch: Batch, /, *, config: ConfigFile = None, set_: Overrides = (), data_dir: DataDirFlag = None,
    output: Output = Output(),
) -> None:  # fmt: skip
    """Give a batch up: it is neither verified nor sent any more.

    Example: attestrio operator drop 0x3f0c... --data-dir /var/lib/attestrio-operator
    """
    tell("drop", batch, load(config, set_, data_dir), output)


@keystore.command(name="new")
def new_keystore(file: Path, /, *, password_file: PasswordFile = None, output: Output = Output()) -> None:
    """Make a BLS key in a new keystore FILE that only you can read, and print what registers it.

    Example: attestrio operator keystore new operator.bls.json --password-file password
    """
    secret = BlsKey.generate()
    write_keystore(file, secret, given_password(password_file))
    output.result(public_of(secret) | {"file": str(file)}, public_lines(secret))


@keystore.command(name="show")
def show_keystore(file: Path, /, *, password_file: PasswordFile = None, output: Output = Output()) -> None:
    """Print the public keys and the operator id of the key in a keystore.

    Example: attestrio operator keystore show operator.bls.json --password-file password
    """
    secret = read_keystore(file, given_password(password_file))
    output.result(public_of(secret) | {"file": str(file)}, public_lines(secret))


def load(config: Path | None, pairs: tuple[str, ...], data_dir: Path | None) -> OperatorConfig:
    """The configuration with flags over `--set` pairs over environment over file. Raises BadConfig."""
    flags = {} if data_dir is None else {"operator.data_dir": str(data_dir)}
    return LAYOUT.explain(config, env=os.environ, overrides=overrides(pairs) | flags)[0]


def given_password(file: Path | None) -> str:
    """Raises NoPassword, BadConfig."""
    if file is not None:
        return password_of(file)
    if (text := os.environ.get("ATTESTRIO_BLS_PASSWORD")) is not None:
        return text
    raise NoPassword


def public_of(secret: BlsKey) -> dict[str, Any]:
    g1 = secret.public_g1()
    return {
        "operator_id": f"0x{operator_id(g1).hex()}",
        "public_g1": {"x": str(g1.x), "y": str(g1.y)},
        "public_g2": f"0x{encode_g2(secret.public_g2()).hex()}",
    }


def public_lines(secret: BlsKey) -> Iterator[str]:
    for name, value in public_of(secret).items():
        yield f"{name:<12} {value if isinstance(value, str) else ' '.join(value.values())}"


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SqliteJournal]:
    """The journal in a data directory, also while an operator runs there. Raises NoOperator."""
    if not (folder / JOURNAL).exists():
        raise NoOperator(folder)
    journal = SqliteJournal(folder / JOURNAL, in_thread)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        yield journal
        await journal.close()
        nursery.cancel_scope.cancel()


def tell(verb: Verb, batch: str, config: OperatorConfig, output: Output) -> None:
    """Give a command to the operator that runs in the data directory, or carry it out where none does."""
    answer = trio.run(ask_for, verb, identifier_of(batch), Path(config.operator.data_dir))
    if not answer.done:
        raise NothingSuch(answer.text)
    output.result({"batch": batch, "command": verb, "done": answer.text}, [f"{batch}: {answer.text}"])


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


async def ask_for(verb: Verb, identifier: bytes, folder: Path) -> Answer:
    """The answer to a command. Raises NoOperator, NothingSuch."""
    key = os.urandom(16)
    async with opened(folder) as journal:
        await journal.put(rows.COMMANDS, key, rows.pack(Command(verb, identifier)))
        with trio.move_on_after(ANSWER_S):
            while True:
                try:
                    with DataDir.open(folder):  # nobody runs here
                        state = OperatorState(journal, OperatorMetrics(Metrics()))
                        await state.load({})
                        await carry_out(state)
                except DataDirInUse:
                    await trio.sleep(ANSWER_EVERY_S)
                raw = await journal.get(rows.ANSWERS, key)
                if raw is not None:
                    await journal.put(rows.ANSWERS, key, None)
                    return rows.unpack(raw, Answer)
        await journal.put(rows.COMMANDS, key, None)
    raise NothingSuch(f"the operator that runs in {folder} did not answer within {ANSWER_S:g} s")
