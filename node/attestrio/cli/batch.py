"""`attestrio batch`: what happened to a batch, whether anybody runs or not: of a node, an operator, an aggregator."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Final

import trio
from cyclopts import App, Parameter, validators

from attestrio.cli.config import ConfigFile, Overrides, overrides
from attestrio.cli.output import Output, Usage
from attestrio.config import NodeConfig, load_config
from attestrio.configuring import MAX_FILE
from attestrio.duty import BatchStory, EndState
from attestrio.duty.book import BOOK
from attestrio.duty.reader import open_book
from attestrio.duty.telling import MOST, Telling, moment, of_story
from attestrio.duty.unseen import why_unseen
from attestrio.errors import SetupError
from attestrio.kit.files import read_bounded
from attestrio.roles import BatchNumber, BatchQC
from attestrio.store.certificates import open_certificates

app = App(
    name="batch",
    help="What happened to a batch: why it was certified or missed, who voted, who did not.\n\n"
    "Example: attestrio batch explain 7 --data-dir attestrio-data",
)

OPERATOR, AGGREGATOR, STORE = "operator.db", "aggregator.db", "store.db"
HELD: Final = (BOOK, OPERATOR, AGGREGATOR)
NUMBER: Final = re.compile(r"\d{1,20}", re.ASCII)
HINTS: Final = 5  # folders that are named where nothing was found
EVERYBODY: Final = 1 << 32

Batch = Annotated[str, Parameter(help="Number of a batch; of Aligned: its identifier hash, 0x and 64 hex digits.")]
DataDirFlag = Annotated[Path | None, Parameter(help="Of a node, an operator or an aggregator; instead of --config.")]
EpochFlag = Annotated[
    int | None,
    Parameter(validator=validators.Number(gte=0), help="After a rollback a number comes again; otherwise the newest."),
]


class NoBook(SetupError):
    """The directory holds nothing of a batch: neither a node nor an operator nor an aggregator has run in it."""

    code: ClassVar[str] = "no_book"

    def __init__(self, data_dir: Path, there: list[Path]) -> None:
        hint = f"; try --data-dir {' or '.join(str(one) for one in there)}" if there else ""
        super().__init__(f"{data_dir} holds neither {BOOK} nor {OPERATOR} nor {AGGREGATOR}{hint}")
        self.data_dir = data_dir


class BatchUnknown(SetupError):
    """A batch that nothing is known of here: it was never seen, or so long ago that it is forgotten."""

    code: ClassVar[str] = "batch_unknown"

    def __init__(self, batch: str, data_dir: Path, known: str) -> None:
        super().__init__(f"nothing is known of batch {batch} in {data_dir}: {known}")
        self.batch, self.data_dir = batch, data_dir


@app.command
def show(
    batch: Batch, /, *, epoch: EpochFlag = None, config: ConfigFile = None, set_: Overrides = (),
    data_dir: DataDirFlag = None, output: Output = Output(),
) -> None:  # fmt: skip
    """Say how a batch ended, why, and who has not voted.

    Example: attestrio batch show 7 --data-dir attestrio-data
    """
    told = telling(batch, epoch, config, set_, data_dir, MOST)
    output.result(told.document, told.brief())


@app.command
def explain(
    batch: Batch, /, *, epoch: EpochFlag = None,
    full: Annotated[bool, Parameter(negative="", show_default=False, help="Every vote of a large committee.")] = False,
    config: ConfigFile = None, set_: Overrides = (), data_dir: DataDirFlag = None, output: Output = Output(),
) -> None:  # fmt: skip
    """Tell everything that happened to a batch, with times that count from when it was told; also for a missed one.

    Example: attestrio batch explain 7 --data-dir attestrio-data
    """
    told = telling(batch, epoch, config, set_, data_dir, EVERYBODY if full else MOST)
    output.result(told.document, told.lines())


@app.command(name="list")
def list_(
    *,
    last: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=20_000), help="How many.")] = 20,
    config: ConfigFile = None,
    set_: Overrides = (),
    data_dir: DataDirFlag = None,
    output: Output = Output(),
) -> None:
    """The batches a node has seen last, one line each, and how many ended how.

    Example: attestrio batch list --last 100 --data-dir attestrio-data
    """
    place, _ = place_of(config, set_, data_dir)
    if not (place / BOOK).exists():
        raise NoBook(place, nearby(place))
    with open_book(place / BOOK) as book:
        stories, counts = book.newest(last), book.counts()
    total = ", ".join(f"{count} {state}" for state, count in counts.items())
    output.result(
        {
            "batches": [
                {
                    "number": int(one.number),
                    "epoch": one.of.epoch if one.of else None,
                    "state": str(one.state),
                    "reason": "" if one.state is EndState.OPEN else str(one.reason),
                    "began_at": one.began_at,
                    "ended_at": one.ended_at,
                    "missed": len(one.missing()),
                }
                for one in stories
            ],
            "counts": {str(state): count for state, count in counts.items()},
        },
        [*lines(stories), f"{sum(counts.values())} batches seen: {total}"],
    )


def lines(stories: Sequence[BatchStory]) -> Iterator[str]:
    """One line for each, and one for those between that were attested while the node was away."""
    for before, story in zip([None, *stories], stories, strict=False):
        if before is not None and before.of == story.of and story.number > before.number + 1:
            first, last = before.number + 1, story.number - 1
            which = f"batch {first}" if first == last else f"batches {first} to {last}"
            yield f"{which}  not seen  {why_unseen(before, story)}"
        yield line(story)


def line(story: BatchStory) -> str:
    """One batch in a list."""
    at = moment(story.began_at) if story.began_at is not None else "unknown"
    why = "" if story.state is EndState.OPEN or str(story.reason) == "ok" else f"  {story.reason}"
    missed, committee = len(story.missing()), story.of.committee if story.of else None
    verb = "have not voted yet" if story.state is EndState.OPEN else "did not vote"
    who = f"  {missed} of {len(committee)} {verb}" if missed and committee else ""
    held = story.hindrance() if story.state is EndState.CERTIFIED else None
    own = f", this node among them: {held.reason}" if held else ""
    return f"batch {story.number}  {at}  {story.state}{why}{who}{own}"


def telling(
    batch: str, epoch: int | None, config: Path | None, set_: tuple[str, ...], data_dir: Path | None, most: int
) -> Telling:
    """What is known of `batch`. Raises NoBook, BatchUnknown, Usage, BadConfig, StorageUnusable."""
    place, names = place_of(config, set_, data_dir)
    held = next((name for name in HELD if (place / name).exists()), None)
    if kind(config) == "aggregator":
        held = AGGREGATOR  # its journal may be in a Redis
    if held is None:
        raise NoBook(place, nearby(place))
    if held != BOOK:
        return of_aligned(batch, held, place, config, set_, data_dir)
    if not NUMBER.fullmatch(batch) or int(batch) >= 1 << 64:
        raise Usage(f"{batch} is no number of a batch, and {place} is of a node, whose batches have numbers.")
    number = BatchNumber(int(batch))
    with open_book(place / BOOK) as book:
        stories = book.stories(number)
        newest = book.newest(1)
        passed = None if stories or epoch is not None else book.unseen(number, certificate_of(place, number))
    if passed is not None:
        return of_story(passed, names, most)
    found = [one for one in stories if epoch is None or (one.of is not None and one.of.epoch == epoch)]
    if not found:
        if stories:
            known = f"not in epoch {epoch}, but in {', '.join(str(one.of.epoch) for one in stories if one.of)}"
        else:
            known = f"the newest is batch {newest[0].number}" if newest else "no batch was seen yet"
        raise BatchUnknown(batch, place, known)
    return of_story(found[0], names, most)


def certificate_of(place: Path, number: BatchNumber) -> BatchQC | None:
    """What the node's store has of a batch, of its newest epoch. Raises StorageUnusable."""
    if not (place / STORE).exists():
        return None
    with open_certificates(place / STORE) as file:
        return file.certificate(number)


def of_aligned(
    batch: str, held: str, place: Path, config: Path | None, set_: tuple[str, ...], data_dir: Path | None
) -> Telling:
    """Raises BatchUnknown, NothingSuch, and what opening a journal raises."""
    # here, because they bring half a second of imports that a node does not need
    from attestrio.aggregator.explain import explain as of_aggregator
    from attestrio.app.aggregator import standing_journal
    from attestrio.cli import aggregator, operator
    from attestrio.operator.explain import explain as of_operator

    identifier = operator.identifier_of(batch)

    async def ask() -> Telling | None:
        if held == OPERATOR:
            async with operator.opened(place) as journal:
                return await of_operator(journal, identifier)
        made = aggregator.load(config if kind(config) == "aggregator" else None, set_, data_dir or place)
        async with standing_journal(made) as shared:
            return await of_aggregator(shared, identifier)

    told = trio.run(ask)
    if told is None:
        who = "operator" if held == OPERATOR else "aggregator"
        raise BatchUnknown(batch, place, f"the {who} has never heard of it, or has forgotten it")
    return told


def place_of(config: Path | None, set_: tuple[str, ...], data_dir: Path | None) -> tuple[Path, Mapping[str, str]]:
    """The data directory, and what keys are called. Raises BadConfig."""
    of = kind(config)
    if of != "node":
        from attestrio.cli import aggregator, operator

        if of == "operator":
            return Path(operator.load(config, set_, data_dir).operator.data_dir), {}
        return Path(aggregator.load(config, set_, data_dir).aggregator.data_dir), {}
    if data_dir is not None and config is None:
        return data_dir, {}
    made = load_config(config, env=os.environ, overrides=overrides(set_))
    return data_dir or Path(made.node.data_dir), names_of(made)


def kind(config: Path | None) -> str:
    """Whose configuration a file is, by its sections. What cannot be read is taken for a node's, and refused where it
    is read."""
    if config is None:
        return "node"
    try:
        sections = tomllib.loads(read_bounded(config, MAX_FILE).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return "node"
    if sections.keys() & {"operator", "bls"}:
        return "operator"
    return "aggregator" if "aggregator" in sections else "node"


def names_of(config: NodeConfig) -> Mapping[str, str]:
    """What `web.names` calls keys, by their text."""
    pairs = (one.partition("=") for one in (config.web.names if config.web else ()))
    return {key.strip(): name.strip() for key, _, name in pairs if name}


def nearby(folder: Path) -> list[Path]:
    """Folders one and two levels below that hold a book, the first few."""
    try:
        found = {path.parent for name in HELD for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{name}")}
    except OSError:
        return []
    return sorted(found)[:HINTS]
