"""How an aggregator is doing, from its journal alone: the process may run, here or elsewhere, or not."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from attestrio.aggregator import rows
from attestrio.aggregator.rows import Answer, Claim, Phase, Place, Task
from attestrio.journal import Journal, Listed

PAGE: Final = 2_000
SHOWN: Final = 50
NEWEST: Final = 10


@dataclass(frozen=True, slots=True)
class Report:
    """What `attestrio aggregator status` shows: numbers."""

    leader: str | None
    """Who leads, or led last without resigning; None: nobody."""
    left_s: float
    """Until another may lead; not above 0: it is gone."""
    scanned_before: int | None
    """Everything before this block is known; None: nothing is scanned yet."""
    operators: int
    """Whose keys are known."""
    tasks: Mapping[str, int]
    """open: on the chain without an answer; verified; void: a reorg took them away."""
    answers: Mapping[str, int]
    """By phase."""
    parked: Mapping[str, int]
    """Those that wait for a person or a price, by reason."""
    signatures: int
    """Of batches that are not finished."""
    orphans: int
    """Of those, of batches that are not on the chain as far as is known."""
    unknown: int
    """Batches that are looked for."""
    dead: int
    """Batches that were given up."""

    def document(self) -> dict[str, Any]:
        return {
            "leader": self.leader, "lead_left_s": self.left_s, "scanned_before_block": self.scanned_before,
            "operators": self.operators, "tasks": dict(self.tasks), "answers": dict(self.answers),
            "parked": dict(self.parked), "signatures": self.signatures, "orphan_signatures": self.orphans,
            "unknown": self.unknown, "dead": self.dead,
        }  # fmt: skip

    def lines(self) -> Iterator[str]:
        if self.leader is None:
            yield "nobody leads"
        elif self.left_s > 0:
            yield f"{self.leader} leads"
        else:
            yield f"nobody leads; {self.leader} was the last, and is gone"
        scanned = "nothing" if self.scanned_before is None else f"everything before block {self.scanned_before}"
        yield f"scanned: {scanned}; {self.operators} operators"
        yield f"batches: {_counts(self.tasks)}"
        yield f"answers: {_counts(self.answers)}"
        if self.parked:
            yield f"parked for: {_counts(self.parked)}"
        yield f"signatures: {self.signatures}, {self.orphans} of them of batches that are not on the chain"
        yield f"not on the chain: {self.unknown} looked for, {self.dead} given up"


@dataclass(frozen=True, slots=True)
class Queue:
    """What `attestrio aggregator queue` shows: batches, the oldest first."""

    open: list[dict[str, Any]]
    """On the chain without an answer."""
    unknown: list[dict[str, Any]]
    dead: list[dict[str, Any]]
    left_out: int
    """How many there are beyond these."""
    newest: list[dict[str, Any]]
    """Of those that the chain has an answer to, the newest first."""

    def document(self) -> dict[str, Any]:
        return {"open": self.open, "unknown": self.unknown, "dead": self.dead, "left_out": self.left_out,
                "newest": self.newest}  # fmt: skip

    def lines(self) -> Iterator[str]:
        for one in self.open:
            nonce = "" if one["nonce"] is None else f", nonce {one['nonce']}, {len(one['transactions'])} transactions"
            yield (
                f"open     {one['batch']}  block {one['block']}, {one['signed']} signed, {one['phase']}{nonce}"
                f"{_why(one)}"
            )
        for one in self.unknown:
            due = max(one["due_in_s"], 0.0)
            yield f"unknown  {one['batch']}  {one['signed']} signed, attempt {one['attempt']}, due in {due:.0f} s"
        for one in self.dead:
            yield f"given up {one['batch']}  {one['signed']} signed{_why(one)}"
        if self.left_out:
            yield f"and {self.left_out} more"
        if not (self.open or self.unknown or self.dead):
            yield "nothing waits"


async def report_of(journal: Journal, lead: str = rows.OWNER) -> Report:
    """Read it all. O(batches and signatures that are remembered)."""
    tasks = await _tasks(journal)
    answers = [rows.unpack(raw, Answer) async for _, raw in _table(journal, rows.ANSWERS)]
    signed = await _signed(journal)
    leader, end = await journal.leader(lead), await journal.get(rows.ABOUT, rows.END)
    live = {identifier for identifier, task in tasks.items() if not task.void}
    return Report(
        None if leader is None else leader.owner, 0.0 if leader is None else leader.left_s,
        None if end is None else Place.from_bytes(end).block, len([1 async for _ in _table(journal, rows.KEYS)]),
        _sorted(_kind(task) for task in tasks.values()), _sorted(one.phase.value for one in answers),
        _sorted(one.reason or "none" for one in answers if one.phase is Phase.PARKED), signed.total(),
        sum(count for identifier, count in signed.items() if identifier not in live),
        (await journal.count(rows.UNKNOWN)).waiting, (await journal.count(rows.DEAD)).waiting,
    )  # fmt: skip


async def queue_of(journal: Journal, most: int = SHOWN) -> Queue:
    """The oldest `most` of each kind. Reads as much as `report_of`."""
    tasks, signed = await _tasks(journal), await _signed(journal)
    waiting = sorted((task.place, identifier) for identifier, task in tasks.items() if task.is_open)
    shown = []
    for _, identifier in waiting[:most]:
        raw = await journal.get(rows.ANSWERS, identifier)
        answer = Answer(Phase.WAITING) if raw is None else rows.unpack(raw, Answer)
        shown.append(_open(identifier, tasks[identifier], answer, signed[identifier]))
    claims = {topic: await journal.listed(topic, most) for topic in (rows.UNKNOWN, rows.DEAD)}
    counts = {topic: (await journal.count(topic)).waiting for topic in claims}
    left_out = len(waiting) - len(shown) + sum(max(counts[one] - len(claims[one]), 0) for one in claims)
    unknown = [_claim(one, signed) for one in claims[rows.UNKNOWN]]
    verified = heapq.nlargest(NEWEST, ((task.place, one) for one, task in tasks.items() if task.verified is not None))
    newest = [await _verified(journal, identifier, tasks[identifier], signed) for _, identifier in verified]
    return Queue(shown, unknown, [_claim(one, signed) for one in claims[rows.DEAD]], left_out, newest)


async def _verified(journal: Journal, identifier: bytes, task: Task, signed: Mapping[bytes, int]) -> dict[str, Any]:
    raw = await journal.get(rows.ANSWERS, identifier)
    answer = Answer(Phase.WAITING) if raw is None else rows.unpack(raw, Answer)
    return _open(identifier, task, answer, signed[identifier]) | {"verified_block": task.verified}


def _open(identifier: bytes, task: Task, answer: Answer, signed: int) -> dict[str, Any]:
    return {
        "batch": f"0x{identifier.hex()}", "root": f"0x{task.root.hex()}", "sender": f"0x{task.sender.hex()}",
        "block": task.created, "signed": signed, "phase": answer.phase.value, "reason": answer.reason,
        "detail": answer.detail, "nonce": answer.nonce,
        "transactions": [f"0x{one.hash.hex()}" for one in answer.attempts],
    }  # fmt: skip


def _claim(one: Listed, signed: Mapping[bytes, int]) -> dict[str, Any]:
    claim, identifier = rows.unpack(one.body, Claim), rows.identifier_of(one.key)
    return {
        "batch": f"0x{identifier.hex()}", "root": f"0x{claim.root.hex()}", "sender": f"0x{claim.sender.hex()}",
        "since_block": claim.since, "signed": signed[identifier], "attempt": one.attempt, "due_in_s": one.due_in_s,
        "reason": claim.reason, "detail": claim.detail,
    }  # fmt: skip


def _kind(task: Task) -> str:
    if task.void:
        return "void"
    return "open" if task.verified is None else "verified"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


def _sorted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _why(one: Mapping[str, Any]) -> str:
    why = ": ".join(part for part in (one["reason"], one["detail"]) if part)
    return f"  ({why})" if why else ""


async def _table(journal: Journal, name: str) -> AsyncIterator[tuple[bytes, bytes]]:
    after = None
    while page := await journal.scan(name, PAGE, after):
        after = page[-1][0]
        for row in page:
            yield row


async def _tasks(journal: Journal) -> dict[bytes, Task]:
    return {identifier: rows.unpack(raw, Task) async for identifier, raw in _table(journal, rows.TASKS)}


async def _signed(journal: Journal) -> Counter[bytes]:
    """How many operators have signed each batch."""
    return Counter([rows.identifier_of(key) async for key, _ in _table(journal, rows.SIGNATURES)])
