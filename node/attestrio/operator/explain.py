"""One batch of an operator, told from its journal alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attestrio.duty import Reason
from attestrio.duty.advice import ADVICE
from attestrio.duty.telling import Moment, Telling
from attestrio.journal import Journal, Listed
from attestrio.operator import rows
from attestrio.operator.rows import Ended, OnChain, Verdict

PAGE = 1_000


async def explain(journal: Journal, identifier: bytes) -> Telling | None:
    """What became of a batch; None for one that this operator never saw. O(batches that wait)."""
    raw = await journal.get(rows.CHAIN, identifier)
    if raw is None:
        return None
    chain = rows.unpack(raw, OnChain)
    found = await journal.get(rows.VERDICTS, identifier)
    verdict = Verdict(Ended.OPEN, Reason.OK) if found is None else rows.unpack(found, Verdict)
    waiting = [(topic, one) for topic in (rows.WORK, rows.OUTBOX) if (one := await _find(journal, topic, identifier))]
    wait = waiting[0] if waiting else None
    why = "" if verdict.reason is Reason.OK else verdict.reason.meaning
    if why and verdict.detail:
        why = f"{why} ({verdict.detail})"
    return Telling(
        f"batch 0x{identifier.hex()}", verdict.ended.value, why, ADVICE.get(verdict.reason, "") if why else "",
        (f"  posted in block {chain.created}, data at {chain.pointer or 'no URL'}",), chain.seen_at or None,
        tuple(_moments(chain, verdict, wait)), (), _document(identifier, chain, verdict, wait),
    )  # fmt: skip


async def _find(journal: Journal, topic: str, identifier: bytes) -> Listed | None:
    after = -1
    while page := await journal.listed(topic, PAGE, after):
        after = page[-1].position
        for one in page:
            if rows.identifier_of(one.key) == identifier:
                return one
    return None


def _moments(chain: OnChain, verdict: Verdict, wait: tuple[str, Listed] | None) -> Iterator[Moment]:
    yield Moment(chain.seen_at or None, "told", f"block {chain.created} posts it")
    if chain.void:
        yield Moment(None, "told", "a reorg took it off the chain, and it has not come back")
    if verdict.signature:
        at = verdict.at if verdict.ended is Ended.SIGNED and verdict.reason is Reason.OK else None
        yield Moment(at or None, "signed", "all proofs are good; the signature is on disk")
    if verdict.acknowledged:
        yield Moment(verdict.acknowledged_at or None, "sent to", "the aggregator has taken the response")
    if chain.responded is not None:
        yield Moment(chain.responded_at or None, "submitted", f"block {chain.responded} has the answer to it")
    if verdict.ended not in (Ended.OPEN, Ended.SIGNED) or verdict.reason is not Reason.OK:
        yield Moment(verdict.at or None, "ended", f"{verdict.ended.value}: {verdict.reason.value}")
    if wait is not None:
        topic, one = wait
        what = "to be verified" if topic == rows.WORK else "for the answer to be on the chain"
        yield Moment(None, "waits", f"{what}: attempt {one.attempt}, due in {max(one.due_in_s, 0.0):.0f} s")


def _document(identifier: bytes, chain: OnChain, verdict: Verdict, wait: tuple[str, Listed] | None) -> dict[str, Any]:
    return {
        "batch": f"0x{identifier.hex()}", "role": "operator", "state": verdict.ended.value,
        "reason": verdict.reason.value, "meaning": verdict.reason.meaning, "detail": verdict.detail,
        "root": f"0x{chain.root.hex()}", "sender": f"0x{chain.sender.hex()}", "pointer": chain.pointer,
        "block": chain.created, "void": chain.void, "told_at": chain.seen_at or None,
        "signed": bool(verdict.signature), "verdict_at": verdict.at or None, "acknowledged": verdict.acknowledged,
        "acknowledged_at": verdict.acknowledged_at or None, "responded_block": chain.responded,
        "responded_at": chain.responded_at or None,
        "waits_for": None if wait is None else ("verification" if wait[0] == rows.WORK else "chain"),
        "attempt": None if wait is None else wait[1].attempt,
        "due_in_s": None if wait is None else max(wait[1].due_in_s, 0.0),
    }  # fmt: skip
