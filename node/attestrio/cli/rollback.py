"""`attestrio rollback`, `attestrio epoch`: look at the epochs of a node, end one, let one that waits begin."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar

from cyclopts import App, Parameter

from attestrio.cli.config import ConfigFile, Overrides, overrides
from attestrio.cli.output import Output
from attestrio.cli.running import require_running
from attestrio.config import load_config
from attestrio.errors import SetupError
from attestrio.protection.commands import CommandBox, Verb
from attestrio.protection.history import HISTORY
from attestrio.protection.pending import PendingRollback, read_pending
from attestrio.protection.reader import open_record
from attestrio.protection.rows import EpochRow
from attestrio.store.certificates import EpochInfo, open_certificates

rollback = App(
    name="rollback",
    help='A rollback that waits for you, because of `on_rollback = "ask"`.\n\nExample: attestrio rollback status',
)
epoch = App(
    name="epoch",
    help="The epochs of a node: one run under one genesis each.\n\nExample: attestrio epoch list",
)

DataDirFlag = Annotated[Path | None, Parameter(help="Instead of node.data_dir.")]
WhyFlag = Annotated[str, Parameter(help="Kept with the epoch and in the log.")]


class NoRecord(SetupError):
    """The data directory holds no vote record: no node has run in it."""

    code: ClassVar[str] = "no_record"

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} does not exist: no node has run here yet")
        self.path = path


class NothingWaits(SetupError):
    """The node waits for no consent to a rollback."""

    code: ClassVar[str] = "nothing_waits"

    def __init__(self, data_dir: Path) -> None:
        super().__init__(f"the node in {data_dir} does not wait: `attestrio rollback status` says where it is")
        self.data_dir = data_dir


@dataclass(frozen=True, slots=True)
class Told:
    """One epoch as the record knows it, with what the store holds of it; `None`: no store, or nothing of it there."""

    row: EpochRow
    info: EpochInfo | None

    def document(self) -> dict[str, Any]:
        row, info = self.row, self.info
        return {
            "epoch": row.id,
            "chain_id": row.chain_id,
            "genesis": row.genesis.to_text(),
            "fork_number": row.fork_number,
            "cause": row.cause,
            "detail": row.detail,
            "at": row.at,
            "certificates": 0 if info is None else info.certificates,
            "last_certified": None if info is None or info.last_certified is None else int(info.last_certified),
        }

    def line(self) -> str:
        row, info = self.row, self.info
        at = datetime.fromtimestamp(row.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        kept = "no certificates"
        if info is not None and info.last_certified is not None:
            kept = f"{info.certificates} certificates, the newest for batch {info.last_certified}"
        return f"epoch {row.id}  {at}  {row.cause}  fork {row.fork_number}  {row.genesis.to_text()}  {kept}"


@rollback.command
def status(
    *, config: ConfigFile = None, set_: Overrides = (), data_dir: DataDirFlag = None, output: Output = Output()
) -> None:
    """Say which epoch is the newest, and whether the node waits for consent to the next. Changes nothing.

    Example: attestrio rollback status --data-dir /var/lib/attestrio
    """
    folder = folder_of(data_dir, config, set_)
    newest = epochs_of(folder)[-1:]
    waits = read_pending(folder)
    document = {
        "epoch": newest[0].document() if newest else None,
        "waits": None if waits is None else asdict(waits),
    }
    output.result(document, status_lines(newest, waits))


@rollback.command
def apply(
    *,
    why: WhyFlag = "consented to on the command line",
    config: ConfigFile = None,
    set_: Overrides = (),
    data_dir: DataDirFlag = None,
    output: Output = Output(),
) -> None:
    """Consent to the rollback that the node waits with; it goes on in the new epoch within a second.

    Under the new genesis the numbers after the revert are signed anew. Nothing signed before is forgotten.

    Example: attestrio rollback apply --why "revert to 812, announced by the sequencer"
    """
    folder = folder_of(data_dir, config, set_)
    require_obeyed(folder)
    waits = read_pending(folder)
    if waits is None:
        raise NothingWaits(folder)
    CommandBox(folder).post(Verb.CONSENT, why, waits.subject)
    output.result({"posted": Verb.CONSENT, "waits": asdict(waits)}, [f"consent left for the node; {about(waits)}"])


@epoch.command
def end(
    *,
    why: WhyFlag = "ended on the command line",
    config: ConfigFile = None,
    set_: Overrides = (),
    data_dir: DataDirFlag = None,
    output: Output = Output(),
) -> None:
    """End the epoch of a node that runs; the next begins within a second, without a restart.

    On a main node after a revert: write the new genesis (a higher fork number) into genesis.file and the new batches
    into batches.file first; then this makes the node follow them, and every node that polls it. Set batches.first to
    the first batch of the new genesis too: it counts from the next start on.

    Example: attestrio epoch end --why "reverted to batch 812"
    """
    folder = folder_of(data_dir, config, set_)
    require_obeyed(folder)
    CommandBox(folder).post(Verb.END_EPOCH, why)
    output.result({"posted": Verb.END_EPOCH, "why": why}, ["left for the node: it ends the epoch within a second"])


@epoch.command(name="list")
def list_epochs(
    *, config: ConfigFile = None, set_: Overrides = (), data_dir: DataDirFlag = None, output: Output = Output()
) -> None:
    """List the epochs of a data directory, oldest first, with their certificates. The node may run.

    Example: attestrio epoch list --data-dir /var/lib/attestrio
    """
    output.results((one.document(), one.line()) for one in epochs_of(folder_of(data_dir, config, set_)))


def folder_of(data_dir: Path | None, config: Path | None, pairs: tuple[str, ...]) -> Path:
    """The data directory that is meant."""
    if data_dir is not None:
        return data_dir
    return Path(load_config(config, env=os.environ, overrides=overrides(pairs)).node.data_dir)


def epochs_of(folder: Path) -> list[Told]:
    """All epochs on record. Raises NoRecord, StorageUnusable."""
    if not (folder / HISTORY).exists():
        raise NoRecord(folder / HISTORY)
    with open_record(folder / HISTORY) as record:
        rows = record.epochs()
    infos: Iterable[EpochInfo] = ()
    if (folder / "store.db").exists():
        with open_certificates(folder / "store.db") as file:
            infos = file.epochs()
    known = {(info.epoch, info.genesis): info for info in infos}
    return [Told(row, known.get((row.id, row.genesis))) for row in rows]


def require_obeyed(folder: Path) -> None:
    """Raise NodeNotRunning unless a node runs: a command left for nobody would be obeyed later."""
    if not (folder / HISTORY).exists():
        raise NoRecord(folder / HISTORY)
    require_running(folder, "nothing was left for it")


def status_lines(newest: list[Told], waits: PendingRollback | None) -> list[str]:
    lines = [one.line() for one in newest] or ["no epoch has begun yet"]
    if waits is None:
        return [*lines, "nothing waits"]
    return [*lines, about(waits), "`attestrio rollback apply` lets it begin"]


def about(waits: PendingRollback) -> str:
    return f"epoch {waits.ended} ended ({waits.cause}); next is fork {waits.fork_number}, {waits.genesis}"
