"""`attestrio resequence`: what rebuilding rolled-back batches would do, whether one was faithful, and a demonstration.

The rebuild itself is a start of the sequencer: `attestrio sequencer run --resequence`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, ClassVar

import trio
from cyclopts import App, Parameter, validators

from attestrio.cli.config import ConfigFile, Overrides
from attestrio.cli.output import Output, Usage, say
from attestrio.cli.progress import progress_bar
from attestrio.cli.stream import the_index
from attestrio.errors import SafetyError, StorageUnusable
from attestrio.kit.datadir import DataDirUnwritable

if TYPE_CHECKING:  # these load the library that executes blocks, which takes a while
    from attestrio.app.sequencer_config import SequencerConfig
    from attestrio.resequence.report import AuditReport
    from attestrio.sim.resequence_demo import Played

app = App(
    name="resequence",
    help="Batches that were rolled back and built again.\n\nExample: attestrio resequence demo",
)

StreamPath = Annotated[Path, Parameter(help="A stream file.")]


class DemoSurprised(SafetyError):
    """A scenario of the demonstration did not end as it has to: rebuild nothing with this installation."""

    code: ClassVar[str] = "demo_surprised"

    def __init__(self, scenarios: list[int]) -> None:
        super().__init__(f"not as expected: {', '.join(f'scenario {one}' for one in scenarios)}")
        self.scenarios = scenarios


class RebuildUnfaithful(StorageUnusable):
    """A stream is no faithful rebuild of another one; the command has printed which properties do not hold."""

    code: ClassVar[str] = "rebuild_unfaithful"

    def __init__(self, old: Path, new: Path, report: AuditReport) -> None:
        first = next(row for row in report.rows if not row.ok)
        super().__init__(f"{new} is no rebuild of {old}: {first.property}: {first.detail}")
        self.report = report


@app.command
def demo(
    *,
    keep: Annotated[Path | None, Parameter(help="A new folder for the chains and streams, to look at.")] = None,
    output: Output = Output(),
) -> None:
    """Build a small chain, roll it back and rebuild it in five ways; print what was expected and what was seen.

    Exit 70 if anything is not as expected. Takes a few seconds.

    Example: attestrio resequence demo
    """
    from attestrio.sim.resequence_demo import SCENARIOS, play_all

    every: list[Played] = []
    if not output.json:
        say(f"   {'':13} {'expected':40} seen")
    with _folder(keep) as folder, progress_bar("playing", output) as tell:
        for played in play_all(folder):
            every.append(played)
            tell(len(every), len(SCENARIOS))
            if not output.json:
                for line in _table(played):
                    say(line)
    surprises = [played.scenario.number for played in every if not played.ok]
    document = {"ok": not surprises, "scenarios": [played.to_json() for played in every]}
    output.result(document, [] if surprises else [f"{len(every)} scenarios, each as expected"])
    if surprises:
        raise DemoSurprised(surprises)


@app.command
def plan(
    *,
    strict: Annotated[bool | None, Parameter(help="As in `sequencer run`; resequence.strict.")] = None,
    reuse_l1_info_index: Annotated[
        bool | None, Parameter(help="As in `sequencer run`; resequence.reuse_l1_info_index.")
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = (),
    data_dir: Annotated[Path | None, Parameter(help="Instead of sequencer.data_dir.")] = None,
    output: Output = Output(),
) -> None:
    """Say which batches a rebuild would split, and why, and which transactions would fail. Nothing is changed.

    For a sequencer that does not run. Takes as long as the rebuild itself.

    Example: attestrio resequence plan --config configs/sequencer.toml
    """
    from attestrio.cli.sequencer import load, rebuild_flags

    print_plan(load(config, set_, data_dir, rebuild_flags(strict, reuse_l1_info_index)), output)


def print_plan(config: SequencerConfig, output: Output) -> None:
    """What `plan` does, for `sequencer run --resequence --dry-run` too."""
    from attestrio.app.resequencing import plan as look
    from attestrio.app.resequencing import told
    from attestrio.resequence.errors import FitsNowhere

    strict, stopped = config.resequence.strict, None
    try:
        report = trio.run(look, config)
    except FitsNowhere as exc:
        if exc.found is None:
            raise
        report, stopped = exc.found, exc
    stops = stopped is not None or (strict and bool(report.splits or report.failed))
    document = report.to_json() | {"strict": strict, "stops": stops, "whole": stopped is None}
    output.result(document, told(report, strict=strict, whole=stopped is None))
    if stopped is not None:
        raise stopped


@app.command
def audit(
    old: Annotated[Path, Parameter(help="The stream before: a backup.")],
    new: Annotated[Path, Parameter(help="The stream after.")],
    /,
    *,
    kept: Annotated[
        int | None,
        Parameter(
            validator=validators.Number(gte=1, lt=1 << 64),
            help="The last batch that was not rebuilt; the one before the first difference if not given.",
        ),
    ] = None,
    strict: Annotated[bool, Parameter(negative="", help="Each old batch has to be one new one.")] = False,
    reuse_l1_info_index: Annotated[bool, Parameter(help="Whether blocks were to keep their index.")] = True,
    left_out: Annotated[
        tuple[str, ...], Parameter(negative="", help="A transaction left out, as OLD_BLOCK:POSITION from 0.")
    ] = (),
    data_budget: Annotated[
        int | None,
        Parameter(validator=validators.Number(gte=1), help="Bytes of a batch's data on L1; 120000 if not given."),
    ] = None,
    bookmarks: Annotated[Path | None, Parameter(help="Check this index of NEW too: a folder, or a file.")] = None,
    output: Output = Output(),
) -> None:
    """Check that a stream is a faithful rebuild of another: P1 to P10 of docs/resequencing.md. Exit 4 if it is not.

    Counters stand in no stream, so P8 looks at the data of batches alone.

    Example: attestrio resequence audit backup-today/stream.bin data-stream.bin
    """
    from attestrio.resequence.compare import compare_streams
    from attestrio.resequence.terms import Terms
    from attestrio.sequencer.settings import DATA_BUDGET
    from attestrio.stream.bookmarks import find
    from attestrio.stream.reader import StreamReader

    failed = frozenset(_place(one) for one in left_out)
    terms = Terms(
        strict=strict, reuse_l1_info_index=reuse_l1_info_index, failed=failed,
        data_budget=DATA_BUDGET if data_budget is None else data_budget,
    )  # fmt: skip
    with StreamReader.open(old) as before, StreamReader.open(new) as after, the_index(bookmarks) as index:
        look = None if index is None else partial(find, after, index)
        found = compare_streams(before, after, terms, kept_batch=kept, find=look)
    report = found.audit
    same = found.first_difference is None
    document = report.to_json() | {
        "kept_batch": found.kept.batch, "kept_block": found.kept.block, "first_difference": found.first_difference,
    }  # fmt: skip
    where = "the streams are the same" if same else f"the first entry that differs is {found.first_difference}"
    output.result(document, [f"batch {found.kept.batch} and what is before it was kept; {where}", *_rows(report)])
    if not report.ok:
        raise RebuildUnfaithful(old, new, report)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """`keep`, made, or a folder that is gone afterwards. Raises DataDirUnwritable."""
    if keep is None:
        with TemporaryDirectory(prefix="attestrio-resequence-") as made:
            yield Path(made)
        return
    try:
        keep.mkdir()
    except OSError as exc:
        raise DataDirUnwritable(keep, exc.strerror or str(exc)) from None
    yield keep


def _table(played: Played) -> Iterator[str]:
    """A scenario: what was expected, what was seen."""
    yield f"{played.scenario.number}  {played.scenario.title}  ({played.seconds:.2f} s)"
    for fact in played.facts:
        verdict = "ok" if fact.ok else "NOT AS EXPECTED"
        yield f"   {fact.name:13} {fact.expected:40} {fact.seen}  {verdict}"
    broken = ", ".join(played.audit.broken)
    found = f"{broken} broken" if broken else "all of them"
    yield f"   {'audit':13} {'P1 to P10 hold':40} {found}  {'ok' if played.audit.ok else 'NOT AS EXPECTED'}"


def _rows(report: AuditReport) -> Iterator[str]:
    for row in report.rows:
        more = f" (and {row.faults - 1} more)" if row.faults > 1 else ""
        yield f"{row.property:4} {'holds ' if row.ok else 'BROKEN'}  {row.detail}{more}"


def _place(text: str) -> tuple[int, int]:
    """An old block and a position in it. Raises Usage."""
    block, _, position = text.partition(":")
    if not (block.isdecimal() and position.isdecimal()):
        raise Usage(f'Invalid value "{text}" for --left-out: OLD_BLOCK:POSITION is wanted.')
    return int(block), int(position)
