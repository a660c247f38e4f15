"""`attestrio protection`: what this node signed, carried to another host or looked at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, ClassVar

import trio
from cyclopts import App, Parameter, validators

from attestrio.cli.config import ConfigFile, Overrides, overrides
from attestrio.cli.output import Output, Usage
from attestrio.config import load_config
from attestrio.errors import DataDirInUse, SafetyError, SetupError
from attestrio.kit.datadir import DataDir
from attestrio.kit.files import read_bounded, sync_folder, write_new
from attestrio.protection.halt import HALT, Halted, HaltNote, read_halt, write_halt
from attestrio.protection.history import HISTORY
from attestrio.protection.interchange import (
    MAX_FILE,
    Interchange,
    WrongChain,
    encode_interchange,
    read_interchange,
    take_over,
)
from attestrio.protection.reader import HistoryBrief, open_record
from attestrio.protection.record import VoteRecord

app = App(
    name="protection",
    help="What this node signed: look at it, move it with its key.\n\nExample: attestrio protection status",
)
app.command("attestrio.cli.halt:repair", name="repair")
app.command("attestrio.cli.begin:begin", name="init")

DataDirFlag = Annotated[Path | None, Parameter(help="Instead of node.data_dir.")]
ChainId = Annotated[
    int | None, Parameter(validator=validators.Number(gte=0, lt=1 << 64), help="L2 chain id, where it is not clear.")
]


class HistoryNotFound(SetupError):
    """There is no signing history in the data directory."""

    code: ClassVar[str] = "history_not_found"

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} does not exist: nothing was signed here; is this the right data directory?")
        self.path = path


class ChainNotClear(SetupError):
    """The history is of several chains, or of none so far, and --chain-id does not say which is meant."""

    code: ClassVar[str] = "chain_not_clear"

    def __init__(self, path: Path, chains: list[int]) -> None:
        held = f"of the chains {', '.join(map(str, chains))}" if chains else "of no chain so far"
        super().__init__(f"{path} is {held}: say which is meant with --chain-id")
        self.path, self.chains = path, chains


class ExportWhileRunning(DataDirInUse):
    """A node signs with this history at this moment."""

    code: ClassVar[str] = "export_while_running"

    def __init__(self, cause: DataDirInUse) -> None:
        super().__init__(
            f"{cause}: what it signs after the export is not in the file, so the key could contradict itself on another"
            " host. Stop the node first; --while-running makes a copy to look at, never one to move a key with"
        )


class ExportUnwritable(SetupError):
    """The file cannot be written, or is there already."""

    code: ClassVar[str] = "export_unwritable"

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


class ImportUnreadable(SetupError):
    """The file cannot be read."""

    code: ClassVar[str] = "import_unreadable"

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


class Retired(SafetyError):
    """The keys of this node were moved to another host: signing here again could contradict what they sign there."""

    code: ClassVar[str] = "retired"

    def __init__(self, told: Interchange, file: Path) -> None:
        self.keys = [key.to_text() for key in told.all_keys()]
        super().__init__(f"the signing history was moved away as {file.name}; {len(self.keys)} keys sign elsewhere now")


@app.command
def export(
    file: Annotated[Path, Parameter(help="Where to write it; not over an existing file.")],
    /,
    *,
    retire: Annotated[
        bool, Parameter(negative="", show_default=False, help="The keys move away: this node does not start again.")
    ] = False,
    while_running: Annotated[
        bool, Parameter(negative="", show_default=False, help="A copy to look at, not to move a key with.")
    ] = False,
    newest: Annotated[
        int | None, Parameter(validator=validators.Number(gte=1), help="Votes to keep; older ones become a watermark.")
    ] = None,
    chain_id: ChainId = None,
    config: ConfigFile = None,
    set_: Overrides = (),
    data_dir: DataDirFlag = None,
    output: Output = Output(),
) -> None:
    """Write the signing history of a stopped node to a new FILE, to take over on another host.

    Example: attestrio protection export history.json --retire
    """
    if retire and while_running:
        raise Usage("--retire and --while-running exclude each other: a running node would go on signing.")
    place = place_of(data_dir, config, set_)
    path = existing_history(place)
    with nullcontext() if while_running else stopped(place):
        if retire:
            refuse_other_halt(place)
        with open_record(path) as record:
            chain = chosen_chain(path, record.chains(), chain_id)
            others = [one for one in record.chains() if one != chain]
            told = record.export(chain, newest)
        text = encode_interchange(told)
        if os.path.lexists(file):
            raise ExportUnwritable(file, "exists already, and a history is never overwritten; choose another name")
        if retire:  # before the file is there: with both, the key could sign on two hosts
            keep_halt(place, Retired(told, file))
        write_export(file, text)
    votes = sum(len(history.votes) for history in told.histories)
    lines = [
        f"{file}: chain {chain}, {len(told.all_keys())} keys, {votes} votes",
        *(f"note: chain {one} is in this history too and not in the file; export it as well" for one in others),
        *(["this node does not start again; import the file on the other host before the key signs there"] * retire),
        *(["a copy to look at: votes cast from now on are not in it, move no key with it"] * while_running),
    ]
    output.result(
        {**summary(told), "votes": votes, "file": str(file), "retired": retire, "other_chains": others}, lines
    )


@app.command(name="import")
def import_(
    file: Annotated[Path, Parameter(help="What `protection export` wrote.")],
    /,
    *,
    chain_id: ChainId = None,
    config: ConfigFile = None,
    set_: Overrides = (),
    data_dir: DataDirFlag = None,
    output: Output = Output(),
) -> None:
    """Take over a signing history: the higher of both counts. Its keys may sign here from then on.

    Example: attestrio protection import history.json
    """
    told = read_file(file, chain_id)
    place = place_of(data_dir, config, set_)
    with DataDir.open(place) as held:
        path = held / HISTORY
        if chain_id is None and path.exists():
            with open_record(path) as record:
                known = record.chains()
            if known and told.chain_id not in known:
                raise WrongChain(told.chain_id, known)
        added, contested = trio.run(merge_into, path, told)
        sync_folder(held.path)
        note = halt_note(place)
    lines = [
        f"{added} votes taken over, {len(told.all_keys())} keys may sign here",
        *([f"{contested} numbers have two hashes now: the key signed both, neither is signed again"] * (contested > 0)),
        *([f"this node is halted: {note}; `attestrio protection repair --ack` lets it start"] if note else []),
    ]
    output.result({**summary(told), "added": added, "contested": contested, "halted": note}, lines)


@app.command
def status(
    *, config: ConfigFile = None, set_: Overrides = (), data_dir: DataDirFlag = None, output: Output = Output()
) -> None:
    """Print what is on record: keys, votes, watermarks, refusals, and whether the node is halted. Changes nothing.

    Example: attestrio protection status
    """
    place = place_of(data_dir, config, set_)
    path = existing_history(place)
    note = halt_note(place)
    with open_record(path) as record:
        epoch, keys, briefs, refusals = record.epoch(), record.keys(), record.briefs(), record.refusals()
    lines = [
        f"halted         {note or 'no'}",
        "epoch          "
        + (
            "none yet"
            if epoch is None
            else f"{epoch.id} ({epoch.cause}), {epoch.genesis.to_text()}, chain {epoch.chain_id}"
        ),
        f"refused votes  {refusals} remembered",
        f"keys           {len(keys)}",
        *(f"  {key.to_text()}" for key in keys),
        f"histories      {len(briefs)}",
        *(line for brief in briefs for line in brief_lines(brief)),
    ]
    document = {
        "halted": note,
        "epoch": None if epoch is None else {"id": epoch.id, "cause": epoch.cause, "genesis": epoch.genesis.to_text()},
        "refusals": refusals,
        "keys": [key.to_text() for key in keys],
        "histories": [brief_document(brief) for brief in briefs],
    }
    output.result(document, lines)


async def merge_into(path: Path, told: Interchange) -> tuple[int, int]:
    """Take the file over into the record at `path`, made if it is missing."""
    record = VoteRecord(path, told.chain_id)
    async with trio.open_nursery() as nursery:
        await nursery.start(record.run)
        counts = await take_over(record, told)
        await record.close()
    return counts


def place_of(data_dir: Path | None, config: Path | None, pairs: tuple[str, ...]) -> Path:
    """The data directory of the flag, else of the configuration. Raises BadConfig."""
    if data_dir is not None:
        return data_dir
    return Path(load_config(config, env=os.environ, overrides=overrides(pairs)).node.data_dir)


def existing_history(place: Path) -> Path:
    """The path of the record. Raises HistoryNotFound, before anything is made by looking."""
    path = place / HISTORY
    if not path.is_file():
        raise HistoryNotFound(path)
    return path


@contextmanager
def stopped(place: Path) -> Iterator[None]:
    """Hold the data directory, so that no node starts in it meanwhile. Raises ExportWhileRunning."""
    try:
        held = DataDir.open(place)
    except DataDirInUse as exc:
        raise ExportWhileRunning(exc) from None
    with held:
        yield


def chosen_chain(path: Path, chains: list[int], told: int | None) -> int:
    """Which chain is exported. Raises ChainNotClear, WrongChain."""
    if told is not None:
        if chains and told not in chains:
            raise WrongChain(told, chains)
        return told
    if len(chains) != 1:
        raise ChainNotClear(path, chains)
    return chains[0]


def refuse_other_halt(place: Path) -> None:
    """Raise Halted for a halt with another cause: acknowledging it later would take the retirement back, too."""
    note = read_halt(place)
    if note is not None and note.code != Retired.code:
        raise Halted(place / HALT, note)


def keep_halt(place: Path, reason: Retired) -> None:
    try:
        write_halt(place, reason, {"keys": reason.keys})
    except OSError as exc:
        raise ExportUnwritable(place / HALT, f"cannot be written: {exc.strerror}") from None


def write_export(file: Path, text: str) -> None:
    try:
        write_new(file, text)
    except OSError as exc:
        raise ExportUnwritable(file, f"cannot be written: {exc.strerror}") from None


def read_file(file: Path, chain_id: int | None) -> Interchange:
    """What the file says. Raises ImportUnreadable, BadInterchange, WrongChain."""
    try:
        raw = read_bounded(file, MAX_FILE, pipes=True)
    except FileNotFoundError:
        raise ImportUnreadable(file, "no such file") from None
    except OSError as exc:
        raise ImportUnreadable(file, f"cannot be read: {exc.strerror}") from None
    return read_interchange(raw, chain_id)


def halt_note(place: Path) -> str | None:
    """Why the node is halted, in a sentence; None when it is not."""
    try:
        note: HaltNote | None = read_halt(place)
    except Halted as exc:
        return str(exc)
    return None if note is None else f"{note.sentence} [{note.code}]"


def summary(told: Interchange) -> dict[str, Any]:
    return {"chain_id": told.chain_id, "keys": [key.to_text() for key in told.all_keys()]}


def brief_lines(brief: HistoryBrief) -> Iterator[str]:
    history = brief.history
    yield f"  {history.attester.to_text()}"
    yield f"    chain {brief.chain_id}, {history.genesis.to_text()}"
    low = "nothing pruned" if history.low is None else f"watermark {history.low}"
    yield f"    {brief.votes} votes, newest {'-' if brief.newest is None else brief.newest}, {low}"
    if brief.contested:
        yield f"    {brief.contested} numbers with two hashes: never signed again"


def brief_document(brief: HistoryBrief) -> dict[str, Any]:
    history = brief.history
    return {
        "chain_id": brief.chain_id,
        "genesis": history.genesis.to_text(),
        "key": history.attester.to_text(),
        "votes": brief.votes,
        "newest": brief.newest,
        "low_watermark": history.low,
        "contested": brief.contested,
    }
