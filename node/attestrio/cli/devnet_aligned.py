"""`attestrio devnet --aligned`: Aligned in one process, on a chain of its own."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

import trio
from rich.box import SIMPLE
from rich.live import Live
from rich.table import Table

from attestrio.app.aggregator_config import JournalSection
from attestrio.cli.devnet import tell_pages
from attestrio.cli.output import Output, Usage, say
from attestrio.cli.signals import until_signal
from attestrio.errors import SafetyError
from attestrio.kit.settle import settle
from attestrio.sim.aligned import AlignedNet, AlignedSpec, Answered

ROWS: Final = 10  # newest answers in the table


class AnswerLost(SafetyError):
    """The contract does not know an answer that its events told of: a bug, or a chain that lies."""

    code: ClassVar[str] = "answer_lost"
    exit_code = 1

    def __init__(self, missing: list[int]) -> None:
        super().__init__(f"told as answered, but not in the contract: batches {missing}")
        self.missing = missing


def run_aligned(spec: AlignedSpec, output: Output) -> int:
    """Run it until `spec.batches` are answered; the exit code. Raises Usage."""
    try:
        JournalSection(redis_url=spec.redis_url)
    except ValueError as exc:
        raise Usage(f"--redis: {exc}") from None
    with tempfile.TemporaryDirectory(prefix="attestrio-devnet-") as folder:
        net = AlignedNet(Path(folder), spec)
        return trio.run(until_signal, partial(collect, net, output))


async def collect(net: AlignedNet, output: Output) -> None:
    """Show each answer; at the end ask the contract for each of them. Raises AnswerLost."""
    wanted, shown = net.spec.batches, 0
    async with trio.open_nursery() as nursery:
        with display(net.spec, output) as show:
            await nursery.start(net.run)
            settle()
            tell_pages(net.pages)
            while wanted is None or shown < wanted:
                await net.count.wait_value(lambda count, seen=shown: count > seen)  # type: ignore[misc]
                for one in net.answered[shown:]:
                    show(one)
                shown = len(net.answered)
        await summarise(net, output)
        nursery.cancel_scope.cancel()


@contextmanager
def display(spec: AlignedSpec, output: Output) -> Iterator[Callable[[Answered], None]]:
    """What to do with each answer: a live table on a terminal, otherwise one line (or one JSON object) each."""
    if sys.stdout.isatty() and not output.json:
        recent: deque[tuple[Answered, float]] = deque(maxlen=ROWS)
        started = time.monotonic()
        with Live(table(spec, recent), auto_refresh=False) as live:

            def draw(one: Answered) -> None:
                recent.append((one, time.monotonic() - started))
                live.update(table(spec, recent), refresh=True)

            yield draw
        return

    def line(one: Answered) -> None:
        if output.json:
            say(json.dumps({"event": "answer", **brief(one)}))
        else:
            say(f"batch {one.batch.number}  0x{one.batch.identifier.hex()}  answered in block {one.block}")

    yield line


def table(spec: AlignedSpec, recent: Iterable[tuple[Answered, float]]) -> Table:
    """The newest answers."""
    made = Table(
        title=f"attestrio devnet: {spec.operators} operators and an aggregator", title_justify="left", box=SIMPLE
    )
    made.add_column("batch", justify="right")
    made.add_column("identifier", no_wrap=True)
    made.add_column("block", justify="right")
    made.add_column("after start", justify="right")
    for one, seconds in recent:
        identifier = f"0x{one.batch.identifier.hex()[:16]}…"
        made.add_row(str(one.batch.number), identifier, str(one.block), f"{seconds:.1f} s")
    return made


def brief(one: Answered) -> dict[str, object]:
    return {"batch": one.batch.number, "identifier": f"0x{one.batch.identifier.hex()}", "block": one.block}


async def summarise(net: AlignedNet, output: Output) -> None:
    """What the contract says now of each batch that its events told of. Raises AnswerLost."""
    lost = [one.batch.number for one in net.answered if not await net.is_answered(one.batch)]
    if lost:
        raise AnswerLost(lost)
    journal = "redis" if net.spec.redis_url else "embedded"
    if output.json:
        batches = [brief(one) for one in net.answered]
        say(json.dumps({"event": "summary", "answered": batches, "checked": len(batches), "journal": journal}))
        return
    say(
        f"{len(net.answered)} batches answered, each checked on chain:"
        f" {net.spec.operators} operators, one aggregator, {journal} journal"
    )
