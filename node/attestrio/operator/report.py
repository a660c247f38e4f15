"""How an operator is doing, from its journal alone."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from attestrio.journal import Journal
from attestrio.operator import rows
from attestrio.operator.progress import Watermark
from attestrio.operator.rows import Ended, Verdict

PAGE: Final = 1_000
SHOWN: Final = 50
NEWEST: Final = 10


@dataclass(frozen=True, slots=True)
class Report:
    """What `attestrio operator status` shows."""

    known_before: int | None
    """Every batch before this block is known; None: nothing is scanned yet."""
    done_before: int | None
    """Every batch before this block is processed."""
    work: int
    outbox: int
    dead: int
    ended: dict[str, int]
    """How many batches ended how; those the node remembers."""
    unanswered: list[dict[str, Any]]
    """Batches that got no signature of this operator, or whose signature is not wanted, the last ones, with reasons."""
    waiting: list[dict[str, Any]]
    """The oldest of what waits, with the number of attempts, and whether it is being worked on."""
    newest: list[dict[str, Any]]
    """Those that ended well and wait for nothing, the newest first."""

    def document(self) -> dict[str, Any]:
        return {
            "known_before_block": self.known_before, "done_before_block": self.done_before, "work": self.work,
            "outbox": self.outbox, "dead": self.dead, "ended": self.ended, "unanswered": self.unanswered,
            "waiting": self.waiting, "newest": self.newest,
        }  # fmt: skip

    def lines(self) -> Iterator[str]:
        yield f"known before block {_number(self.known_before)}, done before block {_number(self.done_before)}"
        yield f"waiting: {self.work} to verify, {self.outbox} to be answered on the chain, {self.dead} never taken"
        yield "ended: " + (", ".join(f"{count} {name}" for name, count in self.ended.items()) or "none")
        for one in self.waiting:
            due = "at work" if one["leased"] else f"due in {one['due_in_s']:.0f} s"
            yield f"waits   {one['batch']}  {one['for']}, attempt {one['attempt']}, {due}"
        for one in self.unanswered:
            yield f"{one['ended']:<7} {one['batch']}  {one['reason']}  {one['detail']}".rstrip()


def _number(block: int | None) -> str:
    return "none" if block is None else str(block)


async def report_of(journal: Journal) -> Report:
    """Read it all. O(batches that are remembered)."""
    ended: Counter[str] = Counter()
    unanswered: list[dict[str, Any]] = []
    well: list[tuple[float, bytes, Verdict]] = []
    after = None
    while page := await journal.scan(rows.VERDICTS, PAGE, after):
        after = page[-1][0]
        for identifier, raw in page:
            verdict = rows.unpack(raw, Verdict)
            ended[verdict.ended.value] += 1
            if verdict.ended in (Ended.REFUSED, Ended.MISSED, Ended.DROPPED) or verdict.reason.value != "ok":
                unanswered.append(_row(identifier, verdict))
            elif verdict.final:
                well.append((verdict.at, identifier, verdict))
        well = heapq.nlargest(NEWEST, well, key=lambda one: one[0])
    waiting = [*await _waiting(journal, rows.WORK, "verification"), *await _waiting(journal, rows.OUTBOX, "the chain")]
    at_hand = {one["batch"] for one in waiting}
    newest = [row for _, identifier, verdict in well if (row := _row(identifier, verdict))["batch"] not in at_hand]
    counts = {topic: (await journal.count(topic)).waiting for topic in (rows.WORK, rows.OUTBOX, rows.DEAD)}
    return Report(
        await _block(journal, rows.END), await _block(journal, rows.MARK), counts[rows.WORK], counts[rows.OUTBOX],
        counts[rows.DEAD], dict(sorted(ended.items())), unanswered[-SHOWN:],
        waiting, newest,
    )  # fmt: skip


def _row(identifier: bytes, verdict: Verdict) -> dict[str, Any]:
    return {
        "batch": f"0x{identifier.hex()}", "ended": verdict.ended.value, "reason": verdict.reason.value,
        "detail": verdict.detail, "at": verdict.at,
    }  # fmt: skip


async def _waiting(journal: Journal, topic: str, what: str) -> list[dict[str, Any]]:
    return [
        {
            "batch": f"0x{rows.identifier_of(one.key).hex()}", "for": what, "attempt": one.attempt,
            "due_in_s": max(one.due_in_s, 0.0), "leased": one.owner is not None,
        }
        for one in await journal.listed(topic, SHOWN // 2)
    ]  # fmt: skip


async def _block(journal: Journal, key: bytes) -> int | None:
    raw = await journal.get(rows.ABOUT, key)
    return None if raw is None else Watermark.from_bytes(raw).block
