"""Re-sequencing played through: a small chain is rolled back and rebuilt in five ways, and each ends as it has to.

    for played in play_all(folder): ...      one `Played` for each of SCENARIOS

| scenario | strict | L1 info index | limits | what has to come of it |
|---|---|---|---|---|
| 1 | yes | kept, no leaf is new | the same | the same stream, entry for entry |
| 2 | yes | kept, no leaf is new | lowered | an error that names the batch, and the old stream |
| 3 | no | kept, no leaf is new | lowered | more batches with the same transactions |
| 4 | yes | kept, leaves are new | the same | the same stream, entry for entry |
| 5 | no | taken anew, leaves are new | the same | the same blocks with other hashes |

What was seen is read from the streams before and after, and not from what the rebuild says of itself.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from attestrio.errors import NodeError
from attestrio.resequence.batches import StreamBatch, StreamBlock, read_batches
from attestrio.resequence.compare import compare_streams
from attestrio.resequence.journal import Journal
from attestrio.resequence.plan import Options
from attestrio.resequence.report import AuditReport, Report
from attestrio.resequence.runner import Resequencer
from attestrio.resequence.terms import Terms
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.settings import Rules
from attestrio.sequencer.sink import DirectSink
from attestrio.sequencer.writer import ChainWriter
from attestrio.sim.l2 import LOWERED, Plan, begin_plan, build, demo_plan
from attestrio.stream.bookmarks import DataStream, SqliteBookmarks
from attestrio.stream.entries import Entry
from attestrio.stream.file import StreamFile
from attestrio.stream.reader import StreamReader
from attestrio.zkevm.counters import limits_of

KEPT: Final = 3
"""The last batch that stays. What follows has all that the chain has, but deployments."""
CHAIN, STREAM, BOOKMARKS = "chain.db", "data-stream.bin", "data-stream.bin.bookmarks"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way to rebuild the chain, and what has to come of it."""

    number: int
    strict: bool
    reuse_l1_info_index: bool
    new_leaves: bool
    """Whether the sequencer has heard of further leaves since."""
    limits: Mapping[str, int]
    expected: tuple[str, ...]
    """Names in FACTS."""

    @property
    def options(self) -> Options:
        return Options(self.strict, self.reuse_l1_info_index)

    @property
    def title(self) -> str:
        return ", ".join(
            (
                "strict" if self.strict else "not strict",
                "index kept" if self.reuse_l1_info_index else "index taken anew",
                "new leaves" if self.new_leaves else "no new leaf",
                "lowered limits" if self.limits else "the same limits",
            )
        )


_UNCHANGED: Final = ("end", "batches", "blocks", "content", "hashes", "stream")
SCENARIOS: Final = (
    Scenario(1, True, True, False, {}, _UNCHANGED),
    Scenario(2, True, True, False, LOWERED, ("error", "hashes", "stream", "database")),
    Scenario(3, False, True, False, LOWERED, ("end", "more batches", "transactions", "splits")),
    Scenario(4, True, True, True, {}, _UNCHANGED),
    Scenario(5, False, False, True, {}, ("end", "batches", "blocks", "content", "indices", "other hashes")),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """A rebuild from outside: the stream before and after it, and how it ended."""

    kept: int
    before: tuple[Entry, ...]
    after: tuple[Entry, ...]
    """Whole streams."""
    old: tuple[StreamBatch, ...]
    new: tuple[StreamBatch, ...]
    """What stands in them behind the batch that was kept."""
    db_batch: int
    """The last one in the database."""
    unfit: int | None
    """The first old batch that is above the limits."""
    report: Report | None
    error: NodeError | None

    def blocks(self) -> tuple[list[StreamBlock], list[StreamBlock]]:
        """Old and new."""
        old, new = ([block for batch in side for block in batch.blocks] for side in (self.old, self.new))
        return old, new

    def same(self, of: Callable[[StreamBlock], object]) -> bool:
        """Whether old and new blocks are as many, and the same in this."""
        old, new = self.blocks()
        return [of(block) for block in old] == [of(block) for block in new]

    def first_other(self, of: Callable[[StreamBlock], object]) -> int | None:
        """The number of the first block that is not the same in this."""
        pairs = zip(*self.blocks(), strict=False)
        return next((new.number for old, new in pairs if of(old) != of(new)), None)


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that was expected, and what was seen."""

    name: str
    expected: str
    seen: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Played:
    """A scenario that was played."""

    scenario: Scenario
    facts: tuple[Fact, ...]
    seconds: float
    """Of the rebuild."""
    audit: AuditReport
    """Of the two streams as anybody has them; the rebuild's own, which knows the counters too, is in its report."""
    seen: Seen = field(repr=False)

    @property
    def ok(self) -> bool:
        report = self.seen.report
        own = True if report is None or report.audit is None else report.audit.ok
        return own and self.audit.ok and all(fact.ok for fact in self.facts)

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        error, report = self.seen.error, self.seen.report
        return {
            **asdict(self.scenario),
            "title": self.scenario.title,
            "ok": self.ok,
            "seconds": round(self.seconds, 3),
            "facts": [asdict(fact) for fact in self.facts],
            "audit": self.audit.to_json(),
            "report": None if report is None else report.to_json(),
            "error": None if error is None else {"code": error.code, "message": str(error)},
        }


# --- facts


def _end(seen: Seen) -> tuple[str, bool]:
    return ("without an error" if seen.error is None else f"{seen.error} [{seen.error.code}]"), seen.error is None


def _error(seen: Seen) -> tuple[str, bool]:
    ok = seen.error is not None and seen.report is None and f"batch {seen.unfit} " in str(seen.error)
    return (f"without an error, batch {seen.unfit} is unfit" if seen.error is None else str(seen.error)), ok


def _batches(seen: Seen) -> tuple[str, bool]:
    return f"{len(seen.new)} for {len(seen.old)}", len(seen.new) == len(seen.old)


def _more_batches(seen: Seen) -> tuple[str, bool]:
    return _batches(seen)[0], len(seen.new) > len(seen.old)


def _blocks(seen: Seen) -> tuple[str, bool]:
    old, new = seen.blocks()
    return f"{len(new)} for {len(old)}", len(old) == len(new)


def _content(seen: Seen) -> tuple[str, bool]:
    ok = seen.same(lambda block: (block.timestamp, block.encoded))
    return ("the old ones" if ok else "others"), ok


def _transactions(seen: Seen) -> tuple[str, bool]:
    old, new = ([tx for block in side for tx in block.encoded] for side in seen.blocks())
    return f"{len(new)} for {len(old)}, {'the same' if old == new else 'others'}", old == new


def _hashes(seen: Seen) -> tuple[str, bool]:
    other = seen.first_other(lambda block: block.message.hash)
    ok = other is None and _blocks(seen)[1]
    return ("the old ones" if ok else f"others from block {other} on"), ok


def _other_hashes(seen: Seen) -> tuple[str, bool]:
    """From the first renewed index on, and not before."""
    hashes, first = seen.first_other(lambda block: block.message.hash), seen.first_other(lambda block: block.l1_index)
    pairs = [(old.message.hash != new.message.hash, new.number) for old, new in zip(*seen.blocks(), strict=False)]
    ok = hashes is not None and hashes == first and all(other == (number >= hashes) for other, number in pairs)
    return ("the old ones" if hashes is None else f"others from block {hashes} on"), ok


def _indices(seen: Seen) -> tuple[str, bool]:
    other = seen.first_other(lambda block: block.l1_index)
    return ("the old ones" if other is None else f"others from block {other} on"), other is not None


def _stream(seen: Seen) -> tuple[str, bool]:
    if seen.before == seen.after:
        return f"the same {len(seen.after)} entries", True
    return "another one", False


def _database(seen: Seen) -> tuple[str, bool]:
    return f"at batch {seen.db_batch}", seen.db_batch == seen.kept


def _splits(seen: Seen) -> tuple[str, bool]:
    told = 0 if seen.report is None else len(seen.report.splits)
    return f"{told} told", told > 0 and told == len(seen.new) - len(seen.old)


FACTS: Final[Mapping[str, tuple[str, Callable[[Seen], tuple[str, bool]]]]] = {
    "end": ("without an error", _end),
    "error": ("one that names the batch", _error),
    "batches": ("as many", _batches),
    "more batches": ("more", _more_batches),
    "blocks": ("as many", _blocks),
    "content": ("the old times and transactions", _content),
    "transactions": ("the same in the same order", _transactions),
    "hashes": ("the old ones", _hashes),
    "other hashes": ("others from the first renewed index on", _other_hashes),
    "indices": ("others", _indices),
    "stream": ("the same, entry for entry", _stream),
    "database": ("at the batch that was kept", _database),
    "splits": ("each is told", _splits),
}


# --- playing


def play_all(folder: Path, *, plan: Plan | None = None, kept: int = KEPT) -> Iterator[Played]:
    """Build the chain in a new folder within `folder`, then play every scenario on a copy of it. A few seconds."""
    plan, original = plan or demo_plan(odd=True), folder / "original"
    write_chain(original, plan)
    for scenario in SCENARIOS:
        copy = folder / f"scenario-{scenario.number}"
        shutil.copytree(original, copy)
        yield play(copy, original, plan, scenario, kept)


def write_chain(folder: Path, plan: Plan) -> None:
    """Make `folder`, with the chain in a database and in a stream. Raises OSError."""
    folder.mkdir()
    StreamFile.create(folder / STREAM, pages=1).close()
    with ChainDb.open(folder / CHAIN) as db, open_stream(folder) as stream:
        begin_plan(db, plan)
        writer = ChainWriter(db, DirectSink(stream))
        writer.align(close=False)
        with db.transaction():
            sealed = list(build(db, plan))
        writer.write(sealed, together=True)


def open_stream(folder: Path) -> DataStream:
    """The stream of a sequencer's folder, for writing."""
    return DataStream.open(StreamFile.open(folder / STREAM), SqliteBookmarks(folder / BOOKMARKS))


def play(folder: Path, original: Path, plan: Plan, scenario: Scenario, kept: int = KEPT) -> Played:
    """Go back to the end of batch `kept`, rebuild what the stream has more, and look at what has come of it."""
    rules = replace(plan.rules, limits=scenario.limits)
    leaves = plan.all_leaves() if scenario.new_leaves else plan.known_leaves()
    report, error = None, None
    with (
        ChainDb.open(folder / CHAIN) as db,
        open_stream(folder) as stream,
        StreamReader.open(original / STREAM) as before,
    ):
        unfit = first_unfit(db, rules, kept)
        db.unwind_to_batch(kept)
        writer, journal = ChainWriter(db, DirectSink(stream)), Journal(folder / STREAM)
        began = time.perf_counter()
        try:
            report = Resequencer(writer, rules, leaves, journal, scenario.options).run()
        except NodeError as exc:  # whatever it is, it is an outcome, and compared with what was expected
            error = exc
        seconds = time.perf_counter() - began
        terms = Terms(strict=scenario.strict, reuse_l1_info_index=scenario.reuse_l1_info_index)
        found = compare_streams(before, stream.file, terms, kept_batch=kept, find=stream.find).audit
        last = db.last_batch
        assert last is not None
        seen = Seen(
            kept, tuple(before.entries()), tuple(stream.file.entries()), batches_behind(before, kept),
            batches_behind(stream.file, kept), last.number, unfit, report, error,
        )  # fmt: skip
    return Played(scenario, tuple(_fact(name, seen) for name in scenario.expected), seconds, found, seen)


def first_unfit(db: ChainDb, rules: Rules, kept: int) -> int | None:
    """The first batch behind `kept` that uses more than these limits allow."""
    last = db.last_batch
    for number in range(kept + 1, 0 if last is None else last.number + 1):
        batch = db.batch(number)
        if batch is not None and batch.counters is not None:
            limits = limits_of(batch.head.fork).lowered(rules.limits)
            if batch.counters.over(limits):
                return number
    return None


def batches_behind(reader: StreamReader, kept: int) -> tuple[StreamBatch, ...]:
    """The batches of a stream with numbers above this."""
    return tuple(batch for batch in read_batches(reader.entries()) if batch.number > kept)


def _fact(name: str, seen: Seen) -> Fact:
    expected, look = FACTS[name]
    return Fact(name, expected, *look(seen))
